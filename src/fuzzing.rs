//! What bytes from outside reach, each as a function of bytes: for the fuzzers in `fuzz/`, and for `tests/fuzzing.rs`,
//! which runs them over a corpus.
//!
//! None of them may panic, hang, or take memory without a bound, whatever the bytes are.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use bytes::Bytes;

use crate::{
    checkpoint::file,
    config::{Config, Environment, pipeline::Pipeline, yaml::Document},
    connectors, formats,
    formats::{Format, RawRecord, Request},
    options::Options,
    sql,
    storage::{Journal, MemoryStorage, Storage},
    wire,
};

/// An entry point: its name, and what it does with some bytes.
pub struct FuzzTarget {
    pub name: &'static str,
    pub run: fn(&[u8]),
}

/// All of them.
pub static TARGETS: [FuzzTarget; 13] = [
    FuzzTarget { name: "frontend", run: |data| wire::decode_frontend(data) },
    FuzzTarget { name: "sql", run: |data| drop(std::str::from_utf8(data).map(sql::parse)) },
    FuzzTarget { name: "journal", run: journal },
    FuzzTarget { name: "checkpoint", run: |data| drop(file::decode::<serde_json::Value>("fuzzed", data)) },
    FuzzTarget { name: "csv", run: |data| file_of(data, &[("format", "csv"), ("header", "true")], "f.csv") },
    FuzzTarget { name: "csv_gz", run: |data| file_of(data, &[("format", "csv")], "f.csv.gz") },
    FuzzTarget { name: "json", run: |data| file_of(data, &[("format", "json")], "f.json") },
    FuzzTarget { name: "debezium", run: |data| file_of(data, &[("format", "debezium_json")], "f.json") },
    FuzzTarget { name: "avro", run: |data| file_of(data, &[("format", "avro")], "f.avro") },
    FuzzTarget { name: "parquet", run: |data| file_of(data, &[("format", "parquet")], "f.parquet") },
    FuzzTarget { name: "messages", run: messages },
    FuzzTarget { name: "delta_log", run: |data| connectors::decode_log(data) },
    FuzzTarget { name: "yaml", run: yaml },
];

/// Runs the target of a name; unknown names are none of the fuzzers'.
pub fn run(name: &str, data: &[u8]) {
    let target = TARGETS.iter().find(|target| target.name == name);
    (target.unwrap_or_else(|| panic!("no target \"{name}\"")).run)(data);
}

/// A file of the journal, as a start finds it.
fn journal(data: &[u8]) {
    let storage = Arc::new(MemoryStorage::default());
    if storage.append("log/000000000001.log", data).is_ok() {
        let _ = Journal::open(storage, "log", 1);
    }
}

fn yaml(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let (document, environment) = (Document::new("fuzzed.yaml", text), Environment::with(|_| None));
    let _ = document.check();
    let _ = Config::load(&document, &environment);
    let _ = Pipeline::load(&document, &environment);
}

/// Columns of many types.
fn schema() -> SchemaRef {
    let item = Field::new_list_field(DataType::Int64, true);
    let pair = vec![Field::new("a", DataType::Int32, true), Field::new("b", DataType::Utf8, true)];
    let columns = [
        ("id", DataType::Int64),
        ("t", DataType::Utf8),
        ("x", DataType::Float64),
        ("n", DataType::Decimal128(10, 2)),
        ("b", DataType::Boolean),
        ("ts", DataType::Timestamp(TimeUnit::Microsecond, None)),
        ("d", DataType::Date32),
        ("by", DataType::Binary),
        ("xs", DataType::List(Arc::new(item))),
        ("st", DataType::Struct(pair.into())),
    ];
    // A key, for formats that set and remove rows by one.
    let fields = columns.into_iter().map(|(name, of)| Field::new(name, of, name != "id"));
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

fn format(options: &[(&str, &str)]) -> Option<Format> {
    let mut all = Options::default();
    for (key, value) in options {
        all.insert(*key, *value);
    }
    Format::from_options(&mut all.taker("a fuzzer")).ok()
}

/// The columns that a file seems to have, and its rows in two parts as columns of other types.
fn file_of(data: &[u8], options: &[(&str, &str)], name: &str) {
    let Some(format) = format(options) else { return };
    let input: Arc<dyn formats::ByteInput> = Arc::new(Bytes::copy_from_slice(data));
    let inferred = format.infer(&[(name.to_string(), input.clone())]);
    let size = data.len() as u64;
    for schema in inferred.into_iter().chain([schema()]) {
        let projection = (0..schema.fields().len()).collect();
        let request = Request { schema, projection, batch_rows: 7 };
        // One that is not split comes as one part.
        let middle = if format.splits(name) { size / 2 } else { 0 };
        for part in [0..middle, middle..size] {
            if part.is_empty() && size > 0 {
                continue;
            }
            let bad = Arc::new(Mutex::new(0_u64));
            let sink = Box::new(move |_| *bad.lock().unwrap_or_else(PoisonError::into_inner) += 1);
            if let Ok(batches) = format.read(name, input.clone(), part, &request, sink) {
                batches.for_each(drop);
            }
        }
    }
}

/// Lines as messages of every format.
fn messages(data: &[u8]) {
    const AVRO: &str = r#"{"type":"record","name":"r","fields":[{"name":"id","type":"long"},
        {"name":"t","type":["null","string"]},{"name":"st","type":["null",{"type":"record","name":"p","fields":
        [{"name":"a","type":["null","int"]},{"name":"b","type":["null","string"]}]}]}]}"#;
    let schema = schema();
    let request = Request { projection: (0..schema.fields().len()).collect(), schema, batch_rows: 7 };
    let kinds = ["json", "csv", "text", "bytes", "debezium_json", "upsert_json"].map(|kind| vec![("format", kind)]);
    let avro = vec![("format", "avro"), ("avro.schema", AVRO), ("avro.framing", "none")];
    for options in kinds.into_iter().chain([avro]) {
        let Some(mut decoder) = format(&options).and_then(|format| format.decoder(&request).ok()) else { continue };
        for line in data.split(|byte| *byte == b'\n') {
            decoder.push(RawRecord { key: Some(line), value: Some(line) });
            if decoder.is_full() {
                decoder.flush();
            }
        }
        decoder.push(RawRecord { key: Some(data), value: None });
        decoder.flush();
    }
}

/// The folder of a target's corpus in the checkout.
pub fn corpus(target: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/corpus").join(target)
}
