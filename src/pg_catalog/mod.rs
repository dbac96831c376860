//! What Postgres clients ask about the catalog: `pg_catalog`, `information_schema` and their functions.
//!
//! Two halves. What is the same in every Postgres (types, operators, access methods) is read once from
//! datafusion-pg-catalog's exports. What exists here is made of a [`Listing`] whenever a statement asks. Queries of
//! clients are made for Postgres' own executor; [`rewrite()`] turns what DataFusion cannot plan into what it can.

mod empty_tables;
mod functions;
mod idioms;
mod information;
mod objects;
mod rewrite;
mod routines;
mod schema;
pub mod settings;
mod static_tables;
mod tables;
mod texts;
mod typed;
pub mod types;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use datafusion::prelude::SessionContext;

use crate::{
    catalog::{RelationDef, Routine},
    error::{Error, Result},
};
pub use rewrite::rewrite;
pub use settings::Settings;
pub use typed::{typed, typed_parameters};

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

/// The version of the server, as `version()` tells it: drivers look for a number behind the first word.
pub fn version() -> String {
    format!("PostgreSQL {} (Tidemark {})", settings::SERVER_VERSION, env!("CARGO_PKG_VERSION"))
}

/// Makes `pg_catalog`, `information_schema` and their functions known to a context whose default catalog exists.
/// Cheap: nothing is computed before a statement asks for it.
pub fn register(context: &SessionContext, listing: Arc<dyn Listing>, facts: &SessionInfo) -> Result<()> {
    let name = context.state().config_options().catalog.default_catalog.clone();
    let catalog = context
        .catalog(&name)
        .ok_or_else(|| Error::internal(format!("there is no catalog \"{name}\" to register pg_catalog in")))?;
    let scene = Arc::new(objects::SessionCatalog { listing, facts: facts.clone() });
    catalog.register_schema("pg_catalog", Arc::new(schema::PgCatalog::new(scene.clone())))?;
    catalog.register_schema("information_schema", information::schema(scene.clone()))?;
    functions::register(context, &scene);
    Ok(())
}
