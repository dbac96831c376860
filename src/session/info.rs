//! Who a session is: what stays the same for as long as it lasts.

use std::sync::Arc;

use super::settings::Settings;

/// Who runs statements, as privileges see it. There are no roles yet: it is the name that the client says at startup.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Subject {
    pub user: String,
}

/// The sessions beside one, as far as it may reach them.
pub trait Peers: Send + Sync + std::fmt::Debug {
    /// Cancels what a session runs; false where there is no such session.
    fn cancel(&self, pid: i32) -> bool;
}

/// What the catalog tells of one session.
#[derive(Debug, Default, Clone)]
pub struct SessionInfo {
    pub subject: Subject,
    pub database: String,
    /// What `pg_backend_pid()` tells; 0 where nobody is connected (a pipeline, a test).
    pub pid: i32,
    pub settings: Arc<Settings>,
    /// Those beside it; `None` where nobody is connected.
    pub peers: Option<Arc<dyn Peers>>,
}
