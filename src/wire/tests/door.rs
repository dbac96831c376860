//! A test engine over DataFusion: tables in memory, one that never returns a row, one that never ends.

use std::{
    collections::BTreeMap,
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll},
};

use arrow::{
    array::{Int64Array, RecordBatch},
    datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit},
};
use async_trait::async_trait;
use datafusion::{
    catalog::{MemTable, streaming::StreamingTable},
    common::{ParamValues, ScalarValue},
    execution::TaskContext,
    logical_expr::{ColumnarValue, Volatility, create_udf},
    physical_plan::{
        RecordBatchStream, SendableRecordBatchStream, execute_stream, stream::RecordBatchStreamAdapter,
        streaming::PartitionStream,
    },
    prelude::{SessionConfig, SessionContext},
    sql::sqlparser::ast,
};
use futures::Stream;
use tokio::sync::Notify;

use crate::{
    catalog::{self, RelationDef},
    engine::{Authorized, Description},
    error::{Error, ErrorKind, Result},
    pg_catalog::{self, Listing},
    session::Session,
    sql::statement::{Body, CopyFormat, CopyOut, Reads, Statement},
    sql::{builtins, naming},
    wire::{Door, DoorAnswer, Intake},
};

/// Notifications for tests: a query of `forever` or `endless` has started, or was dropped.
#[derive(Debug, Default)]
pub struct Watch {
    pub begun: Notify,
    pub gone: Notify,
}

pub struct TestDoor {
    context: SessionContext,
    pub watch: Arc<Watch>,
    pub copied: Arc<Mutex<Vec<RecordBatch>>>,
}

impl TestDoor {
    pub fn new() -> TestDoor {
        let config = SessionConfig::new().with_target_partitions(1).with_batch_size(100);
        let context = SessionContext::new_with_config(config);
        for function in builtins::functions() {
            context.register_udf(Arc::unwrap_or_clone(function));
        }
        let watch = Arc::new(Watch::default());
        for (name, rows) in [("forever", false), ("endless", true)] {
            let schema = Arc::new(Schema::new(vec![Field::new("n", DataType::Int64, false)]));
            let stream = Arc::new(Hanging { schema: schema.clone(), rows, watch: watch.clone() });
            let table = StreamingTable::try_new(schema, vec![stream]).expect("a table");
            context.register_table(name, Arc::new(table)).expect("registered");
        }
        let numbers = Arc::new(Schema::new(vec![Field::new("n", DataType::Int64, false)]));
        let column = Arc::new(Int64Array::from_iter_values(1..=1000));
        let batch = RecordBatch::try_new(numbers.clone(), vec![column]).expect("a batch");
        let table = MemTable::try_new(numbers, vec![vec![batch]]).expect("a table");
        context.register_table("numbers", Arc::new(table)).expect("registered");
        context.register_udf(create_udf(
            "explode",
            vec![DataType::Int64],
            DataType::Int64,
            Volatility::Volatile,
            Arc::new(|_: &[ColumnarValue]| panic!("boom")),
        ));
        TestDoor { context, watch, copied: Arc::default() }
    }

    async fn plan(&self, session: &Session, query: &ast::Query) -> Result<datafusion::logical_expr::LogicalPlan> {
        pg_catalog::register(&self.context, Arc::new(Relations), &session.info)?;
        let mut query = query.clone();
        pg_catalog::rewrite(&mut query);
        let query = naming::named(&query);
        let statement = datafusion::sql::parser::Statement::Statement(Box::new(ast::Statement::Query(query.into())));
        Ok(self.context.state().statement_to_plan(statement).await?)
    }

    async fn rows(
        &self,
        session: &Session,
        query: &ast::Query,
        parameters: &[ScalarValue],
    ) -> Result<SendableRecordBatchStream> {
        let mut plan = self.plan(session, query).await?;
        if !parameters.is_empty() {
            let values = parameters.iter().cloned().map(Into::into).collect();
            plan = plan.replace_params_with_values(&ParamValues::List(values))?;
        }
        let physical = self.context.state().create_physical_plan(&plan).await?;
        Ok(execute_stream(physical, self.context.task_ctx())?)
    }
}

/// The columns of the table that COPY fills.
pub fn copied_columns() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("id", DataType::Int32, false),
        Field::new("name", DataType::Utf8, true),
        Field::new("price", DataType::Decimal128(10, 2), true),
        Field::new("at", DataType::Timestamp(TimeUnit::Microsecond, None), true),
        Field::new("ok", DataType::Boolean, true),
    ]))
}

#[async_trait]
impl Door for TestDoor {
    async fn describe(
        &self,
        session: &Session,
        statement: &Statement,
        types: &[Option<DataType>],
    ) -> Result<Description> {
        let Body::Query(query) = &statement.body else {
            return Ok(Description { parameters: vec![], columns: None });
        };
        let plan = self.plan(session, query).await?;
        let inferred: BTreeMap<String, Option<DataType>> = plan.get_parameter_types()?.into_iter().collect();
        let parameters = inferred
            .into_values()
            .enumerate()
            .map(|(i, ty)| types.get(i).cloned().flatten().or(ty).unwrap_or(DataType::Utf8));
        let parameters: Vec<DataType> = parameters.collect();
        let nulls = parameters.iter().map(|ty| ScalarValue::try_from(ty).map(Into::into));
        let nulls = nulls.collect::<datafusion::error::Result<Vec<_>>>()?;
        let plan = if nulls.is_empty() { plan } else { plan.replace_params_with_values(&ParamValues::List(nulls))? };
        Ok(Description { parameters, columns: Some(Arc::new(plan.schema().as_arrow().clone())) })
    }

    async fn execute(
        &self,
        session: &Session,
        statement: &Authorized,
        parameters: &[ScalarValue],
    ) -> Result<DoorAnswer> {
        match &statement.body {
            Body::Flush(_) => {
                session.waits_for(Some(Error::new(ErrorKind::Recovering, "view \"v\" is still recovering")));
                self.watch.begun.notify_one();
                std::future::pending().await
            }
            Body::Query(query) => {
                Ok(DoorAnswer::Rows { tag: "SELECT", rows: self.rows(session, query, parameters).await? })
            }
            Body::CopyOut(CopyOut { reads: Reads::Query(query), format }) => {
                Ok(DoorAnswer::CopyOut { format: format.clone(), rows: self.rows(session, query, &[]).await? })
            }
            Body::CopyIn(copy) if copy.table.name == "copied" => Ok(DoorAnswer::CopyIn(Box::new(TestIntake {
                format: copy.format.clone(),
                rows: Vec::new(),
                copied: self.copied.clone(),
            }))),
            Body::CopyIn(copy) => {
                let message = format!("table \"{}\" does not exist", copy.table.name);
                Err(Error::new(ErrorKind::UndefinedTable, message)
                    .hint("CREATE TABLE makes one.")
                    .at(copy.table.position))
            }
            Body::Insert(_) => {
                session.notice("nothing is kept here");
                Ok(DoorAnswer::Done("INSERT 0 1".into()))
            }
            other => Err(Error::unsupported(format!("{other:?}"))),
        }
    }
}

/// One relation of each kind.
#[derive(Debug)]
struct Relations;

impl Listing for Relations {
    fn relations(&self) -> Vec<RelationDef> {
        use catalog::ObjectKind::{MaterializedView, Source, Stream, System, Table, View};
        let columns = Arc::new(Schema::new(vec![
            Field::new("id", DataType::Int64, false),
            Field::new("name", DataType::Utf8, true),
            Field::new("price", DataType::Decimal128(10, 2), true),
            Field::new("at", DataType::Timestamp(TimeUnit::Microsecond, None), true),
            Field::new("tags", DataType::new_list(DataType::Utf8, true), true),
        ]));
        let kinds =
            [(Table, "orders"), (Source, "raw"), (Stream, "flow"), (MaterializedView, "totals"), (View, "Recent")];
        let mut all: Vec<RelationDef> = kinds
            .into_iter()
            .enumerate()
            .map(|(id, (kind, name))| RelationDef {
                id: id as u64 + 1,
                schema: "public".into(),
                name: name.into(),
                kind,
                columns: columns.clone(),
                primary_key: if kind == Table { vec![0, 1] } else { vec![] },
                definition: format!("SELECT * FROM {name}"),
            })
            .collect();
        all.push(RelationDef {
            id: 1 << 40,
            schema: "tidemark".into(),
            name: "queries".into(),
            kind: System,
            ..all[1].clone()
        });
        all
    }
}

struct TestIntake {
    format: CopyFormat,
    rows: Vec<RecordBatch>,
    copied: Arc<Mutex<Vec<RecordBatch>>>,
}

#[async_trait]
impl Intake for TestIntake {
    fn format(&self) -> &CopyFormat {
        &self.format
    }
    fn columns(&self) -> SchemaRef {
        copied_columns()
    }
    async fn push(&mut self, rows: RecordBatch) -> Result<()> {
        self.rows.push(rows);
        Ok(())
    }
    async fn finish(self: Box<Self>) -> Result<u64> {
        let count = self.rows.iter().map(|b| b.num_rows() as u64).sum();
        self.copied.lock().expect("no panic").extend(self.rows);
        Ok(count)
    }
}

/// A table whose scan never ends: without rows, or with endless rows.
#[derive(Debug)]
struct Hanging {
    schema: SchemaRef,
    rows: bool,
    watch: Arc<Watch>,
}

impl PartitionStream for Hanging {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn execute(&self, _: Arc<TaskContext>) -> SendableRecordBatchStream {
        self.watch.begun.notify_one();
        let batch = self.rows.then(|| {
            let column = Arc::new(Int64Array::from_iter_values(0..100));
            RecordBatch::try_new(self.schema.clone(), vec![column]).expect("a batch")
        });
        let stream = HangingStream { batch, watch: self.watch.clone() };
        Box::pin(RecordBatchStreamAdapter::new(self.schema.clone(), stream)) as Pin<Box<dyn RecordBatchStream + Send>>
    }
}

struct HangingStream {
    batch: Option<RecordBatch>,
    watch: Arc<Watch>,
}

impl Stream for HangingStream {
    type Item = datafusion::error::Result<RecordBatch>;

    fn poll_next(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        match &self.batch {
            Some(batch) => Poll::Ready(Some(Ok(batch.clone()))),
            None => Poll::Pending,
        }
    }
}

impl Drop for HangingStream {
    fn drop(&mut self) {
        self.watch.gone.notify_one();
    }
}
