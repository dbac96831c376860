//! Sends the outcome of a statement to the client.

use std::time::Duration;

use arrow::{array::RecordBatch, datatypes::Schema};
use tokio::time::{Instant, timeout_at};

use super::{
    backend::{self, Bare},
    connection::Connection,
    copy_in::CopyReader,
    copy_out::CopyWriter,
    dispatch::Outcome,
    door::{Door, Intake},
    encode::RowFormat,
    frontend::FrontendMessage,
    link::ClientLink,
    portal::PortalSource,
    session_memory::{Account, HeldBytes},
    work::{self, RowStream},
};
use crate::{
    changes::bytes_of,
    error::{Error, ErrorKind, Result},
    sql::statement::CopyFormat,
};

/// Rows are encoded in pieces of at most this many; wide rows in smaller ones, see [`RowStream::next`].
const PIECE_ROWS: usize = 1024;
/// Buffered CopyData messages are processed together up to this size.
const COPY_BYTES: usize = 256 * 1024;

/// Bytes held per byte of COPY input until it is in a batch.
const COPY_TIMES: usize = 4;

/// How long to wait for rows of a subscription.
#[derive(Clone, Copy)]
enum FetchWait {
    Endless,
    Until(Instant),
}

impl FetchWait {
    /// The wait of `FETCH`: without a timeout it takes available rows only.
    fn of(timeout: Option<Duration>) -> FetchWait {
        Instant::now().checked_add(timeout.unwrap_or_default()).map_or(FetchWait::Endless, FetchWait::Until)
    }
}

/// The next rows. Pending output is sent before waiting for live rows; `None` after the wait.
async fn more(
    link: &mut ClientLink,
    rows: &mut RowStream,
    max: usize,
    fetch_wait: FetchWait,
) -> Result<Option<RecordBatch>> {
    if !rows.are_live() {
        return link.wait(rows.next(max)).await;
    }
    if let Some(batch) = link.wait(rows.at_hand(max)).await? {
        return Ok(Some(batch));
    }
    match fetch_wait {
        FetchWait::Endless => {
            link.flush().await?;
            link.wait(rows.next(max)).await
        }
        FetchWait::Until(moment) => {
            if moment > Instant::now() {
                link.flush().await?;
            }
            let next = timeout_at(moment, rows.next(max));
            link.wait(async { next.await.unwrap_or(Ok(None)) }).await
        }
    }
}

/// Bytes held per byte of a value while it is sent: text form, in two buffers.
const SENT_TIMES: usize = 6;

/// Reserves memory for encoding large rows; small ones are within [`work::PIECE_BYTES`].
fn room_for(account: &Account, batch: &RecordBatch) -> Result<Option<HeldBytes>> {
    let bytes = bytes_of(batch);
    if bytes <= work::PIECE_BYTES {
        return Ok(None);
    }
    account.reserve("a row that is sent", bytes.saturating_mul(SENT_TIMES)).map(Some)
}

impl<D: Door> Connection<D> {
    /// Sends an outcome as in the simple protocol: description, then rows as text.
    pub async fn respond(&mut self, outcome: Outcome) -> Result<()> {
        match outcome {
            Outcome::Rows(mut source) => {
                let format = self.row_format(&source, &[])?;
                backend::row_description(&mut self.link.out, format.description())?;
                let sent = self.send(&mut source, &format, None).await?;
                let tag = self.tag(&source, sent)?;
                self.complete(&tag)
            }
            other => self.respond_without_rows(other).await,
        }
    }

    pub async fn respond_without_rows(&mut self, outcome: Outcome) -> Result<()> {
        match outcome {
            Outcome::Done(tag) => self.complete(&tag),
            Outcome::Move { name, left, timeout } => {
                let moved = self.skip(&name, left, FetchWait::of(timeout)).await?;
                self.complete(&format!("MOVE {moved}"))
            }
            Outcome::CopyIn(intake) => self.copy_in(intake).await,
            Outcome::CopyOut { format, rows } => self.copy_out(format, rows).await,
            Outcome::Rows(_) => Err(Error::internal("rows in the wrong place")),
        }
    }

    /// The row format of a source. A binary cursor is binary regardless of `formats`.
    pub fn row_format(&mut self, source: &PortalSource, formats: &[i16]) -> Result<RowFormat> {
        let zone = self.zone()?;
        match source {
            PortalSource::Own(rows) => RowFormat::new(&rows.schema, formats, zone),
            PortalSource::Cursor { name, .. } => {
                let (rows, binary) = self.kept.reading(name)?;
                RowFormat::new(&rows.schema, if binary { &[1] } else { formats }, zone)
            }
        }
    }

    /// Sends at most `max` rows and returns their number.
    pub async fn send(&mut self, source: &mut PortalSource, format: &RowFormat, max: Option<u64>) -> Result<u64> {
        let workers = self.shared.options.workers.clone();
        let (rows, mut left, fetch_wait) = match source {
            PortalSource::Own(rows) => (rows, None, FetchWait::Endless),
            PortalSource::Cursor { name, left, timeout } => {
                (self.kept.reading(name)?.0, Some(left), FetchWait::of(*timeout))
            }
        };
        let mut sent = 0;
        loop {
            let wanted = max.map_or(u64::MAX, |max| max - sent);
            let wanted = wanted.min(left.as_ref().and_then(|left| **left).unwrap_or(u64::MAX));
            if wanted == 0 {
                break;
            }
            let piece = usize::try_from(wanted).unwrap_or(usize::MAX).min(PIECE_ROWS);
            let Some(batch) = more(&mut self.link, rows, piece, fetch_wait).await? else { break };
            let count = batch.num_rows() as u64;
            sent += count;
            if let Some(Some(left)) = left.as_deref_mut() {
                *left -= count;
            }
            let _room = room_for(&self.account, &batch)?;
            let (format, ready) = (format.clone(), rows.are_ready());
            let encoded = move || format.rows(&batch);
            // Rows available without the engine are encoded without it.
            let bytes = match ready {
                true => self.link.wait(work::aside(encoded)).await?,
                false => self.link.wait(work::run(&workers, async move { encoded() })).await?,
            };
            self.link.out.extend_from_slice(&bytes);
            self.link.flush_if_full().await?;
        }
        Ok(sent)
    }

    pub fn tag(&self, source: &PortalSource, sent: u64) -> Result<String> {
        Ok(match source {
            PortalSource::Cursor { .. } => format!("FETCH {sent}"),
            PortalSource::Own(rows) => match rows.tag {
                tag @ ("SHOW" | "EXPLAIN") => tag.to_string(),
                tag => format!("{tag} {sent}"),
            },
        })
    }

    async fn skip(&mut self, name: &str, left: Option<u64>, fetch_wait: FetchWait) -> Result<u64> {
        let (rows, _) = self.kept.reading(name)?;
        let mut moved = 0;
        while left.is_none_or(|left| moved < left) {
            let most = left.map_or(usize::MAX, |left| usize::try_from(left - moved).unwrap_or(usize::MAX));
            let Some(batch) = more(&mut self.link, rows, most, fetch_wait).await? else { break };
            moved += batch.num_rows() as u64;
        }
        Ok(moved)
    }

    async fn copy_out(&mut self, format: CopyFormat, mut rows: RowStream) -> Result<()> {
        let schema: &Schema = &rows.schema.clone();
        let writer = CopyWriter::new(schema, format, self.zone()?)?;
        backend::copy_out(&mut self.link.out, writer.is_binary(), schema.fields().len())?;
        writer.header(schema, &mut self.link.out);
        let (mut sent, mut head) = (0, writer.head());
        while let Some(batch) = more(&mut self.link, &mut rows, PIECE_ROWS, FetchWait::Endless).await? {
            sent += batch.num_rows();
            let _room = room_for(&self.account, &batch)?;
            let writer = writer.clone();
            let head = std::mem::take(&mut head);
            let bytes = self.work(async move { writer.rows(&batch, head) }).await?;
            self.link.out.extend_from_slice(&bytes);
            self.link.flush_if_full().await?;
        }
        writer.trailer(head, &mut self.link.out);
        backend::bare(&mut self.link.out, Bare::CopyDone);
        self.complete(&format!("COPY {sent}"))
    }

    async fn copy_in(&mut self, intake: Box<dyn Intake>) -> Result<()> {
        let mut reader = CopyReader::new(intake);
        backend::copy_in(&mut self.link.out, reader.is_binary(), reader.width())?;
        self.link.flush().await?;
        let mut at_hand = None;
        let mut held = self.account.reserve("rows of COPY", 0)?;
        loop {
            let message = match at_hand.take() {
                Some(message) => Some(message),
                None => self.link.message().await?,
            };
            match message {
                Some(FrontendMessage::CopyData(data)) => {
                    let mut size = data.len();
                    let mut pieces = vec![data];
                    while size < COPY_BYTES {
                        match self.link.message_at_hand()? {
                            Some(FrontendMessage::CopyData(data)) => {
                                size += data.len();
                                pieces.push(data);
                            }
                            other => {
                                at_hand = other;
                                break;
                            }
                        }
                    }
                    held.resize(reader.bytes() + COPY_TIMES * size)?;
                    reader = self
                        .work(async move {
                            for piece in &pieces {
                                reader.push(piece).await?;
                            }
                            Ok(reader)
                        })
                        .await?;
                }
                Some(FrontendMessage::CopyDone) => {
                    let count = self.work(reader.finish()).await?;
                    return self.complete(&format!("COPY {count}"));
                }
                Some(FrontendMessage::CopyFail(why)) => {
                    return Err(Error::new(ErrorKind::QueryCanceled, format!("COPY from stdin failed: {why}")));
                }
                Some(FrontendMessage::Flush | FrontendMessage::Sync) => {}
                Some(FrontendMessage::Refused(_)) => return Err(self.link.refusal()),
                None | Some(FrontendMessage::Terminate) => {
                    return Err(Error::new(ErrorKind::ProtocolViolation, "unexpected EOF on client connection"));
                }
                Some(_) => {
                    return Err(Error::new(ErrorKind::ProtocolViolation, "unexpected message during COPY from stdin"));
                }
            }
        }
    }
}
