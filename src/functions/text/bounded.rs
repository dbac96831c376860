//! A text that grows up to PostgreSQL's limit.

use crate::error::{Error, ErrorKind, Result};

/// The bytes of the longest value: 1 GB less one, less the four of a value's header.
pub const BYTES_MAX: usize = 0x3fff_ffff - 4;

/// The bytes of the longest text that is put together from pieces, which has a terminating zero and no header.
const BUFFER_MAX: usize = 0x3fff_ffff;

/// A text put together from pieces.
#[derive(Default)]
pub struct BoundedText(String);

impl BoundedText {
    fn reserve(&mut self, more: usize) -> Result<()> {
        if more < BUFFER_MAX.saturating_sub(self.0.len()) {
            return Ok(());
        }
        let length = self.0.len();
        let detail = format!("Cannot enlarge string buffer containing {length} bytes by {more} more bytes.");
        Err(Error::new(ErrorKind::LimitExceeded, "out of memory").detail(detail))
    }

    pub fn push(&mut self, piece: &str) -> Result<()> {
        self.reserve(piece.len())?;
        self.0.push_str(piece);
        Ok(())
    }

    pub fn push_spaces(&mut self, count: usize) -> Result<()> {
        self.reserve(count)?;
        self.0.extend(std::iter::repeat_n(' ', count));
        Ok(())
    }

    pub fn finish(self) -> String {
        self.0
    }
}
