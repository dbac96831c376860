//! One client's session: its identity, settings, transaction status, and notices not yet sent.
//!
//! Prepared statements, portals and cursors belong to the connection: they hold running queries.

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
