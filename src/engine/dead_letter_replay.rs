//! `INSERT INTO source SELECT … FROM tidemark.dead_letters …`: corrected records are replayed, each once.

use std::sync::Arc;

use arrow::{
    array::{AsArray, BooleanArray, RecordBatch},
    compute::{concat_batches, filter_record_batch},
    datatypes::Int64Type,
};
use datafusion::{
    common::{Column, ScalarValue},
    logical_expr::{Expr, Filter, LogicalPlan, LogicalPlanBuilder, Projection, SubqueryAlias},
    sql::sqlparser::ast,
};

use super::{
    collecting::collect_written,
    detached::to_its_end,
    live_catalog::LiveCatalog,
    objects::{Object, ObjectState},
    reply::Reply,
    statement_planner::StatementPlanner,
};
use crate::{
    checkpoint::DeadLetter,
    connectors::{DeadLetterKey, ReplayMarks, Replayed, Source},
    dead_letters::{DeadLetterQueue, dead_letter_key},
    error::{Error, ErrorKind, Result},
    query::Command,
    session::Session,
    sql::naming,
    time::{self, Clock},
};

/// The column that carries the id of a dead letter through the plan of a replay.
const DEAD_LETTER_ID: &str = "__dead_letter_id";

/// Gives sources their dead letters back.
#[derive(Debug)]
pub struct DeadLetterReplay {
    catalog: Arc<LiveCatalog>,
    statements: Arc<StatementPlanner>,
    dead_letters: Arc<DeadLetterQueue>,
    clock: Arc<dyn Clock>,
}

impl DeadLetterReplay {
    pub fn new(
        catalog: Arc<LiveCatalog>,
        statements: Arc<StatementPlanner>,
        dead_letters: Arc<DeadLetterQueue>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        DeadLetterReplay { catalog, statements, dead_letters, clock }
    }

    /// Inserts rows made of dead letters into their source.
    pub async fn replay(
        self: &Arc<Self>,
        session: &Session,
        object: &Arc<Object>,
        insert: &ast::Insert,
        params: &[ScalarValue],
    ) -> Result<Reply> {
        let ObjectState::Source { source, fixed: false, key, .. } = &object.what else {
            return Err(Error::internal("a replay into what is no source"));
        };
        if !key.is_empty() {
            return Err(Error::new(ErrorKind::WrongObjectType, format!("cannot insert into {}", object.label()))
                .hint("Its rows are set and removed by key: send the outside system the record that is right."));
        }
        if insert.on.is_some() {
            return Err(Error::unsupported("ON CONFLICT of a source"));
        }
        let (context, plan) = self.statements.plan_dml(session, replayed(insert), params).await?;
        let plan = carrying(&plan.input).ok_or_else(|| refused(object))??;
        let batches = collect_written(&context, plan).await?;
        let (replay, object, source) = (self.clone(), object.clone(), source.clone());
        let count = to_its_end(async move { replay.replay_now(&object, source, &batches.rows).await }).await?;
        Ok(Reply::Done(format!("INSERT 0 {count}")))
    }

    async fn replay_now(&self, object: &Object, source: Arc<Replayed>, batches: &[RecordBatch]) -> Result<usize> {
        // The source cannot be dropped, and no other statement replays the same dead letters.
        let _lock = self.catalog.lock().await;
        if self.catalog.object(object.id).is_none() {
            return Err(Error::new(ErrorKind::UndefinedTable, format!("{} is gone", object.label())));
        }
        let Some(first) = batches.first() else { return Ok(0) };
        let all = concat_batches(&first.schema(), batches)?;
        let width = all.num_columns() - 1;
        let ids = all.column(width).as_primitive::<Int64Type>().clone();
        let dead_letters = self.dead_letters.by_id(ids.values());
        let mut marked = Vec::new();
        let mut new = Vec::new();
        for (id, dead_letter) in ids.values().iter().zip(dead_letters) {
            let dead_letter = dead_letter.ok_or_else(|| {
                Error::new(ErrorKind::UndefinedObject, format!("dead letter {id} is not there any more"))
            })?;
            check(*id, &dead_letter, object)?;
            new.push(dead_letter.replayed.is_none());
            if dead_letter.replayed.is_none() {
                marked.push((*id, dead_letter_key(&dead_letter)));
            }
        }
        let columns: Vec<usize> = (0..width).collect();
        let rows = filter_record_batch(&all.project(&columns)?, &BooleanArray::from(new))?;
        if rows.num_rows() == 0 {
            return Ok(0);
        }
        let rows = RecordBatch::try_new(source.schema(), rows.columns().to_vec()).map_err(|error| {
            Error::new(ErrorKind::NotNullViolation, format!("a row does not fit {}", object.label()))
                .detail(error.to_string())
        })?;
        time::check(&rows)?;
        let (count, at) = (rows.num_rows(), self.clock.now());
        let (ids, dead_letters): (Vec<i64>, Vec<DeadLetterKey>) = marked.into_iter().unzip();
        let marks = ReplayMarks { dead_letters, at };
        let written = tokio::task::spawn_blocking(move || source.replay(rows, marks)).await;
        written.map_err(|e| Error::internal(format!("a replay: {e}")))??;
        self.dead_letters.mark_replayed(&ids, at);
        for reader in self.catalog.objects().in_order() {
            if let Some(handle) = reader.handle().filter(|_| reader.inputs().contains(&object.id)) {
                handle.tell(Command::Wake).await;
            }
        }
        Ok(count)
    }
}

/// The INSERT as it is passed to the planner.
pub fn replayed(insert: &ast::Insert) -> ast::Statement {
    let mut insert = insert.clone();
    insert.source.iter_mut().for_each(|query| **query = naming::with_unique_names(query));
    ast::Statement::Insert(insert)
}

fn refused(object: &Object) -> Error {
    Error::new(ErrorKind::WrongObjectType, format!("cannot insert into {}", object.label())).hint(
        "A source takes its own dead letters back: INSERT INTO … SELECT … FROM tidemark.dead_letters WHERE …, \
         with no join and no GROUP BY. Other rows are for tables.",
    )
}

fn check(id: i64, dead_letter: &DeadLetter, object: &Object) -> Result<()> {
    if dead_letter.source != object.name {
        let message = format!("dead letter {id} is not of {} but of source \"{}\"", object.label(), dead_letter.source);
        return Err(Error::new(ErrorKind::InvalidParameterValue, message)
            .hint(format!("Add WHERE source = '{}'.", object.name.replace('\'', "''"))));
    }
    if dead_letter.epoch.is_some() && dead_letter.raw.is_empty() {
        let message = format!("dead letter {id} stands for bad records that are not kept");
        return Err(Error::new(ErrorKind::InvalidParameterValue, message)
            .hint("To replay the others, add WHERE epoch IS NULL."));
    }
    if dead_letter.epoch.is_some() {
        let message = format!(
            "dead letter {id} is a row that {} has, on which view \"{}\" failed",
            object.label(),
            dead_letter.query
        );
        return Err(Error::new(ErrorKind::InvalidParameterValue, message)
            .hint("Create a corrected view beside it; to replay the others, add WHERE epoch IS NULL."));
    }
    Ok(())
}

/// The plan with the dead letter ids as last column; `None` if its rows do not come one to one from dead letters.
fn carrying(plan: &LogicalPlan) -> Option<Result<LogicalPlan>> {
    let built = match plan {
        LogicalPlan::TableScan(scan) if is_dead_letters(scan) => scanned(plan),
        LogicalPlan::Projection(projection) => {
            let inner = carrying(&projection.input)?;
            inner.and_then(|input| {
                let mut exprs = projection.expr.clone();
                exprs.push(Expr::Column(id_column(&input)?).alias(DEAD_LETTER_ID));
                Ok(LogicalPlan::Projection(Projection::try_new(exprs, Arc::new(input))?))
            })
        }
        LogicalPlan::Filter(filter) => carrying(&filter.input)?
            .and_then(|input| Ok(LogicalPlan::Filter(Filter::try_new(filter.predicate.clone(), Arc::new(input))?))),
        LogicalPlan::SubqueryAlias(alias) => carrying(&alias.input)?.and_then(|input| {
            Ok(LogicalPlan::SubqueryAlias(SubqueryAlias::try_new(Arc::new(input), alias.alias.clone())?))
        }),
        LogicalPlan::Sort(_) | LogicalPlan::Limit(_) => carrying(plan.inputs().first()?)?
            .and_then(|input| Ok(plan.with_new_exprs(plan.expressions(), vec![input])?)),
        _ => return None,
    };
    Some(built)
}

fn is_dead_letters(scan: &datafusion::logical_expr::TableScan) -> bool {
    (scan.table_name.schema(), scan.table_name.table()) == (Some("tidemark"), "dead_letters")
}

fn scanned(plan: &LogicalPlan) -> Result<LogicalPlan> {
    let mut exprs: Vec<Expr> = plan.schema().columns().into_iter().map(Expr::Column).collect();
    let (qualifier, field) = plan.schema().qualified_field_with_unqualified_name("id")?;
    exprs.push(Expr::Column(Column::from((qualifier, field))).alias(DEAD_LETTER_ID));
    Ok(LogicalPlanBuilder::from(plan.clone()).project(exprs)?.build()?)
}

fn id_column(plan: &LogicalPlan) -> Result<Column> {
    let found = plan.schema().iter().find(|(_, field)| field.name() == DEAD_LETTER_ID);
    let (qualifier, field) = found.ok_or_else(|| Error::internal("a replay lost the ids of its dead letters"))?;
    Ok(Column::new(qualifier.cloned(), field.name()))
}
