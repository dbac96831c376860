//! Encoding of server messages, appended to a buffer. Not of rows: they are encoded straight from columns.

use bytes::{BufMut, BytesMut};
use pgwire::messages::{
    Message,
    copy::{CopyInResponse, CopyOutResponse},
    data::{ParameterDescription, RowDescription},
    response::{CommandComplete, ReadyForQuery, TransactionStatus},
    startup::{Authentication, BackendKeyData, ParameterStatus, SecretKey},
};

use crate::{
    error::{Error, ErrorKind, Result},
    session::{Notice, Severity, TransactionState},
};

/// The severity: after a fatal error the connection is closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Blame {
    Error,
    Fatal,
}

pub(super) fn error(out: &mut BytesMut, error: &Error, blame: Blame) {
    let severity = match blame {
        Blame::Error => "ERROR",
        Blame::Fatal => "FATAL",
    };
    let position = error.position().filter(|at| *at > 0).map(|at| at.to_string());
    fields(
        out,
        b'E',
        &[
            (b'S', Some(severity)),
            (b'V', Some(severity)),
            (b'C', Some(error.kind().sqlstate())),
            (b'M', Some(error.message())),
            (b'D', error.detail_text()),
            (b'H', error.hint_text()),
            (b'P', position.as_deref()),
        ],
    );
}

pub(super) fn notice(out: &mut BytesMut, notice: &Notice) {
    let (severity, code) = match notice.severity {
        Severity::Notice => ("NOTICE", "00000"),
        Severity::Warning => ("WARNING", "01000"),
    };
    fields(
        out,
        b'N',
        &[
            (b'S', Some(severity)),
            (b'V', Some(severity)),
            (b'C', Some(code)),
            (b'M', Some(&notice.message)),
            (b'H', notice.hint.as_deref()),
        ],
    );
}

/// The encoding of ErrorResponse and NoticeResponse.
fn fields(out: &mut BytesMut, kind: u8, fields: &[(u8, Option<&str>)]) {
    framed(out, kind, |out| {
        for (code, text) in fields.iter().filter_map(|(code, text)| text.map(|t| (code, t))) {
            out.put_u8(*code);
            // A zero byte would end the field early and break the message.
            out.extend(text.bytes().filter(|b| *b != 0));
            out.put_u8(0);
        }
        out.put_u8(0);
    });
}

/// One message with the body that `body` writes.
pub(super) fn framed(out: &mut BytesMut, kind: u8, body: impl FnOnce(&mut BytesMut)) {
    out.put_u8(kind);
    let start = out.len();
    out.put_i32(0);
    body(out);
    let length = (out.len() - start) as i32;
    out[start..start + 4].copy_from_slice(&length.to_be_bytes());
}

fn put(out: &mut BytesMut, message: impl Message) -> Result<()> {
    message.encode(out).map_err(|e| Error::internal(format!("cannot encode an answer: {e}")).caused_by(e))
}

pub(super) fn authenticated(out: &mut BytesMut) -> Result<()> {
    put(out, Authentication::Ok)
}

/// NegotiateProtocolVersion, for a newer protocol or unknown options: the server speaks 3.0 and lists the `refused`
/// ones.
pub(super) fn negotiate(out: &mut BytesMut, refused: &[&str]) {
    framed(out, b'v', |out| {
        out.put_i32(0);
        out.put_i32(refused.len() as i32);
        for name in refused {
            out.put_slice(name.as_bytes());
            out.put_u8(0);
        }
    });
}

pub(super) fn parameter_status(out: &mut BytesMut, name: &str, value: &str) -> Result<()> {
    put(out, ParameterStatus::new(name.to_string(), value.to_string()))
}

pub(super) fn key_data(out: &mut BytesMut, pid: i32, secret: i32) -> Result<()> {
    put(out, BackendKeyData::new(pid, SecretKey::I32(secret)))
}

pub(super) fn ready(out: &mut BytesMut, state: TransactionState) -> Result<()> {
    let status = match state {
        TransactionState::Idle => TransactionStatus::Idle,
        TransactionState::Open => TransactionStatus::Transaction,
        TransactionState::Failed => TransactionStatus::Error,
    };
    put(out, ReadyForQuery::new(status))
}

pub(super) fn complete(out: &mut BytesMut, tag: &str) -> Result<()> {
    put(out, CommandComplete::new(tag.to_string()))
}

pub(super) fn row_description(out: &mut BytesMut, description: RowDescription) -> Result<()> {
    if description.fields.len() > i16::MAX as usize {
        return Err(Error::new(ErrorKind::LimitExceeded, "a result has more than 32767 columns"));
    }
    put(out, description)
}

pub(super) fn parameter_description(out: &mut BytesMut, oids: Vec<u32>) -> Result<()> {
    put(out, ParameterDescription::new(oids))
}

pub(super) fn copy_in(out: &mut BytesMut, binary: bool, columns: usize) -> Result<()> {
    put(out, CopyInResponse::new(binary.into(), columns as i16, vec![binary.into(); columns]))
}

pub(super) fn copy_out(out: &mut BytesMut, binary: bool, columns: usize) -> Result<()> {
    put(out, CopyOutResponse::new(binary.into(), columns as i16, vec![binary.into(); columns]))
}

/// Messages without a body.
#[derive(Debug, Clone, Copy)]
pub(super) enum Bare {
    ParseComplete = b'1' as isize,
    BindComplete = b'2' as isize,
    CloseComplete = b'3' as isize,
    NoData = b'n' as isize,
    EmptyQuery = b'I' as isize,
    PortalSuspended = b's' as isize,
    CopyDone = b'c' as isize,
}

pub(super) fn bare(out: &mut BytesMut, message: Bare) {
    framed(out, message as u8, |_| {});
}
