//! Discovery of new files, each once and complete.
//!
//! ```text
//! kernel event ─▶ hint ─▶ look ─▶ closed, or moved in ──────────────▶ numbered
//! slow poll ─────────────▶  ╰───▶ pending until it rests ─────────────▶ numbered
//! ```
//! A file is discovered when its writer closes it or moves it in. One only seen in a listing is discovered when it is
//! old, or unchanged for a moment. So a file is best written elsewhere, or under a hidden name, and renamed in; one that
//! its writer reopens again and again may be discovered too early. Empty files are ignored. A name that became free may
//! be reused by another file, which is a new one.
//!
//! If the folder has a log (a Tidemark sink or any writer of Delta tables makes one), only that decides which files
//! count.

use std::{
    collections::{BTreeMap, HashMap, HashSet, hash_map::Entry},
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use super::{
    files::{Files, FolderEntry},
    folder::Folder,
    log::{Followed, follow, log_of, unescape},
};
use crate::{error::Result, time::Clock};

/// A file system event of a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Hint {
    /// Its writer closed it, or it was moved here.
    Closed(PathBuf),
    /// It is being written.
    Written(PathBuf),
    /// It is new.
    Created(PathBuf),
    Gone(PathBuf),
}

/// A file that was seen but is not discovered yet.
#[derive(Debug)]
struct Pending {
    /// As it was at the last look.
    file: FolderEntry,
    /// When it was first seen, and when it last changed, since the source was opened.
    since: Duration,
    changed: Duration,
    /// A writer has it open: an event of its closing will come.
    written: bool,
}

/// Microseconds: a file modified longer ago is complete, whatever the skew of two machines' clocks.
const OLD: i64 = 2_000_000;
/// How long a file without a known writer must be unchanged.
const REST: Duration = Duration::from_millis(50);
/// How long a file with a known writer, which does not close it, must be unchanged.
const WRITER_REST: Duration = Duration::from_secs(1);
/// A look ahead waits for files younger than this.
const YOUNG: Duration = Duration::from_millis(60);
/// Up to so many known files, each is checked for replacement whenever its folder changes.
const KNOWN_LOOKED_AT_MAX: usize = 4_096;
/// How long listings are repeated after a new folder, whose first files may precede the kernel's watch.
const NEW_FOLDER: Duration = Duration::from_millis(200);

/// Tracks files that were seen and not discovered yet. All methods block.
#[derive(Debug)]
pub(super) struct Discovery {
    folder: Arc<Folder>,
    files: Arc<Files>,
    clock: Arc<dyn Clock>,
    pending: HashMap<String, Pending>,
    /// Folders and their modification times at the last look.
    folders: BTreeMap<PathBuf, SystemTime>,
    restless_until: Duration,
    /// Files may have been replaced without an event: list all names.
    needs_listing: bool,
    /// Whether file system events are received.
    pub watched: bool,
}

impl Discovery {
    pub fn new(folder: Arc<Folder>, files: Arc<Files>, clock: Arc<dyn Clock>) -> Self {
        let (pending, folders) = Default::default();
        Discovery {
            folder,
            files,
            clock,
            pending,
            folders,
            restless_until: Duration::ZERO,
            needs_listing: true,
            watched: false,
        }
    }

    /// Makes the next look list all folders.
    pub fn look_everywhere(&mut self) {
        self.folders.clear();
        self.needs_listing = true;
    }

    /// Discovers files; gives whether there were any. `now` is the time since the source was opened. `list` also looks
    /// for files without an event.
    pub fn look(&mut self, hints: Vec<Hint>, list: bool, now: Duration) -> Result<bool> {
        if let Some(log) = log_of(&self.folder.root) {
            return self.follow(&log);
        }
        let mut ready = Vec::new();
        for hint in hints {
            self.take_hint(hint, now, &mut ready);
        }
        let listed = if list { self.list(now, &mut ready) } else { Ok(()) };
        self.check_pending(now, &mut ready);
        // Files discovered together are ordered by modification time.
        ready.sort_by(|a, b| (a.modified, &a.path).cmp(&(b.modified, &b.path)));
        ready.dedup_by(|a, b| a.path == b.path);
        // A closed file may also be pending from a listing: it must not wait for itself.
        ready.iter().for_each(|file| drop(self.pending.remove(&file.path)));
        self.hold_back(now, &mut ready);
        let took = !ready.is_empty();
        if let Err(e) = self.files.add(ready.clone()) {
            for file in ready {
                let path = file.path.clone();
                let pending = Pending { file, since: Duration::ZERO, changed: Duration::ZERO, written: false };
                self.pending.insert(path, pending);
            }
            return Err(e);
        }
        listed.map(|()| took)
    }

    /// Discovers exactly the files that the folder's log names: they are complete, those of an epoch together.
    fn follow(&mut self, log: &Path) -> Result<bool> {
        self.pending.clear();
        let Some(Followed { version, files, .. }) = follow(log, self.files.version())? else { return Ok(false) };
        let entries = files.iter().map(|add| self.folder.listed(&unescape(&add.path), add.size.unsigned_abs()));
        let entries: Vec<_> = entries.flatten().collect();
        let took = !entries.is_empty();
        self.files.follow(version, entries)?;
        Ok(took)
    }

    /// Whether a pending file may be discovered by time alone.
    pub fn is_restless(&self, now: Duration) -> bool {
        now < self.restless_until || self.pending.values().any(|p| p.file.size > 0)
    }

    /// Whether a pending file is young enough to wait for.
    pub fn is_expecting(&self, now: Duration) -> bool {
        self.pending.values().any(|p| p.file.size > 0 && now < p.since + YOUNG)
    }

    fn take_hint(&mut self, hint: Hint, now: Duration, ready: &mut Vec<FolderEntry>) {
        let (Hint::Closed(path) | Hint::Written(path) | Hint::Created(path) | Hint::Gone(path)) = &hint;
        let Some(relative) = self.folder.relative(path) else { return };
        if matches!(hint, Hint::Gone(_)) {
            self.pending.remove(&relative);
            self.files.free(&relative);
            return;
        }
        let Some(file) = self.folder.stat(&relative) else {
            self.pending.remove(&relative);
            if path.is_dir() {
                self.folders.remove(path);
                self.folders.remove(&self.folder.root);
                self.restless_until = now + NEW_FOLDER;
            }
            return;
        };
        if !self.folder.wants(&relative) || self.files.has(&file) {
            return;
        }
        if matches!(hint, Hint::Closed(_)) && file.size > 0 {
            self.pending.remove(&relative);
            ready.push(file);
            return;
        }
        let written = matches!(hint, Hint::Written(_));
        match self.pending.entry(relative) {
            Entry::Occupied(mut known) => known.get_mut().written |= written,
            Entry::Vacant(new) => {
                new.insert(Pending { file, since: now, changed: now, written });
            }
        }
    }

    fn list(&mut self, now: Duration, ready: &mut Vec<FolderEntry>) -> Result<()> {
        let restless = now < self.restless_until;
        let Some(found) = self.folder.list(&mut self.folders, restless)? else { return Ok(()) };
        // Known files may have been replaced. For many files, only events tell that.
        let each =
            std::mem::take(&mut self.needs_listing) || !self.watched || self.files.count() <= KNOWN_LOOKED_AT_MAX;
        if each {
            let here: HashSet<&str> = found.iter().map(String::as_str).collect();
            let gone = |path: &String| !here.contains(path.as_str()) && self.folder.is_gone(path);
            self.files.paths().iter().filter(|path| gone(path)).for_each(|path| self.files.free(path));
        }
        for path in found {
            if !each && self.files.knows(&path) || self.pending.contains_key(&path) {
                continue;
            }
            let Some(file) = self.folder.stat(&path) else { continue };
            if self.files.has(&file) {
                continue;
            }
            let age = self.clock.now().saturating_sub(file.modified);
            if age >= OLD && file.size > 0 {
                ready.push(file);
            } else {
                self.pending.insert(path, Pending { file, since: now, changed: now, written: false });
            }
        }
        Ok(())
    }

    /// Holds back files younger than a pending older one, so that order is kept: after a start, files written just
    /// before it are pending for a moment while new ones are moved in.
    fn hold_back(&mut self, now: Duration, ready: &mut Vec<FolderEntry>) {
        let soon = self.pending.values().filter(|p| !p.written && p.file.size > 0 && now < p.since + YOUNG);
        let Some(first) = soon.map(|p| (p.file.modified, p.file.path.clone())).min() else { return };
        let overtaking = ready.partition_point(|file| (file.modified, &file.path) < (first.0, &first.1));
        for file in ready.drain(overtaking..) {
            let path = file.path.clone();
            // They are complete: the next look discovers them unless an older one is still pending.
            let pending = Pending { file, since: Duration::ZERO, changed: Duration::ZERO, written: false };
            self.pending.insert(path, pending);
        }
    }

    /// Checks the pending files; discovers those unchanged long enough.
    fn check_pending(&mut self, now: Duration, ready: &mut Vec<FolderEntry>) {
        let folder = &self.folder;
        self.pending.retain(|path, pending| {
            let Some(file) = folder.stat(path) else { return false };
            if file != pending.file {
                if pending.file.size == 0 {
                    // It has its first bytes now.
                    pending.since = now;
                }
                pending.file = file;
                pending.changed = now;
                return true;
            }
            let rest = if pending.written { WRITER_REST } else { REST };
            if pending.file.size == 0 || now < pending.changed + rest {
                return true;
            }
            ready.push(file);
            false
        });
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::{
        connectors::{Fence, directory::options::DirectoryOptions},
        options::Options,
        storage::MemoryStorage,
        time::ManualClock,
    };

    struct Fixture {
        dir: tempfile::TempDir,
        files: Arc<Files>,
        discovery: Discovery,
    }

    impl Fixture {
        fn new(extra: &[(&str, &str)]) -> Fixture {
            let dir = tempfile::tempdir().unwrap();
            let mut options = Options::default();
            options.insert("path", dir.path().to_str().unwrap());
            options.insert("format", "csv");
            for (key, value) in extra {
                options.insert(*key, *value);
            }
            let options = DirectoryOptions::from_options(&mut options.taker("a test")).unwrap();
            let folder = Arc::new(Folder::new(options, Fence::default()).unwrap());
            let files = Arc::new(Files::open(Arc::new(MemoryStorage::default()), "s").unwrap());
            // A clock that stands at 1970: every file seems to be written just now.
            let discovery = Discovery::new(folder, files.clone(), Arc::new(ManualClock::new(0)));
            Fixture { dir, files, discovery }
        }

        fn path(&self, name: &str) -> PathBuf {
            self.discovery.folder.root.join(name)
        }

        fn write(&self, name: &str, text: &str) {
            let path = self.dir.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }

        /// As [`Fixture::write`], last changed so many seconds after the first moment.
        fn write_at(&self, name: &str, text: &str, seconds: u64) {
            self.write(name, text);
            let time = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
            fs::File::options().write(true).open(self.path(name)).unwrap().set_modified(time).unwrap();
        }

        fn look(&mut self, hints: Vec<Hint>, at_ms: u64) -> Vec<String> {
            self.discovery.look(hints, true, Duration::from_millis(at_ms)).unwrap();
            self.files.range(0, u64::MAX).into_iter().map(|(_, f)| f.path).collect()
        }
    }

    #[test]
    fn file_is_discovered_once_its_size_is_stable() {
        let mut f = Fixture::new(&[]);
        f.write("a", "1");
        assert!(f.look(vec![], 0).is_empty());
        assert!(f.discovery.is_expecting(Duration::from_millis(59)));
        f.write("a", "12");
        assert!(f.look(vec![], 49).is_empty());
        assert!(f.look(vec![], 60).is_empty());
        assert_eq!(f.look(vec![], 99), ["a"]);
        assert_eq!(f.files.range(0, 1)[0].1.size, 2);
        assert!(!f.discovery.is_restless(Duration::from_millis(99)));
    }

    #[test]
    fn younger_file_waits_for_an_older_unsettled_one() {
        let mut f = Fixture::new(&[]);
        f.write_at("b", "1", 2);
        assert!(f.look(vec![], 1_000).is_empty());
        f.write_at("a", "2", 1);
        f.write_at("c", "3", 3);
        let hints = vec![Hint::Closed(f.path("c")), Hint::Closed(f.path("a"))];
        // What is older than the one that rests goes on; what is younger waits for it.
        assert_eq!(f.look(hints, 1_010), ["a"]);
        assert_eq!(f.look(vec![], 1_050), ["a", "b", "c"]);
    }

    #[test]
    fn file_that_keeps_changing_delays_others_only_for_a_limited_time() {
        let mut f = Fixture::new(&[]);
        f.write_at("a", "1", 1);
        assert!(f.look(vec![], 1_000).is_empty());
        f.write_at("b", "2", 2);
        f.write_at("a", "12", 1);
        assert!(f.look(vec![Hint::Closed(f.path("b"))], 1_045).is_empty());
        f.write_at("a", "123", 1);
        assert_eq!(f.look(vec![], 1_061), ["b"]);
        assert_eq!(f.look(vec![], 1_111), ["b", "a"]);
    }

    #[test]
    fn closed_file_is_discovered_at_once_and_only_once() {
        let mut f = Fixture::new(&[]);
        f.write("a", "1");
        let hints = vec![Hint::Created(f.path("a")), Hint::Written(f.path("a")), Hint::Closed(f.path("a"))];
        assert_eq!(f.look(hints.clone(), 0), ["a"]);
        f.write("a", "changed");
        assert_eq!(f.look(hints, 5_000), ["a"]);
    }

    #[test]
    fn replaced_file_is_discovered_and_a_file_renamed_back_is_not() {
        for hinted in [true, false] {
            let mut f = Fixture::new(&[]);
            f.write_at("a", "1", 1);
            f.look(vec![], 0);
            assert_eq!(f.look(vec![], 50), ["a"]);
            let hint = |hint: fn(PathBuf) -> Hint, f: &Fixture| if hinted { vec![hint(f.path("a"))] } else { vec![] };
            // Away and back again it is the same.
            fs::rename(f.path("a"), f.path(".a")).unwrap();
            f.look(hint(Hint::Gone, &f), 100);
            fs::rename(f.path(".a"), f.path("a")).unwrap();
            f.look(hint(Hint::Closed, &f), 200);
            assert_eq!(f.look(vec![], 300), ["a"]);
            // Deleted, and made anew.
            fs::remove_file(f.path("a")).unwrap();
            f.look(hint(Hint::Gone, &f), 400);
            f.write_at("a", "2", 2);
            f.look(hint(Hint::Closed, &f), 500);
            assert_eq!(f.look(vec![], 600), ["a", "a"]);
            // Another is moved onto it.
            f.write_at(".b", "33", 3);
            fs::rename(f.path(".b"), f.path("a")).unwrap();
            f.look(hint(Hint::Closed, &f), 700);
            assert_eq!(f.look(vec![], 800), ["a", "a", "a"]);
            // What a new process finds under the name of a file that was deleted meanwhile.
            fs::remove_file(f.path("a")).unwrap();
            f.write_at("a", "444", 4);
            let (folder, clock) = (f.discovery.folder.clone(), f.discovery.clock.clone());
            f.discovery = Discovery::new(folder, f.files.clone(), clock);
            f.look(vec![], 0);
            assert_eq!(f.look(vec![], 50).len(), 4);
            assert_eq!(f.look(vec![], 5_000).len(), 4);
        }
    }

    #[test]
    fn file_with_an_open_writer_is_discovered_after_a_longer_rest() {
        let mut f = Fixture::new(&[]);
        f.write("a", "1");
        assert!(f.look(vec![Hint::Written(f.path("a"))], 0).is_empty());
        assert!(f.look(vec![], 900).is_empty());
        assert_eq!(f.look(vec![], 1_000), ["a"]);
    }

    #[test]
    fn empty_file_is_not_discovered_until_it_has_bytes() {
        let mut f = Fixture::new(&[]);
        f.write("a", "");
        assert!(f.look(vec![Hint::Closed(f.path("a"))], 0).is_empty());
        assert!(f.look(vec![], 60_000).is_empty());
        assert!(!f.discovery.is_restless(Duration::from_secs(60)));
        f.write("a", "1");
        assert!(f.look(vec![], 70_000).is_empty());
        assert_eq!(f.look(vec![], 70_050), ["a"]);
    }

    #[test]
    fn files_found_together_are_ordered_by_modification_time_then_name() {
        let mut f = Fixture::new(&[]);
        for (name, seconds) in [("z", 1), ("b", 3), ("a", 3), ("m", 2)] {
            f.write_at(name, "1", seconds);
        }
        f.look(vec![], 0);
        assert_eq!(f.look(vec![], 50), ["z", "m", "a", "b"]);
    }

    #[test]
    fn hidden_files_and_files_outside_the_glob_are_ignored() {
        let mut f = Fixture::new(&[("glob", "*.csv")]);
        for name in ["a.csv", "a.txt", ".b.csv", "_c.csv", "_d/e.csv", "f/g.csv", "f/.h/i.csv"] {
            f.write(name, "1");
        }
        let hidden = vec![Hint::Closed(f.path(".b.csv")), Hint::Closed(f.path("_d/e.csv"))];
        f.look(hidden, 0);
        assert_eq!(f.look(vec![], 50), ["a.csv", "f/g.csv"]);
        let mut f = Fixture::new(&[("recursive", "false")]);
        f.write("a/b", "1");
        f.write("c", "1");
        f.look(vec![Hint::Created(f.path("a"))], 0);
        assert_eq!(f.look(vec![], 50), ["c"]);
    }

    #[test]
    fn files_in_a_new_subfolder_are_discovered() {
        let mut f = Fixture::new(&[]);
        f.look(vec![], 0);
        f.write("x/y/a", "1");
        f.look(vec![Hint::Created(f.path("x"))], 10);
        assert!(f.discovery.is_restless(Duration::from_millis(100)));
        assert_eq!(f.look(vec![], 60), ["x/y/a"]);
    }

    #[test]
    fn vanished_folder_is_an_error_until_it_is_back() {
        let mut f = Fixture::new(&[]);
        f.look(vec![], 0);
        let root = f.discovery.folder.root.clone();
        fs::remove_dir_all(&root).unwrap();
        let error = f.discovery.look(vec![], true, Duration::from_millis(1)).unwrap_err();
        assert_eq!(error.kind().sqlstate(), "58P01");
        fs::create_dir(&root).unwrap();
        fs::write(root.join("a"), "1").unwrap();
        f.look(vec![], 2);
        assert_eq!(f.look(vec![], 60), ["a"]);
    }
}
