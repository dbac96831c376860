use std::sync::Arc;

use arrow::{
    array::*,
    datatypes::{DataType, Field, Int32Type, Schema, SchemaRef},
};
use rand::{Rng, SeedableRng, rngs::SmallRng};

use super::{sink::PostgresSink, *};
use crate::{
    changes::Changes,
    connectors::{Outgoing, Sink, SinkDef, sink::Mode},
    error::Result,
    options::Options,
    time::Epoch,
};

#[path = "../../../tests/postgres/server.rs"]
mod server;

use self::server::{PASSWORD, Postgres, USER};

/// A schema of its own on the shared server.
async fn schema(postgres: &Postgres, name: &str) {
    postgres.connect().await.batch_execute(&format!("CREATE SCHEMA {name}")).await.unwrap();
}

fn options(port: u16, schema: &str, more: &[(&str, &str)]) -> Result<PostgresOptions> {
    let mut options = Options::default();
    let url = format!("postgres://{USER}@127.0.0.1:{port}/postgres");
    for (key, value) in [("url", url.as_str()), ("password", PASSWORD), ("schema", schema), ("table", "T able")] {
        options.insert(key, value);
    }
    more.iter().for_each(|(key, value)| drop(options.insert(*key, *value)));
    options.0.retain(|_, value| !value.is_empty());
    let mut taker = options.taker("sink \"s\"");
    let options = PostgresOptions::from_options(&mut taker)?;
    taker.finish()?;
    Ok(options)
}

fn def(schema: SchemaRef, mode: Mode) -> SinkDef {
    let key = (mode == Mode::Upsert).then(|| vec![0]);
    let (name, identity) = ("s".to_string(), "it's \\ mine".to_string());
    SinkDef { name, identity, schema, mode, key, append_only: mode == Mode::Append }
}

fn sink(postgres: &Postgres, schema: &str, mode: Mode) -> PostgresSink {
    PostgresSink::new(def(columns(), mode), options(postgres.port, schema, &[]).unwrap()).unwrap()
}

/// A key and a value.
fn columns() -> SchemaRef {
    let fields = [Field::new("k", DataType::Int64, true), Field::new("the \"value\"", DataType::Utf8, true)];
    Arc::new(Schema::new(fields.to_vec()))
}

/// Rows as (key, value, diff).
fn rows(rows: &[(i64, &str, i64)]) -> Outgoing {
    let keys: Int64Array = rows.iter().map(|(k, ..)| *k).collect::<Vec<_>>().into();
    let values: StringArray = rows.iter().map(|(_, v, _)| Some(*v)).collect();
    let diffs: Int64Array = rows.iter().map(|(.., d)| *d).collect::<Vec<_>>().into();
    let batch = RecordBatch::try_new(columns(), vec![Arc::new(keys), Arc::new(values)]).unwrap();
    Outgoing { changes: Changes::new(batch, diffs), whole: false }
}

async fn table(postgres: &Postgres, schema: &str) -> Vec<String> {
    postgres.rows(&format!("SELECT * FROM {schema}.\"T able\" ORDER BY 1, 2")).await
}

#[tokio::test]
async fn postgres_sink_epoch_is_written_once_with_its_number() {
    let Some(postgres) = Postgres::shared() else { return };
    schema(postgres, "append").await;
    let mut first = sink(postgres, "append", Mode::Append);
    assert_eq!(first.open().await.unwrap(), Epoch(0));
    first.write(Epoch(2), &rows(&[(1, "one", 1), (2, "two", 2)])).await.unwrap();
    first.write(Epoch(3), &rows(&[(3, "", 1)])).await.unwrap();
    let mut second = sink(postgres, "append", Mode::Append);
    assert_eq!(second.open().await.unwrap(), Epoch(3));
    // Whoever held it before writes no more.
    let error = first.write(Epoch(4), &rows(&[(9, "nine", 1)])).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ObjectInUse);
    second.write(Epoch(4), &rows(&[(4, "four", 1)])).await.unwrap();
    assert_eq!(second.write(Epoch(4), &rows(&[(5, "five", 1)])).await.unwrap_err().kind(), ErrorKind::ObjectInUse);
    assert_eq!(table(postgres, "append").await, ["1|one", "2|two", "2|two", "3|", "4|four"]);
    let ledger = postgres.rows("SELECT identity, epoch FROM append.tidemark_sinks").await;
    assert_eq!(ledger, ["it's \\ mine|4"]);
}

#[tokio::test]
async fn postgres_sink_upsert_keeps_the_newest_row_of_a_key() {
    let Some(postgres) = Postgres::shared() else { return };
    schema(postgres, "upsert").await;
    let mut sink = sink(postgres, "upsert", Mode::Upsert);
    sink.open().await.unwrap();
    sink.write(Epoch(1), &rows(&[(1, "one", 1), (2, "two", 1), (3, "three", 1)])).await.unwrap();
    sink.write(Epoch(2), &rows(&[(1, "one", -1), (1, "uno", 1), (2, "two", -1), (4, "four", 1)])).await.unwrap();
    sink.write(Epoch(3), &rows(&[(9, "never there", -1)])).await.unwrap();
    assert_eq!(table(postgres, "upsert").await, ["1|uno", "3|three", "4|four"]);
    sink.write(Epoch(4), &rows(&[(1, "uno", -1), (3, "three", -1), (4, "four", -1)])).await.unwrap();
    assert_eq!(table(postgres, "upsert").await, Vec::<String>::new());
}

#[tokio::test]
async fn postgres_sink_complete_answer_replaces_the_previous_one() {
    let Some(postgres) = Postgres::shared() else { return };
    schema(postgres, "complete").await;
    let mut sink = sink(postgres, "complete", Mode::Complete);
    sink.open().await.unwrap();
    for (epoch, answer) in [(1, &[(1, "a", 1), (2, "b", 1)][..]), (2, &[(2, "c", 1)]), (3, &[])] {
        sink.write(Epoch(epoch), &Outgoing { whole: true, ..rows(answer) }).await.unwrap();
        let expected: Vec<String> = answer.iter().map(|(k, v, _)| format!("{k}|{v}")).collect();
        assert_eq!(table(postgres, "complete").await, expected);
    }
}

/// The writer is dropped at any moment, its connection is ended, or it goes through: no row is missing, none is twice.
#[tokio::test(flavor = "multi_thread")]
async fn postgres_sink_interrupted_write_is_committed_whole_or_not_at_all() {
    let Some(postgres) = Postgres::shared() else { return };
    for mode in [Mode::Append, Mode::Upsert] {
        let name = format!("anywhere_{}", mode.word());
        schema(postgres, &name).await;
        let mut rng = SmallRng::seed_from_u64(7);
        let mut sink = sink(postgres, &name, mode);
        let mut there = sink.open().await.unwrap();
        let (mut epoch, mut ends) = (1, 0);
        let values: Vec<String> = (0..3_000).map(|n| format!("value {n}")).collect();
        while epoch <= 12 {
            if there < Epoch(epoch) {
                let added: Vec<_> =
                    values.iter().enumerate().map(|(n, v)| (epoch as i64 * 10_000 + n as i64, v.as_str(), 1)).collect();
                let end = std::time::Duration::from_micros(rng.random_range(0..60_000));
                // The first write ends before any answer to it has come.
                let is_first = ends == 0;
                let end = async {
                    match is_first {
                        true => tokio::task::yield_now().await,
                        false => tokio::time::sleep(end).await,
                    }
                    if rng.random_bool(0.5) {
                        let kill = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'tidemark'";
                        postgres.rows(&format!("{kill} AND query LIKE '%{name}%'")).await;
                    }
                };
                let outgoing = rows(&added);
                tokio::select! {
                    written = sink.write(Epoch(epoch), &outgoing) => match written {
                        Ok(()) => there = Epoch(epoch),
                        Err(error) => {
                            assert!(matches!(error.kind(), ErrorKind::CannotConnectNow | ErrorKind::Io), "{error}");
                            ends += 1;
                        }
                    },
                    () = end => ends += 1,
                }
            }
            if there < Epoch(epoch) {
                there = sink.open().await.unwrap();
                assert!(there == Epoch(epoch) || there == Epoch(epoch - 1), "{there} of {epoch}");
            }
            if there == Epoch(epoch) {
                epoch += 1;
            }
        }
        let count = format!("SELECT count(*), count(DISTINCT k) FROM {name}.\"T able\"");
        assert_eq!(postgres.rows(&count).await, ["36000|36000"], "{mode:?}, ended {ends} times");
        assert!(ends > 0);
    }
}

#[tokio::test]
async fn postgres_sink_reconnects_after_a_server_crash() {
    let Some(mut postgres) = Postgres::start() else { return };
    let mut sink = sink(&postgres, "public", Mode::Upsert);
    sink.open().await.unwrap();
    sink.write(Epoch(1), &rows(&[(1, "one", 1)])).await.unwrap();
    postgres.crash();
    let error = sink.write(Epoch(2), &rows(&[(1, "one", -1), (1, "uno", 1)])).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::CannotConnectNow, "{error}");
    assert_eq!(sink.open().await.unwrap_err().kind(), ErrorKind::CannotConnectNow);
    postgres.go_on();
    assert_eq!(sink.open().await.unwrap(), Epoch(1));
    sink.write(Epoch(2), &rows(&[(1, "one", -1), (1, "uno", 1)])).await.unwrap();
    assert_eq!(table(&postgres, "public").await, ["1|uno"]);
}

#[tokio::test]
async fn postgres_sink_values_of_every_type_roundtrip() {
    let Some(postgres) = Postgres::shared() else { return };
    schema(postgres, "types").await;
    let micros = 1_704_164_645_000_006_i64;
    let list = ListArray::from_iter_primitive::<Int32Type, _, _>([Some(vec![Some(1), None, Some(-3)]), None]);
    let mut texts = ListBuilder::new(StringBuilder::new());
    texts.append_value([Some("a,b"), Some("\"q\" \\ {}"), None, Some("NULL"), Some("")]);
    texts.append_null();
    let interval = arrow::datatypes::IntervalMonthDayNano::new(14, 3, 4_005_000_000);
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("b", Arc::new(BooleanArray::from(vec![Some(true), None]))),
        ("i16", Arc::new(Int16Array::from(vec![Some(i16::MIN), None]))),
        ("i32", Arc::new(Int32Array::from(vec![Some(i32::MAX), None]))),
        ("i64", Arc::new(Int64Array::from(vec![Some(i64::MIN), None]))),
        ("u64", Arc::new(UInt64Array::from(vec![Some(u64::MAX), None]))),
        ("f32", Arc::new(Float32Array::from(vec![Some(0.1), None]))),
        ("f64", Arc::new(Float64Array::from(vec![Some(f64::NEG_INFINITY), Some(f64::NAN)]))),
        ("d", Arc::new(Decimal128Array::from(vec![Some(-12_345), None]).with_precision_and_scale(10, 3).unwrap())),
        ("t", Arc::new(StringArray::from(vec![Some("tab\t, line\n\r, \\N \\. é €"), Some("")]))),
        ("tv", Arc::new(StringViewArray::from(vec![Some("\\N"), None]))),
        ("y", Arc::new(BinaryArray::from(vec![Some(b"\x00\xff\\".as_slice()), None]))),
        ("date", Arc::new(Date32Array::from(vec![Some(19_724), None]))),
        ("time", Arc::new(Time64MicrosecondArray::from(vec![Some(3_661_000_001), None]))),
        ("ts", Arc::new(TimestampMicrosecondArray::from(vec![Some(micros), Some(-1)]))),
        ("ns", Arc::new(TimestampNanosecondArray::from(vec![Some(micros * 1_000), None]))),
        ("tz", Arc::new(TimestampMillisecondArray::from(vec![Some(1_704_164_645_000), None]).with_timezone("+02:00"))),
        ("iv", Arc::new(IntervalMonthDayNanoArray::from(vec![Some(interval), None]))),
        ("li", Arc::new(list)),
        ("lt", Arc::new(texts.finish())),
    ];
    let batch = RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(n, a)| (n, a, true))).unwrap();
    let mut sink =
        PostgresSink::new(def(batch.schema(), Mode::Append), options(postgres.port, "types", &[]).unwrap()).unwrap();
    sink.open().await.unwrap();
    sink.write(Epoch(1), &Outgoing { changes: Changes::insert(batch), whole: false }).await.unwrap();
    let client = postgres.connect().await;
    client.batch_execute("SET timezone = 'UTC'; SET search_path = types").await.unwrap();
    for (check, row) in [
        ("b AND i16 = -32768 AND i32 = 2147483647 AND i64 = -9223372036854775808 AND u64 = 18446744073709551615", "b"),
        ("f32 = 0.1::real AND f64 = '-Infinity' AND d = -12.345", "b"),
        ("t = E'tab\\t, line\\n\\r, \\\\N \\\\. é €' AND tv = E'\\\\N' AND y = '\\x00ff5c'", "b"),
        ("date = '2024-01-02' AND time = '01:01:01.000001' AND ts = '2024-01-02 03:04:05.000006' AND ns = ts", "b"),
        ("tz = '2024-01-02 03:04:05+00' AND iv = '1 year 2 mons 3 days 4.005 secs'", "b"),
        ("li = '{1,NULL,-3}' AND lt = ARRAY['a,b', E'\"q\" \\\\ {}', NULL, 'NULL', '']", "b"),
        (
            "b IS NULL AND f64 = 'NaN' AND t = '' AND tv IS NULL AND y IS NULL AND li IS NULL AND lt IS NULL",
            "b IS NULL",
        ),
        ("ts = '1969-12-31 23:59:59.999999' AND ns IS NULL AND tz IS NULL AND d IS NULL AND i64 IS NULL", "b IS NULL"),
    ] {
        let query = format!("SELECT ({check}) IS TRUE FROM \"T able\" WHERE {row}");
        let row = client.query_one(&query, &[]).await.unwrap();
        assert!(row.get::<_, bool>(0), "{check}");
    }
}

#[tokio::test]
async fn postgres_sink_unfit_table_is_refused_with_a_hint() {
    let Some(postgres) = Postgres::shared() else { return };
    for (n, (made, mode, kind, said)) in [
        ("", Mode::Append, ErrorKind::UndefinedTable, "no table"),
        ("(k bigint)", Mode::Append, ErrorKind::UndefinedColumn, "no column \"the \"value\"\""),
        ("(k integer, \"the \"\"value\"\"\" text)", Mode::Append, ErrorKind::DatatypeMismatch, "column \"k\""),
        ("(k bigint, \"the \"\"value\"\"\" date)", Mode::Append, ErrorKind::DatatypeMismatch, "is date"),
        (
            "(k bigint, \"the \"\"value\"\"\" text, more int NOT NULL)",
            Mode::Append,
            ErrorKind::NotNullViolation,
            "\"more\"",
        ),
        ("(k bigint, \"the \"\"value\"\"\" text)", Mode::Upsert, ErrorKind::InvalidTableDefinition, "may be NULL"),
        (
            "(k bigint NOT NULL, \"the \"\"value\"\"\" text)",
            Mode::Upsert,
            ErrorKind::InvalidTableDefinition,
            "no unique index",
        ),
    ]
    .into_iter()
    .enumerate()
    {
        let name = format!("misfit_{n}");
        schema(postgres, &name).await;
        if !made.is_empty() {
            postgres.rows(&format!("CREATE TABLE {name}.\"T able\" {made}")).await;
        }
        let options = options(postgres.port, &name, &[("create_table", "false")]).unwrap();
        let error = PostgresSink::new(def(columns(), mode), options).unwrap().open().await.unwrap_err();
        assert_eq!(error.kind(), kind, "{made}: {error}");
        assert!(error.message().contains(said) && error.hint_text().is_some(), "{made}: {error}");
    }
    let parts = DataType::Struct(vec![Field::new("x", DataType::Int64, true)].into());
    let nested = Arc::new(Schema::new(vec![Field::new("k", parts, true)]));
    let options = options(postgres.port, "nested", &[]).unwrap();
    let error = PostgresSink::new(def(nested, Mode::Append), options).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::DatatypeMismatch);
}

#[tokio::test]
async fn postgres_sink_refused_row_is_named_and_its_epoch_rolled_back() {
    let Some(postgres) = Postgres::shared() else { return };
    schema(postgres, "refusing").await;
    let table_sql =
        "CREATE TABLE refusing.\"T able\" (k bigint UNIQUE CHECK (k < 100), \"the \"\"value\"\"\" varchar(5))";
    postgres.rows(table_sql).await;
    let mut sink = sink(postgres, "refusing", Mode::Append);
    sink.open().await.unwrap();
    sink.write(Epoch(1), &rows(&[(1, "one", 1)])).await.unwrap();
    for (row, kind, said) in [
        ((1, "again", 1), ErrorKind::UniqueViolation, "Key (k)=(1) already exists"),
        ((200, "much", 1), ErrorKind::InvalidParameterValue, "Failing row contains (200, much)"),
        ((3, "too long", 1), ErrorKind::InvalidParameterValue, "too long"),
    ] {
        let error = sink.write(Epoch(2), &rows(&[(2, "two", 1), row])).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.message().contains(said) && error.message().contains("sink \"s\" to 127.0.0.1:"), "{error}");
        assert_eq!(sink.open().await.unwrap(), Epoch(1));
    }
    assert_eq!(table(postgres, "refusing").await, ["1|one"]);
}

#[tokio::test]
async fn postgres_sink_password_is_in_no_error() {
    let Some(postgres) = Postgres::shared() else { return };
    let open = |options: PostgresOptions| async move {
        let mut sink = PostgresSink::new(def(columns(), Mode::Append), options).unwrap();
        let error = sink.open().await.unwrap_err();
        (error.kind(), format!("{error:?} {sink:?}"))
    };
    let given = options(postgres.port, "nowhere", &[]).unwrap();
    let (kind, shown) = open(given).await;
    assert_eq!(kind, ErrorKind::UndefinedObject, "{shown}");
    assert!(!shown.contains(PASSWORD), "{shown}");
    let port = postgres.port.to_string();
    let parts = [("url", ""), ("host", "127.0.0.1"), ("port", &port), ("user", USER), ("database", "postgres")];
    let with = |password| options(0, "public", &[parts.as_slice(), &[("password", password)]].concat()).unwrap();
    let (kind, shown) = open(with("wrong-4711")).await;
    assert_eq!(kind, ErrorKind::InvalidAuthorization, "{shown}");
    assert!(!shown.contains("4711"), "{shown}");
    assert_eq!(open(with("")).await.0, ErrorKind::InvalidAuthorization);
    for bad in [
        "postgres://u:s3cret@host/db",
        "postgres://u:s3cret@host:port/db",
        "postgres://u:s3cret@[::1/db",
        "host=h password='s3cret",
    ] {
        let error = options(0, "public", &[("url", bad)]).unwrap_err();
        assert!(!format!("{error:?}").contains("s3cret"), "{error:?}");
    }
    let error = options(0, "public", &[("url", "postgres://u@h/d?sslmode=require")]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert_eq!(options(0, "public", &[("host", "h")]).unwrap_err().kind(), ErrorKind::InvalidParameterValue);
    // Nobody listens there.
    let (kind, shown) = open(options(1, "public", &[]).unwrap()).await;
    assert_eq!(kind, ErrorKind::CannotConnectNow, "{shown}");
}
