//! What `tidemark check` finds wrong with a statement by itself.

use super::{
    build::{columns, source_options},
    view_options::ViewOptions,
};
use crate::{
    connectors::{self, Fence},
    error::Result,
    sql::statement::{Body, CreateView, Statement},
};

/// Validates a statement without running it: what `tidemark check` does with each.
pub fn check(statement: &Statement) -> Result<()> {
    match &statement.body {
        Body::CreateSource(create) => {
            let options = source_options(&create.options).1.revealed(|name| Ok(name.to_string()))?;
            connectors::check(&create.name.name, &options)?;
            columns(&create.columns, &create.key).map(|_| ())
        }
        Body::CreateTable(create) => columns(&create.columns, &create.primary_key).map(|_| ()),
        Body::CreateView(create) => {
            let options = create.options.revealed(|name| Ok(name.to_string()))?;
            ViewOptions::from_create(&CreateView { options, ..create.clone() }, &Fence::default()).map(|_| ())
        }
        _ => Ok(()),
    }
}
