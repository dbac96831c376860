//! Implements the planner's [`CatalogView`](crate::sql::plan::CatalogView) over a statement snapshot.

use super::{objects::ObjectState, snapshot::StatementSnapshot, system};
use crate::{
    error::Result,
    sql::{
        functions::Functions,
        plan::{CatalogView, Resolved},
    },
};

impl CatalogView for StatementSnapshot {
    fn public(&self, name: &str) -> Result<Option<Resolved>> {
        let Some(object) = self.objects.get(name) else { return Ok(None) };
        if let Some(error) = object.unreadable() {
            return Err(error);
        }
        Ok(Some(match &object.what {
            ObjectState::Broken(error) => return Err(error.clone().context(object.label())),
            ObjectState::Query { query, columns } => Resolved::Query {
                query: query.clone(),
                columns: columns.clone(),
                watermark: object.watermark.clone(),
                what: object.label(),
            },
            _ => match self.input(object) {
                Some(table) => Resolved::Input(table, object.watermark.clone()),
                None => return Ok(None),
            },
        }))
    }

    fn public_names(&self) -> Vec<String> {
        self.objects.0.keys().cloned().collect()
    }

    fn system(&self, name: &str) -> Result<Option<Resolved>> {
        Ok(system::table(self, name)?.map(Resolved::Table))
    }

    fn system_names(&self) -> Vec<String> {
        system::NAMES.iter().map(|name| (*name).to_string()).collect()
    }

    fn functions(&self) -> Functions {
        self.functions.clone()
    }
}
