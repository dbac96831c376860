//! Storage over another one that is not changed: for rehearsals.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;

use super::Storage;
use crate::error::{Error, ErrorKind, Result};

/// Reads from the storage below; writes go to memory and hide what is below.
#[derive(Debug)]
pub struct OverlayStorage {
    below: Arc<dyn Storage>,
    /// `None` for a removed file of the storage below.
    above: Mutex<BTreeMap<String, Option<Vec<u8>>>>,
}

impl OverlayStorage {
    pub fn new(below: Arc<dyn Storage>) -> Self {
        OverlayStorage { below, above: Mutex::default() }
    }

    fn above(&self) -> MutexGuard<'_, BTreeMap<String, Option<Vec<u8>>>> {
        self.above.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Storage for OverlayStorage {
    fn read(&self, path: &str) -> Result<Option<Bytes>> {
        match self.above().get(path) {
            Some(bytes) => Ok(bytes.clone().map(Bytes::from)),
            None => self.below.read(path),
        }
    }

    fn create(&self, path: &str, bytes: &[u8]) -> Result<()> {
        if self.read(path)?.is_some() {
            return Err(Error::new(ErrorKind::DuplicateObject, format!("file \"{path}\" already exists")));
        }
        self.above().insert(path.to_string(), Some(bytes.to_vec()));
        Ok(())
    }

    fn append(&self, path: &str, bytes: &[u8]) -> Result<()> {
        let begun = self.above().get(path).is_some_and(Option::is_some);
        let before = if begun { None } else { self.read(path)? };
        let mut above = self.above();
        let file = above.entry(path.to_string()).or_default();
        file.get_or_insert_with(|| before.map(Vec::from).unwrap_or_default()).extend_from_slice(bytes);
        Ok(())
    }

    fn overwrite(&self, path: &str, bytes: &[u8]) -> Result<()> {
        self.above().insert(path.to_string(), Some(bytes.to_vec()));
        Ok(())
    }

    fn list(&self, prefix: &str) -> Result<Vec<String>> {
        let folder = format!("{}/", prefix.trim_end_matches('/'));
        let above = self.above();
        let is_below = |path: &String| !above.contains_key(path);
        let mut found: Vec<String> = self.below.list(prefix)?.into_iter().filter(is_below).collect();
        let within = |path: &&String| prefix.is_empty() || path.starts_with(&folder);
        found.extend(above.iter().filter(|(_, bytes)| bytes.is_some()).map(|(path, _)| path).filter(within).cloned());
        found.sort();
        Ok(found)
    }

    fn remove(&self, path: &str) -> Result<()> {
        self.above().insert(path.to_string(), None);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::MemoryStorage;

    #[test]
    fn overlay_storage_writes_do_not_change_the_storage_below() {
        let below = Arc::new(MemoryStorage::default());
        below.create("a/1", b"one").unwrap();
        below.append("a/2", b"two").unwrap();
        let writes = below.writes();
        let over = OverlayStorage::new(below.clone());
        over.append("a/2", b", three").unwrap();
        over.append("a/2", b", four").unwrap();
        over.create("a/3", b"new").unwrap();
        assert_eq!(over.create("a/1", b"again").unwrap_err().kind(), ErrorKind::DuplicateObject);
        assert_eq!(over.list("a").unwrap(), ["a/1", "a/2", "a/3"]);
        over.remove("a/1").unwrap();
        assert_eq!((over.read("a/1").unwrap(), over.list("").unwrap()), (None, vec!["a/2".into(), "a/3".into()]));
        over.create("a/1", b"other").unwrap();
        assert_eq!(over.read("a/1").unwrap().as_deref(), Some(&b"other"[..]));
        over.remove("a/2").unwrap();
        over.append("a/2", b"anew").unwrap();
        assert_eq!(over.read("a/2").unwrap().as_deref(), Some(&b"anew"[..]));
        assert_eq!(below.read("a/1").unwrap().as_deref(), Some(&b"one"[..]));
        assert_eq!((below.read("a/2").unwrap().as_deref(), below.writes()), (Some(&b"two"[..]), writes));
    }
}
