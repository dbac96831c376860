//! Dispatch of statements: session statements are run here, all others by the engine.

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
    catalog,
    engine::{Description, Transaction, TransactionState},
    error::{Error, ErrorKind, Result},
    pg_catalog::settings,
    sql::{
        self, Weight,
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

/// The setting that says whether the transaction may write.
const READ_ONLY: &str = "transaction_read_only";

fn done(tag: &str) -> Result<Outcome> {
    Ok(Outcome::Done(tag.to_string()))
}

impl<D: Door> Connection<D> {
    pub async fn dispatch(&mut self, statement: Arc<Statement>, parameters: Vec<ScalarValue>) -> Result<Outcome> {
        self.admit(&statement.body)?;
        match &statement.body {
            Body::Set { name, value, local } => self.set(name, value.as_deref(), *local),
            Body::Reset(name) => {
                match name {
                    Some(name) => self.session.settings.reset(name)?,
                    None => self.session.settings.reset_all(),
                }
                done("RESET")
            }
            Body::Show(Show::Setting(name)) => self.show(name),
            Body::Show(Show::AllSettings) => Ok(self.show_all()),
            Body::Begin { read_only } => self.begin(*read_only),
            Body::Commit => self.end(true),
            Body::Rollback => self.end(false),
            Body::NoOp(tag) => self.no_op(tag),
            Body::Discard(what) => self.discard(*what),
            Body::Prepare { name, statement, .. } => {
                let weight = Weight::of(&statement.text);
                let held = vec![Arc::new(self.account.take("a prepared statement", weight.kept())?)];
                let statement = Some(Arc::new(statement.as_ref().clone()));
                let declared = Vec::new();
                self.kept.prepare(name.clone(), Prepared { statement, declared, description: None, weight, held })?;
                done("PREPARE")
            }
            Body::Execute { name, parameters } => {
                let (statement, parameters) = self.executed(name, parameters).await?;
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
                let query = Statement { body: reads.clone().into(), ..statement.as_ref().clone() };
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

    /// Fails if the transaction is aborted or read-only and the statement is not allowed in it.
    pub fn admit(&self, body: &Body) -> Result<()> {
        let transaction = self.session.transaction();
        let ends = matches!(body, Body::Commit | Body::Rollback) || is_rollback_to(body);
        if transaction.state == TransactionState::Failed && !ends {
            return Err(Error::new(
                ErrorKind::FailedTransaction,
                "current transaction is aborted, commands ignored until end of transaction block",
            ));
        }
        let read_only = match transaction.state {
            TransactionState::Idle => self.session.settings.is_on("default_transaction_read_only"),
            _ => transaction.read_only,
        };
        match written(body) {
            Some(verb) if read_only => Err(Error::new(
                ErrorKind::ReadOnlyTransaction,
                format!("cannot execute {verb} in a read-only transaction"),
            )),
            _ => Ok(()),
        }
    }

    async fn run(&mut self, statement: Arc<Statement>, parameters: Vec<ScalarValue>) -> Result<Outcome> {
        let writes = written(&statement.body).is_some();
        let (door, session) = (self.shared.door.clone(), self.session.clone());
        self.session.set_transaction(Transaction { queried: true, ..self.session.transaction() });
        let answer = self.work(async move { door.execute(&session, &statement, &parameters).await }).await?;
        if writes {
            let transaction = self.session.transaction();
            self.session.set_transaction(Transaction { wrote: true, ..transaction });
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

    fn set(&mut self, name: &str, value: Option<&str>, local: bool) -> Result<Outcome> {
        if local && self.session.transaction().state == TransactionState::Idle {
            self.session.warning("SET LOCAL can only be used in transaction blocks");
        }
        let is_read_only = name.eq_ignore_ascii_case(READ_ONLY);
        match value {
            Some(value) if is_read_only => self.set_read_only(value)?,
            Some(value) => self.session.settings.set(name, value, local)?,
            None => self.session.settings.reset(name)?,
        }
        done("SET")
    }

    /// `SET TRANSACTION READ ONLY | READ WRITE`: of the transaction that is open, whichever way it is spelled.
    fn set_read_only(&mut self, value: &str) -> Result<()> {
        let transaction = self.session.transaction();
        let before = self.session.settings.is_on(READ_ONLY);
        self.session.settings.set(READ_ONLY, value, true)?;
        let read_only = self.session.settings.is_on(READ_ONLY);
        if transaction.state == TransactionState::Idle {
            return Ok(());
        }
        if transaction.read_only && !read_only && transaction.queried {
            self.session.settings.set(READ_ONLY, if before { "on" } else { "off" }, true)?;
            let message = "transaction read-write mode must be set before any query";
            return Err(Error::new(ErrorKind::ActiveTransaction, message));
        }
        self.session.set_transaction(Transaction { read_only, ..transaction });
        Ok(())
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
        let (names, values): (Vec<String>, Vec<String>) = self.session.settings.all().into_iter().unzip();
        let none = StringArray::new_null(names.len());
        table(
            all_shown(),
            vec![Arc::new(StringArray::from(names)), Arc::new(StringArray::from(values)), Arc::new(none)],
        )
    }

    fn begin(&mut self, read_only: Option<bool>) -> Result<Outcome> {
        if self.session.transaction().state != TransactionState::Idle {
            self.session.warning("there is already a transaction in progress");
            return done("BEGIN");
        }
        let read_only = read_only.unwrap_or_else(|| self.session.settings.is_on("default_transaction_read_only"));
        self.session.settings.begin();
        self.session.settings.set(READ_ONLY, if read_only { "on" } else { "off" }, true)?;
        let begun = Transaction { state: TransactionState::Open, read_only, ..Transaction::default() };
        self.session.set_transaction(begun);
        done("BEGIN")
    }

    fn end(&mut self, commit: bool) -> Result<Outcome> {
        let transaction = self.session.transaction();
        if transaction.state == TransactionState::Idle {
            self.session.warning("there is no transaction in progress");
        }
        let commits = commit && transaction.state != TransactionState::Failed;
        if commits {
            self.session.settings.commit();
        } else {
            self.session.settings.rollback();
            if transaction.wrote && transaction.state != TransactionState::Idle {
                self.session.warning("statements commit one by one: what this transaction wrote stays");
            }
        }
        self.kept.end_transaction();
        self.session.set_transaction(Transaction::default());
        done(if commits { "COMMIT" } else { "ROLLBACK" })
    }

    fn no_op(&mut self, tag: &str) -> Result<Outcome> {
        let transaction = self.session.transaction();
        if tag == "ROLLBACK" && transaction.state == TransactionState::Failed {
            self.session.set_transaction(Transaction { state: TransactionState::Open, ..transaction });
        }
        done(tag)
    }

    fn discard(&mut self, what: DiscardWhat) -> Result<Outcome> {
        match what {
            DiscardWhat::All => {
                if self.session.transaction().state != TransactionState::Idle {
                    let message = "DISCARD ALL cannot run inside a transaction block";
                    return Err(Error::new(ErrorKind::ActiveTransaction, message));
                }
                self.session.settings.reset_all();
                self.kept.prepared.clear();
                self.kept.portals.clear();
                self.kept.cursors.clear();
                done("DISCARD ALL")
            }
            // Plans are made anew for each run; there are neither sequences nor temporary tables.
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
        match self.run(Arc::new(query), parameters).await? {
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

    /// The statement of `EXECUTE name (…)`, and its evaluated parameters.
    async fn executed(&mut self, name: &str, arguments: &[ast::Expr]) -> Result<(Arc<Statement>, Vec<ScalarValue>)> {
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
        let values = self.computed(arguments).await?;
        let fitting = values.into_iter().zip(&description.parameters).map(|(value, ty)| match ty {
            DataType::Null => Ok(value),
            ty => value.cast_to(ty).map_err(Error::from),
        });
        Ok((statement, fitting.collect::<Result<_>>()?))
    }

    /// Evaluates constant expressions, by a SELECT.
    async fn computed(&mut self, expressions: &[ast::Expr]) -> Result<Vec<ScalarValue>> {
        let list: Vec<String> = expressions.iter().enumerate().map(|(i, e)| format!("{e} AS p{i}")).collect();
        let text = format!("SELECT {}", list.join(", "));
        let statement = sql::parse(&text)?.pop().ok_or_else(|| Error::internal("no SELECT in a SELECT"))?;
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
                // Its parameters are the query's; its rows come with FETCH.
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

/// `ROLLBACK TO SAVEPOINT`, which the parser gives as a word without effect, ends the failure of a transaction.
fn is_rollback_to(body: &Body) -> bool {
    matches!(body, Body::NoOp(tag) if tag == "ROLLBACK")
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

/// The verb of a statement that writes; `None` if it only reads. Exhaustive, so that new statements must decide.
fn written(body: &Body) -> Option<String> {
    let of_kind = |verb: &str, kind: catalog::ObjectKind| Some(format!("{verb} {}", kind.word().to_uppercase()));
    match body {
        Body::Insert(_) => Some("INSERT".to_string()),
        Body::Update(_) => Some("UPDATE".to_string()),
        Body::Delete(_) => Some("DELETE".to_string()),
        Body::CopyIn(_) => Some("COPY FROM".to_string()),
        Body::CreateSource(_) => of_kind("CREATE", catalog::ObjectKind::Source),
        Body::CreateTable(_) => of_kind("CREATE", catalog::ObjectKind::Table),
        Body::CreateView(create) => of_kind("CREATE", create.kind),
        Body::Drop(drop) => of_kind("DROP", drop.kind),
        Body::Alter(alter) => of_kind("ALTER", alter.kind),
        Body::CreateSecret(_) => Some("CREATE SECRET".to_string()),
        Body::DropSecrets(_) => Some("DROP SECRET".to_string()),
        Body::CreateFunction(_) => Some("CREATE FUNCTION".to_string()),
        Body::CreateAggregate(_) => Some("CREATE AGGREGATE".to_string()),
        Body::DropFunctions(drop) if drop.aggregates => Some("DROP AGGREGATE".to_string()),
        Body::DropFunctions(_) => Some("DROP FUNCTION".to_string()),
        Body::Explain { analyze: true, statement, .. } => written(&statement.body),
        // What a prepared statement writes, it writes when it is run, and is asked for then.
        Body::Prepare { .. } | Body::Execute { .. } | Body::Deallocate(_) => None,
        Body::Query(_) | Body::Subscribe(_) | Body::CopyOut(_) | Body::Declare { .. } => None,
        Body::Fetch { .. } | Body::Close(_) => None,
        Body::Explain { analyze: false, .. } | Body::ExplainRelation(_) | Body::Show(_) | Body::Flush(_) => None,
        Body::Set { .. } | Body::Reset(_) | Body::Discard(_) => None,
        Body::Begin { .. } | Body::Commit | Body::Rollback | Body::NoOp(_) => None,
    }
}

fn shown(name: &str) -> SchemaRef {
    Arc::new(Schema::new(vec![Field::new(settings::spelled(name), DataType::Utf8, false)]))
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
