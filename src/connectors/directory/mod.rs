//! `connector = 'directory'`: a folder to which files are added.
//!
//! Each file is read once, in the order in which files appear (those of one moment by modification time, then by name).
//! A file's number is its offset; it means the same bytes of the same file for ever. A file that vanished, shrank, was
//! written again or cannot be read by then is one bad record, and stops nothing. What a file grows by after it was
//! found is not read, and is reported. Another file under the name of one that is gone, or that it took the place of, is
//! a new file.
//!
//! Whether a file of the same size holds other bytes is told by its modification time: one that is later means that it
//! was changed, even where it was only touched. An earlier one does not: `cp -p`, `unzip` and the like set it when the
//! file is whole, which may be after it was found.
//!
//! A folder that has a log (`_delta_log`, or `_tidemark_log` of a sink here) is read by it: whole entries, in their order,
//! and no file that none of them names. A source begins with the files that count then, and goes on with those whose
//! rows are new; that rows of the folder were replaced it does not say. `clean_source` leaves such a folder alone.
//!
//! A column that a folder in the path of a file names (`year=2024/`) has its value from there, as with Hive.

mod discovery;
mod files;
mod folder;
mod hive;
mod log;
mod options;
mod retained;
mod scan;
mod sink;
mod source;
mod watch;

pub use log::decode_log;
pub use options::{Clean, DirectoryOptions};
pub(super) use retained::folder as retained;
pub use sink::DirectorySinkOptions;
