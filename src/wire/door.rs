//! The interface of the engine that the protocol needs, so that it can be tested against fakes.

use arrow::{
    array::RecordBatch,
    datatypes::{DataType, SchemaRef},
};
use async_trait::async_trait;
use datafusion::{common::ScalarValue, physical_plan::SendableRecordBatchStream};

use crate::{
    engine::{self, Authorized, Description, Engine},
    error::Result,
    metrics::Registry,
    session::Session,
    sql::statement::{CopyFormat, Statement},
};

/// Runs statements. Dropping a future or a stream of rows cancels the statement.
#[async_trait]
pub trait Door: Send + Sync + 'static {
    /// The parameters and columns of a statement. `types` are those the client declared; `None` is inferred.
    async fn describe(
        &self,
        session: &Session,
        statement: &Statement,
        types: &[Option<DataType>],
    ) -> Result<Description>;

    async fn execute(
        &self,
        session: &Session,
        statement: &Authorized,
        parameters: &[ScalarValue],
    ) -> Result<DoorAnswer>;

    /// The registry for the metrics of sessions, if there is one.
    fn metrics(&self) -> Option<&Registry> {
        None
    }
}

/// [`engine::Reply`], with the target of a COPY behind a trait.
pub enum DoorAnswer {
    /// The command tag.
    Done(String),
    Rows {
        tag: &'static str,
        rows: SendableRecordBatchStream,
    },
    CopyIn(Box<dyn Intake>),
    CopyOut {
        format: CopyFormat,
        rows: SendableRecordBatchStream,
    },
    /// An endless stream, each row to be sent at once; in COPY format if `copy` is given.
    Live {
        rows: SendableRecordBatchStream,
        copy: Option<CopyFormat>,
    },
}

/// A running `COPY … FROM STDIN`. Dropping it aborts the copy.
#[async_trait]
pub trait Intake: Send {
    fn format(&self) -> &CopyFormat;
    fn columns(&self) -> SchemaRef;
    async fn push(&mut self, rows: RecordBatch) -> Result<()>;
    /// Inserts all rows durably; returns their number.
    async fn finish(self: Box<Self>) -> Result<u64>;
}

#[async_trait]
impl Door for Engine {
    async fn describe(
        &self,
        session: &Session,
        statement: &Statement,
        types: &[Option<DataType>],
    ) -> Result<Description> {
        Engine::describe(self, session, statement, types).await
    }

    async fn execute(
        &self,
        session: &Session,
        statement: &Authorized,
        parameters: &[ScalarValue],
    ) -> Result<DoorAnswer> {
        Ok(match Engine::execute(self, session, statement, parameters).await? {
            engine::Reply::Done(tag) => DoorAnswer::Done(tag),
            engine::Reply::Rows { tag, rows } => DoorAnswer::Rows { tag, rows },
            engine::Reply::CopyIn(copy) => DoorAnswer::CopyIn(Box::new(copy)),
            engine::Reply::CopyOut { format, rows } => DoorAnswer::CopyOut { format, rows },
            engine::Reply::Live { rows, copy } => DoorAnswer::Live { rows, copy },
        })
    }

    fn metrics(&self) -> Option<&Registry> {
        Some(Engine::metrics(self))
    }
}

#[async_trait]
impl Intake for engine::CopyInTarget {
    fn format(&self) -> &CopyFormat {
        &self.format
    }

    fn columns(&self) -> SchemaRef {
        self.columns.clone()
    }

    async fn push(&mut self, rows: RecordBatch) -> Result<()> {
        engine::CopyInTarget::push(self, rows).await
    }

    async fn finish(self: Box<Self>) -> Result<u64> {
        engine::CopyInTarget::finish(*self).await
    }
}
