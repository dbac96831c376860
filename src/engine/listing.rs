//! The live catalog as plain definitions, for `pg_catalog` and whoever only lists what exists.

use std::sync::Arc;

use super::{live_catalog::LiveCatalog, objects::ObjectState, system};
use crate::{
    catalog::{ObjectKind, RelationDef, Routine},
    pg_catalog::Listing,
    sql::functions::{Defined, FunctionBody},
};

impl Listing for LiveCatalog {
    fn relations(&self) -> Vec<RelationDef> {
        let mut relations = Vec::new();
        for object in self.objects().in_order() {
            let primary_key = match &object.what {
                ObjectState::Table(table) => table.key.clone(),
                ObjectState::Source { key, .. } => {
                    key.iter().filter_map(|name| object.schema.index_of(name).ok()).collect()
                }
                _ => Vec::new(),
            };
            relations.push(RelationDef {
                id: object.id,
                schema: "public".to_string(),
                name: object.name.clone(),
                kind: object.kind,
                columns: object.schema.clone(),
                primary_key,
                definition: object.statement.text.clone(),
            });
        }
        relations.extend(system_relations(self));
        relations
    }

    /// The user-defined functions, in creation order.
    fn routines(&self) -> Vec<Routine> {
        let routine = |function: &Arc<Defined>| Routine {
            id: function.id,
            name: function.name.clone(),
            aggregate: matches!(function.what, FunctionBody::Aggregate(_)),
            strict: function.strict,
            arguments: function.arguments.clone(),
            returns: function.returns.clone(),
            definition: function.definition.clone(),
        };
        self.functions().all().iter().map(routine).collect()
    }
}

fn system_relations(catalog: &LiveCatalog) -> Vec<RelationDef> {
    let snapshot = catalog.snapshot();
    let relation = |(n, name): (usize, &&str)| {
        let columns = system::schema(&snapshot, name).ok()??;
        Some(RelationDef {
            // Below every user's object in `pg_class`, and above Postgres' own.
            id: (1 << 40) + n as u64,
            schema: "tidemark".to_string(),
            name: (*name).to_string(),
            kind: ObjectKind::System,
            columns,
            primary_key: Vec::new(),
            definition: String::new(),
        })
    };
    system::NAMES.iter().enumerate().filter_map(relation).collect()
}
