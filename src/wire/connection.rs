//! One open session: handles messages until the client disconnects, framing is lost, or the server stops.

use std::{future::Future, sync::Arc};

use arrow::array::timezone::Tz;

use super::{
    backend::{self, Blame},
    door::Door,
    frontend::{self, FrontendMessage},
    link::ClientLink,
    portal::SessionObjects,
    session_memory::{Account, HeldBytes},
    sessions::SessionSlot,
    shared::ServerShared,
    work,
};
use crate::{
    error::{Error, ErrorKind, Result},
    session::{Session, TransactionState},
    sql::{self, Weight, statement::Statement},
};

pub(super) struct Connection<D> {
    pub shared: Arc<ServerShared<D>>,
    pub link: ClientLink,
    pub session: Arc<Session>,
    pub kept: SessionObjects,
    /// Its share of the session memory.
    pub account: Account,
    seat: SessionSlot,
    /// The parameter values last reported to the client.
    reported: Vec<(&'static str, String)>,
    /// After an error of the extended protocol: messages are skipped until Sync.
    skipping: bool,
}

impl<D: Door> Connection<D> {
    pub fn new(
        shared: Arc<ServerShared<D>>,
        mut link: ClientLink,
        session: Session,
        seat: SessionSlot,
    ) -> Result<Connection<D>> {
        let reported = session.info.settings.reported();
        let (session, kept) = (Arc::new(session), SessionObjects::default());
        let account = shared.memory.open();
        link.charge(&account)?;
        Ok(Connection { shared, link, session, kept, account, seat, reported, skipping: false })
    }

    /// Serves messages until the end. An error ends the connection: the server stops, or message framing is lost.
    pub async fn serve(&mut self) -> Result<()> {
        while let Some(message) = self.link.message().await? {
            match message {
                FrontendMessage::Terminate => return Ok(()),
                FrontendMessage::Query(text) => {
                    self.simple(text).await?;
                    self.ready().await?;
                }
                FrontendMessage::Sync => {
                    self.skipping = false;
                    self.ready().await?;
                }
                FrontendMessage::Flush => self.link.flush().await?,
                FrontendMessage::NotText(b'Q') => {
                    self.failed(frontend::not_text())?;
                    self.ready().await?;
                }
                FrontendMessage::Refused(b'Q') => {
                    let refusal = self.link.refusal();
                    self.failed(refusal)?;
                    self.ready().await?;
                }
                // The rest of a failed COPY.
                FrontendMessage::CopyData(_)
                | FrontendMessage::CopyDone
                | FrontendMessage::CopyFail(_)
                | FrontendMessage::Refused(b'd') => {}
                FrontendMessage::Unexpected(kind) => {
                    let message = format!("unexpected message type {:?}", char::from(kind));
                    return Err(Error::new(ErrorKind::ProtocolViolation, message));
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

    /// Sends an error to the client; returns it if it ends the session.
    pub fn failed(&mut self, error: Error) -> Result<()> {
        if self.link.is_gone() || self.link.is_shutting_down() || error.kind() == ErrorKind::AdminShutdown {
            return Err(error);
        }
        if error.kind() == ErrorKind::Internal {
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
            // Portals outside a transaction end at Sync.
            self.kept.portals.clear();
        }
        self.report()?;
        backend::ready(&mut self.link.out, state)?;
        self.link.flush().await
    }

    /// Sends pending notices and changed settings, then CommandComplete.
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

    /// Sends ParameterStatus of changed settings.
    fn report(&mut self) -> Result<()> {
        let now = self.session.info.settings.reported();
        for ((name, value), (_, before)) in now.iter().zip(&self.reported) {
            if value != before {
                backend::parameter_status(&mut self.link.out, name, value)?;
            }
        }
        self.reported = now;
        Ok(())
    }

    /// From here to [`Connection::disarm`] the statement can be cancelled and statement_timeout runs.
    pub fn arm(&mut self) {
        self.link.arm(self.seat.begin(), self.session.info.settings.statement_timeout());
    }

    pub fn disarm(&mut self) {
        self.seat.end();
        self.link.disarm();
    }

    /// Runs work on the engine's runtime; it is dropped on cancel, timeout, disconnect or shutdown.
    pub async fn work<T: Send + 'static>(
        &mut self,
        work: impl Future<Output = Result<T>> + Send + 'static,
    ) -> Result<T> {
        let workers = self.shared.options.workers.clone();
        self.session.waits_for(None);
        let done = self.link.wait(work::run(&workers, work)).await;
        // A timeout while waiting for a recovery names the relation.
        done.map_err(|error| self.session.take_waited().filter(|_| self.link.is_late()).unwrap_or(error))
    }

    /// Parses a text; returns its statements and the memory reserved for them.
    pub async fn parse(&mut self, text: String, weight: Weight) -> Result<(Vec<Statement>, HeldBytes)> {
        let held = self.account.reserve("a statement", weight.running())?;
        let statements = self.link.wait(work::aside(move || sql::parse(&text))).await?;
        Ok((statements, held))
    }

    pub fn zone(&self) -> Result<Tz> {
        let name = self.session.setting("timezone").unwrap_or_default();
        Ok(name.parse()?)
    }
}
