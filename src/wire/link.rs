//! One client's socket: messages in, bytes out, and whatever may interrupt the waiting in between.

use std::{future::Future, pin::Pin, time::Duration};

use bytes::BytesMut;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    time::Sleep,
};
use tokio_util::sync::CancellationToken;

use super::frontend::{self, Message, Opening};
use crate::error::{Error, Kind, Result};

/// While a statement runs, this much is read ahead, so that a client that hangs up is noticed.
const READ_AHEAD_BYTES: usize = 64 * 1024;
/// Answers are held back up to this size, to go out together.
const WRITE_BYTES: usize = 64 * 1024;
/// How long a client gets to take its last message when the server goes.
const FAREWELL: Duration = Duration::from_secs(1);

pub(super) struct Link {
    reader: OwnedReadHalf,
    writer: OwnedWriteHalf,
    input: BytesMut,
    /// What is to be said; goes out with [`Link::flush`], or before it when there is much.
    pub out: BytesMut,
    message_bytes_max: usize,
    interrupts: Interrupts,
    /// The client is not there any more: nothing can be said.
    gone: bool,
}

/// What ends a statement before its time.
struct Interrupts {
    shutdown: CancellationToken,
    cancel: Option<CancellationToken>,
    deadline: Option<Pin<Box<Sleep>>>,
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
            () = cancelled => Error::new(Kind::QueryCanceled, "canceling statement due to user request"),
            () = late => Error::new(Kind::QueryCanceled, "canceling statement due to statement timeout"),
        }
    }
}

pub(super) fn shutting_down() -> Error {
    Error::new(Kind::AdminShutdown, "terminating connection due to administrator command")
}

fn hung_up() -> Error {
    Error::new(Kind::Io, "the client has hung up")
}

impl Link {
    pub fn new(socket: TcpStream, shutdown: CancellationToken, message_bytes_max: usize) -> Link {
        // Answers are put together here; waiting for more would only delay them.
        let _ = socket.set_nodelay(true);
        let (reader, writer) = socket.into_split();
        Link {
            reader,
            writer,
            input: BytesMut::new(),
            out: BytesMut::new(),
            message_bytes_max,
            interrupts: Interrupts { shutdown, cancel: None, deadline: None },
            gone: false,
        }
    }

    pub fn is_gone(&self) -> bool {
        self.gone
    }

    pub fn is_shutting_down(&self) -> bool {
        self.interrupts.shutdown.is_cancelled()
    }

    /// From here to [`Link::disarm`], waiting ends when the token is cancelled or the time is over.
    pub fn arm(&mut self, cancel: CancellationToken, timeout: Option<Duration>) {
        self.interrupts.cancel = Some(cancel);
        self.interrupts.deadline = timeout.map(|t| Box::pin(tokio::time::sleep(t)));
    }

    pub fn disarm(&mut self) {
        self.interrupts.cancel = None;
        self.interrupts.deadline = None;
    }

    /// The next message; `None` when the client has gone.
    pub async fn message(&mut self) -> Result<Option<Message>> {
        loop {
            if let Some(message) = frontend::message(&mut self.input, self.message_bytes_max)? {
                return Ok(Some(message));
            }
            if !self.fill().await? {
                return Ok(None);
            }
        }
    }

    /// The next message that is here already.
    pub fn message_at_hand(&mut self) -> Result<Option<Message>> {
        frontend::message(&mut self.input, self.message_bytes_max)
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

    /// Waits for `work` while the client is there and nothing interrupts. Otherwise `work` is dropped.
    pub async fn wait<T>(&mut self, work: impl Future<Output = Result<T>>) -> Result<T> {
        tokio::pin!(work);
        loop {
            let may_read = self.input.len() < READ_AHEAD_BYTES;
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

    /// Sends what there is to send, if it is much. An interrupt leaves the rest for later.
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

    /// Sends the last words and closes. A client that does not take them in time does not get them.
    pub async fn farewell(mut self) {
        if !self.gone {
            let Link { writer, out, .. } = &mut self;
            let last = async {
                let _ = writer.write_all_buf(out).await;
                let _ = writer.shutdown().await;
            };
            let _ = tokio::time::timeout(FAREWELL, last).await;
        }
    }
}
