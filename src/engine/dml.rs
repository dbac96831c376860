//! `INSERT`, `UPDATE`, `DELETE`, `COPY … FROM`: planned by DataFusion, applied by a [`WritableTable`].

use std::{ops::ControlFlow, sync::Arc};

use arrow::array::RecordBatch;
use datafusion::{
    common::ScalarValue,
    logical_expr::{DmlStatement, Expr, LogicalPlan, LogicalPlanBuilder},
    prelude::SessionContext,
    sql::sqlparser::ast::{self, AssignmentTarget, FromTable, ObjectName, OnConflictAction, OnInsert, TableFactor},
};

use super::{
    collected::Collected,
    collecting::{collect, collect_written},
    copy_target::{CopyInTarget, nullable},
    dead_letter_replay::{DeadLetterReplay, replayed},
    live_catalog::LiveCatalog,
    objects::{Object, ObjectState},
    reply::Reply,
    statement_planner::StatementPlanner,
    tables::{OnConflict, WritableTable},
};
use crate::{
    error::{Error, ErrorKind, Result},
    session::Session,
    sql::{
        literals::{coerce_insert, coerce_update, without_values},
        names, naming,
        statement::{self, Body, Name},
    },
};

/// Runs the statements that write rows.
#[derive(Debug)]
pub struct TableWriter {
    catalog: Arc<LiveCatalog>,
    statements: Arc<StatementPlanner>,
    replay: Arc<DeadLetterReplay>,
    /// Bytes of the rows of one COPY.
    copy_bytes_max: u64,
}

impl TableWriter {
    pub fn new(
        catalog: Arc<LiveCatalog>,
        statements: Arc<StatementPlanner>,
        replay: DeadLetterReplay,
        copy_bytes_max: u64,
    ) -> Self {
        TableWriter { catalog, statements, replay: Arc::new(replay), copy_bytes_max }
    }

    /// The table of a name; an error if it cannot be written.
    fn writable(&self, name: &Name, verb: &str) -> Result<Arc<WritableTable>> {
        let objects = self.catalog.objects();
        let object = objects.find(name)?;
        match &object.what {
            ObjectState::Table(table) => Ok(table.clone()),
            ObjectState::Broken(error) => Err(error.clone().context(object.label())),
            _ => Err(Error::new(
                ErrorKind::WrongObjectType,
                format!("cannot {verb} {} \"{}\"", object.kind, object.name),
            )
            .hint("Only tables take rows from clients.")
            .at(name.position.max(1))),
        }
    }

    pub async fn insert(&self, session: &Session, insert: &ast::Insert, params: &[ScalarValue]) -> Result<Reply> {
        let ast::TableObject::TableName(target) = &insert.table else {
            return Err(Error::unsupported("INSERT into a table function"));
        };
        if insert.returning.is_some() {
            return Err(Error::unsupported("INSERT … RETURNING"));
        }
        let target = name_of(target);
        if let Some(source) = self.source_of(&target) {
            return self.replay.replay(session, &source, insert, params).await;
        }
        let table = self.writable(&target, "insert into")?;
        let on_conflict = on_conflict(insert.on.as_ref(), &table)?;
        let (context, plan) = self.statements.plan_dml(session, lowered_insert(insert, &table)?, params).await?;
        let collected = collect_written(&context, plan.input.as_ref().clone()).await?;
        let count = table.insert(&collected.rows, &on_conflict).await?;
        Ok(Reply::Done(format!("INSERT 0 {count}")))
    }

    pub async fn update(&self, session: &Session, update: &ast::Update, params: &[ScalarValue]) -> Result<Reply> {
        let target = updated(update)?;
        if update.returning.is_some() {
            return Err(Error::unsupported("UPDATE … RETURNING"));
        }
        let table = self.writable(&target, "update")?;
        let statement = lowered_update(update, &table)?;
        let mut collected = None;
        let count = table
            .change(async {
                let (context, plan) = self.statements.plan_dml(session, statement, params).await?;
                let changed = collected.insert(collect_written(&context, with_old_rows(&plan)?).await?);
                let width = table.columns.fields().len();
                let part = |from: usize| -> Result<Vec<RecordBatch>> {
                    let columns: Vec<usize> = (from..from + width).collect();
                    changed.rows.iter().map(|batch| Ok(batch.project(&columns)?)).collect()
                };
                Ok((part(width)?, part(0)?))
            })
            .await?;
        Ok(Reply::Done(format!("UPDATE {count}")))
    }

    pub async fn delete(&self, session: &Session, delete: &ast::Delete, params: &[ScalarValue]) -> Result<Reply> {
        let target = deleted_from(delete)?;
        if delete.returning.is_some() || delete.using.is_some() {
            return Err(Error::unsupported("DELETE … USING or RETURNING"));
        }
        let table = self.writable(&target, "delete from")?;
        let statement = ast::Statement::Delete(unaliased(delete, &target));
        let mut collected = None;
        let count = table
            .change(async {
                let (context, plan) = self.statements.plan_dml(session, statement, params).await?;
                let gone = collected.insert(collect_written(&context, plan.input.as_ref().clone()).await?);
                Ok((gone.rows.clone(), Vec::new()))
            })
            .await?;
        Ok(Reply::Done(format!("DELETE {count}")))
    }

    /// The DML statement as it is passed to the planner.
    pub fn written(&self, body: &Body) -> Result<ast::Statement> {
        match body {
            Body::Insert(insert) => match &insert.table {
                ast::TableObject::TableName(target) if self.source_of(&name_of(target)).is_some() => {
                    Ok(replayed(insert))
                }
                ast::TableObject::TableName(target) => {
                    lowered_insert(insert, &*self.writable(&name_of(target), "insert into")?)
                }
                _ => Err(Error::unsupported("INSERT into a table function")),
            },
            Body::Update(update) => lowered_update(update, &*self.writable(&updated(update)?, "update")?),
            Body::Delete(delete) => Ok(ast::Statement::Delete(unaliased(delete, &deleted_from(delete)?))),
            _ => Err(Error::internal("a statement that does not write")),
        }
    }

    /// The source of a name, for replaying its dead letters.
    fn source_of(&self, name: &Name) -> Option<Arc<Object>> {
        let object = self.catalog.objects().find(name).ok()?.clone();
        matches!(object.what, ObjectState::Source { fixed: false, .. }).then_some(object)
    }

    /// Opens a `COPY … FROM STDIN`.
    pub async fn copy_in(&self, copy: &statement::CopyIn) -> Result<Reply> {
        let table = self.writable(&copy.table, "copy to")?;
        let mut at = Vec::new();
        for column in &copy.columns {
            let index = table.columns.index_of(column).map_err(|_| {
                let message = format!("column \"{column}\" of relation \"{}\" does not exist", copy.table.name);
                Error::new(ErrorKind::UndefinedColumn, message)
            })?;
            if at.contains(&index) {
                let message = format!("column \"{column}\" specified more than once");
                return Err(Error::new(ErrorKind::DuplicateColumn, message));
            }
            at.push(index);
        }
        if at.is_empty() {
            at = (0..table.columns.fields().len()).collect();
        }
        let columns = Arc::new(nullable(&table.columns.project(&at)?));
        let bytes_max = self.copy_bytes_max;
        let fills = fills(&table, &at).await?;
        let rows = Collected::new(self.statements.memory_pool());
        Ok(Reply::CopyIn(CopyInTarget::new(copy.format.clone(), columns, table, (at, fills), (rows, bytes_max))))
    }
}

/// The values of columns that a COPY leaves out: their defaults, or NULL.
async fn fills(table: &WritableTable, at: &[usize]) -> Result<Vec<ScalarValue>> {
    let context = SessionContext::new();
    let mut fills = Vec::new();
    for (n, field) in table.columns.fields().iter().enumerate() {
        fills.push(match table.defaults.get(field.name()).filter(|_| !at.contains(&n)) {
            Some(default) => {
                let plan = LogicalPlanBuilder::empty(true).project([default.clone()])?.build()?;
                let rows = collect(&context, plan).await?;
                let value = rows.rows.first().ok_or_else(|| Error::internal("a default gave no value"))?;
                ScalarValue::try_from_array(value.column(0), 0)?
            }
            None => ScalarValue::try_from(field.data_type())?,
        });
    }
    Ok(fills)
}

fn lowered_insert(insert: &ast::Insert, table: &WritableTable) -> Result<ast::Statement> {
    let mut insert = insert.clone();
    insert.on = None;
    coerce_insert(&mut insert, table.target())?;
    if let Some(source) = insert.source.as_mut() {
        without_values(source)?;
        **source = naming::with_unique_names(source);
    }
    Ok(ast::Statement::Insert(insert))
}

fn lowered_update(update: &ast::Update, table: &WritableTable) -> Result<ast::Statement> {
    let mut update = update.clone();
    coerce_update(&mut update, table.target())?;
    Ok(ast::Statement::Update(update))
}

/// The target table of an UPDATE.
fn updated(update: &ast::Update) -> Result<Name> {
    match &update.table.relation {
        TableFactor::Table { name, .. } => Ok(name_of(name)),
        _ => Err(Error::unsupported("UPDATE of anything but a table")),
    }
}

/// The target table of a DELETE.
fn deleted_from(delete: &ast::Delete) -> Result<Name> {
    let (FromTable::WithFromKeyword(tables) | FromTable::WithoutKeyword(tables)) = &delete.from;
    match tables.first().map(|t| &t.relation) {
        Some(TableFactor::Table { name, .. }) if tables.len() == 1 => Ok(name_of(name)),
        _ => Err(Error::unsupported("DELETE from anything but one table")),
    }
}

/// Replaces the alias of a DELETE's table by its name in the condition.
fn unaliased(delete: &ast::Delete, target: &Name) -> ast::Delete {
    let mut delete = delete.clone();
    let (FromTable::WithFromKeyword(tables) | FromTable::WithoutKeyword(tables)) = &mut delete.from;
    let Some(TableFactor::Table { alias, .. }) = tables.first_mut().map(|table| &mut table.relation) else {
        return delete;
    };
    let Some(alias) = alias.take().map(|alias| names::fold(&alias.name)) else { return delete };
    let table = ast::Ident::with_quote('"', target.name.clone());
    let _ = ast::visit_expressions_mut(&mut delete.selection, |expr| {
        if let ast::Expr::CompoundIdentifier(parts) = expr
            && parts.len() == 2
            && names::fold(&parts[0]) == alias
        {
            parts[0] = table.clone();
        }
        ControlFlow::<()>::Continue(())
    });
    delete
}

fn name_of(name: &ObjectName) -> Name {
    let mut parts: Vec<String> = name.0.iter().filter_map(|part| part.as_ident()).map(names::fold).collect();
    let last = parts.pop().unwrap_or_default();
    Name { schema: parts.pop(), name: last, position: 0 }
}

/// The input of an `UPDATE` with the old columns appended to the new ones.
fn with_old_rows(dml: &DmlStatement) -> Result<LogicalPlan> {
    let LogicalPlan::Projection(projection) = dml.input.as_ref() else {
        return Err(Error::internal("an UPDATE was planned without its new values"));
    };
    let input = projection.input.schema();
    let target = dml.table_name.table();
    let mut exprs = projection.expr.clone();
    for field in dml.target.schema().fields() {
        let column = input
            .iter()
            .find(|(qualifier, f)| f.name() == field.name() && qualifier.is_none_or(|q| q.table() == target))
            .or_else(|| input.iter().find(|(_, f)| f.name() == field.name()));
        let (qualifier, f) = column.ok_or_else(|| Error::internal("an UPDATE lost a column of its table"))?;
        let old = Expr::Column(datafusion::common::Column::new(qualifier.cloned(), f.name()));
        exprs.push(old.alias(format!("__old_{}", field.name())));
    }
    Ok(LogicalPlanBuilder::from(projection.input.as_ref().clone()).project(exprs)?.build()?)
}

fn on_conflict(on: Option<&OnInsert>, table: &WritableTable) -> Result<OnConflict> {
    let conflict = match on {
        None => return Ok(OnConflict::Fail),
        Some(OnInsert::OnConflict(conflict)) => conflict,
        Some(_) => return Err(Error::unsupported("ON DUPLICATE KEY UPDATE").hint("Use ON CONFLICT … DO UPDATE.")),
    };
    if let Some(ast::ConflictTarget::Columns(columns)) = &conflict.conflict_target {
        let mut named: Vec<String> = columns.iter().map(names::fold).collect();
        let mut key: Vec<String> = table.key.iter().map(|c| table.columns.field(*c).name().clone()).collect();
        named.sort();
        key.sort();
        if named != key {
            return Err(Error::new(
                ErrorKind::InvalidColumnReference,
                "there is no unique constraint matching the ON CONFLICT specification",
            ));
        }
    }
    match &conflict.action {
        OnConflictAction::DoNothing => Ok(OnConflict::Skip),
        OnConflictAction::DoUpdate(update) => {
            let mut columns = Vec::new();
            for assignment in &update.assignments {
                columns.push(taken_over(assignment, table)?);
            }
            if update.selection.is_some() {
                return Err(Error::unsupported("ON CONFLICT DO UPDATE … WHERE"));
            }
            Ok(OnConflict::Update(columns))
        }
    }
}

/// The column of `SET column = excluded.column`.
fn taken_over(assignment: &ast::Assignment, table: &WritableTable) -> Result<usize> {
    let other = || {
        Error::unsupported("ON CONFLICT DO UPDATE with anything but SET column = excluded.column")
            .hint("Use UPDATE for other changes.")
    };
    let AssignmentTarget::ColumnName(target) = &assignment.target else { return Err(other()) };
    let target = name_of(target).name;
    let ast::Expr::CompoundIdentifier(parts) = &assignment.value else { return Err(other()) };
    let parts: Vec<String> = parts.iter().map(names::fold).collect();
    if parts != ["excluded".to_string(), target.clone()] {
        return Err(other());
    }
    table.columns.index_of(&target).map_err(|_| {
        Error::new(
            ErrorKind::UndefinedColumn,
            format!("column \"{target}\" of relation \"{}\" does not exist", table.shared.name),
        )
    })
}
