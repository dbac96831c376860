//! The system tables in schema `tidemark`, computed when a statement reads them.

use std::{collections::BTreeMap, sync::Arc};

use arrow::{
    array::{ArrayRef, BinaryArray, Float64Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray},
    datatypes::SchemaRef,
};
use datafusion::{catalog::TableProvider, datasource::MemTable};

use super::{objects::ObjectState, snapshot::StatementSnapshot};
use crate::{
    checkpoint::DeadLetter,
    connectors::{Offsets, Source},
    error::Result,
    metrics::Sample,
    query::QueryProgress,
};

pub const NAMES: &[&str] = &["queries", "inputs", "late_rows", "dead_letters", "metrics"];

/// The present rows of a system table.
pub fn table(snapshot: &StatementSnapshot, name: &str) -> Result<Option<Arc<dyn TableProvider>>> {
    let batch = match name {
        "queries" => queries(snapshot)?,
        "inputs" => inputs(snapshot)?,
        "late_rows" => late_rows(snapshot)?,
        "dead_letters" => dead_letters(snapshot)?,
        "metrics" => metrics(snapshot)?,
        _ => return Ok(None),
    };
    Ok(Some(Arc::new(MemTable::try_new(batch.schema(), vec![vec![batch]])?)))
}

/// The schema of a system table, for the catalog.
pub fn schema(snapshot: &StatementSnapshot, name: &str) -> Result<Option<SchemaRef>> {
    Ok(table(snapshot, name)?.map(|table| table.schema()))
}

fn text(values: impl IntoIterator<Item = Option<String>>) -> ArrayRef {
    Arc::new(values.into_iter().collect::<StringArray>())
}

fn number(values: impl IntoIterator<Item = Option<u64>>) -> ArrayRef {
    Arc::new(values.into_iter().map(|n| n.map(|n| n as i64)).collect::<Int64Array>())
}

fn barrier(values: impl IntoIterator<Item = Option<i64>>) -> ArrayRef {
    Arc::new(values.into_iter().collect::<TimestampMicrosecondArray>())
}

/// One row per standing query, including those that could not be started.
fn queries(snapshot: &StatementSnapshot) -> Result<RecordBatch> {
    let mut rows: Vec<(String, String, Option<QueryProgress>, Option<String>)> = Vec::new();
    for object in snapshot.objects.in_order() {
        let kind = object.kind.to_string();
        match &object.what {
            ObjectState::ContinuousQuery { handle, .. } | ObjectState::Sink { handle, .. } => {
                rows.push((object.name.clone(), kind, Some(handle.progress()), None))
            }
            ObjectState::Broken(error) => rows.push((object.name.clone(), kind, None, Some(error.to_string()))),
            _ => {}
        }
    }
    let count =
        |of: fn(&QueryProgress) -> u64| number(rows.iter().map(|(_, _, progress, _)| progress.as_ref().map(of)));
    let state = |progress: &Option<QueryProgress>| progress.as_ref().map_or("failed", |p| p.state.word()).to_string();
    let error = |(_, _, progress, error): &(_, _, Option<QueryProgress>, Option<String>)| {
        let last = progress.as_ref().and_then(|p| p.last_error.as_ref()).map(ToString::to_string);
        last.or_else(|| error.clone())
    };
    Ok(RecordBatch::try_from_iter_with_nullable([
        ("name", text(rows.iter().map(|(name, ..)| Some(name.clone()))), true),
        ("kind", text(rows.iter().map(|(_, kind, ..)| Some(kind.clone()))), true),
        ("state", text(rows.iter().map(|(_, _, progress, _)| Some(state(progress)))), true),
        ("epoch", count(|p| p.epoch.0), true),
        ("watermark", barrier(rows.iter().map(|(_, _, p, _)| p.as_ref()?.watermark)), true),
        ("rows_in", count(|p| p.rows_in), true),
        ("rows_out", count(|p| p.rows_out), true),
        ("late", count(|p| p.late), true),
        ("no_event_time", count(|p| p.untimed), true),
        ("dead_letters", count(|p| p.bad), true),
        ("state_rows", count(|p| p.state_rows), true),
        ("state_bytes", count(|p| p.state_bytes), true),
        ("checkpoint", count(|p| p.checkpoint.0), true),
        ("epoch_us", count(|p| p.epoch_us), true),
        ("last_error", text(rows.iter().map(error)), true),
    ])?)
}

/// One row per input of each standing query.
fn inputs(snapshot: &StatementSnapshot) -> Result<RecordBatch> {
    let mut rows = Vec::new();
    for object in snapshot.objects.in_order() {
        let Some(handle) = object.handle() else { continue };
        let progress = handle.progress();
        for input in progress.inputs {
            let state = match snapshot.objects.get(&input.name).map(|object| &object.what) {
                // An address may contain a secret.
                Some(ObjectState::Source { source, .. }) => {
                    source.state().map(|state| snapshot.hidden.mask_text(&state).into_owned())
                }
                _ => None,
            };
            rows.push((object.name.clone(), input, progress.watermark, state));
        }
    }
    let offsets = |offsets: &Offsets| serde_json::to_string(offsets).ok();
    Ok(RecordBatch::try_from_iter_with_nullable([
        ("query", text(rows.iter().map(|(query, ..)| Some(query.clone()))), true),
        ("input", text(rows.iter().map(|(_, input, ..)| Some(input.name.clone()))), true),
        ("offsets", text(rows.iter().map(|(_, input, ..)| offsets(&input.offsets))), true),
        ("backlog_rows", number(rows.iter().map(|(_, input, ..)| input.backlog.rows)), true),
        ("backlog_bytes", number(rows.iter().map(|(_, input, ..)| input.backlog.bytes)), true),
        ("backlog_files", number(rows.iter().map(|(_, input, ..)| input.backlog.files)), true),
        ("rows_per_second", number(rows.iter().map(|(_, input, ..)| input.rows_per_second)), true),
        ("admitted_rows", number(rows.iter().map(|(_, input, ..)| input.admitted_rows)), true),
        ("admitted_bytes", number(rows.iter().map(|(_, input, ..)| input.admitted_bytes)), true),
        ("watermark", barrier(rows.iter().map(|(_, _, watermark, _)| *watermark)), true),
        ("state", text(rows.iter().map(|(.., state)| state.clone())), true),
    ])?)
}

fn late_rows(snapshot: &StatementSnapshot) -> Result<RecordBatch> {
    let rows = snapshot.late_rows.all();
    Ok(RecordBatch::try_from_iter_with_nullable([
        ("query", text(rows.iter().map(|r| Some(r.query.clone()))), true),
        ("epoch", number(rows.iter().map(|r| Some(r.epoch.0))), true),
        ("cause", text(rows.iter().map(|r| Some(r.cause.word().to_string()))), true),
        ("watermark", barrier(rows.iter().map(|r| r.watermark)), true),
        ("row", text(rows.iter().map(|r| Some(r.row.clone()))), true),
        ("at", barrier(rows.iter().map(|r| Some(r.at))), true),
    ])?)
}

fn dead_letters(snapshot: &StatementSnapshot) -> Result<RecordBatch> {
    let (ids, rows): (Vec<i64>, Vec<DeadLetter>) = snapshot.dead_letters.all().into_iter().unzip();
    // An origin may contain a secret.
    let shown = |origin: &str| snapshot.hidden.mask_text(origin).into_owned();
    let raw: ArrayRef = Arc::new(rows.iter().map(|r| Some(r.raw.as_slice())).collect::<BinaryArray>());
    Ok(RecordBatch::try_from_iter_with_nullable([
        ("id", Arc::new(Int64Array::from(ids)) as ArrayRef, true),
        ("source", text(rows.iter().map(|r| Some(r.source.clone()))), true),
        ("query", text(rows.iter().map(|r| Some(r.query.clone()))), true),
        ("epoch", number(rows.iter().map(|r| r.epoch.map(|epoch| epoch.0))), true),
        ("file", text(rows.iter().map(|r| Some(shown(&r.origin)).filter(|origin| !origin.is_empty()))), true),
        ("line", Arc::new(rows.iter().map(|r| r.position).collect::<Int64Array>()), true),
        ("raw", raw, true),
        ("reason", text(rows.iter().map(|r| Some(r.reason.clone()))), true),
        ("at", barrier(rows.iter().map(|r| Some(r.at))), true),
        ("replayed_at", barrier(rows.iter().map(|r| r.replayed)), true),
    ])?)
}

/// One row per metric of the server; the labels are a JSON object.
fn metrics(snapshot: &StatementSnapshot) -> Result<RecordBatch> {
    let samples = snapshot.metrics.collect().samples();
    let labels = |sample: &Sample| {
        serde_json::to_string(&sample.labels.iter().map(|(name, value)| (*name, value)).collect::<BTreeMap<_, _>>())
            .ok()
    };
    let values: ArrayRef = Arc::new(samples.iter().map(|sample| Some(sample.value)).collect::<Float64Array>());
    Ok(RecordBatch::try_from_iter_with_nullable([
        ("name", text(samples.iter().map(|sample| Some(sample.name.clone()))), true),
        ("labels", text(samples.iter().map(labels)), true),
        ("value", values, true),
        ("help", text(samples.iter().map(|sample| Some(sample.help.to_string()))), true),
    ])?)
}
