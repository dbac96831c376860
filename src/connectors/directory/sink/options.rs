//! The options of a directory sink.

use std::{path::PathBuf, time::Duration};

use crate::{
    connectors::{Fence, directory::options::local},
    error::{Error, ErrorKind, Result},
    formats::FileFormat,
    options::Taker,
};

/// `WITH (connector = 'directory', …)` of a sink.
#[derive(Debug, Clone)]
pub struct DirectorySinkOptions {
    /// As it was written: what errors say.
    pub path: String,
    pub(super) root: PathBuf,
    pub(super) format: FileFormat,
    pub(super) partition_by: Vec<String>,
    pub(super) target_file_size: u64,
    /// So many files of like size in a partition are made one; 0 never merges.
    pub(super) merge_files: usize,
    /// How long a file that was replaced stays for readers in the middle of it.
    pub(super) retain: Duration,
    /// Of one epoch.
    pub(super) max_partitions: usize,
    /// Where it may write.
    pub(super) fence: Fence,
}

/// What readers of Parquet are fast with, and little to hold in memory while it is made.
const TARGET_FILE_SIZE: u64 = 64 << 20;
/// Fewer would write rows again more often, more would leave more files to open.
const MERGE_FILES: usize = 16;
/// Longer than a query over the folder takes.
const RETAIN: Duration = Duration::from_secs(3600);
/// Each is a file of its own, and a line of the log.
const MAX_PARTITIONS: usize = 10_000;

impl DirectorySinkOptions {
    /// Takes them, and those of the format.
    pub fn from_options(options: &mut Taker) -> Result<DirectorySinkOptions> {
        let path = options.required("path")?;
        let root = local("path", &path)?;
        let list = options.text("partition_by").unwrap_or_default();
        let format = FileFormat::from_options(options)?;
        // CSV and JSON are read by programs that list the folder, and would see merged rows twice.
        let merge_files = if format.is_parquet() { MERGE_FILES } else { 0 };
        let number = "a whole number";
        let taken = DirectorySinkOptions {
            path,
            root,
            format,
            partition_by: list.split(',').map(|name| name.trim().to_string()).filter(|name| !name.is_empty()).collect(),
            target_file_size: options.bytes("target_file_size")?.unwrap_or(TARGET_FILE_SIZE),
            merge_files: options.parse("merge_files", number)?.unwrap_or(merge_files),
            retain: options.duration("retain")?.unwrap_or(RETAIN),
            max_partitions: options.parse("max_partitions", number)?.unwrap_or(MAX_PARTITIONS),
            fence: Fence::default(),
        };
        if taken.target_file_size == 0 {
            return Err(Error::new(ErrorKind::InvalidParameterValue, "option \"target_file_size\" must not be 0"));
        }
        if taken.merge_files == 1 {
            let message = "option \"merge_files\" takes 0, for never, or how many files make one, from 2";
            return Err(Error::new(ErrorKind::InvalidParameterValue, message));
        }
        Ok(taken)
    }
}
