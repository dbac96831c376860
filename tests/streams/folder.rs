//! `$DIR` of a script: files that land in it, and that can go away and come back as they were.

use std::{fs, path::PathBuf, sync::Mutex};

use tempfile::TempDir;

/// Each file that landed is kept beside the folder: what comes back is the same file to whoever has seen it.
pub struct Folder {
    root: TempDir,
    landed: Mutex<Vec<String>>,
}

impl Folder {
    pub fn new() -> Folder {
        let root = tempfile::tempdir().unwrap();
        for part in ["dir", "kept"] {
            fs::create_dir(root.path().join(part)).unwrap();
        }
        Folder { root, landed: Mutex::default() }
    }

    pub fn path(&self) -> PathBuf {
        self.root.path().join("dir")
    }

    fn kept_path(&self, n: usize) -> PathBuf {
        self.root.path().join("kept").join(n.to_string())
    }

    /// How many files have landed, none of them in part.
    pub fn landed(&self) -> usize {
        self.landed.lock().unwrap().len()
    }

    /// A file appears whole, as a careful writer makes it.
    pub fn land(&self, path: &str, text: &str) {
        let mut landed = self.landed.lock().unwrap();
        let (kept, place) = (self.kept_path(landed.len()), self.path().join(path));
        fs::create_dir_all(place.parent().unwrap()).unwrap();
        let draft = place.with_file_name(".draft");
        fs::write(&kept, text).unwrap();
        fs::hard_link(&kept, &draft).unwrap();
        fs::rename(draft, place).unwrap();
        landed.push(path.to_string());
    }

    /// As it was when so many files had landed, of the first so many; what came after those is gone for ever.
    pub fn back_to(&self, count: usize, of: usize) {
        let mut landed = self.landed.lock().unwrap();
        for path in landed.iter() {
            let _ = fs::remove_file(self.path().join(path));
        }
        for (n, path) in landed.iter().enumerate().take(count) {
            let place = self.path().join(path);
            let _ = fs::remove_file(&place);
            fs::hard_link(self.kept_path(n), place).unwrap();
        }
        (of..landed.len()).for_each(|n| fs::remove_file(self.kept_path(n)).unwrap());
        landed.truncate(of);
    }
}
