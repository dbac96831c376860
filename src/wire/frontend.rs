//! Decoding of client messages. Never panics on any bytes and never buffers more than one message's limit; pgwire's own
//! decoder trusts message lengths.

use bytes::{Buf, Bytes, BytesMut};

use crate::error::{Error, ErrorKind, Result};

/// Maximum length of a startup packet: it has a few names and values.
const STARTUP_BYTES_MAX: usize = 10_000;

const SSL_REQUEST: i32 = 80_877_103;
const GSSENC_REQUEST: i32 = 80_877_104;
const CANCEL_REQUEST: i32 = 80_877_102;

/// The first packets of a connection, which have no type.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Opening {
    /// SSLRequest or GSSENCRequest.
    Encrypt,
    Cancel {
        pid: i32,
        secret: i32,
    },
    Startup {
        minor: u16,
        parameters: Vec<(String, String)>,
    },
}

/// The messages of an open session.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum FrontendMessage {
    Query(String),
    Parse {
        name: String,
        text: String,
        types: Vec<u32>,
    },
    Bind(Bind),
    Describe(DescribeTarget),
    Execute {
        portal: String,
        rows_max: u32,
    },
    Close(DescribeTarget),
    Flush,
    Sync,
    CopyData(Bytes),
    CopyDone,
    CopyFail(String),
    Terminate,
    /// A message with invalid UTF-8, read completely, so that the session can continue.
    NotText(u8),
    /// A message that did not fit into memory, read completely, so that the session can continue.
    Refused(u8),
    /// A message that no open session expects: a password, a function call.
    Unexpected(u8),
}

#[derive(Debug, PartialEq, Eq)]
pub(super) struct Bind {
    pub portal: String,
    pub statement: String,
    pub formats: Vec<i16>,
    pub values: Vec<Option<Bytes>>,
    pub result_formats: Vec<i16>,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum DescribeTarget {
    Statement(String),
    Portal(String),
}

/// Takes the first packet out of `input`, once it is complete.
pub(super) fn opening(input: &mut BytesMut) -> Result<Option<Opening>> {
    let Some(length) = peek_length(input, 0)? else { return Ok(None) };
    if !(8..=STARTUP_BYTES_MAX).contains(&length) {
        return Err(protocol("invalid length of startup packet"));
    }
    if input.len() < length {
        return Ok(None);
    }
    let mut body = FrontendBody(input.split_to(length).freeze());
    body.0.advance(4);
    match body.i32()? {
        SSL_REQUEST | GSSENC_REQUEST => Ok(Some(Opening::Encrypt)),
        CANCEL_REQUEST => Ok(Some(Opening::Cancel { pid: body.i32()?, secret: body.i32()? })),
        version if version >> 16 == 3 => {
            let mut parameters = Vec::new();
            loop {
                let name = body.text()?;
                if name.is_empty() {
                    break;
                }
                parameters.push((name, body.text()?));
            }
            Ok(Some(Opening::Startup { minor: (version & 0xffff) as u16, parameters }))
        }
        version => Err(Error::new(
            ErrorKind::Unsupported,
            format!("unsupported frontend protocol {}.{}: server supports 3.0", version >> 16, version & 0xffff),
        )),
    }
}

/// The total length of the message at the beginning of `input`, once it is known.
pub(super) fn length(input: &BytesMut, bytes_max: usize) -> Result<Option<usize>> {
    let Some(length) = peek_length(input, 1)? else { return Ok(None) };
    if length < 4 || length > bytes_max {
        return Err(protocol(format!("invalid message length {length}: the limit is {bytes_max} bytes")));
    }
    Ok(Some(length + 1))
}

/// Takes one message out of `input`, once it is complete. After an error message framing is lost: the connection must
/// end.
pub(super) fn message(input: &mut BytesMut, bytes_max: usize) -> Result<Option<FrontendMessage>> {
    let Some(length) = length(input, bytes_max)? else { return Ok(None) };
    if input.len() < length {
        return Ok(None);
    }
    let kind = input[0];
    let mut body = FrontendBody(input.split_to(length).freeze());
    body.0.advance(5);
    match typed(kind, body) {
        Err(error) if error.kind() == ErrorKind::BadCharacter => Ok(Some(FrontendMessage::NotText(kind))),
        message => message.map(Some),
    }
}

fn typed(kind: u8, mut body: FrontendBody) -> Result<FrontendMessage> {
    Ok(match kind {
        b'Q' => FrontendMessage::Query(body.text()?),
        b'P' => {
            let (name, text) = (body.text()?, body.text()?);
            let types = body.list(|b| b.i32().map(|oid| oid as u32))?;
            FrontendMessage::Parse { name, text, types }
        }
        b'B' => FrontendMessage::Bind(Bind {
            portal: body.text()?,
            statement: body.text()?,
            formats: body.list(FrontendBody::i16)?,
            values: body.list(FrontendBody::value)?,
            result_formats: body.list(FrontendBody::i16)?,
        }),
        b'D' => FrontendMessage::Describe(body.target()?),
        b'E' => FrontendMessage::Execute { portal: body.text()?, rows_max: body.i32()?.max(0) as u32 },
        b'C' => FrontendMessage::Close(body.target()?),
        b'H' => FrontendMessage::Flush,
        b'S' => FrontendMessage::Sync,
        b'd' => FrontendMessage::CopyData(body.0),
        b'c' => FrontendMessage::CopyDone,
        b'f' => FrontendMessage::CopyFail(String::from_utf8_lossy(&body.0).trim_end_matches('\0').to_string()),
        b'X' => FrontendMessage::Terminate,
        b'p' | b'F' => FrontendMessage::Unexpected(kind),
        _ => return Err(protocol(format!("invalid frontend message type {kind}"))),
    })
}

/// The error for text that is not UTF-8.
pub(super) fn not_text() -> Error {
    Error::new(ErrorKind::BadCharacter, "invalid byte sequence for encoding \"UTF8\"")
}

fn peek_length(input: &BytesMut, at: usize) -> Result<Option<usize>> {
    match input.get(at..at + 4) {
        Some(mut four) => {
            usize::try_from(four.get_i32()).map(Some).map_err(|_| protocol("invalid message length: negative"))
        }
        None => Ok(None),
    }
}

fn protocol(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::ProtocolViolation, message)
}

/// The rest of one message. Every read is bounds-checked.
struct FrontendBody(Bytes);

impl FrontendBody {
    fn split_to(&mut self, bytes: usize) -> Result<Bytes> {
        if self.0.len() < bytes {
            return Err(protocol("insufficient data left in message"));
        }
        Ok(self.0.split_to(bytes))
    }

    fn i16(&mut self) -> Result<i16> {
        Ok(self.split_to(2)?.get_i16())
    }

    fn i32(&mut self) -> Result<i32> {
        Ok(self.split_to(4)?.get_i32())
    }

    fn text(&mut self) -> Result<String> {
        let end = self.0.iter().position(|b| *b == 0).ok_or_else(|| protocol("invalid string in message"))?;
        let bytes = self.0.split_to(end);
        self.0.advance(1);
        String::from_utf8(bytes.into()).map_err(|_| not_text())
    }

    fn value(&mut self) -> Result<Option<Bytes>> {
        match self.i32()? {
            -1 => Ok(None),
            length => {
                let length = usize::try_from(length).map_err(|_| protocol("invalid parameter length"))?;
                self.split_to(length).map(Some)
            }
        }
    }

    fn list<T>(&mut self, mut item: impl FnMut(&mut FrontendBody) -> Result<T>) -> Result<Vec<T>> {
        let count = self.i16()? as u16;
        (0..count).map(|_| item(self)).collect()
    }

    fn target(&mut self) -> Result<DescribeTarget> {
        match self.split_to(1)?[0] {
            b'S' => Ok(DescribeTarget::Statement(self.text()?)),
            b'P' => Ok(DescribeTarget::Portal(self.text()?)),
            other => Err(protocol(format!("invalid subtype {other} of DESCRIBE or CLOSE"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn framed(kind: u8, body: &[u8]) -> BytesMut {
        let mut bytes = BytesMut::from(&[kind][..]);
        bytes.extend_from_slice(&((body.len() + 4) as i32).to_be_bytes());
        bytes.extend_from_slice(body);
        bytes
    }

    #[test]
    fn frontend_partial_message_is_left_in_the_buffer() {
        let whole = framed(b'Q', b"select 1\0");
        for cut in 0..whole.len() {
            let mut part = BytesMut::from(&whole[..cut]);
            assert_eq!(message(&mut part, 1000).expect("no error yet"), None);
            assert_eq!(part.len(), cut);
        }
        let mut input = whole;
        input.extend_from_slice(&framed(b'S', b""));
        assert_eq!(message(&mut input, 1000).expect("whole"), Some(FrontendMessage::Query("select 1".into())));
        assert_eq!(message(&mut input, 1000).expect("whole"), Some(FrontendMessage::Sync));
    }

    #[test]
    fn frontend_invalid_utf8_leaves_the_next_message_readable() {
        let mut input = framed(b'Q', b"select '\xff'\0");
        input.extend_from_slice(&framed(b'S', b""));
        assert_eq!(message(&mut input, 1000).expect("read"), Some(FrontendMessage::NotText(b'Q')));
        assert_eq!(message(&mut input, 1000).expect("read"), Some(FrontendMessage::Sync));
    }

    #[test]
    fn frontend_message_with_a_wrong_length_is_an_error() {
        assert!(message(&mut framed(b'Q', b"no end"), 1000).is_err());
        assert!(message(&mut framed(b'Q', &[b'x'; 2000]), 1000).is_err());
        assert!(message(&mut framed(b'B', b"\0\0\0\x01\0\0\0\x01\x7f\xff\xff\xff"), 1000).is_err());
        assert!(message(&mut BytesMut::from(&b"Q\xff\xff\xff\xff"[..]), 1000).is_err());
        assert!(opening(&mut BytesMut::from(&b"\0\0\0\x05\0"[..])).is_err());
    }

    proptest! {
        #[test]
        fn frontend_any_bytes_do_not_panic(kind in prop::sample::select(&b"QPBDECHSdcfXpF?"[..]), body in prop::collection::vec(any::<u8>(), 0..64)) {
            let _ = message(&mut framed(kind, &body), 1000);
            let _ = opening(&mut BytesMut::from(&body[..]));
        }
    }
}
