//! One open session: takes message after message until the client, an unreadable byte or the server ends it.

use std::{future::Future, net::IpAddr, sync::Arc};

use arrow::array::timezone::Tz;
use tokio::net::TcpStream;

use super::{
    backend::{self, Blame},
    door::Door,
    frontend::{self, Message},
    link::Link,
    memory::{Account, Held},
    portal::Kept,
    server::Shared,
    sessions::Seat,
    starting::Place,
    startup, work,
};
use crate::{
    engine::{Session, TransactionState},
    error::{Error, Kind, Result},
    sql::{self, Weight, statement::Statement},
};

pub(super) struct Connection<D> {
    pub shared: Arc<Shared<D>>,
    pub link: Link,
    pub session: Arc<Session>,
    pub kept: Kept,
    /// What it holds in memory.
    pub account: Account,
    seat: Seat,
    /// What the client believes of its settings.
    reported: Vec<(&'static str, String)>,
    /// A message of the extended protocol failed: all that follow are ignored until Sync.
    skipping: bool,
}

/// Talks to one client from its first byte to its last.
pub(super) async fn run<D: Door>(shared: Arc<Shared<D>>, socket: TcpStream, address: IpAddr, place: Place) {
    let opened = startup::open(&shared, socket, address, &place).await;
    drop(place);
    let Some(mut connection) = opened else { return };
    if let Err(error) = connection.serve().await {
        backend::error(&mut connection.link.out, &error, Blame::Fatal);
    }
    connection.link.farewell().await;
}

impl<D: Door> Connection<D> {
    pub fn new(shared: Arc<Shared<D>>, mut link: Link, session: Session, seat: Seat) -> Result<Connection<D>> {
        let reported = session.settings.reported();
        let (session, kept) = (Arc::new(session), Kept::default());
        let account = shared.memory.open();
        link.charge(&account)?;
        Ok(Connection { shared, link, session, kept, account, seat, reported, skipping: false })
    }

    /// An error here is the end: the server stops, or nobody knows where the next message begins.
    async fn serve(&mut self) -> Result<()> {
        while let Some(message) = self.link.message().await? {
            match message {
                Message::Terminate => return Ok(()),
                Message::Query(text) => {
                    self.simple(text).await?;
                    self.ready().await?;
                }
                Message::Sync => {
                    self.skipping = false;
                    self.ready().await?;
                }
                Message::Flush => self.link.flush().await?,
                Message::NotText(b'Q') => {
                    self.failed(frontend::not_text())?;
                    self.ready().await?;
                }
                Message::Refused(b'Q') => {
                    let refusal = self.link.refusal();
                    self.failed(refusal)?;
                    self.ready().await?;
                }
                // What a client still sends of a copy that has failed.
                Message::CopyData(_) | Message::CopyDone | Message::CopyFail(_) | Message::Refused(b'd') => {}
                Message::Unexpected(kind) => {
                    let message = format!("unexpected message type {:?}", char::from(kind));
                    return Err(Error::new(Kind::ProtocolViolation, message));
                }
                _ if self.skipping => {}
                message => {
                    if let Err(error) = self.extended(message).await {
                        self.failed(error)?;
                        self.skipping = true;
                        self.link.flush().await?;
                    }
                }
            }
            self.link.flush_if_full().await?;
        }
        Ok(())
    }

    /// Tells the client of an error that the session survives; gives back the one that it does not.
    pub fn failed(&mut self, error: Error) -> Result<()> {
        if self.link.is_gone() || self.link.is_shutting_down() || error.kind() == Kind::AdminShutdown {
            return Err(error);
        }
        if error.kind() == Kind::Internal {
            tracing::warn!(%error, detail = error.detail_text(), "a statement failed");
        }
        self.session.fail();
        self.tell_notices();
        backend::error(&mut self.link.out, &error, Blame::Error);
        Ok(())
    }

    async fn ready(&mut self) -> Result<()> {
        let state = self.session.transaction().state;
        if state == TransactionState::Idle {
            // What was opened outside of a transaction lives as long as its messages.
            self.kept.portals.clear();
        }
        self.report()?;
        backend::ready(&mut self.link.out, state)?;
        self.link.flush().await
    }

    /// Everything that belongs before the word that a statement is done, and that word.
    pub fn complete(&mut self, tag: &str) -> Result<()> {
        self.tell_notices();
        self.report()?;
        backend::complete(&mut self.link.out, tag)
    }

    fn tell_notices(&mut self) {
        for notice in self.session.take_notices() {
            backend::notice(&mut self.link.out, &notice);
        }
    }

    /// Tells the client of settings that have changed since it was last told.
    fn report(&mut self) -> Result<()> {
        let now = self.session.settings.reported();
        for ((name, value), (_, before)) in now.iter().zip(&self.reported) {
            if value != before {
                backend::parameter_status(&mut self.link.out, name, value)?;
            }
        }
        self.reported = now;
        Ok(())
    }

    /// From here to [`Connection::disarm`] the statement can be cancelled and runs against the clock.
    pub fn arm(&mut self) {
        self.link.arm(self.seat.begin(), self.session.settings.statement_timeout());
    }

    pub fn disarm(&mut self) {
        self.seat.end();
        self.link.disarm();
    }

    /// Runs something on the engine's runtime, and stops waiting when there is nothing to wait for any more.
    pub async fn work<T: Send + 'static>(
        &mut self,
        work: impl Future<Output = Result<T>> + Send + 'static,
    ) -> Result<T> {
        let workers = self.shared.options.workers.clone();
        self.session.waits_for(None);
        let done = self.link.wait(work::run(&workers, work)).await;
        // Who waited in vain is told for what.
        done.map_err(|error| self.session.take_waited().filter(|_| self.link.is_late()).unwrap_or(error))
    }

    /// The statements of a text, and the room that they take while they run.
    pub async fn parse(&mut self, text: String, weight: Weight) -> Result<(Vec<Statement>, Held)> {
        let held = self.account.take("a statement", weight.running())?;
        let statements = self.link.wait(work::aside(move || sql::parse(&text))).await?;
        Ok((statements, held))
    }

    pub fn zone(&self) -> Result<Tz> {
        let name = self.session.setting("timezone").unwrap_or_default();
        Ok(name.parse()?)
    }
}
