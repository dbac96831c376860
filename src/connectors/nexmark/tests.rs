use std::collections::{HashMap, HashSet};

use arrow::{
    array::{AsArray, RecordBatch},
    compute::concat_batches,
    datatypes::{DataType, Field, Int64Type, Schema, TimestampMicrosecondType},
    util::display::array_value_to_string,
};
use futures::TryStreamExt;

use super::{events::FIRST_ID, *};
use crate::{
    connectors::{self, Offsets, ReadLimit, ScanHints, Span},
    options::Options,
    storage::MemoryStorage,
    time::ManualClock,
};

const NOW: Micros = 1_700_000_000_000_000;

fn options(table: &str, more: &[(&str, &str)]) -> Options {
    let mut options = Options::default();
    options.insert("connector", "nexmark");
    options.insert("table", table);
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
        let clock = Arc::new(ManualClock::new(NOW));
        Fixture { env: SourceEnv::new(Arc::new(MemoryStorage::default()), clock.clone()), clock }
    }

    async fn open(&self, table: &str, more: &[(&str, &str)]) -> Arc<dyn Source> {
        connectors::open(1, "s", None, &options(table, more), &self.env).await.unwrap()
    }

    async fn declared(&self, columns: &[(&str, DataType)], options: &Options) -> Result<Arc<dyn Source>> {
        let fields: Vec<_> = columns.iter().map(|(name, t)| Field::new(*name, t.clone(), true)).collect();
        Ok(connectors::open(1, "s", Some(Arc::new(Schema::new(fields))), options, &self.env).await?)
    }
}

async fn scan(
    source: &dyn Source,
    events: Range<u64>,
    projection: Option<Vec<usize>>,
    partitions: usize,
) -> RecordBatch {
    let span = Span { from: Offsets::single(events.start), to: Offsets::single(events.end) };
    let hints = ScanHints {
        projection: projection.clone(),
        partitions,
        batch_rows: 100,
        bad: Default::default(),
        retain: false,
    };
    let mut all = Vec::new();
    let streams = source.scan(&span, &hints).unwrap();
    assert!((1..=partitions).contains(&streams.len()));
    for stream in streams {
        all.extend(stream.rows.execute(Default::default()).try_collect::<Vec<_>>().await.unwrap());
    }
    assert!(all.iter().all(|batch| batch.num_rows() <= 100));
    let schema = source.schema();
    let schema = projection.map_or(schema.clone(), |columns| Arc::new(schema.project(&columns).unwrap()));
    concat_batches(&schema, &all).unwrap()
}

async fn rows(source: &dyn Source, events: Range<u64>) -> RecordBatch {
    scan(source, events, None, 1).await
}

fn numbers(batch: &RecordBatch, column: &str) -> Vec<i64> {
    batch.column_by_name(column).unwrap().as_primitive::<Int64Type>().values().to_vec()
}

fn moments(batch: &RecordBatch, column: &str) -> Vec<i64> {
    batch.column_by_name(column).unwrap().as_primitive::<TimestampMicrosecondType>().values().to_vec()
}

fn texts(batch: &RecordBatch, column: &str) -> Vec<String> {
    batch.column_by_name(column).unwrap().as_string::<i32>().iter().map(|t| t.unwrap().to_string()).collect()
}

#[tokio::test]
async fn nexmark_rows_are_the_same_after_a_restart_and_in_another_server() {
    for table in NexmarkTable::ALL {
        let fixture = Fixture::new();
        let source = fixture.open(table.name(), &[("seed", "7")]).await;
        let whole = rows(source.as_ref(), 0..5_000).await;
        fixture.clock.advance(1_000_000_000);
        let again = fixture.open(table.name(), &[("seed", "7")]).await;
        assert_eq!(rows(again.as_ref(), 0..5_000).await, whole);
        let elsewhere = Fixture::new();
        elsewhere.clock.advance(77);
        let elsewhere = elsewhere.open(table.name(), &[("seed", "7"), ("events", "9")]).await;
        assert_eq!(rows(elsewhere.as_ref(), 0..5_000).await, whole);
        let other = fixture.open(table.name(), &[]).await;
        assert_ne!(rows(other.as_ref(), 0..5_000).await.columns()[1..], whole.columns()[1..]);
    }
}

/// What was generated once is generated for ever: an epoch that runs again after an upgrade is the same epoch.
#[tokio::test]
async fn nexmark_first_rows_equal_recorded_ones() {
    let fixture = Fixture::new();
    for (table, columns, first) in [
        (
            "person",
            vec![0, 1, 2, 3, 4, 5, 6],
            "1000|Luke Abrams|yzxaher@xlqej.com|3115 9688 9501 7714|Seattle|ID|2015-07-15T00:00:00",
        ),
        (
            "auction",
            vec![0, 1, 3, 4, 5, 6, 7, 8],
            "1000|faenvasnqtxqazykdafm|750297|21507318|2015-07-15T00:00:00.000100|2015-07-15T00:00:00.003243|1000|10",
        ),
        (
            "bid",
            vec![0, 1, 2, 3, 5, 6],
            "1000|1001|32398|channel-9192|2015-07-15T00:00:00.000400|\
             ofspsmmiudvpfbaqkuskuutzlgugnpuxeejsrayykhaiyusmlvmaucpawqoqkacrszosairbwxu",
        ),
        ("bid", vec![4], "https://www.nexmark.com/mkw/xoqq/isq/item.htm?query=1&channel_id=398721024"),
    ] {
        let batch = scan(fixture.open(table, &[]).await.as_ref(), 0..5, Some(columns), 1).await;
        let cells = batch.columns().iter().map(|column| array_value_to_string(column, 0).unwrap());
        assert_eq!(cells.collect::<Vec<_>>().join("|"), first);
    }
}

#[tokio::test]
async fn nexmark_rows_are_the_same_for_any_spans_and_partitions() {
    for table in NexmarkTable::ALL {
        let source = Fixture::new().open(table.name(), &[]).await;
        let whole = rows(source.as_ref(), 0..3_000).await;
        for cuts in [vec![0, 3_000], vec![0, 1, 2, 3, 4, 5, 49, 50, 51, 53, 54, 1_234, 2_999, 3_000]] {
            for partitions in [1, 3] {
                let mut pieces = Vec::new();
                for cut in cuts.windows(2) {
                    pieces.push(scan(source.as_ref(), cut[0]..cut[1], None, partitions).await);
                }
                assert_eq!(concat_batches(&source.schema(), &pieces).unwrap(), whole);
            }
        }
        // A column has the same values whatever stands beside it, and rows are counted without any.
        let columns = whole.num_columns();
        let turned: Vec<usize> = (0..columns).rev().collect();
        let batch = scan(source.as_ref(), 0..3_000, Some(turned.clone()), 1).await;
        assert_eq!(batch, whole.project(&turned).unwrap());
        for column in 0..columns {
            let batch = scan(source.as_ref(), 0..3_000, Some(vec![column]), 1).await;
            assert_eq!(batch.column(0), whole.column(column));
        }
        let span = Span { from: Offsets::single(0), to: Offsets::single(3_000) };
        let hints = ScanHints {
            projection: Some(Vec::new()),
            partitions: 1,
            batch_rows: 8192,
            bad: Default::default(),
            retain: false,
        };
        let stream = source.scan(&span, &hints).unwrap().remove(0);
        let counted: Vec<_> = stream.rows.execute(Default::default()).try_collect().await.unwrap();
        assert_eq!(counted.iter().map(RecordBatch::num_rows).sum::<usize>(), whole.num_rows());
    }
}

#[tokio::test]
async fn nexmark_fifty_events_are_1_person_3_auctions_46_bids() {
    let fixture = Fixture::new();
    let mut times = Vec::new();
    for (table, part) in [("person", 1), ("auction", 3), ("bid", 46)] {
        let source = fixture.open(table, &[]).await;
        let batch = rows(source.as_ref(), 0..5_000).await;
        assert_eq!(batch.num_rows(), part * 100, "{table}");
        times.extend(moments(&batch, "date_time"));
    }
    // Each event is in one of them; they come one after the other, as fast as the benchmark says.
    times.sort();
    let expected: Vec<i64> = (0..5_000).map(|event| START_TIME + event * 100).collect();
    assert_eq!(times, expected);
}

#[tokio::test]
async fn nexmark_events_refer_to_existing_people_and_auctions() {
    let fixture = Fixture::new();
    let events = 0..100_000;
    let people = rows(fixture.open("person", &[]).await.as_ref(), events.clone()).await;
    let auctions = rows(fixture.open("auction", &[]).await.as_ref(), events.clone()).await;
    let bids = rows(fixture.open("bid", &[]).await.as_ref(), events).await;
    let since = |batch: &RecordBatch| -> HashMap<i64, i64> {
        numbers(batch, "id").into_iter().zip(moments(batch, "date_time")).collect()
    };
    let (people, begun) = (since(&people), since(&auctions));
    assert_eq!((people.len(), begun.len()), (2_000, 6_000));
    let known = |ids: &[i64], at: &[i64], since: &HashMap<i64, i64>| {
        let known = ids.iter().zip(at).filter(|(id, at)| since.get(id).is_some_and(|since| since <= at)).count();
        known as f64 / ids.len() as f64
    };
    let (sellers, bidders, of) = (numbers(&auctions, "seller"), numbers(&bids, "bidder"), numbers(&bids, "auction"));
    let (auctioned, bid) = (moments(&auctions, "date_time"), moments(&bids, "date_time"));
    for (ids, at, since) in [(&sellers, &auctioned, &people), (&bidders, &bid, &people), (&of, &bid, &begun)] {
        let known = known(ids, at, since);
        assert!((0.93..1.0).contains(&known), "{known}");
    }
    // Who is hot is the first of a hundred, or, who bids, the second.
    let hot = |ids: &[i64], place: i64| {
        ids.iter().filter(|id| (*id - FIRST_ID) % 100 == place).count() as f64 / ids.len() as f64
    };
    for (ids, place, share) in [(&sellers, 0, 0.75), (&bidders, 1, 0.75), (&of, 0, 0.5)] {
        let hot = hot(ids, place);
        assert!((share..share + 0.03).contains(&hot), "{hot}");
    }
    let categories: HashSet<i64> = numbers(&auctions, "category").into_iter().collect();
    assert_eq!(categories, (10..15).collect());
    let lasting: Vec<i64> = moments(&auctions, "expires").iter().zip(&auctioned).map(|(end, at)| end - at).collect();
    assert!(lasting.iter().all(|length| (1_000..1_000 + 2 * 166_600).contains(length)));
    let (first, least) = (numbers(&auctions, "initial_bid"), numbers(&auctions, "reserve"));
    assert!(first.iter().zip(&least).all(|(first, least)| *first >= 100 && least >= &(first + 100)));
    let prices = numbers(&bids, "price");
    assert!(prices.iter().all(|price| (100..=100_000_000).contains(price)));
    let cheap = prices.iter().filter(|price| **price < 100_000).count() as f64 / prices.len() as f64;
    assert!((0.49..0.51).contains(&cheap), "{cheap}");
}

#[tokio::test]
async fn nexmark_texts_have_the_distribution_of_the_benchmark() {
    let fixture = Fixture::new();
    let bids = rows(fixture.open("bid", &[]).await.as_ref(), 0..50_000).await;
    let (channels, urls) = (texts(&bids, "channel"), texts(&bids, "url"));
    let hot =
        channels.iter().filter(|channel| !channel.starts_with("channel-")).count() as f64 / bids.num_rows() as f64;
    assert!((0.49..0.51).contains(&hot), "{hot}");
    let mut places = HashMap::new();
    for (channel, url) in channels.iter().zip(&urls) {
        let folders: Vec<&str> = url.strip_prefix("https://www.nexmark.com/").unwrap().split('/').collect();
        assert!(folders.len() == 4 && folders[3].starts_with("item.htm?query=1"), "{url}");
        assert!(folders[..3].iter().all(|f| (3..5).contains(&f.len())), "{url}");
        assert_eq!(places.entry(channel).or_insert(url), &url);
    }
    assert!(places.len() > 5_000);
    let numbered = places.values().filter(|url| url.contains("&channel_id=")).count() as f64 / places.len() as f64;
    assert!((0.88..0.92).contains(&numbered), "{numbered}");
    for (table, size, others) in [("person", 200, 8), ("auction", 500, 40), ("bid", 100, 32)] {
        let batch = rows(fixture.open(table, &[]).await.as_ref(), 0..50_000).await;
        let names = match table {
            "person" => vec!["name", "email_address", "credit_card", "city", "state", "extra"],
            "auction" => vec!["item_name", "description", "extra"],
            _ => vec!["extra"],
        };
        let bytes: usize = names.iter().flat_map(|column| texts(&batch, column)).map(|text| text.len()).sum();
        let average = others + bytes / batch.num_rows();
        assert!(average.abs_diff(size) * 20 < size, "{table}: {average}");
    }
}

#[tokio::test]
async fn nexmark_ahead_follows_the_rate_and_the_limits() {
    let fixture = Fixture::new();
    let source = fixture.open("bid", &[("events_per_second", "100"), ("events", "250")]).await;
    let ahead = async |from, limit| {
        let ahead = source.ahead(&Offsets::single(from), &limit).await.unwrap();
        (ahead.to.only(), ahead.backlog.rows.unwrap())
    };
    let limit = ReadLimit::default();
    assert_eq!(ahead(0, limit).await, (1, 0));
    fixture.clock.advance(1_000_000);
    assert_eq!(ahead(1, limit).await, (101, 46 * 2));
    assert_eq!(ahead(1, ReadLimit { rows: Some(30), ..limit }).await, (31, 46 * 2));
    assert_eq!(ahead(1, ReadLimit { rows: Some(0), ..limit }).await, (2, 46 * 2));
    fixture.clock.advance(10_000_000);
    assert_eq!(ahead(101, limit).await, (250, 46 * 3));
    assert_eq!(ahead(250, limit).await, (250, 0));
    let all = fixture.open("bid", &[("events_per_second", "0"), ("events", "5000000")]).await;
    let all = all.ahead(&Offsets::default(), &limit).await.unwrap();
    assert_eq!((all.to.only(), all.backlog.rows), (100_000, Some(4_600_000)));
    let endless = fixture.open("bid", &[("events_per_second", "0")]).await;
    let endless = endless.ahead(&Offsets::single(5), &limit).await.unwrap();
    assert_eq!((endless.to.only(), endless.backlog.rows), (100_005, None));
}

#[tokio::test]
async fn nexmark_event_time_follows_start_time_and_rate() {
    let fixture = Fixture::new();
    let more = [("start_time", "2024-05-01 12:00"), ("events_per_second", "4")];
    let source = fixture.open("bid", &more).await;
    let at = moments(&rows(source.as_ref(), 4..8).await, "date_time");
    let noon = 1_714_564_800_000_000;
    assert_eq!(at, [noon + 1_000_000, noon + 1_250_000, noon + 1_500_000, noon + 1_750_000]);
    // The last of all events is no trouble.
    let last = rows(source.as_ref(), i64::MAX as u64 / 2 - 50..i64::MAX as u64 / 2).await;
    assert_eq!(last.num_rows(), 46);
}

#[tokio::test]
async fn nexmark_declared_columns_are_matched_by_name() {
    let fixture = Fixture::new();
    let timestamp = DataType::Timestamp(arrow::datatypes::TimeUnit::Microsecond, None);
    let columns = [("date_time", timestamp), ("price", DataType::Int64)];
    let some = fixture.declared(&columns, &options("bid", &[])).await.unwrap();
    let all = rows(fixture.open("bid", &[]).await.as_ref(), 0..500).await;
    assert_eq!(rows(some.as_ref(), 0..500).await, all.project(&[5, 2]).unwrap());
    for (table, column, data_type, hint) in [
        ("bid", "datetime", DataType::Int64, "Perhaps you meant \"date_time\"."),
        ("bid", "seller", DataType::Int64, "Its columns are: auction, bidder, "),
        ("person", "id", DataType::Utf8, "Declare id BIGINT, or no columns at all"),
        ("auction", "expires", DataType::Int64, "Declare expires TIMESTAMP"),
    ] {
        let error = fixture.declared(&[(column, data_type)], &options(table, &[])).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidTableDefinition);
        assert!(error.hint_text().is_some_and(|h| h.starts_with(hint)), "{error}: {:?}", error.hint_text());
    }
}

#[tokio::test]
async fn nexmark_invalid_options_are_refused_with_a_hint() {
    let fixture = Fixture::new();
    for (key, value, hint) in [
        ("table", "bids", None),
        ("events", "many", None),
        ("events_per_second", "-1", None),
        ("events_per_second", "99999999999", Some("events_per_second = 0")),
        ("event_per_second", "5", Some("\"events_per_second\"")),
        ("rows_per_second", "5", Some("\"events_per_second\"")),
        ("start_time", "soon", Some("'2015-07-15 00:00:00'")),
        ("seed", "x", None),
    ] {
        let error = connectors::open(1, "s", None, &options("bid", &[(key, value)]), &fixture.env).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidParameterValue, "{key}: {error}");
        assert!(hint.is_none_or(|hint| error.hint_text().is_some_and(|h| h.contains(hint))), "{:?}", error.hint_text());
    }
    let mut options = Options::default();
    options.insert("connector", "nexmark");
    let error = connectors::check("s", &options).unwrap_err();
    assert_eq!(error.message(), "source \"s\" needs option \"table\"");
    assert!(error.hint_text().is_some_and(|h| h.contains("'person'")));
}
