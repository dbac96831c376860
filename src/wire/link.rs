//! One client's socket: reads messages, writes bytes, and waits interruptibly for work in between.

use std::{future::Future, pin::Pin, time::Duration};

use bytes::{Buf, BytesMut};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    time::Sleep,
};
use tokio_util::sync::CancellationToken;

use super::{
    frontend::{self, FrontendMessage, Opening},
    session_memory::{Account, HeldBytes},
};
use crate::error::{Error, ErrorKind, Result};

/// Bytes read ahead while a statement runs, so that a disconnect is noticed.
const READ_AHEAD_BYTES: usize = 64 * 1024;
/// Responses are buffered up to this size, to be sent together.
const WRITE_BYTES: usize = 64 * 1024;
/// Bytes read at once before there is a session.
const READ_BYTES: usize = 8 * 1024;
/// Time limit for sending the last message when the server stops.
const FAREWELL: Duration = Duration::from_secs(1);

pub(super) struct ClientLink {
    reader: OwnedReadHalf,
    writer: OwnedWriteHalf,
    input: BytesMut,
    /// The memory of `input` and of messages in work; `None` before there is a session.
    held: Option<HeldBytes>,
    /// Bytes of messages in work.
    worked_on: usize,
    /// Why the last message was refused.
    refusal: Option<Error>,
    /// Outgoing bytes; sent by [`Link::flush`], or earlier when there are many.
    pub out: BytesMut,
    message_bytes_max: usize,
    interrupts: Interrupts,
    /// The client has disconnected: nothing can be sent.
    gone: bool,
}

/// What can interrupt a statement.
struct Interrupts {
    shutdown: CancellationToken,
    cancel: Option<CancellationToken>,
    deadline: Option<Pin<Box<Sleep>>>,
    /// Whether the deadline interrupted it.
    late: bool,
}

impl Interrupts {
    async fn fired(&mut self) -> Error {
        let cancelled = async {
            match &self.cancel {
                Some(token) => token.cancelled().await,
                None => std::future::pending().await,
            }
        };
        let late = async {
            match &mut self.deadline {
                Some(sleep) => sleep.as_mut().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = self.shutdown.cancelled() => shutting_down(),
            () = cancelled => Error::new(ErrorKind::QueryCanceled, "canceling statement due to user request"),
            () = late => {
                self.late = true;
                Error::new(ErrorKind::QueryCanceled, "canceling statement due to statement timeout")
            }
        }
    }
}

pub(super) fn shutting_down() -> Error {
    Error::new(ErrorKind::AdminShutdown, "terminating connection due to administrator command")
}

fn hung_up() -> Error {
    Error::new(ErrorKind::Io, "the client has hung up")
}

/// Why a message is refused.
enum Refused {
    /// There is no memory for it.
    Message(Error),
    /// Message framing is lost.
    Ended(Error),
}

impl ClientLink {
    pub fn new(socket: TcpStream, shutdown: CancellationToken, message_bytes_max: usize) -> ClientLink {
        // Responses are buffered here; Nagle's algorithm would only delay them.
        let _ = socket.set_nodelay(true);
        let (reader, writer) = socket.into_split();
        ClientLink {
            reader,
            writer,
            input: BytesMut::new(),
            held: None,
            worked_on: 0,
            refusal: None,
            out: BytesMut::new(),
            message_bytes_max,
            interrupts: Interrupts { shutdown, cancel: None, deadline: None, late: false },
            gone: false,
        }
    }

    pub fn is_gone(&self) -> bool {
        self.gone
    }

    pub fn is_shutting_down(&self) -> bool {
        self.interrupts.shutdown.is_cancelled()
    }

    /// From here to [`Link::disarm`], waiting is interrupted when the token is cancelled or after the timeout.
    pub fn arm(&mut self, cancel: CancellationToken, timeout: Option<Duration>) {
        self.interrupts.cancel = Some(cancel);
        self.interrupts.deadline = timeout.map(|t| Box::pin(tokio::time::sleep(t)));
    }

    /// Whether the running statement has exceeded its timeout.
    pub fn is_late(&self) -> bool {
        self.interrupts.late
    }

    pub fn disarm(&mut self) {
        self.interrupts.late = false;
        self.interrupts.cancel = None;
        self.interrupts.deadline = None;
    }

    /// Charges the memory of messages to a session's account from now on.
    pub fn charge(&mut self, account: &Account) -> Result<()> {
        self.held = Some(account.reserve("a message", self.input.capacity())?);
        Ok(())
    }

    /// The next message; `None` after a disconnect. Releases the memory of the previous ones.
    pub async fn message(&mut self) -> Result<Option<FrontendMessage>> {
        self.worked_on = 0;
        self.give_back();
        loop {
            match self.take_message() {
                Ok(Some(message)) => return Ok(Some(message)),
                Ok(None) => {}
                Err(Refused::Ended(error)) => return Err(error),
                Err(Refused::Message(error)) => return self.skip_message(error).await,
            }
            if let Err(error) = self.make_room() {
                return self.skip_message(error).await;
            }
            if !self.fill().await? {
                return Ok(None);
            }
        }
    }

    /// The next message if it is buffered already, while others are being processed.
    pub fn message_at_hand(&mut self) -> Result<Option<FrontendMessage>> {
        match self.take_message() {
            Ok(message) => Ok(message),
            // The error is returned when its turn comes.
            Err(Refused::Message(_)) => Ok(None),
            Err(Refused::Ended(error)) => Err(error),
        }
    }

    fn take_message(&mut self) -> std::result::Result<Option<FrontendMessage>, Refused> {
        let Some(length) = frontend::length(&self.input, self.message_bytes_max).map_err(Refused::Ended)? else {
            return Ok(None);
        };
        if self.input.len() < length {
            return Ok(None);
        }
        let large = length > READ_AHEAD_BYTES;
        if large {
            // Its bytes, which are in `input` now, and its texts, which are copies.
            self.hold(self.worked_on + self.input.capacity() + length).map_err(Refused::Message)?;
            self.worked_on += 2 * length;
        }
        let message = frontend::message(&mut self.input, self.message_bytes_max).map_err(Refused::Ended)?;
        if large {
            // Copied, so that later bytes do not retain the large buffer.
            self.input = BytesMut::from(&self.input[..]);
            self.give_back();
        }
        Ok(message)
    }

    /// The error of a message that did not fit into memory.
    pub fn refusal(&mut self) -> Error {
        self.refusal.take().unwrap_or_else(|| Error::internal("a message was refused without a reason"))
    }

    /// Reads and discards a message; returns it as refused.
    async fn skip_message(&mut self, error: Error) -> Result<Option<FrontendMessage>> {
        let Some(length) = frontend::length(&self.input, self.message_bytes_max)? else { return Err(error) };
        let kind = self.input[0];
        let mut left = length;
        loop {
            let gone = left.min(self.input.len());
            self.input.advance(gone);
            left -= gone;
            if left == 0 {
                break;
            }
            self.input = BytesMut::with_capacity(READ_BYTES);
            self.give_back();
            if !self.fill().await? {
                return Ok(None);
            }
        }
        self.refusal = Some(error);
        Ok(Some(FrontendMessage::Refused(kind)))
    }

    /// Doubles the buffer as bytes arrive: announcing a large message reserves nothing.
    fn make_room(&mut self) -> Result<()> {
        let length = self.input.len();
        if length < self.input.capacity() {
            return Ok(());
        }
        let larger = (2 * length).max(READ_BYTES);
        self.hold(self.worked_on + larger)?;
        self.input.reserve(larger - length);
        Ok(())
    }

    fn hold(&mut self, bytes: usize) -> Result<()> {
        self.held.as_mut().map_or(Ok(()), |held| held.resize(bytes))
    }

    fn give_back(&mut self) {
        let bytes = self.worked_on + self.input.capacity();
        if let Some(held) = &mut self.held {
            held.shrink(bytes);
        }
    }

    pub async fn opening(&mut self) -> Result<Option<Opening>> {
        loop {
            if let Some(opening) = frontend::opening(&mut self.input)? {
                return Ok(Some(opening));
            }
            if !self.fill().await? {
                return Ok(None);
            }
        }
    }

    async fn fill(&mut self) -> Result<bool> {
        tokio::select! {
            biased;
            stop = self.interrupts.fired() => Err(stop),
            read = self.reader.read_buf(&mut self.input) => match read {
                Ok(n) if n > 0 => Ok(true),
                _ => {
                    self.gone = true;
                    Ok(false)
                }
            },
        }
    }

    /// Waits for `work`; drops it on disconnect, cancel, timeout or shutdown.
    pub async fn wait<T>(&mut self, work: impl Future<Output = Result<T>>) -> Result<T> {
        tokio::pin!(work);
        loop {
            let may_read = self.input.len() < READ_AHEAD_BYTES && self.make_room().is_ok();
            tokio::select! {
                biased;
                stop = self.interrupts.fired() => return Err(stop),
                done = &mut work => return done,
                read = self.reader.read_buf(&mut self.input), if may_read => {
                    if !matches!(read, Ok(n) if n > 0) {
                        self.gone = true;
                        return Err(hung_up());
                    }
                }
            }
        }
    }

    /// Sends outgoing bytes if they are many. An interrupt leaves the rest for later.
    pub async fn flush_if_full(&mut self) -> Result<()> {
        if self.out.len() < WRITE_BYTES { Ok(()) } else { self.flush().await }
    }

    pub async fn flush(&mut self) -> Result<()> {
        while !self.out.is_empty() {
            if self.gone {
                return Err(hung_up());
            }
            tokio::select! {
                biased;
                written = self.writer.write_buf(&mut self.out) => if !matches!(written, Ok(n) if n > 0) {
                    self.gone = true;
                },
                stop = self.interrupts.fired() => return Err(stop),
            }
        }
        Ok(())
    }

    /// Sends the last messages and closes, within [`FAREWELL`].
    pub async fn farewell(mut self) {
        if !self.gone {
            let ClientLink { writer, out, .. } = &mut self;
            let last = async {
                let _ = writer.write_all_buf(out).await;
                let _ = writer.shutdown().await;
            };
            let _ = tokio::time::timeout(FAREWELL, last).await;
        }
    }
}
