//! A part of a file, as formats get it: decompressed.

use std::{
    io::{self, Read},
    ops::Range,
    sync::Arc,
};

use super::input::{ByteCursor, ByteInput, Compression};

/// A part of a file, and its compression.
#[derive(Debug, Clone)]
pub(super) struct File {
    pub input: Arc<dyn ByteInput>,
    pub part: Range<u64>,
    pub compression: Compression,
}

impl File {
    /// The decompressed bytes from an offset on, which must be 0 for a compressed file.
    pub fn open(&self, at: u64) -> io::Result<Box<dyn Read + Send>> {
        let cursor = ByteCursor { input: self.input.clone(), at };
        Ok(match self.compression {
            Compression::None => Box::new(cursor),
            Compression::Gzip => {
                let packed = io::BufReader::with_capacity(1 << 18, cursor);
                Box::new(flate2::bufread::MultiGzDecoder::new(packed))
            }
            Compression::Zstd => {
                let packed = io::BufReader::with_capacity(1 << 18, cursor);
                Box::new(zstd::stream::read::Decoder::with_buffer(packed)?)
            }
        })
    }

    /// The first decompressed bytes, at most `max`, and whether the file ends there.
    pub fn head(&self, max: usize) -> io::Result<(Vec<u8>, bool)> {
        let mut head = Vec::new();
        self.open(0)?.take(max as u64 + 1).read_to_end(&mut head)?;
        let whole = head.len() <= max;
        head.truncate(max);
        Ok((head, whole))
    }
}
