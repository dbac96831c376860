//! The sink: one transaction an epoch, over one connection.

use std::any::Any;

use arrow::array::RecordBatch;
use async_trait::async_trait;
use bytes::Bytes;
use futures::{SinkExt, pin_mut};
use tokio_postgres::{Client, NoTls, SimpleQueryMessage, Statement};

use super::{PostgresOptions, cells::Cells, postgres_error, table::TargetTable};
use crate::{
    connectors::{
        Delivery, Outgoing, Sink, SinkDef,
        sink::{Mode, SinkConfig, UpsertRows},
    },
    error::{Error, ErrorKind, Result},
    time::Epoch,
};

/// About what is sent in one piece, and the most rows of it.
const PIECE_BYTES: usize = 256 << 10;
const PIECE_ROWS: usize = 1_000;

/// What holds for the whole session: locks are not waited for without end, a commit is not acknowledged before it is
/// durable, and values mean the same whatever the defaults of the server.
const SESSION: &str = "SET lock_timeout = '10s'; SET client_encoding = 'UTF8'; SET datestyle = 'ISO, MDY';
    SET intervalstyle = 'postgres'; SET timezone = 'UTC'; SET client_min_messages = 'warning';
    SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'";

impl SinkConfig for PostgresOptions {
    fn modes(&self) -> &'static [Mode] {
        &[Mode::Append, Mode::Upsert, Mode::Complete]
    }

    /// Who writes it may be another.
    fn continues(&self, other: &dyn Any) -> bool {
        let Some(other) = other.downcast_ref::<PostgresOptions>() else { return false };
        let server = |options: &PostgresOptions| {
            let database = options.config.get_dbname().or(options.config.get_user()).map(str::to_string);
            (options.config.get_hosts().to_vec(), options.config.get_ports().to_vec(), database)
        };
        server(self) == server(other) && (&self.schema, &self.table) == (&other.schema, &other.table)
    }

    fn create(&self, def: SinkDef) -> Result<Box<dyn Sink>> {
        Ok(Box::new(PostgresSink::new(def, self.clone())?))
    }
}

/// A table of Postgres as a sink.
#[derive(Debug)]
pub struct PostgresSink {
    def: SinkDef,
    options: PostgresOptions,
    target: TargetTable,
    held: Option<OpenConnection>,
}

/// The connection of the holder.
#[derive(Debug)]
struct OpenConnection {
    client: Client,
    /// The word by which this holder is known.
    holder: String,
    /// How rows come in, and how keys that are gone do.
    copy: Statement,
    copy_gone: Option<Statement>,
}

impl PostgresSink {
    /// Fails where a column has no type in Postgres.
    pub fn new(def: SinkDef, options: PostgresOptions) -> Result<PostgresSink> {
        let target = TargetTable::new(&def, &options)?;
        Ok(PostgresSink { def, options, target, held: None })
    }

    async fn connect(&self) -> Result<(Epoch, OpenConnection)> {
        let target = &self.target;
        let (client, connection) = self.options.config.connect(NoTls).await.map_err(postgres_error)?;
        // Ends with the client.
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection to postgres ended");
            }
        });
        client.batch_execute(SESSION).await.map_err(postgres_error)?;
        let (epoch, holder) = target.take_hold(&client).await?;
        let (copy, copy_gone) = match target.stage() {
            None => (client.prepare(&target.copy()).await, None),
            Some(stage) => {
                client.batch_execute(&stage).await.map_err(postgres_error)?;
                (client.prepare(&target.copy_staged()).await, Some(client.prepare(&target.copy_gone()).await))
            }
        };
        let (copy, copy_gone) = (copy.map_err(postgres_error)?, copy_gone.transpose().map_err(postgres_error)?);
        Ok((Epoch(epoch), OpenConnection { client, holder, copy, copy_gone }))
    }

    /// Puts where an error happened before it.
    fn placed(&self, error: Error) -> Error {
        error.context(format!("sink \"{}\" to {}", self.def.name, self.options.place()))
    }
}

#[async_trait]
impl Sink for PostgresSink {
    fn delivery(&self) -> Delivery {
        Delivery::ExactlyOnce
    }

    async fn open(&mut self) -> Result<Epoch> {
        // What the connection before left half done is undone with it.
        self.held = None;
        let (epoch, held) = self.connect().await.map_err(|error| self.placed(error))?;
        self.held = Some(held);
        Ok(epoch)
    }

    async fn write(&mut self, epoch: Epoch, rows: &Outgoing) -> Result<()> {
        let Some(held) = self.held.take() else {
            return Err(Error::new(ErrorKind::CannotConnectNow, "there is no connection to postgres"));
        };
        held.write(&self.def, &self.target, epoch, rows).await.map_err(|error| self.placed(error))?;
        self.held = Some(held);
        Ok(())
    }
}

impl OpenConnection {
    async fn write(&self, def: &SinkDef, target: &TargetTable, epoch: Epoch, rows: &Outgoing) -> Result<()> {
        self.begin(target, epoch).await?;
        let all: Vec<usize> = (0..def.schema.fields().len()).collect();
        let mut last = Vec::new();
        match (def.mode, &def.key) {
            (Mode::Upsert, Some(key)) => {
                let UpsertRows { put, gone } = rows.upserts(key)?;
                if let Some(copy) = self.copy_gone.as_ref().filter(|_| gone.num_rows() > 0) {
                    self.send(copy, &gone, key, |_| 1).await?;
                    last.push(target.delete());
                }
                if put.num_rows() > 0 {
                    self.send(&self.copy, &put, &all, |_| 1).await?;
                    last.push(target.upsert());
                }
            }
            _ => {
                if rows.whole {
                    self.client.batch_execute(&target.clear()).await.map_err(postgres_error)?;
                }
                let changes = &rows.changes;
                if !changes.is_insert_only() {
                    return Err(Error::internal("rows were withdrawn from a sink that only appends"));
                }
                self.send(&self.copy, changes.rows(), &all, |row| changes.diff(row)).await?;
            }
        }
        last.push("COMMIT".to_string());
        self.client.batch_execute(&last.join("; ")).await.map_err(postgres_error)
    }

    /// Begins a transaction and writes down whose it is.
    async fn begin(&self, target: &TargetTable, epoch: Epoch) -> Result<()> {
        let begin = target.begin(epoch.0, &self.holder);
        let answers = self.client.simple_query(&begin).await.map_err(postgres_error)?;
        let counts = answers.iter().filter_map(|answer| match answer {
            SimpleQueryMessage::CommandComplete(count) => Some(*count),
            _ => None,
        });
        if counts.last() == Some(1) {
            return Ok(());
        }
        Err(Error::new(ErrorKind::ObjectInUse, format!("epoch {epoch} is not for this server to write"))
            .detail("Another server, on a copy of this data directory, has taken hold of the sink since.")
            .hint("Stop one of the two, then ALTER SINK … RESUME the other."))
    }

    /// Sends some columns of rows, each row as often as it came.
    async fn send(
        &self,
        copy: &Statement,
        rows: &RecordBatch,
        columns: &[usize],
        times: impl Fn(usize) -> i64,
    ) -> Result<()> {
        if rows.num_rows() == 0 {
            return Ok(());
        }
        let cells = Cells::new(rows, columns)?;
        let sink = self.client.copy_in::<_, Bytes>(copy).await.map_err(postgres_error)?;
        pin_mut!(sink);
        let row_bytes = (rows.get_array_memory_size() / rows.num_rows()).max(1);
        let step = (PIECE_BYTES / row_bytes).clamp(1, PIECE_ROWS);
        for from in (0..rows.num_rows()).step_by(step) {
            let piece = from..(from + step).min(rows.num_rows());
            let each = piece.flat_map(|row| std::iter::repeat_n(row, usize::try_from(times(row)).unwrap_or(0)));
            let mut text = Vec::new();
            cells.write(each, &mut text)?;
            sink.send(Bytes::from(text)).await.map_err(postgres_error)?;
        }
        sink.as_mut().finish().await.map_err(postgres_error)?;
        Ok(())
    }
}
