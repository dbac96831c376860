//! Dispatch of statements: session statements run here, all others in the engine.

use std::{sync::Arc, time::Duration};

use arrow::{
    array::{ArrayRef, RecordBatch, StringArray},
    datatypes::{DataType, Field, Schema, SchemaRef},
};
use datafusion::{common::ScalarValue, sql::sqlparser::ast};
use futures::StreamExt;

use super::{
    connection::Connection,
    door::{Door, DoorAnswer, Intake},
    portal::{PortalSource, Prepared, SqlCursor, no_cursor},
    work::RowStream,
};
use crate::{
    engine::{Authorized, Description, authorize},
    error::{Error, ErrorKind, Result},
    session::{TransactionState, spelled},
    sql::{
        Weight,
        nodes::{named, query_of, select},
        statement::{Body, CopyFormat, DiscardWhat, FetchCount, Show, Statement},
    },
};

/// The outcome of a statement.
pub(super) enum Outcome {
    /// The command tag.
    Done(String),
    Rows(PortalSource),
    /// `MOVE`: rows of a cursor to skip.
    Move {
        name: String,
        left: Option<u64>,
        timeout: Option<Duration>,
    },
    CopyIn(Box<dyn Intake>),
    CopyOut {
        format: CopyFormat,
        rows: RowStream,
    },
}

fn done(tag: &str) -> Result<Outcome> {
    Ok(Outcome::Done(tag.to_string()))
}

impl<D: Door> Connection<D> {
    pub async fn dispatch(&mut self, statement: Arc<Statement>, parameters: Vec<ScalarValue>) -> Result<Outcome> {
        self.session.transaction().admit(&statement.body)?;
        let statement = authorize(&self.session, statement)?;
        match &statement.body {
            Body::Set { name, value, local } => {
                self.session.set(name, value.as_deref(), *local)?;
                done("SET")
            }
            Body::Reset(name) => {
                match name {
                    Some(name) => self.session.info.settings.reset(name)?,
                    None => self.session.info.settings.reset_all(),
                }
                done("RESET")
            }
            Body::Show(Show::Setting(name)) => self.show(name),
            Body::Show(Show::AllSettings) => Ok(self.show_all()),
            Body::Begin { read_only } => {
                self.session.begin(*read_only)?;
                done("BEGIN")
            }
            Body::Commit => self.end(true),
            Body::Rollback => self.end(false),
            Body::NoOp(tag) => {
                if tag == "ROLLBACK" {
                    // To a savepoint.
                    self.session.recover();
                }
                done(tag)
            }
            Body::Discard(what) => self.discard(*what),
            Body::Prepare { name, statement, .. } => {
                let weight = Weight::of(&statement.text);
                let held = vec![Arc::new(self.account.reserve("a prepared statement", weight.retained())?)];
                let statement = Some(Arc::new(statement.as_ref().clone()));
                let declared = Vec::new();
                self.kept.prepare(name.clone(), Prepared { statement, declared, description: None, weight, held })?;
                done("PREPARE")
            }
            Body::Execute { name, parameters } => {
                let (statement, parameters) = self.executed(&statement, name, parameters).await?;
                Box::pin(self.dispatch(statement, parameters)).await
            }
            Body::Deallocate(Some(name)) => {
                self.kept.statement(name)?;
                self.kept.prepared.remove(name);
                done("DEALLOCATE")
            }
            Body::Deallocate(None) => {
                self.kept.prepared.clear();
                done("DEALLOCATE ALL")
            }
            Body::Declare { name, reads, hold, binary } => {
                let query = Statement { body: reads.clone().into(), ..(*statement).clone() };
                self.declare(name, query, *hold, *binary, parameters).await
            }
            Body::Fetch { name, count, skip, timeout } => self.fetch(name, *count, *skip, *timeout),
            Body::Close(Some(name)) => {
                if self.kept.cursors.remove(name).is_none() && self.kept.portals.remove(name).is_none() {
                    return Err(no_cursor(name));
                }
                done("CLOSE CURSOR")
            }
            Body::Close(None) => {
                self.kept.cursors.clear();
                done("CLOSE CURSOR ALL")
            }
            _ => self.run(statement, parameters).await,
        }
    }

    async fn run(&mut self, statement: Authorized, parameters: Vec<ScalarValue>) -> Result<Outcome> {
        let writes = statement.privilege().writes();
        let (door, session) = (self.shared.door.clone(), self.session.clone());
        self.session.note_query();
        let answer = self.work(async move { door.execute(&session, &statement, &parameters).await }).await?;
        if writes {
            self.session.note_write();
        }
        let workers = &self.shared.options.workers;
        Ok(match answer {
            DoorAnswer::Done(tag) => Outcome::Done(tag),
            DoorAnswer::Rows { tag, rows } => {
                Outcome::Rows(PortalSource::Own(RowStream::start(workers, tag, rows, &self.account)))
            }
            DoorAnswer::CopyIn(intake) => Outcome::CopyIn(intake),
            DoorAnswer::CopyOut { format, rows } => {
                Outcome::CopyOut { format, rows: RowStream::start(workers, "COPY", rows, &self.account) }
            }
            DoorAnswer::Live { rows, copy: None } => {
                Outcome::Rows(PortalSource::Own(RowStream::live(workers, rows, &self.account)))
            }
            DoorAnswer::Live { rows, copy: Some(format) } => {
                Outcome::CopyOut { format, rows: RowStream::live(workers, rows, &self.account) }
            }
        })
    }

    fn show(&mut self, name: &str) -> Result<Outcome> {
        let value = self.session.setting(name).ok_or_else(|| {
            let message = format!("unrecognized configuration parameter \"{name}\"");
            Error::new(ErrorKind::UndefinedObject, message).hint("SHOW ALL lists the settings.")
        })?;
        let values: ArrayRef = Arc::new(StringArray::from(vec![value]));
        Ok(table(shown(name), vec![values]))
    }

    fn show_all(&mut self) -> Outcome {
        let (names, values): (Vec<String>, Vec<String>) = self.session.info.settings.all().into_iter().unzip();
        let none = StringArray::new_null(names.len());
        table(
            all_shown(),
            vec![Arc::new(StringArray::from(names)), Arc::new(StringArray::from(values)), Arc::new(none)],
        )
    }

    fn end(&mut self, commit: bool) -> Result<Outcome> {
        let commits = self.session.end(commit);
        self.kept.end_transaction();
        done(if commits { "COMMIT" } else { "ROLLBACK" })
    }

    fn discard(&mut self, what: DiscardWhat) -> Result<Outcome> {
        match what {
            DiscardWhat::All => {
                if self.session.transaction().state != TransactionState::Idle {
                    let message = "DISCARD ALL cannot run inside a transaction block";
                    return Err(Error::new(ErrorKind::ActiveTransaction, message));
                }
                self.session.info.settings.reset_all();
                self.kept.prepared.clear();
                self.kept.portals.clear();
                self.kept.cursors.clear();
                done("DISCARD ALL")
            }
            // Nothing to discard: plans are not cached; there are neither sequences nor temporary tables.
            DiscardWhat::Plans => done("DISCARD PLANS"),
            DiscardWhat::Sequences => done("DISCARD SEQUENCES"),
            DiscardWhat::Temp => done("DISCARD TEMP"),
        }
    }

    async fn declare(
        &mut self,
        name: &str,
        query: Statement,
        hold: bool,
        binary: bool,
        parameters: Vec<ScalarValue>,
    ) -> Result<Outcome> {
        self.kept.undeclared(name)?;
        if !hold && self.session.transaction().state == TransactionState::Idle {
            return Err(Error::new(
                ErrorKind::InvalidTransactionState,
                "DECLARE CURSOR can only be used in transaction blocks",
            )
            .hint("BEGIN first, or declare it WITH HOLD."));
        }
        let query = authorize(&self.session, query)?;
        match self.run(query, parameters).await? {
            Outcome::Rows(PortalSource::Own(rows)) => self.kept.declare(name, SqlCursor { rows, hold, binary })?,
            _ => return Err(Error::internal("a query gave no rows")),
        }
        done("DECLARE CURSOR")
    }

    fn fetch(&mut self, name: &str, count: FetchCount, skip: bool, timeout: Option<Duration>) -> Result<Outcome> {
        let (rows, _) = self.kept.reading(name)?;
        if timeout.is_some() && !rows.are_live() {
            return Err(Error::unsupported("FETCH … WITH (timeout) of a query's cursor")
                .hint("It is for cursors of SUBSCRIBE; statement_timeout limits any statement."));
        }
        let left = match count {
            FetchCount::All => None,
            FetchCount::Rows(count) => Some(count),
        };
        let name = name.to_string();
        Ok(match skip {
            true => Outcome::Move { name, left, timeout },
            false => Outcome::Rows(PortalSource::Cursor { name, left, timeout }),
        })
    }

    /// The statement that `EXECUTE name (…)` runs, and the values of its parameters.
    async fn executed(
        &mut self,
        execute: &Statement,
        name: &str,
        arguments: &[ast::Expr],
    ) -> Result<(Arc<Statement>, Vec<ScalarValue>)> {
        let prepared = self.kept.statement(name)?.clone();
        let statement = prepared
            .statement
            .clone()
            .ok_or_else(|| Error::new(ErrorKind::Syntax, "the prepared statement is empty"))?;
        if let Body::Execute { .. } | Body::Prepare { .. } = statement.body {
            return Err(Error::unsupported("EXECUTE of a prepared EXECUTE or PREPARE"));
        }
        let description = self.describe(&prepared).await?;
        let (given, needed) = (arguments.len(), description.parameters.len());
        if given != needed {
            let message = format!("wrong number of parameters for prepared statement \"{name}\"");
            return Err(Error::new(ErrorKind::Syntax, message).detail(format!("Expected {needed} but got {given}.")));
        }
        if given == 0 {
            return Ok((statement, Vec::new()));
        }
        let values = self.computed(execute, arguments).await?;
        let fitting = values.into_iter().zip(&description.parameters).map(|(value, ty)| match ty {
            DataType::Null => Ok(value),
            ty => value.cast_to(ty).map_err(Error::from),
        });
        Ok((statement, fitting.collect::<Result<_>>()?))
    }

    /// The values of expressions in a statement, evaluated by the engine as a SELECT.
    async fn computed(&mut self, of: &Statement, expressions: &[ast::Expr]) -> Result<Vec<ScalarValue>> {
        let items = expressions.iter().enumerate().map(|(i, e)| named(e.clone(), &format!("p{i}"))).collect();
        let query = Body::Query(Box::new(query_of(select(items, None))));
        let statement = authorize(&self.session, Statement { body: query, text: of.text.clone(), start: of.start })?;
        let (door, session) = (self.shared.door.clone(), self.session.clone());
        self.work(async move {
            let DoorAnswer::Rows { mut rows, .. } = door.execute(&session, &statement, &[]).await? else {
                return Err(Error::internal("a query gave no rows"));
            };
            while let Some(batch) = rows.next().await.transpose()? {
                if batch.num_rows() > 0 {
                    let values = batch.columns().iter().map(|c| ScalarValue::try_from_array(c, 0));
                    return Ok(values.collect::<datafusion::error::Result<_>>()?);
                }
            }
            Err(Error::internal("a SELECT without FROM gave no row"))
        })
        .await
    }

    /// The parameters and columns of a prepared statement.
    pub async fn describe(&mut self, prepared: &Prepared) -> Result<Arc<Description>> {
        if let Some(description) = &prepared.description {
            return Ok(description.clone());
        }
        let none = Description { parameters: Vec::new(), columns: None };
        let Some(statement) = prepared.statement.clone() else { return Ok(Arc::new(none)) };
        let columns = match &statement.body {
            Body::Show(Show::Setting(name)) => Some(shown(name)),
            Body::Show(Show::AllSettings) => Some(all_shown()),
            Body::Fetch { name, skip: false, .. } => Some(self.kept.reading(name)?.0.schema.clone()),
            Body::Execute { name, .. } => {
                let inner = self.kept.statement(name)?.clone();
                if let Some(Body::Execute { .. }) = inner.statement.as_ref().map(|s| &s.body) {
                    return Err(Error::unsupported("EXECUTE of a prepared EXECUTE"));
                }
                Box::pin(self.describe(&inner)).await?.columns.clone()
            }
            Body::Declare { reads, .. } => {
                // The parameters are those of the cursor's query; its rows are returned by FETCH.
                let query = Statement { body: reads.clone().into(), ..statement.as_ref().clone() };
                let description = self.ask(Arc::new(query), prepared.types()).await?;
                return Ok(Arc::new(Description { columns: None, ..description }));
            }
            body if is_session_body(body) => None,
            _ => return self.ask(statement, prepared.types()).await.map(Arc::new),
        };
        Ok(Arc::new(Description { columns, ..none }))
    }

    async fn ask(&mut self, statement: Arc<Statement>, types: Vec<Option<DataType>>) -> Result<Description> {
        let (door, session) = (self.shared.door.clone(), self.session.clone());
        self.work(async move { door.describe(&session, &statement, &types).await }).await
    }
}

fn is_session_body(body: &Body) -> bool {
    matches!(
        body,
        Body::Set { .. }
            | Body::Reset(_)
            | Body::Begin { .. }
            | Body::Commit
            | Body::Rollback
            | Body::NoOp(_)
            | Body::Discard(_)
            | Body::Prepare { .. }
            | Body::Deallocate(_)
            | Body::Fetch { .. }
            | Body::Close(_)
    )
}

fn shown(name: &str) -> SchemaRef {
    Arc::new(Schema::new(vec![Field::new(spelled(name), DataType::Utf8, false)]))
}

fn all_shown() -> SchemaRef {
    let column = |name: &str| Field::new(name, DataType::Utf8, true);
    Arc::new(Schema::new(vec![column("name"), column("setting"), column("description")]))
}

fn table(schema: SchemaRef, columns: Vec<ArrayRef>) -> Outcome {
    let batch = RecordBatch::try_new(schema.clone(), columns).ok();
    debug_assert!(batch.is_some(), "columns of one length and of the schema's types");
    Outcome::Rows(PortalSource::Own(RowStream::ready("SHOW", schema, batch)))
}
