//! Which files and environment variables connectors may use, by configuration, whoever asks.
//!
//! Paths are compared with links and `..` resolved, when a connector is opened and again for each file that it opens or
//! removes: a link made later leads nowhere else.

use std::{
    fs,
    path::{Component, Path, PathBuf},
    sync::Arc,
};

use crate::{
    error::{Error, ErrorKind, Result},
    options::Options,
};

/// Allowed folders and variables. Clones share them. The default has no limits.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Fence(Arc<Allowed>);

/// What is allowed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Allowed {
    /// Never read or written, nor its parents.
    pub data_dir: Option<PathBuf>,
    /// Folders that sinks write to and sources clean up; `None` is any.
    pub write: Option<Vec<PathBuf>>,
    /// Folders that sources read; `None` is any.
    pub read: Option<Vec<PathBuf>>,
    /// The environment variables that secrets may be; a name that ends in `*` is all that begin so. `None` is any.
    pub environment: Option<Vec<String>>,
}

/// A chain of links that is longer is a circle.
const LINKS_MAX: usize = 40;

impl Fence {
    /// Relative paths begin where the server was started.
    pub fn new(allowed: Allowed) -> Fence {
        let all = |paths: Vec<PathBuf>| paths.iter().map(|path| resolved(path)).collect();
        Fence(Arc::new(Allowed {
            data_dir: allowed.data_dir.map(|path| resolved(&path)),
            write: allowed.write.map(all),
            read: allowed.read.map(all),
            environment: allowed.environment,
        }))
    }

    /// Fails unless a folder or a file may be read.
    pub fn check_read(&self, path: &Path) -> Result<()> {
        self.check(path, self.0.read.as_deref(), "read")
    }

    /// Fails unless what is in a folder may be written and removed.
    pub fn check_write(&self, path: &Path) -> Result<()> {
        self.check(path, self.0.write.as_deref(), "write")
    }

    fn check(&self, path: &Path, allowed: Option<&[PathBuf]>, verb: &str) -> Result<()> {
        let at = resolved(path);
        if let Some(data_dir) = &self.0.data_dir
            && (at.starts_with(data_dir) || data_dir.starts_with(&at))
        {
            let how = if at.starts_with(data_dir) { "is in" } else { "holds" };
            let message = format!("cannot {verb} \"{}\": it {how} the data directory", path.display());
            return Err(Error::new(ErrorKind::InsufficientPrivilege, message).hint("Choose a folder beside it."));
        }
        match allowed {
            Some(folders) if !folders.iter().any(|folder| at.starts_with(folder)) => {
                let all: Vec<String> = folders.iter().map(|folder| format!("\"{}\"", folder.display())).collect();
                let below = if all.is_empty() { "nowhere".to_string() } else { format!("below {}", all.join(", ")) };
                let message = format!("cannot {verb} \"{}\": it is not where connectors may {verb}", path.display());
                Err(Error::new(ErrorKind::InsufficientPrivilege, message)
                    .detail(format!("They may {verb} {below}."))
                    .hint(format!("The configuration of the server says where: connectors.allow.{verb}.")))
            }
            _ => Ok(()),
        }
    }

    /// Fails unless the files that options name beside their folder may be read.
    pub fn check_options(&self, options: &Options) -> Result<()> {
        let names_file =
            |key: &str| key == "avro.schema_file" || (key.starts_with("properties.") && key.ends_with(".location"));
        for (key, value) in options.0.iter().filter(|(key, _)| names_file(key)) {
            // A word by which librdkafka looks for the system's own.
            if key != "avro.schema_file" && value == "probe" {
                continue;
            }
            self.check_read(Path::new(value)).map_err(|error| error.context(format!("option \"{key}\"")))?;
        }
        Ok(())
    }

    /// Fails unless a secret may be an environment variable.
    pub fn check_variable(&self, name: &str) -> Result<()> {
        let Some(allowed) = &self.0.environment else { return Ok(()) };
        let fits = |pattern: &String| match pattern.strip_suffix('*') {
            Some(beginning) => name.starts_with(beginning),
            None => name == pattern,
        };
        if allowed.iter().any(fits) {
            return Ok(());
        }
        let all = if allowed.is_empty() { "none".to_string() } else { allowed.join(", ") };
        Err(Error::new(ErrorKind::InsufficientPrivilege, format!("a secret cannot be environment variable \"{name}\""))
            .detail(format!("Those that secrets may be: {all}."))
            .hint("The configuration of the server says which: connectors.allow.environment."))
    }
}

/// A path without links and `..`, as far as it exists; what does not is below what does.
fn resolved(path: &Path) -> PathBuf {
    fs::canonicalize(path).unwrap_or_else(|_| resolved_within(path, LINKS_MAX))
}

fn resolved_within(path: &Path, links: usize) -> PathBuf {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf());
    let mut at = PathBuf::from("/");
    for part in path.components() {
        match part {
            Component::Prefix(_) | Component::RootDir | Component::CurDir => {}
            // All before it is resolved: what it leads to is the folder above in truth.
            Component::ParentDir => drop(at.pop()),
            Component::Normal(name) => {
                let above = at.clone();
                at.push(name);
                match (fs::canonicalize(&at), fs::read_link(&at)) {
                    (Ok(real), _) => at = real,
                    // A link to what is not there yet.
                    (Err(_), Ok(to)) if links > 0 => at = resolved_within(&above.join(to), links - 1),
                    (Err(_), _) => {}
                }
            }
        }
    }
    at
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    struct Machine {
        root: tempfile::TempDir,
    }

    impl Machine {
        /// `work/{data/log, in, out}`, `elsewhere`.
        fn new() -> Machine {
            let root = tempfile::tempdir().unwrap();
            for folder in ["work/data/log", "work/in", "work/out", "elsewhere"] {
                fs::create_dir_all(root.path().join(folder)).unwrap();
            }
            Machine { root }
        }

        fn path(&self, path: &str) -> PathBuf {
            self.root.path().join(path)
        }

        fn fence(&self) -> Fence {
            Fence::new(Allowed {
                data_dir: Some(self.path("work/data")),
                write: Some(vec![self.path("work")]),
                read: None,
                environment: Some(vec!["TIDEMARK_SECRET_*".to_string(), "ONE".to_string()]),
            })
        }

        fn message_of(&self, error: Error) -> String {
            error.message().replace(&format!("{}/", self.root.path().display()), "")
        }
    }

    #[test]
    fn fence_data_directory_is_refused_by_every_path_to_it() {
        let machine = Machine::new();
        symlink(machine.path("work/data"), machine.path("work/in/link")).unwrap();
        symlink("../data/soon", machine.path("work/in/dangling")).unwrap();
        symlink(machine.path("work/in/link"), machine.path("elsewhere/chain")).unwrap();
        symlink(machine.path("work"), machine.path("elsewhere/up")).unwrap();
        symlink("circle", machine.path("elsewhere/circle")).unwrap();
        let fence = machine.fence();
        for (path, how) in [
            ("work/data", "is in"),
            ("work/data/", "is in"),
            ("work/data/log", "is in"),
            ("work/data/not/yet", "is in"),
            ("work/in/../data/log", "is in"),
            ("work/nowhere/../data", "is in"),
            ("work/in/link", "is in"),
            ("work/in/link/log/x", "is in"),
            ("work/in/dangling", "is in"),
            ("work/in/dangling/x", "is in"),
            ("elsewhere/chain", "is in"),
            ("elsewhere/up/data", "is in"),
            ("elsewhere/up", "holds"),
            ("work", "holds"),
            ("work/in/..", "holds"),
            ("work/in/link/..", "holds"),
            (".", "holds"),
        ] {
            for (verb, checked) in
                [("read", fence.check_read(&machine.path(path))), ("write", fence.check_write(&machine.path(path)))]
            {
                let error = checked.expect_err(path);
                assert_eq!(error.kind().sqlstate(), "42501");
                let message = machine.message_of(error);
                assert!(
                    message.starts_with(&format!("cannot {verb} \"")) && message.contains(how),
                    "{path}: {message}"
                );
            }
        }
        assert!(fence.check_read(Path::new("/")).is_err());
        for path in ["work/in", "work/data2", "work/datalog/x", "work/in/new", "elsewhere/circle", "elsewhere"] {
            fence.check_read(&machine.path(path)).unwrap();
        }
    }

    #[test]
    fn fence_writes_outside_the_allowed_folders_are_refused() {
        let machine = Machine::new();
        symlink(machine.path("elsewhere"), machine.path("work/out/away")).unwrap();
        symlink(machine.path("elsewhere/new"), machine.path("work/out/soon")).unwrap();
        let fence = machine.fence();
        for path in ["work/out", "work/out/new/deep", "elsewhere/../work/out", "work/out/away/../work/in"] {
            fence.check_write(&machine.path(path)).unwrap();
        }
        for path in ["elsewhere", "work/../elsewhere", "work/out/away", "work/out/away/x", "work/out/soon", "workshop"]
        {
            let error = fence.check_write(&machine.path(path)).expect_err(path);
            assert!(error.hint_text().is_some_and(|hint| hint.contains("connectors.allow.write")), "{error:?}");
        }
        fence.check_read(&machine.path("elsewhere")).unwrap();
        let nowhere = Fence::new(Allowed { read: Some(Vec::new()), ..Allowed::default() });
        let error = nowhere.check_read(&machine.path("work/in")).unwrap_err();
        assert_eq!(error.detail_text(), Some("They may read nowhere."));
        Fence::default().check_write(Path::new("/")).unwrap();
    }

    #[test]
    fn fence_environment_variables_outside_the_allowed_names_are_refused() {
        let fence = Machine::new().fence();
        for name in ["TIDEMARK_SECRET_A", "TIDEMARK_SECRET_", "ONE"] {
            fence.check_variable(name).unwrap();
        }
        for name in ["PATH", "ONE_MORE", "TIDEMARK_SECRE", "", "A_TIDEMARK_SECRET_A"] {
            let error = fence.check_variable(name).expect_err(name);
            assert_eq!(error.kind().sqlstate(), "42501");
            assert_eq!(error.detail_text(), Some("Those that secrets may be: TIDEMARK_SECRET_*, ONE."));
        }
        Fence::default().check_variable("PATH").unwrap();
    }

    #[test]
    fn fence_files_named_by_options_are_read_only_in_allowed_folders() {
        let machine = Machine::new();
        let fence = machine.fence();
        let options = |key: &str, value: &str| {
            let mut options = Options::default();
            options.insert(key, value);
            fence.check_options(&options)
        };
        let inside = machine.path("work/data/x").display().to_string();
        for key in ["avro.schema_file", "properties.ssl.ca.location", "properties.ssl.keystore.location"] {
            let error = options(key, &inside).expect_err(key);
            assert!(error.message().starts_with(&format!("option \"{key}\": cannot read")), "{error}");
            options(key, &machine.path("elsewhere/x").display().to_string()).unwrap();
        }
        options("properties.ssl.ca.location", "probe").unwrap();
        options("path", &inside).unwrap();
    }
}
