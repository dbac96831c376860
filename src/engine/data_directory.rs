//! The version of the data directory's layout, like `PG_VERSION`: which folders there are, and how files are named.
//! Files have format versions of their own.
//!
//! ```text
//! VERSION    a number, as text
//! ```

use crate::{
    error::{Error, ErrorKind, Result},
    storage::Storage,
};

const FILE: &str = "VERSION";

/// Raised when an older release would misread a directory.
const VERSION: u32 = 1;

/// Fails if a newer release wrote the directory; writes the version if there is none yet.
pub(super) fn check_version(storage: &dyn Storage) -> Result<()> {
    let Some(bytes) = storage.read(FILE)? else {
        return storage.create(FILE, format!("{VERSION}\n").as_bytes());
    };
    let text = String::from_utf8_lossy(&bytes);
    match text.trim().parse::<u32>() {
        Ok(version) if version <= VERSION => Ok(()),
        Ok(version) => {
            let message = format!("the data directory has version {version}, of which {VERSION} is known here");
            Err(Error::new(ErrorKind::DataCorrupted, message).hint("A newer release wrote it: start that one."))
        }
        Err(_) => Err(Error::new(ErrorKind::DataCorrupted, format!("file \"{FILE}\" is no number"))
            .hint("Restore it from a copy of the data directory.")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::MemoryStorage;

    #[test]
    fn data_directory_of_a_newer_release_is_refused_and_left_as_it_is() {
        let storage = MemoryStorage::default();
        check_version(&storage).unwrap();
        check_version(&storage).unwrap();
        storage.remove(FILE).unwrap();
        storage.create(FILE, b"2\n").unwrap();
        let error = check_version(&storage).unwrap_err();
        assert_eq!(error.message(), "the data directory has version 2, of which 1 is known here");
        assert_eq!(storage.read(FILE).unwrap().unwrap(), "2\n");
    }

    #[test]
    fn data_directory_version_that_is_no_number_is_told() {
        let storage = MemoryStorage::default();
        storage.create(FILE, b"\xFF").unwrap();
        assert_eq!(check_version(&storage).unwrap_err().kind(), ErrorKind::DataCorrupted);
    }
}
