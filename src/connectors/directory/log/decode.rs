//! Bytes that are read as a log without a folder around them: any bytes may come.

use bytes::Bytes;

use super::{Contents, from_parquet, parse, schema_of};

/// Reads bytes as an entry of a log, and as a checkpoint of one: what a fuzzer calls.
pub fn decode_log(data: &[u8]) {
    let entry = parse("fuzzed", data);
    let checkpoint = from_parquet("fuzzed", Bytes::copy_from_slice(data));
    let mut contents = Contents::default();
    entry.into_iter().chain(checkpoint).flatten().for_each(|action| contents.apply(action));
    if let Some(meta) = &contents.meta {
        let _ = schema_of(&meta.schema_string);
    }
}
