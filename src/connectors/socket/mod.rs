//! `connector = 'socket'`: lines from whoever listens at a host and port, `nc -lk 7777` for one.
//!
//! ```text
//! peer ─▶ lines ─▶ journal ─sync─▶ counts as ahead, under its number ─▶ every reader is past it ─▶ freed
//! ```
//! What a peer has sent it will not send again. So a line counts once it is in the journal, and from then on exactly
//! once; what is on its way to the journal when either side dies is lost, and nobody can tell that it was. The offset
//! of a line is its number, from 0.
//!
//! A record is a line with its line break. What has none when the connection ends is not whole: it becomes a dead
//! letter, and so does a line that is too long. While readers are behind by as much as the journal may hold, nothing is
//! read, and TCP holds up the peer.

mod lines;
mod link;
mod received;
mod scan;

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use tokio::sync::watch;
use tokio_util::sync::{CancellationToken, DropGuard};

use self::{link::Link, received::Received, scan::SocketScan};
use super::{
    Ahead, Backlog, Irreplaceable, Offsets, ReadLimit, ScanHints, Source, SourceEnv, SourceStream, Span,
    source::{SourceConfig, folder},
};
use crate::{
    error::{Error, ErrorKind, Result},
    formats::{Format, Request},
    options::{Options, Taker},
};

/// `WITH (connector = 'socket', …)`.
#[derive(Debug, Clone)]
pub struct SocketOptions {
    host: String,
    port: u16,
    /// A longer line is a dead letter.
    max_line_bytes: usize,
    /// What the journal holds at the most, and one group of lines more.
    max_buffered_bytes: u64,
    format: Format,
}

/// Long enough for any document that is sent as a line, short enough that a peer without line breaks fills no memory.
const LINE_BYTES: u64 = 1 << 20;
const LINE_BYTES_MAX: u64 = 16 << 20;
/// Some seconds of a fast peer: readers free it whenever they are checkpointed.
const BUFFERED_BYTES: u64 = 256 << 20;

/// The formats in which a line stands for itself, and a line break ends it.
const FORMATS: [&str; 4] = ["text", "csv", "json", "bytes"];

impl SocketOptions {
    /// Takes them, and those of the format; `all` is what was written.
    pub fn from_options(options: &mut Taker, all: &Options) -> Result<SocketOptions> {
        let bad = |message: &str| Error::new(ErrorKind::InvalidParameterValue, message);
        let host = options.required("host")?;
        options.required("port")?;
        let port = all.get("port").and_then(|port| port.trim().parse().ok()).filter(|port| *port > 0);
        let port = port.ok_or_else(|| bad("option \"port\" takes a number from 1 to 65535"))?;
        let max_line_bytes = options.bytes("max_line_bytes")?.unwrap_or(LINE_BYTES);
        if !(1..=LINE_BYTES_MAX).contains(&max_line_bytes) {
            return Err(bad("option \"max_line_bytes\" takes a size from 1 to 16 MB"));
        }
        let max_buffered_bytes = options.bytes("max_buffered_bytes")?.unwrap_or(BUFFERED_BYTES);
        if max_buffered_bytes == 0 {
            return Err(bad("option \"max_buffered_bytes\" takes a size from 1"));
        }
        if all.get("multiline").is_some() {
            return Err(bad("option \"multiline\" is not for a socket: a record is a line"));
        }
        let format = Format::from_options(options)?;
        if !FORMATS.contains(&format.name()) {
            return Err(bad(&format!("lines of a socket cannot be of format {}", format.name()))
                .hint(format!("They can be {}.", FORMATS.join(", "))));
        }
        format.check_messages()?;
        Ok(SocketOptions { host, port, max_line_bytes: max_line_bytes as usize, max_buffered_bytes, format })
    }
}

/// A peer's lines as a source.
#[derive(Debug)]
struct Socket {
    schema: SchemaRef,
    format: Format,
    received: Arc<Received>,
    link: Arc<Link>,
    /// Dropping the source ends its connection.
    _stop: DropGuard,
}

#[async_trait]
impl SourceConfig for SocketOptions {
    /// Opens a socket, new or again. That nobody listens there yet is no error: it waits.
    async fn open(
        self: Box<Self>,
        id: u64,
        name: &str,
        schema: Option<SchemaRef>,
        env: &SourceEnv,
    ) -> Result<Arc<dyn Source>> {
        let options = *self;
        let schema = match schema {
            None => options.format.implied(),
            declared => declared,
        };
        let Some(schema) = schema else {
            let format = options.format.name();
            let message = format!("source \"{name}\" needs columns: what will come as {format} does not tell them");
            return Err(Error::new(ErrorKind::InvalidTableDefinition, message).hint(format!(
                "Declare them: CREATE SOURCE {name} (id BIGINT, at TIMESTAMP) WITH (connector = 'socket', …)."
            )));
        };
        options.format.check(&schema)?;
        let storage = env.storage.clone();
        let received =
            tokio::task::spawn_blocking(move || Received::open(storage, &folder(id), options.max_buffered_bytes));
        let received = received.await.map_err(|e| Error::internal(format!("opening a socket: {e}")))??;
        let received = Arc::new(received);
        let link = Link::new(name, &options.host, options.port, options.max_line_bytes, received.clone());
        let (link, stop) = (Arc::new(link), CancellationToken::new());
        let (begins, running, ends) = (env.begins.clone(), link.clone(), stop.clone());
        tokio::spawn(async move {
            if let Some(begins) = begins {
                tokio::select! {
                    () = begins.cancelled() => {}
                    () = ends.cancelled() => return,
                }
            }
            running.run(ends).await;
        });
        Ok(Arc::new(Socket { schema, format: options.format, received, link, _stop: stop.drop_guard() }))
    }
}

#[async_trait]
impl Source for Socket {
    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    async fn ahead(&self, of: &Offsets, limit: &ReadLimit) -> Result<Ahead> {
        let (first, next) = self.received.bounds();
        let from = of.only().max(first);
        // A beginning that was forgotten is no reason for an epoch.
        if next <= from {
            let backlog = Backlog { rows: Some(0), bytes: Some(0), files: None };
            return Ok(Ahead { to: of.clone(), end: of.clone(), backlog });
        }
        let rows = limit.rows.map_or(next, |rows| from.saturating_add(rows));
        let bytes = limit.bytes.map_or(next, |bytes| self.received.reach(from, bytes));
        let to = rows.min(bytes).clamp(from + 1, next);
        let backlog = Backlog { rows: Some(next - from), bytes: Some(self.received.bytes_from(from)), files: None };
        Ok(Ahead { to: Offsets::single(to), end: Offsets::single(next), backlog })
    }

    fn scan(&self, span: &Span, hints: &ScanHints) -> Result<Vec<SourceStream>> {
        let projection = hints.columns(self.schema.fields().len())?;
        let request = Request { schema: self.schema.clone(), projection, batch_rows: hints.batch_rows.max(1) };
        let origin = self.link.peer();
        let scan = SocketScan::new(self.received.clone(), self.format.clone(), request, origin, hints.bad.clone());
        Ok(Arc::new(scan).streams(span.from.only()..span.to.only(), hints.partitions.max(1)))
    }

    async fn forget(&self, before: &Offsets) -> Result<()> {
        let (received, before) = (self.received.clone(), before.only());
        let forgotten = tokio::task::spawn_blocking(move || received.forget(before)).await;
        forgotten.map_err(|e| Error::internal(format!("forgetting lines: {e}")))?
    }

    async fn irreplaceable(&self) -> Result<Irreplaceable> {
        let (first, next) = self.received.bounds();
        Ok(Irreplaceable { records: next - first, forgotten: first > 0 })
    }

    fn changed(&self) -> watch::Receiver<u64> {
        self.link.changed()
    }

    fn state(&self) -> Option<String> {
        Some(self.link.to_string())
    }
}

#[cfg(test)]
mod tests;
