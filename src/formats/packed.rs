//! Compressed files. Their checksum is at the end, so they are decompressed completely before any row is returned:
//! small files into memory, larger ones twice.

use std::{io::Read, ops::ControlFlow, sync::Arc};

use bytes::Bytes;

use super::{BatchIterator, Compression, Damage, DecodedRows, Request, part::File};

/// Maximum decompressed bytes kept in memory. Larger files are decompressed again for their rows.
const KEPT_BYTES_MAX: usize = 8 << 20;

/// Bytes to decompress per step, so that the reader can be cancelled in between.
const STEP_BYTES: usize = 16 << 20;

/// Reads the rows of an uncompressed file.
type ReadPlain = Box<dyn FnOnce(File) -> Result<BatchIterator, Damage> + Send>;

/// The rows of a compressed file.
pub(super) struct Packed {
    state: UnpackState,
    request: Request,
    /// `None` once rows are being read.
    read: Option<ReadPlain>,
}

enum UnpackState {
    Unpacking(Unpacking),
    Reading(BatchIterator),
    Finished,
}

/// A file that is being decompressed.
struct Unpacking {
    file: File,
    source: Box<dyn Read + Send>,
    /// The first decompressed bytes, and the number of all so far.
    kept: Vec<u8>,
    count: u64,
    buffer: Vec<u8>,
}

impl Packed {
    pub fn new(file: File, request: &Request, read: ReadPlain) -> Result<Packed, Damage> {
        let source = file.open(0)?;
        let state =
            UnpackState::Unpacking(Unpacking { file, source, kept: Vec::new(), count: 0, buffer: vec![0; 64 << 10] });
        Ok(Packed { state, request: request.clone(), read: Some(read) })
    }
}

impl Unpacking {
    /// Decompresses one step; breaks with the file once it is complete.
    fn step(mut self) -> Result<ControlFlow<File, Self>, Damage> {
        let mut step = 0;
        while step < STEP_BYTES {
            let read = match self.source.read(&mut self.buffer) {
                Err(e) if e.kind() == std::io::ErrorKind::Interrupted => continue,
                read => read?,
            };
            if read == 0 {
                return Ok(ControlFlow::Break(self.whole()));
            }
            step += read;
            self.count += read as u64;
            if self.count <= KEPT_BYTES_MAX as u64 {
                self.kept.extend_from_slice(&self.buffer[..read]);
            }
        }
        Ok(ControlFlow::Continue(self))
    }

    fn whole(self) -> File {
        if self.count > KEPT_BYTES_MAX as u64 {
            return self.file;
        }
        File { part: 0..self.count, input: Arc::new(Bytes::from(self.kept)), compression: Compression::None }
    }
}

impl Packed {
    fn step(&mut self) -> Result<Option<DecodedRows>, Damage> {
        loop {
            match std::mem::replace(&mut self.state, UnpackState::Finished) {
                UnpackState::Finished => return Ok(None),
                UnpackState::Unpacking(unpacking) => match unpacking.step()? {
                    ControlFlow::Continue(unpacking) => {
                        self.state = UnpackState::Unpacking(unpacking);
                        return Ok(Some(DecodedRows::none(&self.request)));
                    }
                    ControlFlow::Break(file) => {
                        let Some(read) = self.read.take() else { return Ok(None) };
                        self.state = UnpackState::Reading(read(file)?);
                    }
                },
                UnpackState::Reading(mut batches) => {
                    let rows = batches.next().transpose();
                    if matches!(rows, Ok(Some(_))) {
                        self.state = UnpackState::Reading(batches);
                    }
                    return rows;
                }
            }
        }
    }
}

impl Iterator for Packed {
    type Item = Result<DecodedRows, Damage>;

    fn next(&mut self) -> Option<Self::Item> {
        self.step().transpose()
    }
}
