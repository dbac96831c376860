//! The catalog for Postgres clients: `pg_catalog`, `information_schema` and their functions.
//!
//! Two halves. What is the same in every Postgres (types, operators, access methods) is loaded once from
//! datafusion-pg-catalog's exports. Tables of existing objects are computed from a [`Listing`] for each statement.
//! Client queries are written for Postgres' own executor; [`rewrite()`] turns what DataFusion cannot plan into what it
//! can.
//!
//! `types.rs` has the type and the OID of a column; `table_oids.rs` the OIDs of the catalog's own relations.

mod ast;
mod empty_tables;
mod exports;
mod functions;
mod idioms;
mod information;
mod listing;
mod objects;
mod rewrite;
mod routines;
mod schema;
mod static_tables;
mod table_oids;
mod tables;
mod texts;
mod typed;
pub mod types;

use std::sync::Arc;

use datafusion::prelude::SessionContext;

use crate::{
    error::{Error, Result},
    session::SessionInfo,
};
pub use listing::Listing;
pub use rewrite::rewrite;
pub use typed::{typed, typed_parameters};

/// Registers `pg_catalog`, `information_schema` and their functions in a context whose default catalog exists.
/// Cheap: nothing is computed before a statement reads it.
pub fn register(context: &SessionContext, listing: Arc<dyn Listing>, session_info: &SessionInfo) -> Result<()> {
    let name = context.state().config_options().catalog.default_catalog.clone();
    let catalog = context
        .catalog(&name)
        .ok_or_else(|| Error::internal(format!("there is no catalog \"{name}\" to register pg_catalog in")))?;
    let session_catalog = Arc::new(objects::SessionCatalog { listing, session_info: session_info.clone() });
    catalog.register_schema("pg_catalog", Arc::new(schema::PgCatalog::new(session_catalog.clone())))?;
    catalog.register_schema("information_schema", information::schema(session_catalog.clone()))?;
    functions::register(context, &session_catalog);
    Ok(())
}
