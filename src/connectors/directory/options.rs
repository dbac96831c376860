//! The options of a directory source.

use std::path::PathBuf;

use globset::{GlobBuilder, GlobMatcher};
use url::Url;

use crate::{
    error::{Error, ErrorKind, Result},
    formats::Format,
    options::Taker,
};

/// `WITH (connector = 'directory', …)`.
#[derive(Debug, Clone)]
pub struct DirectoryOptions {
    /// As it was written: what errors and dead letters say.
    pub path: String,
    /// The local folder that it means.
    pub root: PathBuf,
    /// Which files, by their path below the folder; `*` also reaches into folders.
    pub glob: Option<GlobMatcher>,
    /// Also the files of folders in it.
    pub recursive: bool,
    pub clean: Clean,
    pub format: Format,
}

/// What becomes of a file that every query has read for good.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Clean {
    Off,
    /// It is moved to this folder.
    Archive(PathBuf),
    Delete,
}

impl DirectoryOptions {
    /// Takes them, and those of the format.
    pub fn from_options(options: &mut Taker) -> Result<DirectoryOptions> {
        let path = options.required("path")?;
        let root = local("path", &path)?;
        let glob = match options.text("glob") {
            None => None,
            Some(pattern) => Some(GlobBuilder::new(&pattern).literal_separator(false).build().map_err(|e| {
                Error::new(ErrorKind::InvalidParameterValue, format!("option \"glob\" is no pattern: {}", e.kind()))
            })?)
            .map(|g| g.compile_matcher()),
        };
        let recursive = options.boolean("recursive", true)?;
        let words = [("off", 0), ("archive", 1), ("delete", 2)];
        let clean = options.one_of("clean_source", &words)?;
        let archive = options.text("archive_dir");
        let clean = match (clean, archive) {
            (Some(1), None) => Clean::Archive(root.join("_archive")),
            (Some(1), Some(to)) => Clean::Archive(outside(&root, local("archive_dir", &to)?)?),
            (_, Some(_)) => {
                return Err(Error::new(
                    ErrorKind::InvalidParameterValue,
                    "option \"archive_dir\" needs clean_source = 'archive'",
                ));
            }
            (Some(2), None) => Clean::Delete,
            _ => Clean::Off,
        };
        let format = Format::from_options(options)?;
        format.check_files()?;
        Ok(DirectoryOptions { path, root, glob, recursive, clean, format })
    }
}

/// Whether a path below the folder is one that nobody reads: names that begin with `.` or `_` are for drafts and the
/// like, whole folders of them too.
pub(super) fn is_hidden(path: &str) -> bool {
    path.split('/').any(|part| part.starts_with(['.', '_']))
}

/// An archive that is read again would fill itself for ever.
fn outside(root: &std::path::Path, archive: PathBuf) -> Result<PathBuf> {
    let absolute = |p: &std::path::Path| std::path::absolute(p).unwrap_or_else(|_| p.to_path_buf());
    match absolute(&archive).strip_prefix(absolute(root)) {
        Ok(inside) if !is_hidden(&inside.to_string_lossy()) => Err(Error::new(
            ErrorKind::InvalidParameterValue,
            format!("option \"archive_dir\" names \"{}\", which the source reads itself", archive.display()),
        )
        .hint("Choose a folder elsewhere, or one whose name begins with _.")),
        _ => Ok(archive),
    }
}

/// A plain path or a `file:` URL.
pub(super) fn local(key: &str, path: &str) -> Result<PathBuf> {
    let bad = |message: String| Error::new(ErrorKind::InvalidParameterValue, message);
    if path.trim().is_empty() {
        return Err(bad(format!("option \"{key}\" is empty")));
    }
    if !path.contains("://") {
        return Ok(PathBuf::from(path));
    }
    let url = Url::parse(path).map_err(|e| bad(format!("option \"{key}\" is no URL: {e}")))?;
    if url.scheme() != "file" {
        return Err(Error::unsupported(format!("scheme \"{}\" in option \"{key}\"", url.scheme()))
            .hint("Use a local path or a file:// URL."));
    }
    url.to_file_path().map_err(|()| bad(format!("option \"{key}\" names no local path: '{path}'")))
}
