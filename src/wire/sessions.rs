//! The open sessions, so that one connection can cancel another's statement.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio_util::sync::CancellationToken;

use crate::{
    error::{Error, ErrorKind, Result},
    metrics::{Family, MetricProducer, MetricsSnapshot},
    session::Peers,
};

/// All open sessions of one server.
#[derive(Debug)]
pub(super) struct SessionSlots {
    max: usize,
    /// Slots reserved for addresses without a session.
    reserved: usize,
    open: Mutex<OpenSessions>,
}

#[derive(Debug, Default)]
struct OpenSessions {
    next: i32,
    keys: HashMap<i32, CancelKey>,
}

#[derive(Debug)]
struct CancelKey {
    secret: i32,
    address: IpAddr,
    running: Option<CancellationToken>,
}

/// One session's slot; released on drop.
#[derive(Debug)]
pub(super) struct SessionSlot {
    sessions: Arc<SessionSlots>,
    pub pid: i32,
    pub secret: i32,
}

impl SessionSlots {
    pub fn new(max: usize, reserved: usize) -> Arc<SessionSlots> {
        Arc::new(SessionSlots { max, reserved: reserved.min(max / 10), open: Mutex::new(OpenSessions::default()) })
    }

    /// Takes a slot; fails with 53300 if there is none. The reserved ones are only for addresses without a session, so
    /// that one address cannot take all.
    pub fn enter(self: &Arc<Self>, address: IpAddr) -> Result<SessionSlot> {
        #[expect(clippy::disallowed_methods, reason = "nobody may guess the key that cancels another's statement")]
        let secret = rand::random();
        let mut open = self.lock();
        if open.keys.len() >= self.max {
            return Err(Error::new(ErrorKind::TooManyConnections, "sorry, too many clients already")
                .hint(format!("The limit is {} sessions.", self.max)));
        }
        let free = self.max - open.keys.len();
        if free <= self.reserved && open.keys.values().any(|key| key.address == address) {
            let message = "remaining connection slots are reserved for addresses that have no session";
            return Err(Error::new(ErrorKind::TooManyConnections, message).hint(format!(
                "The limit is {} sessions, of which {} are reserved (sessions.max, sessions.reserved).",
                self.max, self.reserved
            )));
        }
        let pid = loop {
            open.next = open.next.checked_add(1).unwrap_or(1);
            if !open.keys.contains_key(&open.next) {
                break open.next;
            }
        };
        open.keys.insert(pid, CancelKey { secret, address, running: None });
        Ok(SessionSlot { sessions: self.clone(), pid, secret })
    }

    /// Cancels the running statement of a session, if the secret matches; does not report whether it did.
    pub fn cancel(&self, pid: i32, secret: i32) {
        let open = self.lock();
        if let Some(CancelKey { secret: right, running: Some(token), .. }) = open.keys.get(&pid)
            && *right == secret
        {
            token.cancel();
        }
    }

    fn lock(&self) -> MutexGuard<'_, OpenSessions> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Peers for SessionSlots {
    /// There is one role: every session may cancel all others.
    fn cancel(&self, pid: i32) -> bool {
        let open = self.lock();
        let Some(key) = open.keys.get(&pid) else { return false };
        if let Some(running) = &key.running {
            running.cancel();
        }
        true
    }
}

const OPEN: Family = Family::new("tidemark_sessions", "Sessions that are open.");
const RUNNING: Family = Family::new("tidemark_sessions_running", "Sessions that run a statement.");
const OPEN_MAX: Family = Family::new("tidemark_sessions_limit", "Sessions that may be open: sessions.max.");

impl MetricProducer for SessionSlots {
    fn produce(&self, snapshot: &mut MetricsSnapshot) {
        let open = self.lock();
        snapshot.gauge(OPEN, Some(open.keys.len() as f64));
        snapshot.gauge(RUNNING, Some(open.keys.values().filter(|key| key.running.is_some()).count() as f64));
        snapshot.gauge(OPEN_MAX, Some(self.max as f64));
    }
}

impl SessionSlot {
    /// Starts a statement, which can be cancelled from now on.
    pub fn begin(&self) -> CancellationToken {
        let token = CancellationToken::new();
        self.set(Some(token.clone()));
        token
    }

    /// Ends the statement, so that a late cancel does not hit the next one.
    pub fn end(&self) {
        self.set(None);
    }

    fn set(&self, running: Option<CancellationToken>) {
        if let Some(key) = self.sessions.lock().keys.get_mut(&self.pid) {
            key.running = running;
        }
    }
}

impl Drop for SessionSlot {
    fn drop(&mut self) {
        self.sessions.lock().keys.remove(&self.pid);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ADDRESS: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    #[test]
    fn session_slots_reserved_ones_go_to_new_addresses() {
        let sessions = SessionSlots::new(20, 2);
        let all: Vec<SessionSlot> = (0..18).map(|_| sessions.enter(ADDRESS).expect("a place")).collect();
        assert_eq!(sessions.enter(ADDRESS).expect_err("reserved").kind(), ErrorKind::TooManyConnections);
        let other = IpAddr::from([10, 0, 0, 1]);
        let seat = sessions.enter(other).expect("kept for it");
        assert!(sessions.enter(other).is_err());
        drop((seat, all));
        assert!(sessions.enter(ADDRESS).is_ok());
    }

    #[test]
    fn metrics_count_sessions_and_those_that_run_a_statement() {
        let (registry, sessions) = (crate::metrics::Registry::default(), SessionSlots::new(20, 2));
        registry.register(Vec::new(), &sessions);
        let shown = || registry.collect().samples().into_iter().map(|s| (s.name, s.value)).collect::<Vec<_>>();
        let numbers = |open, running| {
            [("tidemark_sessions", open), ("tidemark_sessions_limit", 20.0), ("tidemark_sessions_running", running)]
                .map(|(name, value)| (name.to_string(), value))
        };
        let (_one, two) = (sessions.enter(ADDRESS).expect("a place"), sessions.enter(ADDRESS).expect("a place"));
        two.begin();
        assert_eq!(shown(), numbers(2.0, 1.0));
        two.end();
        assert_eq!(shown(), numbers(2.0, 0.0));
        drop(two);
        assert_eq!(shown(), numbers(1.0, 0.0));
    }

    #[test]
    fn session_cancel_needs_the_secret_and_a_running_statement() {
        let sessions = SessionSlots::new(1, 3);
        let seat = sessions.enter(ADDRESS).expect("a place");
        assert_eq!(sessions.enter(ADDRESS).expect_err("full").kind(), ErrorKind::TooManyConnections);
        sessions.cancel(seat.pid, seat.secret);
        let token = seat.begin();
        sessions.cancel(seat.pid, seat.secret.wrapping_add(1));
        assert!(!token.is_cancelled());
        sessions.cancel(seat.pid, seat.secret);
        assert!(token.is_cancelled());
        let pid = seat.pid;
        drop(seat);
        assert_ne!(sessions.enter(ADDRESS).expect("room again").pid, pid);
    }
}
