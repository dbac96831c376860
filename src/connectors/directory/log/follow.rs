//! The log as a reader follows it: first what counts now, then what each new entry adds.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use super::{
    Action, Add, CHECKPOINT, Contents, DELTA, ENTRY, MetaData, OWN, Protocol, checkpoint_name, entry_name,
    from_parquet, parse, version_of,
};
use crate::error::{Error, ErrorKind, Result};

/// What came since a version.
#[derive(Debug, Default)]
pub(in super::super) struct Followed {
    /// Of the last entry.
    pub version: u64,
    /// Files with rows that are new, in order.
    pub files: Vec<Add>,
    /// What the folder holds, where that was read.
    pub meta: Option<MetaData>,
}

/// The log of a folder, if it has one. Blocks.
pub(in super::super) fn log_of(root: &Path) -> Option<PathBuf> {
    [DELTA, OWN].map(|name| root.join(name)).into_iter().find(|log| log.is_dir())
}

/// Reads what a log says, all of it or what came after an entry; `None` where that is nothing. Blocks.
///
/// What a later entry no longer counts is new all the same: its rows were there. Only rows that are stored anew are not.
pub(in super::super) fn follow(log: &Path, after: Option<u64>) -> Result<Option<Followed>> {
    let Some(after) = after else { return all(log) };
    let (mut followed, mut next) = (Followed { version: after, ..Followed::default() }, after + 1);
    while let Some(actions) = entry(log, next)? {
        for action in actions {
            check(log, action.protocol.as_ref())?;
            followed.files.extend(action.add.filter(|add| add.data_change));
        }
        followed.version = next;
        next += 1;
    }
    if after < followed.version {
        return Ok(Some(followed));
    }
    match versions(log, ENTRY)?.into_iter().chain(versions(log, CHECKPOINT)?).max() {
        Some(last) if last > followed.version => {
            let message = format!("entry {next} of log \"{}\" was deleted before it was read", log.display());
            Err(Error::new(ErrorKind::ObjectNotInState, message)
                .hint("Create another source of the folder: it begins with what the log says now."))
        }
        _ => Ok(None),
    }
}

/// What counts now.
fn all(log: &Path) -> Result<Option<Followed>> {
    let mut contents = Contents::default();
    let mut version = versions(log, CHECKPOINT)?.into_iter().max();
    if let Some(version) = version {
        let name = checkpoint_name(version);
        from_parquet(&name, fs::read(log.join(&name))?.into())?.into_iter().for_each(|a| contents.apply(a));
    }
    while let Some(actions) = entry(log, version.map_or(0, |version| version + 1))? {
        actions.into_iter().for_each(|action| contents.apply(action));
        version = Some(version.map_or(0, |version| version + 1));
    }
    let Some(version) = version else { return Ok(None) };
    check(log, contents.protocol.as_ref())?;
    Ok(Some(Followed { version, files: contents.files.into_values().collect(), meta: contents.meta }))
}

fn versions(log: &Path, ending: &str) -> Result<Vec<u64>> {
    let mut versions = Vec::new();
    for file in fs::read_dir(log)? {
        versions.extend(file?.file_name().to_str().and_then(|name| version_of(name, ending)));
    }
    Ok(versions)
}

fn entry(log: &Path, version: u64) -> Result<Option<Vec<Action>>> {
    let name = entry_name(version);
    match fs::read(log.join(&name)) {
        Ok(bytes) => parse(&name, &bytes).map(Some),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(Error::from(e).context(format!("cannot read \"{}\"", log.join(name).display()))),
    }
}

/// A table of another writer may have what cannot be read by its files alone.
fn check(log: &Path, protocol: Option<&Protocol>) -> Result<()> {
    let Some(protocol) = protocol else { return Ok(()) };
    let strange = protocol.reader_features.iter().flatten().find(|feature| *feature != "timestampNtz");
    match (protocol.min_reader_version, strange) {
        (1 | 3, None) => Ok(()),
        (version, feature) => {
            let what = feature.map_or(format!("reader version {version}"), |feature| format!("feature {feature}"));
            Err(Error::unsupported(format!("{what} of the Delta table of log \"{}\"", log.display())))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::{
        super::{Remove, print, to_parquet},
        *,
    };

    fn add(path: &str, data_change: bool) -> Action {
        let (path, partition_values) = (path.to_string(), BTreeMap::new());
        let add = Add { path, partition_values, size: 1, modification_time: 2, data_change, stats: None };
        Action { add: Some(add), ..Action::default() }
    }

    fn remove(path: &str) -> Action {
        let remove = Remove { path: path.to_string(), deletion_timestamp: Some(1), data_change: false };
        Action { remove: Some(remove), ..Action::default() }
    }

    fn protocol(min_reader_version: i32, feature: Option<&str>) -> Action {
        let reader_features = feature.map(|feature| vec![feature.to_string()]);
        let protocol = Protocol { min_reader_version, min_writer_version: 7, reader_features, writer_features: None };
        Action { protocol: Some(protocol), ..Action::default() }
    }

    fn paths(followed: Option<Followed>) -> Option<(u64, Vec<String>)> {
        followed.map(|f| (f.version, f.files.into_iter().map(|add| add.path).collect()))
    }

    #[test]
    fn delta_log_follow_starts_at_a_checkpoint_and_continues_with_new_versions() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(log_of(folder.path()), None);
        let log = folder.path().join(OWN);
        fs::create_dir(&log).unwrap();
        assert_eq!(log_of(folder.path()), Some(log.clone()));
        assert_eq!(paths(follow(&log, None).unwrap()), None);
        let put =
            |version, actions: &[Action]| fs::write(log.join(entry_name(version)), print(actions).unwrap()).unwrap();
        let checkpoint = to_parquet(&[protocol(3, Some("timestampNtz")), add("a", false), add("b", false)]).unwrap();
        fs::write(log.join(checkpoint_name(7)), checkpoint).unwrap();
        put(8, &[remove("a"), remove("b"), add("ab", false), add("c", true)]);
        put(9, &[remove("c")]);
        let expected = |version, paths: &[&str]| Some((version, paths.iter().map(|p| p.to_string()).collect()));
        assert_eq!(paths(follow(&log, None).unwrap()), expected(9, &["ab"]));
        assert_eq!(paths(follow(&log, Some(7)).unwrap()), expected(9, &["c"]));
        assert_eq!(paths(follow(&log, Some(9)).unwrap()), None);
        assert_eq!(follow(&log, Some(3)).unwrap_err().kind(), ErrorKind::ObjectNotInState);
        put(10, &[protocol(3, Some("deletionVectors"))]);
        let error = follow(&log, Some(9)).unwrap_err();
        assert!(error.message().contains("feature deletionVectors"), "{}", error.message());
        fs::write(log.join(entry_name(10)), b"{\"add\":").unwrap();
        assert_eq!(follow(&log, Some(9)).unwrap_err().kind(), ErrorKind::DataCorrupted);
    }
}
