//! Where the catalog learns what exists.

use crate::catalog::{RelationDef, Routine};

/// What exists at this moment.
pub trait Listing: Send + Sync + std::fmt::Debug {
    fn relations(&self) -> Vec<RelationDef>;
    /// The functions that statements made.
    fn routines(&self) -> Vec<Routine> {
        Vec::new()
    }
}
