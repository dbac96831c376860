//! Records with a header and a payload, for journals.
//!
//! ```text
//! record = header length: u32 LE │ header: JSON │ bytes
//! ```

use bytes::Bytes;
use serde::{Serialize, de::DeserializeOwned};

use crate::error::{Error, ErrorKind, Result};

/// Encodes a record; `what` names it in errors. A header of more than 4 GiB is refused (54000).
pub fn encode(what: &str, header: &impl Serialize, bytes: &[u8]) -> Result<Bytes> {
    let json = serde_json::to_vec(header).map_err(|e| Error::internal(format!("the header of {what}: {e}")))?;
    let length = u32::try_from(json.len())
        .map_err(|_| Error::new(ErrorKind::LimitExceeded, format!("the header of {what} is larger than 4 GiB")))?;
    let mut record = Vec::with_capacity(size_of::<u32>() + json.len() + bytes.len());
    record.extend_from_slice(&length.to_le_bytes());
    record.extend_from_slice(&json);
    record.extend_from_slice(bytes);
    Ok(record.into())
}

/// The header and the bytes of a record; the bytes are not copied. Fails with XX001 if it is not such a record.
pub fn decode<H: DeserializeOwned>(what: &str, record: &Bytes) -> Result<(H, Bytes)> {
    let corrupt = || Error::new(ErrorKind::DataCorrupted, format!("{what} cannot be read"));
    let length = record.first_chunk().map(|length| u32::from_le_bytes(*length)).ok_or_else(corrupt)?;
    let end = usize::try_from(length).ok().and_then(|length| length.checked_add(size_of::<u32>()));
    let json = end.and_then(|end| record.get(size_of::<u32>()..end)).ok_or_else(corrupt)?;
    let header = serde_json::from_slice(json)
        .map_err(|e| corrupt().detail(e.to_string()).hint("It may have been written by a newer release."))?;
    Ok((header, record.slice(size_of::<u32>() + json.len()..)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn framed_record_is_read_as_written_and_refused_where_it_is_cut_short() {
        let record = encode("a record", &("header", 7), b"bytes").unwrap();
        let (header, bytes): ((String, u32), _) = decode("a record", &record).unwrap();
        assert_eq!((header, &bytes[..]), (("header".to_string(), 7), &b"bytes"[..]));
        let header = 4 + record[0] as usize;
        for end in 0..header {
            let error = decode::<(String, u32)>("a record", &record.slice(..end)).unwrap_err();
            assert_eq!((error.kind(), error.message()), (ErrorKind::DataCorrupted, "a record cannot be read"), "{end}");
        }
        let huge = Bytes::from_static(b"\xFF\xFF\xFF\xFF{}");
        assert!(decode::<(String, u32)>("a record", &huge).is_err());
    }
}
