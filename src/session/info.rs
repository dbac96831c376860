//! The identity of a session: fixed for its lifetime.

use std::sync::Arc;

use super::settings::Settings;

/// The user that runs statements, for privileges. There are no roles yet: it is the user name of the startup message.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Subject {
    pub user: String,
}

/// The other sessions, as far as one may reach them.
pub trait Peers: Send + Sync + std::fmt::Debug {
    /// Cancels the running statement of session `pid`; false if there is no such session.
    fn cancel(&self, pid: i32) -> bool;
}

/// What the catalog functions return about one session.
#[derive(Debug, Default, Clone)]
pub struct SessionInfo {
    pub subject: Subject,
    pub database: String,
    /// The result of `pg_backend_pid()`; 0 without a client (a pipeline, a test).
    pub pid: i32,
    pub settings: Arc<Settings>,
    /// The other sessions; `None` without a client.
    pub peers: Option<Arc<dyn Peers>>,
}
