//! One client's session: who it is, what it has set, where its transaction stands, and what it is still to be told.
//!
//! Prepared statements, portals and cursors are the connection's own: they hold running queries.

mod guc;
mod info;
mod notice;
mod settings;
mod state;
mod transaction;

pub use guc::{spelled, version};
pub use info::{Peers, SessionInfo, Subject};
pub use notice::{Notice, Severity};
pub use settings::Settings;
pub use state::Session;
pub use transaction::{Transaction, TransactionState};
