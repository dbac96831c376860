//! The immutable contents of a relation at an epoch, as a table that DataFusion can scan.

use std::sync::Arc;

use arrow::{array::RecordBatch, datatypes::SchemaRef};
use async_trait::async_trait;
use datafusion::{
    catalog::{Session, TableProvider, memory::MemorySourceConfig},
    datasource::{TableType, source::DataSourceExec},
    error::Result as DfResult,
    logical_expr::Expr,
};

use crate::{
    error::{Error, Result},
    exec::Plan,
    state::LiveRows,
    time::Epoch,
};

/// Rows at an epoch. Cheap to clone and to keep; compaction of the relation does not touch it.
#[derive(Debug, Clone)]
pub struct Snapshot {
    schema: SchemaRef,
    epoch: Epoch,
    chunks: Arc<Vec<LiveRows>>,
    rows: usize,
    refusal: Option<Error>,
}

/// Some rows of a snapshot.
#[derive(Debug, Clone, Default)]
pub struct SnapshotChunk {
    pub bytes: usize,
    /// (chunk, first row, number of rows).
    parts: Vec<(usize, usize, usize)>,
}

impl Snapshot {
    pub fn new(schema: SchemaRef, epoch: Epoch, chunks: Vec<LiveRows>, rows: usize) -> Self {
        Snapshot { schema, epoch, chunks: Arc::new(chunks), rows, refusal: None }
    }

    /// A snapshot that refuses readers with `error`.
    pub fn refused(&self, error: Error) -> Snapshot {
        Snapshot { refusal: Some(error), ..self.clone() }
    }

    /// The error it refuses readers with, if it does.
    pub fn refusal(&self) -> Option<Error> {
        self.refusal.clone()
    }

    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    pub fn rows(&self) -> usize {
        self.rows
    }

    pub fn columns(&self) -> &SchemaRef {
        &self.schema
    }

    /// The live rows of chunk `n`; `None` past the last.
    pub fn piece(&self, n: usize) -> Option<Result<RecordBatch>> {
        self.chunks.get(n).map(|chunk| chunk.project(None))
    }

    /// Bytes of its rows.
    pub fn bytes(&self) -> usize {
        self.chunks.iter().map(LiveRows::bytes).sum()
    }

    /// Average bytes per row of the chunk with the widest rows. Deleted rows still stored count as rows.
    pub fn row_bytes(&self) -> usize {
        self.chunks.iter().map(|chunk| chunk.bytes() / chunk.rows().max(1)).max().unwrap_or_default()
    }

    /// Splits its rows into pieces of about `bytes_max` bytes.
    pub fn pieces(&self, bytes_max: usize) -> Vec<SnapshotChunk> {
        let mut pieces: Vec<SnapshotChunk> = Vec::new();
        for (n, chunk) in self.chunks.iter().enumerate().filter(|(_, chunk)| chunk.rows() > 0) {
            let row_bytes = (chunk.bytes() / chunk.rows()).max(1);
            let rows_max = (bytes_max / row_bytes).max(1);
            for from in (0..chunk.rows()).step_by(rows_max) {
                let rows = rows_max.min(chunk.rows() - from);
                let bytes = rows * row_bytes;
                if pieces.last().is_none_or(|piece| piece.bytes + bytes > bytes_max) {
                    pieces.push(SnapshotChunk::default());
                }
                if let Some(piece) = pieces.last_mut() {
                    piece.bytes += bytes;
                    piece.parts.push((n, from, rows));
                }
            }
        }
        pieces
    }

    /// The live rows of a piece.
    pub fn read(&self, piece: &SnapshotChunk) -> Result<Vec<RecordBatch>> {
        let part = |(chunk, from, rows): &(usize, usize, usize)| self.chunks[*chunk].part(*from, *rows);
        piece.parts.iter().map(part).collect()
    }

    /// The rows, of all columns or of some.
    pub fn batches(&self, projection: Option<&[usize]>) -> Result<Vec<RecordBatch>> {
        self.chunks.iter().map(|chunk| chunk.project(projection)).collect()
    }
}

#[async_trait]
impl TableProvider for Snapshot {
    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        _filters: &[Expr],
        limit: Option<usize>,
    ) -> DfResult<Plan> {
        let schema = match projection {
            Some(columns) => Arc::new(self.schema.project(columns)?),
            None => self.schema.clone(),
        };
        let batches = self.batches(projection.map(Vec::as_slice))?;
        // One partition per 50,000 rows.
        let wanted = state.config().target_partitions().min(1 + self.rows / 50_000).max(1);
        let mut partitions = vec![Vec::new(); wanted];
        for (n, batch) in batches.into_iter().enumerate() {
            partitions[n % wanted].push(batch);
        }
        let source = MemorySourceConfig::try_new(&partitions, schema, None)?.with_limit(limit);
        Ok(DataSourceExec::from_data_source(source))
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{ArrayRef, Int64Array};

    use super::*;
    use crate::state::Chunks;

    #[test]
    fn row_bytes_of_a_mostly_deleted_table_are_those_of_one_row() {
        let column: ArrayRef = Arc::new(Int64Array::from_iter_values(0..1000));
        let batch = RecordBatch::try_from_iter([("n", column)]).unwrap();
        let row_bytes =
            |chunks: &Chunks| Snapshot::new(batch.schema(), Epoch(1), chunks.snapshot(), chunks.rows()).row_bytes();
        let mut chunks = Chunks::new(batch.schema());
        assert_eq!(row_bytes(&chunks), 0);
        chunks.append(&batch, &(0..1000).collect::<Vec<u32>>()).unwrap();
        assert_eq!(row_bytes(&chunks), 8);
        (1..1000).for_each(|id| chunks.kill(id));
        assert_eq!(row_bytes(&chunks), 8);
    }

    #[test]
    fn snapshot_pieces_cover_all_rows_once() {
        let column: ArrayRef = Arc::new(Int64Array::from_iter_values(0..1000));
        let batch = RecordBatch::try_from_iter([("n", column)]).unwrap();
        let mut chunks = Chunks::new(batch.schema());
        for part in 0..4 {
            let ids: Vec<u32> = (part * 250..(part + 1) * 250).collect();
            chunks.append(&batch.slice(part as usize * 250, 250), &ids).unwrap();
        }
        (0..1000).step_by(7).for_each(|id| chunks.kill(id));
        let snapshot = Snapshot::new(batch.schema(), Epoch(1), chunks.snapshot(), chunks.rows());
        let whole: Vec<RecordBatch> = snapshot.batches(None).unwrap();
        let whole = arrow::compute::concat_batches(&batch.schema(), &whole).unwrap();
        for bytes in [1, 8, 100, 1000, 3000, 1 << 20] {
            let pieces = snapshot.pieces(bytes);
            assert!(pieces.iter().all(|piece| piece.bytes <= bytes.max(8)), "{bytes}");
            let rows: Vec<RecordBatch> = pieces.iter().flat_map(|piece| snapshot.read(piece).unwrap()).collect();
            assert_eq!(arrow::compute::concat_batches(&batch.schema(), &rows).unwrap(), whole, "{bytes}");
        }
    }
}
