//! Object container files: a header, then blocks of rows, each with a row count, a byte length, and the file's sync
//! marker after it. A block with invalid contents is skipped; after an invalid length no further block can be found.

use std::{
    io::{self, BufReader, Read},
    sync::Arc,
};

use arrow_avro::{compression::CompressionCodec, reader::read_header_info};

use crate::formats::{
    Damage,
    input::{ByteCursor, ByteInput},
    part::File,
};

/// The sync marker after the header and after each block.
const SYNC_BYTES: usize = 16;

/// Maximum bytes of the header.
const HEADER_BYTES_MAX: u64 = 16 << 20;

/// Maximum bytes of a block, compressed or not: it is in memory as a whole.
const BLOCK_BYTES_MAX: u64 = 64 << 20;

/// Maximum rows of a block without bytes (all columns NULL), which nothing else limits.
const EMPTY_ROWS_MAX: u64 = 1 << 20;

/// The file header, before the first block.
pub(super) struct BlockHeader {
    /// The schema, as JSON.
    pub schema: String,
    codec: Option<CompressionCodec>,
    sync: [u8; SYNC_BYTES],
    bytes: u64,
}

impl BlockHeader {
    pub fn read(file: &File) -> Result<BlockHeader, Damage> {
        let info = read_header_info(BufReader::new(file.open(0)?.take(HEADER_BYTES_MAX)))?;
        let schema = info.writer_schema()?.json_string;
        Ok(BlockHeader { schema, codec: info.compression()?, sync: info.sync(), bytes: info.header_len() })
    }
}

/// Walks over the blocks of a file.
pub(super) struct Blocks {
    input: Arc<dyn ByteInput>,
    codec: Option<CompressionCodec>,
    sync: [u8; SYNC_BYTES],
    /// The byte offset of the next block.
    pub at: u64,
}

/// The result of reading at an offset.
pub(super) enum BlockStep {
    Block(Block),
    /// A block that cannot be decompressed, and the reason.
    Bad {
        rows: u64,
        reason: String,
    },
    End,
}

/// The rows of one block.
pub(super) struct Block {
    /// Its byte offset in the file.
    pub at: u64,
    pub rows: u64,
    /// The rows as an Avro array: their number, the rows, and a zero.
    pub array: Vec<u8>,
    /// The offset of the first row in `array`.
    head: usize,
}

impl Block {
    /// The bytes of the rows.
    pub fn data(&self) -> &[u8] {
        &self.array[self.head..self.array.len() - 1]
    }

    /// The error message for a block, with its location.
    pub fn nonsense(&self, reason: &str) -> String {
        format!("the block at byte {} makes no sense: {reason}", self.at)
    }

    /// The same, for bytes left over after its rows.
    pub fn left_behind(&self, bytes: usize) -> String {
        self.nonsense(&format!("{bytes} bytes are left behind its {} rows", self.rows))
    }
}

impl Blocks {
    pub fn new(file: &File, header: &BlockHeader) -> Blocks {
        Blocks { input: file.input.clone(), codec: header.codec, sync: header.sync, at: header.bytes }
    }

    /// The next block. After an error nothing more can be read.
    pub fn step(&mut self) -> Result<BlockStep, Damage> {
        let at = self.at;
        if at >= self.input.size() {
            return Ok(BlockStep::End);
        }
        let cut = || Damage(format!("it is cut off in the middle of the block at byte {at}"));
        let mut used = 0;
        let mut head = BufReader::with_capacity(32, ByteCursor { input: self.input.clone(), at });
        let rows = long(&mut head, &mut used).map_err(|_| cut())?;
        let size = long(&mut head, &mut used).map_err(|_| cut())?;
        let (Ok(rows), Ok(size)) = (u64::try_from(rows), u64::try_from(size)) else {
            return Err(Damage(format!("the block at byte {at} has a negative length")));
        };
        let data = at + used;
        let mark = data.checked_add(size).filter(|mark| self.input.size().saturating_sub(*mark) >= SYNC_BYTES as u64);
        let mark = mark.ok_or_else(cut)?;
        let mut sync = [0; SYNC_BYTES];
        ByteCursor { input: self.input.clone(), at: mark }.read_exact(&mut sync)?;
        if sync != self.sync {
            return Err(Damage(format!("the block at byte {at} does not end with the mark of the file")));
        }
        self.at = mark + SYNC_BYTES as u64;
        let unpacked = match size > BLOCK_BYTES_MAX {
            true => Err(too_long()),
            false => self.unpacked(rows, data, size as usize),
        };
        let (array, head) = match unpacked {
            Ok(unpacked) => unpacked,
            Err(reason) => return Ok(BlockStep::Bad { rows, reason: format!("the block at byte {at} {reason}") }),
        };
        let bytes = (array.len() - head - 1) as u64;
        if rows > bytes && rows > EMPTY_ROWS_MAX || rows == 0 && bytes > 0 {
            return Ok(BlockStep::Bad {
                rows: 0,
                reason: format!("the block at byte {at} has {rows} rows in {bytes} bytes"),
            });
        }
        Ok(BlockStep::Block(Block { at, rows, array, head }))
    }

    /// The rows as an array, and the offset of the first one in it; or an error message.
    fn unpacked(&self, rows: u64, data: u64, size: usize) -> Result<(Vec<u8>, usize), String> {
        let mut array = Vec::with_capacity(size + 12);
        put_long(rows, &mut array);
        let head = array.len();
        let packed = ByteCursor { input: self.input.clone(), at: data }.take(size as u64);
        let unpacked = match self.codec {
            None => read_all(packed, &mut array),
            Some(CompressionCodec::Deflate) => read_all(flate2::read::DeflateDecoder::new(packed), &mut array),
            Some(CompressionCodec::ZStandard) => {
                zstd::Decoder::new(packed).and_then(|unpacked| read_all(unpacked, &mut array))
            }
            Some(CompressionCodec::Snappy) => snappy(packed, size, &mut array),
            Some(other) => return Err(format!("is packed with {other:?}, which cannot be read")),
        };
        unpacked.map_err(|e| format!("cannot be unpacked: {e}"))?;
        if (array.len() - head) as u64 > BLOCK_BYTES_MAX {
            return Err(too_long());
        }
        array.push(0);
        Ok((array, head))
    }
}

fn too_long() -> String {
    format!("is longer than {} MiB", BLOCK_BYTES_MAX >> 20)
}

/// Reads to the end, or one byte more than the maximum of a block.
fn read_all(source: impl Read, into: &mut Vec<u8>) -> io::Result<()> {
    source.take(BLOCK_BYTES_MAX + 1).read_to_end(into).map(drop)
}

/// A raw Snappy stream followed by a checksum.
fn snappy(packed: impl Read, size: usize, into: &mut Vec<u8>) -> io::Result<()> {
    let mut bytes = Vec::with_capacity(size);
    read_all(packed, &mut bytes)?;
    let bad = |reason: &str| io::Error::new(io::ErrorKind::InvalidData, reason);
    let (bytes, checksum) = bytes.split_last_chunk::<4>().ok_or_else(|| bad("it has no checksum"))?;
    let length = snap::raw::decompress_len(bytes)?;
    if length as u64 > BLOCK_BYTES_MAX {
        return Err(bad("it is too long"));
    }
    let unpacked = snap::raw::Decoder::new().decompress_vec(bytes)?;
    if crc32fast::hash(&unpacked) != u32::from_be_bytes(*checksum) {
        return Err(bad("its checksum is another"));
    }
    into.extend_from_slice(&unpacked);
    Ok(())
}

/// Reads an Avro long (zigzag varint); adds its length to `used`.
fn long(from: &mut impl Read, used: &mut u64) -> io::Result<i64> {
    let mut bits = 0_u64;
    for shift in (0..64).step_by(7) {
        let mut byte = [0];
        from.read_exact(&mut byte)?;
        *used += 1;
        bits |= u64::from(byte[0] & 0x7f) << shift;
        if byte[0] < 0x80 {
            return Ok((bits >> 1) as i64 ^ -((bits & 1) as i64));
        }
    }
    Err(io::ErrorKind::InvalidData.into())
}

/// Writes a number likewise.
fn put_long(number: u64, into: &mut Vec<u8>) {
    let mut bits = number << 1;
    while bits >= 0x80 {
        into.push(bits as u8 | 0x80);
        bits >>= 7;
    }
    into.push(bits as u8);
}
