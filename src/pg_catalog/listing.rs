//! The interface through which the catalog lists objects.

use crate::catalog::{RelationDef, Routine};

/// Lists the objects that exist now.
pub trait Listing: Send + Sync + std::fmt::Debug {
    fn relations(&self) -> Vec<RelationDef>;
    /// The user-defined functions.
    fn routines(&self) -> Vec<Routine> {
        Vec::new()
    }
}
