//! What the catalog is told of one session: what exists, who asks, and whom the session may reach.

use std::sync::Arc;

use super::settings::Settings;
use crate::catalog::{RelationDef, Routine};

/// Where the dynamic part comes from.
pub trait Listing: Send + Sync + std::fmt::Debug {
    fn relations(&self) -> Vec<RelationDef>;
    /// The functions that statements made.
    fn routines(&self) -> Vec<Routine> {
        Vec::new()
    }
}

/// The sessions beside one, as far as it may reach them.
pub trait Peers: Send + Sync + std::fmt::Debug {
    /// Cancels what a session runs; false where there is no such session.
    fn cancel(&self, pid: i32) -> bool;
}

/// What the catalog knows of one session.
#[derive(Debug, Clone)]
pub struct SessionInfo {
    pub user: String,
    pub database: String,
    pub pid: i32,
    pub settings: Arc<Settings>,
    pub peers: Option<Arc<dyn Peers>>,
}
