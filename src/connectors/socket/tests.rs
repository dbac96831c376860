use std::{
    ops::Range,
    sync::atomic::{AtomicBool, Ordering},
};

use arrow::{
    array::{AsArray, RecordBatch},
    datatypes::{DataType, Field, Int64Type, Schema},
};
use datafusion::physical_plan::common::collect;
use tokio::{
    io::AsyncWriteExt,
    net::{TcpListener, TcpStream},
    time::timeout,
};

use super::*;
use crate::{
    connectors::{self, BadRecord, BadRecords},
    storage::MemoryStorage,
    time::{
        SystemClock,
        eventually::{PATIENCE, eventually},
    },
};

/// Somebody who listens, and what the server keeps of what he said.
struct Fixture {
    listener: TcpListener,
    storage: Arc<MemoryStorage>,
    options: Options,
}

impl Fixture {
    async fn new(more: &[(&str, &str)]) -> Fixture {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut options = Options::default();
        let port = listener.local_addr().unwrap().port().to_string();
        for (key, value) in [("connector", "socket"), ("host", "127.0.0.1"), ("port", &port), ("format", "text")] {
            options.insert(key, value);
        }
        more.iter().for_each(|(key, value)| drop(options.insert(*key, *value)));
        Fixture { listener, storage: Arc::default(), options }
    }

    async fn open(&self, schema: Option<SchemaRef>) -> Arc<dyn Source> {
        let env = SourceEnv::new(self.storage.clone(), Arc::new(SystemClock));
        connectors::open(7, "s", schema, &self.options, &env).await.unwrap()
    }

    /// The next connection.
    async fn accept(&self) -> TcpStream {
        timeout(PATIENCE, self.listener.accept()).await.unwrap().unwrap().0
    }
}

async fn end(source: &dyn Source) -> u64 {
    source.ahead(&Offsets::default(), &ReadLimit::default()).await.unwrap().end.only()
}

/// Waits until there are so many lines.
async fn wait_for_lines(source: &dyn Source, count: u64) {
    let mut changed = source.changed();
    let wait = async {
        while end(source).await < count {
            changed.changed().await.unwrap();
        }
    };
    timeout(PATIENCE, wait).await.unwrap_or_else(|_| panic!("{:?}", source.state()));
}

/// Waits until the operator is told something.
async fn wait_for_state(source: &dyn Source, what: &str) {
    eventually(what, async || source.state().unwrap().contains(what).then_some(())).await;
}

async fn batches(source: &dyn Source, lines: Range<u64>, streams: usize) -> (Vec<RecordBatch>, Vec<BadRecord>) {
    let span = Span { from: Offsets::single(lines.start), to: Offsets::single(lines.end) };
    let bad = BadRecords::default();
    let hints = ScanHints { projection: None, partitions: streams, batch_rows: 8, bad: bad.clone(), retain: false };
    let mut batches = Vec::new();
    for stream in source.scan(&span, &hints).unwrap() {
        batches.extend(collect(stream.rows.execute(Arc::default())).await.unwrap());
    }
    (batches, bad.take().0)
}

async fn texts(source: &dyn Source, lines: Range<u64>, streams: usize) -> Vec<String> {
    let (batches, bad) = batches(source, lines, streams).await;
    assert_eq!(bad, []);
    let texts = batches.iter().flat_map(|b| b.column(0).as_string::<i32>().iter().map(|t| t.unwrap().to_string()));
    texts.collect()
}

fn numbered(range: Range<u64>) -> Vec<String> {
    range.map(|n| format!("line {n}")).collect()
}

#[tokio::test]
async fn socket_lines_keep_their_numbers_across_reconnects_and_restarts() {
    let fixture = Fixture::new(&[]).await;
    let source = fixture.open(None).await;
    let mut peer = fixture.accept().await;
    wait_for_state(source.as_ref(), "connected to 127.0.0.1:").await;
    peer.write_all(b"line 0\nline 1\r\nli").await.unwrap();
    wait_for_lines(source.as_ref(), 2).await;
    peer.write_all(b"ne 2\n").await.unwrap();
    wait_for_lines(source.as_ref(), 3).await;
    drop(peer);
    wait_for_state(source.as_ref(), "not connected").await;
    let mut peer = fixture.accept().await;
    peer.write_all(b"line 3\n").await.unwrap();
    wait_for_lines(source.as_ref(), 4).await;
    drop(source);

    let source = fixture.open(None).await;
    assert_eq!(end(source.as_ref()).await, 4);
    let mut peer = fixture.accept().await;
    for n in 4..200 {
        peer.write_all(format!("line {n}\n").as_bytes()).await.unwrap();
    }
    wait_for_lines(source.as_ref(), 200).await;
    for streams in [1, 3, 100] {
        assert_eq!(texts(source.as_ref(), 0..200, streams).await, numbered(0..200));
        assert_eq!(texts(source.as_ref(), 3..150, streams).await, numbered(3..150));
    }
    let limit = |rows, bytes| ReadLimit { rows, bytes, files: None };
    let to = async |limit| source.ahead(&Offsets::single(3), &limit).await.unwrap().to.only();
    assert_eq!(to(limit(Some(5), None)).await, 8);
    assert_eq!(to(limit(Some(0), Some(0))).await, 4);
    assert!((4..200).contains(&to(limit(None, Some(500))).await));
    source.forget(&Offsets::single(200)).await.unwrap();
    assert_eq!(source.ahead(&Offsets::default(), &limit(None, None)).await.unwrap().to, Offsets::default());
    assert_eq!(texts(source.as_ref(), 0..200, 1).await, Vec::<String>::new());
    drop((source, peer));

    // The numbers go on, even where no line is left that has one.
    let source = fixture.open(None).await;
    let mut peer = fixture.accept().await;
    peer.write_all(b"line 200\n").await.unwrap();
    wait_for_lines(source.as_ref(), 201).await;
    assert_eq!(texts(source.as_ref(), 0..201, 1).await, numbered(200..201));
}

#[tokio::test]
async fn socket_unreachable_peer_is_retried() {
    let Fixture { listener, storage, options } = Fixture::new(&[]).await;
    let address = listener.local_addr().unwrap();
    drop(listener);
    let env = SourceEnv::new(storage.clone(), Arc::new(SystemClock));
    let source = connectors::open(7, "s", None, &options, &env).await.unwrap();
    wait_for_state(source.as_ref(), "not connected to 127.0.0.1:").await;
    let fixture = Fixture { listener: TcpListener::bind(address).await.unwrap(), storage, options };
    let mut peer = fixture.accept().await;
    peer.write_all(b"line 0\n").await.unwrap();
    wait_for_lines(source.as_ref(), 1).await;
}

#[tokio::test]
async fn socket_undecodable_line_is_a_dead_letter_with_its_number() {
    let fixture = Fixture::new(&[("format", "json"), ("max_line_bytes", "100")]).await;
    let schema = Arc::new(Schema::new(vec![Field::new("n", DataType::Int64, true)]));
    let source = fixture.open(Some(schema)).await;
    let mut peer = fixture.accept().await;
    peer.write_all(b"{\"n\": 0}\n\n[1, 2\n\xff\xfe\x00garbage\n{\"n\": 4}\n").await.unwrap();
    // A hundred megabytes without a line break, of which nothing but the beginning is kept.
    for _ in 0..100 {
        peer.write_all(&vec![b'x'; 1 << 20]).await.unwrap();
    }
    peer.write_all(b"\n{\"n\": 6}\r\n{\"n\": ").await.unwrap();
    drop(peer);
    wait_for_lines(source.as_ref(), 8).await;
    let mut peer = fixture.accept().await;
    peer.write_all(b"{\"n\": 8}\n").await.unwrap();
    wait_for_lines(source.as_ref(), 9).await;

    for streams in [1, 9] {
        let (batches, bad) = batches(source.as_ref(), 0..9, streams).await;
        let values = batches.iter().flat_map(|b| b.column(0).as_primitive::<Int64Type>().values().to_vec());
        assert_eq!(values.collect::<Vec<_>>(), [0, 4, 6, 8]);
        let mut bad: Vec<_> = bad.iter().map(|b| (b.position.unwrap(), b.raw.as_slice(), b.reason.as_str())).collect();
        bad.sort();
        let numbers: Vec<i64> = bad.iter().map(|(position, ..)| *position).collect();
        assert_eq!(numbers, [2, 3, 5, 7]);
        assert_eq!((bad[0].1, bad[1].1), (b"[1, 2".as_slice(), b"\xff\xfe\x00garbage".as_slice()));
        assert_eq!(
            (bad[2].1, bad[2].2),
            ([b'x'; 100].as_slice(), "the line has 104857600 bytes, more than max_line_bytes")
        );
        assert_eq!((bad[3].1, bad[3].2), (b"{\"n\": ".as_slice(), "the connection ended 6 bytes into the line"));
    }
}

#[tokio::test]
async fn socket_csv_line_is_one_record_even_with_an_open_quote() {
    let fixture = Fixture::new(&[("format", "csv"), ("delimiter", ";")]).await;
    let fields = [Field::new("a", DataType::Int64, true), Field::new("b", DataType::Utf8, true)];
    let source = fixture.open(Some(Arc::new(Schema::new(fields.to_vec())))).await;
    let mut peer = fixture.accept().await;
    peer.write_all(b"1;\"x;y\"\r\n2;\"open\n\n;z\n").await.unwrap();
    peer.write_all(b"4;\"\"\n").await.unwrap();
    wait_for_lines(source.as_ref(), 5).await;
    let (batches, bad) = batches(source.as_ref(), 0..5, 1).await;
    let of = |b: &RecordBatch| {
        let (a, b) = (b.column(0).as_primitive::<Int64Type>().clone(), b.column(1).as_string::<i32>().clone());
        a.iter().zip(b.iter()).map(|(a, b)| format!("{a:?} {b:?}")).collect::<Vec<_>>()
    };
    let rows: Vec<String> = batches.iter().flat_map(of).collect();
    assert_eq!(rows, [r#"Some(1) Some("x;y")"#, r#"None Some("z")"#, "Some(4) None"]);
    // A quote that is not closed takes no other line with it.
    assert_eq!(bad.iter().map(|b| b.position.unwrap()).collect::<Vec<_>>(), [1]);
}

#[tokio::test]
async fn socket_full_journal_stalls_the_peer_until_lines_are_forgotten() {
    let fixture = Fixture::new(&[("max_buffered_bytes", "64 kB")]).await;
    let source = fixture.open(None).await;
    let mut peer = fixture.accept().await;
    // More than the machine keeps on the way: without anybody who reads, the sender does not come to its end.
    const LINES: u64 = 2_000_000;
    let freed = Arc::new(AtomicBool::new(false));
    let is_freed = freed.clone();
    let sender = tokio::spawn(async move {
        for from in (0..LINES).step_by(1_000) {
            let text: String = (from..from + 1_000).map(|n| format!("line {n}\n")).collect();
            peer.write_all(text.as_bytes()).await.unwrap();
        }
        assert!(is_freed.load(Ordering::SeqCst), "it was not held up");
        peer
    });
    wait_for_state(source.as_ref(), "max_buffered_bytes").await;
    let mut at = 0;
    while at < LINES {
        let held: usize = fixture.storage.files().values().map(Vec::len).sum();
        assert!(held < 3 << 20, "{held}");
        wait_for_lines(source.as_ref(), at + 1).await;
        let to = end(source.as_ref()).await;
        // What was read last is asked for again: it may only be forgotten afterwards.
        assert_eq!(texts(source.as_ref(), at..to, 2).await, numbered(at..to));
        freed.store(true, Ordering::SeqCst);
        source.forget(&Offsets::single(to)).await.unwrap();
        at = to;
    }
    drop(sender.await.unwrap());
}

#[tokio::test]
async fn socket_lines_of_a_failed_write_are_stored_later_once() {
    let fixture = Fixture::new(&[]).await;
    let source = fixture.open(None).await;
    let mut peer = fixture.accept().await;
    peer.write_all(b"line 0\n").await.unwrap();
    wait_for_lines(source.as_ref(), 1).await;
    fixture.storage.fail_at(fixture.storage.writes() + 1);
    peer.write_all(b"line 1\n").await.unwrap();
    wait_for_state(source.as_ref(), "cannot be stored").await;
    peer.write_all(b"line 2\n").await.unwrap();
    fixture.storage.heal();
    wait_for_lines(source.as_ref(), 3).await;
    assert_eq!(texts(source.as_ref(), 0..3, 1).await, numbered(0..3));
    drop(source);
    let source = fixture.open(None).await;
    assert_eq!(texts(source.as_ref(), 0..3, 1).await, numbered(0..3));
}

#[tokio::test]
async fn socket_invalid_options_are_refused() {
    let fixture = Fixture::new(&[]).await;
    let env = SourceEnv::new(fixture.storage.clone(), Arc::new(SystemClock));
    for (key, value) in [
        ("port", "0"),
        ("port", "70000"),
        ("format", "parquet"),
        ("format", "upsert_json"),
        ("compression", "gzip"),
        ("multiline", "true"),
        ("max_line_bytes", "0"),
        ("max_line_bytes", "17 MB"),
        ("max_buffered_bytes", "0"),
        ("hots", "localhost"),
    ] {
        let mut options = fixture.options.clone();
        options.insert(key, value);
        if key == "multiline" {
            options.insert("format", "csv");
        }
        let error = connectors::open(1, "s", None, &options, &env).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidParameterValue, "{key} = {value}: {error}");
    }
    let mut options = fixture.options.clone();
    options.insert("format", "csv");
    let error = connectors::open(1, "s", None, &options, &env).await.unwrap_err();
    assert!(error.hint_text().is_some_and(|hint| hint.contains("CREATE SOURCE s")), "{error}");
}
