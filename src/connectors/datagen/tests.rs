use arrow::{
    array::{Array, AsArray, RecordBatch},
    compute::concat_batches,
    datatypes::{DataType, Field, Int64Type, Schema, TimeUnit, TimestampMicrosecondType},
};
use futures::TryStreamExt;

use super::*;
use crate::{
    connectors::{self, Offsets, ReadLimit, ScanHints, Span},
    storage::MemoryStorage,
    time::ManualClock,
};

const START: Micros = 1_700_000_000_000_000;

fn every_type() -> SchemaRef {
    let fields = [
        ("i", DataType::Int64),
        ("s", DataType::Int16),
        ("f", DataType::Float64),
        ("d", DataType::Decimal128(10, 2)),
        ("b", DataType::Boolean),
        ("t", DataType::Utf8),
        ("at", DataType::Timestamp(TimeUnit::Microsecond, None)),
        ("day", DataType::Date32),
    ];
    Arc::new(Schema::new(fields.map(|(n, t)| Field::new(n, t, true)).to_vec()))
}

fn options(more: &[(&str, &str)]) -> Options {
    let mut options = Options::default();
    options.insert("connector", "datagen");
    for (key, value) in more {
        options.insert(*key, *value);
    }
    options
}

struct Fixture {
    env: SourceEnv,
    clock: Arc<ManualClock>,
}

impl Fixture {
    fn new() -> Fixture {
        let clock = Arc::new(ManualClock::new(START));
        Fixture { env: SourceEnv::new(Arc::new(MemoryStorage::default()), clock.clone()), clock }
    }

    async fn open(&self, more: &[(&str, &str)]) -> Result<Arc<dyn Source>> {
        Ok(connectors::open(1, "g", Some(every_type()), &options(more), &self.env).await?)
    }
}

async fn rows(source: &dyn Source, from: u64, to: u64, partitions: usize) -> RecordBatch {
    let span = Span { from: Offsets::single(from), to: Offsets::single(to) };
    let hints = ScanHints { projection: None, partitions, batch_rows: 100, bad: Default::default(), retain: false };
    let mut all = Vec::new();
    let streams = source.scan(&span, &hints).unwrap();
    assert!((1..=partitions).contains(&streams.len()));
    for stream in streams {
        all.extend(stream.rows.execute(Default::default()).try_collect::<Vec<_>>().await.unwrap());
    }
    concat_batches(&source.schema(), &all).unwrap()
}

#[tokio::test]
async fn datagen_rows_are_the_same_in_any_partitioning_and_after_a_restart() {
    let fixture = Fixture::new();
    let more = [("fields.i.null_rate", "0.5"), ("fields.at.max_past", "1 hour"), ("seed", "7")];
    let source = fixture.open(&more).await.unwrap();
    let whole = rows(source.as_ref(), 0, 5_000, 1).await;
    assert_eq!(rows(source.as_ref(), 0, 5_000, 3).await, whole);
    let nulls = whole.column(0).null_count();
    assert!((2_000..3_000).contains(&nulls), "{nulls}");
    fixture.clock.advance(1_000_000_000);
    let again = fixture.open(&more).await.unwrap();
    assert_eq!(rows(again.as_ref(), 1_234, 4_000, 2).await, whole.slice(1_234, 2_766));
    let other = fixture.open(&[("seed", "8")]).await.unwrap();
    assert_ne!(rows(other.as_ref(), 0, 5_000, 1).await.column(1), whole.column(1));
}

#[tokio::test]
async fn datagen_values_stay_within_the_field_options() {
    let fixture = Fixture::new();
    let more = [
        ("fields.i.kind", "sequence"),
        ("fields.i.start", "5"),
        ("fields.i.end", "7"),
        ("fields.s.min", "-3"),
        ("fields.s.max", "3"),
        ("fields.t.length", "40"),
        ("rows_per_second", "1000"),
    ];
    let source = fixture.open(&more).await.unwrap();
    let batch = rows(source.as_ref(), 0, 1_000, 1).await;
    let sequence = batch.column(0).as_primitive::<Int64Type>().values();
    assert_eq!(&sequence[..5], &[5, 6, 7, 5, 6]);
    let small = batch.column(1).as_primitive::<arrow::datatypes::Int16Type>().values();
    for value in -3..=3 {
        assert!(small.contains(&value), "{value}");
    }
    assert!(small.iter().all(|v| (-3..=3).contains(v)));
    assert!(batch.column(5).as_string::<i32>().iter().all(|t| t.is_some_and(|t| t.len() == 40)));
    let at = batch.column(6).as_primitive::<TimestampMicrosecondType>().values();
    assert_eq!((at[0], at[999]), (START, START + 999_000));
}

#[tokio::test]
async fn datagen_ahead_follows_the_rate_and_the_limits() {
    let fixture = Fixture::new();
    let source = fixture.open(&[("rows_per_second", "100"), ("number_of_rows", "250")]).await.unwrap();
    let ahead = async |from, limit| {
        let ahead = source.ahead(&Offsets::single(from), &limit).await.unwrap();
        (ahead.to.only(), ahead.backlog.rows.unwrap())
    };
    let limit = ReadLimit::default();
    assert_eq!(ahead(0, limit).await, (1, 1));
    fixture.clock.advance(1_000_000);
    assert_eq!(ahead(1, limit).await, (101, 100));
    assert_eq!(ahead(1, ReadLimit { rows: Some(30), ..limit }).await, (31, 100));
    assert_eq!(ahead(1, ReadLimit { rows: Some(0), ..limit }).await, (2, 100));
    fixture.clock.advance(10_000_000);
    assert_eq!(ahead(101, limit).await, (250, 149));
    assert_eq!(ahead(250, limit).await, (250, 0));
    let fast = fixture.open(&[("rows_per_second", "0")]).await.unwrap();
    assert_eq!(fast.ahead(&Offsets::single(5), &limit).await.unwrap().to.only(), 100_005);
}

#[tokio::test]
async fn datagen_invalid_field_options_and_types_are_refused() {
    let fixture = Fixture::new();
    for (key, value) in [
        ("fields.nope.kind", "random"),
        ("fields.i.kind", "magic"),
        ("fields.i.colour", "red"),
        ("fields.s.max", "99999"),
        ("fields.i.null_rate", "2"),
        ("fields.at.max_past", "soon"),
        ("rows_per_second", "-1"),
    ] {
        let error = fixture.open(&[(key, value)]).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidParameterValue, "{key}: {error}");
    }
    let error = connectors::open(1, "g", None, &options(&[]), &fixture.env).await.unwrap_err();
    assert!(error.hint_text().is_some_and(|h| h.contains("CREATE SOURCE")));
    let list = DataType::List(Arc::new(Field::new("item", DataType::Int64, true)));
    let schema = Arc::new(Schema::new(vec![Field::new("l", list, true)]));
    let error = connectors::open(1, "g", Some(schema), &options(&[]), &fixture.env).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
}
