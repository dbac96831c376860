//! Rows per batch of a query. DataFusion limits only the number of rows: 8192 copies of a text of 250 kB are two
//! gigabytes, which it does not reserve in the memory pool. So batches have fewer rows if the columns or literals of a
//! query are wide.

use datafusion::{
    common::{
        ScalarValue,
        tree_node::{TreeNode, TreeNodeRecursion},
    },
    datasource::source_as_provider,
    error::Result as DfResult,
    logical_expr::{Expr, LogicalPlan},
};

use super::table::InputTable;

/// Expected bytes of a batch: [`ROW_BYTES`] for each of the usual number of rows.
const BATCH_BYTES: usize = 8192 * ROW_BYTES;
/// Bytes of a row of usual width.
const ROW_BYTES: usize = 1 << 10;

/// Rows per batch, at most `most`. The results of functions are not known here; they are limited elsewhere.
pub fn batch_rows(plan: &LogicalPlan, most: usize) -> DfResult<usize> {
    let mut width = 0_usize;
    plan.apply_with_subqueries(|node| {
        width = width.saturating_add(read_by(node)?);
        node.apply_expressions(|expr| {
            expr.apply(|expr| {
                if let Expr::Literal(value, _) = expr {
                    width = width.saturating_add(written(value));
                }
                Ok(TreeNodeRecursion::Continue)
            })
        })
    })?;
    match width <= ROW_BYTES {
        true => Ok(most),
        false => Ok((BATCH_BYTES / width).clamp(1, most)),
    }
}

/// Bytes of a literal, 0 if it is small: a query may have thousands of those in one list.
fn written(value: &ScalarValue) -> usize {
    let bytes = value.size();
    if bytes > ROW_BYTES { bytes } else { 0 }
}

/// Bytes of a row of a relation.
fn read_by(node: &LogicalPlan) -> DfResult<usize> {
    let LogicalPlan::TableScan(scan) = node else { return Ok(0) };
    let provider = source_as_provider(&scan.source)?;
    let snapshot = InputTable::of(provider.as_ref()).and_then(|table| table.snapshot.as_ref());
    Ok(snapshot.map_or(0, |snapshot| snapshot.row_bytes()))
}
