//! The plan of applying a pipeline, computed before anything is changed: a pure function of the file and the catalog.

use std::fmt;

use super::pipeline::{Definition, Pipeline, normalised};
use crate::{
    catalog::{ObjectKind, RelationDef},
    error::{Error, ErrorKind, Result},
    sql::statement::{Body, IfExists},
};

/// The step for one object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PlannedChange {
    Unchanged,
    Create,
    Replace,
}

/// The steps of applying a pipeline, in order, and the objects of the server that the file does not name.
#[derive(Debug)]
pub struct PipelinePlan<'a> {
    pub steps: Vec<(PlannedChange, &'a Definition)>,
    /// Objects left unchanged: a pipeline never drops.
    pub others: Vec<(ObjectKind, String)>,
}

impl PipelinePlan<'_> {
    /// Whether applying it would do nothing.
    pub fn is_empty(&self) -> bool {
        self.steps.iter().all(|(change, _)| *change == PlannedChange::Unchanged)
    }
}

/// Compares a pipeline with the catalog. An object that would change its kind, and a table whose rows would be lost,
/// are errors: a person has to decide that.
pub fn plan<'a>(pipeline: &'a Pipeline, relations: &[RelationDef]) -> Result<PipelinePlan<'a>> {
    let mut steps = Vec::new();
    for definition in &pipeline.definitions {
        let existing = relations.iter().find(|r| r.kind != ObjectKind::System && r.name == definition.name);
        let change = change(definition, existing).map_err(|e| pipeline.blame(definition, e))?;
        steps.push((change, definition));
    }
    let named = |r: &&RelationDef| pipeline.definitions.iter().any(|d| d.name == r.name);
    let others = relations.iter().filter(|r| r.kind != ObjectKind::System && !named(r));
    Ok(PipelinePlan { steps, others: others.map(|r| (r.kind, r.name.clone())).collect() })
}

fn change(definition: &Definition, existing: Option<&RelationDef>) -> Result<PlannedChange> {
    let Some(existing) = existing else { return Ok(PlannedChange::Create) };
    let Definition { kind, name, .. } = definition;
    if existing.kind != *kind {
        let message = format!("\"{name}\" is a {kind} in the file and a {} in the server", existing.kind);
        let hint = "Give one of them another name.";
        return Err(Error::new(ErrorKind::WrongObjectType, message).hint(hint));
    }
    if normalised(&existing.definition) == normalised(&definition.statement.text) {
        return Ok(PlannedChange::Unchanged);
    }
    if *kind == ObjectKind::Table && !discards_rows(&definition.statement.body) {
        let message = format!("table \"{name}\" is defined differently, and replacing it would lose its rows");
        let hint = "Put the old definition back; or declare the new one under another name, and INSERT … SELECT takes the \
                    rows along.";
        return Err(Error::new(ErrorKind::ObjectNotInState, message).hint(hint));
    }
    Ok(PlannedChange::Replace)
}

/// Whether a statement allows to discard the rows of the table it replaces.
fn discards_rows(body: &Body) -> bool {
    matches!(body, Body::CreateTable(table) if table.exists == IfExists::Replace { discard_rows: true })
}

impl fmt::Display for PlannedChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            PlannedChange::Unchanged => "unchanged",
            PlannedChange::Create => "create",
            PlannedChange::Replace => "replace",
        })
    }
}

/// One line per object. Names only: a definition may contain values from the environment.
impl fmt::Display for PipelinePlan<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (change, definition) in &self.steps {
            writeln!(f, "{change:<10} {} \"{}\"", definition.kind, definition.name)?;
        }
        for (kind, name) in &self.others {
            writeln!(f, "{:<10} {kind} \"{name}\" (not in the file, left alone)", "other")?;
        }
        if self.is_empty() { writeln!(f, "nothing to do") } else { Ok(()) }
    }
}
