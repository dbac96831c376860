use std::{fs, path::PathBuf, time::Duration};

use arrow::{
    array::{AsArray, Int64Array, RecordBatch},
    datatypes::{DataType, Field, Int64Type, Schema},
};
use datafusion::parquet::arrow::ArrowWriter;
use futures::TryStreamExt;

use super::*;
use crate::{
    connectors::{
        self, BadRecord, BadRecords,
        directory::{DirectorySinkOptions, sink::DirectorySink},
    },
    options::Options,
    storage::MemoryStorage,
    time::SystemClock,
};

/// A folder and what the server keeps of it. Files are written as if long ago, so that a listing takes them at once.
struct Fixture {
    dir: tempfile::TempDir,
    env: SourceEnv,
    options: Options,
    written: std::cell::Cell<u64>,
}

impl Fixture {
    fn new(more: &[(&str, &str)]) -> Fixture {
        let dir = tempfile::tempdir().unwrap();
        let mut options = Options::default();
        options.insert("connector", "directory");
        options.insert("path", dir.path().to_str().unwrap());
        options.insert("format", "csv");
        for (key, value) in more {
            options.insert(*key, *value);
        }
        let env = SourceEnv::new(Arc::new(MemoryStorage::default()), Arc::new(SystemClock));
        Fixture { dir, env, options, written: Default::default() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn write(&self, name: &str, bytes: impl AsRef<[u8]>) {
        fs::create_dir_all(self.path(name).parent().unwrap()).unwrap();
        let draft = self.dir.path().join(".draft");
        fs::write(&draft, bytes).unwrap();
        self.written.set(self.written.get() + 1);
        let time = std::time::UNIX_EPOCH + Duration::from_secs(1_000 + self.written.get());
        fs::File::options().write(true).open(&draft).unwrap().set_modified(time).unwrap();
        fs::rename(draft, self.path(name)).unwrap();
    }

    async fn open(&self) -> Arc<dyn Source> {
        connectors::open(7, "s", Some(one()), &self.options, &self.env).await.unwrap()
    }

    fn exists(&self, name: &str) -> bool {
        self.path(name).exists()
    }
}

fn one() -> SchemaRef {
    Arc::new(Schema::new(vec![Field::new("a", DataType::Int64, true)]))
}

async fn end(source: &dyn Source) -> u64 {
    source.ahead(&Offsets::default(), &ReadLimit::default()).await.unwrap().to.only()
}

async fn read(source: &dyn Source, from: u64, to: u64, partitions: usize) -> (Vec<i64>, Vec<BadRecord>) {
    read_as(source, from, to, partitions, false).await
}

/// Reads as an epoch does, which a restart may read again.
async fn read_to_retain(source: &dyn Source, from: u64, to: u64) -> (Vec<i64>, Vec<BadRecord>) {
    read_as(source, from, to, 2, true).await
}

async fn read_as(
    source: &dyn Source,
    from: u64,
    to: u64,
    partitions: usize,
    retain: bool,
) -> (Vec<i64>, Vec<BadRecord>) {
    let span = Span { from: Offsets::single(from), to: Offsets::single(to) };
    let bad = BadRecords::default();
    let hints = ScanHints { projection: None, partitions, batch_rows: 1_000, bad: bad.clone(), retain };
    let mut rows = Vec::new();
    for stream in source.scan(&span, &hints).unwrap() {
        let batches: Vec<RecordBatch> = stream.rows.execute(Default::default()).try_collect().await.unwrap();
        rows.extend(batches.iter().flat_map(|b| b.column(0).as_primitive::<Int64Type>().values().to_vec()));
    }
    (rows, bad.take().0)
}

#[tokio::test]
async fn source_files_are_read_once_in_order_and_keep_their_offsets() {
    let f = Fixture::new(&[]);
    for (name, text) in [("z", "1\n"), ("b", "2\n"), ("_hidden", "9\n"), ("sub/c", "3\n"), (".h", "9\n")] {
        f.write(name, text);
    }
    let source = f.open().await;
    assert_eq!(end(source.as_ref()).await, 3);
    assert_eq!(read(source.as_ref(), 0, 3, 1).await, (vec![1, 2, 3], vec![]));
    assert_eq!(read(source.as_ref(), 1, 2, 4).await.0, [2]);
    f.write("a", "4\n");
    assert_eq!(end(source.as_ref()).await, 4);
    drop(source);
    f.write("0", "5\n");
    let again = f.open().await;
    assert_eq!(end(again.as_ref()).await, 5);
    assert_eq!(read(again.as_ref(), 0, 5, 1).await.0, [1, 2, 3, 4, 5]);
}

#[tokio::test]
async fn source_read_limit_admits_at_least_one_file() {
    let f = Fixture::new(&[]);
    for i in 0..5 {
        f.write(&format!("f{i}"), "1234567\n");
    }
    let source = f.open().await;
    let to = async |from: u64, limit: ReadLimit| {
        let ahead = source.ahead(&Offsets::single(from), &limit).await.unwrap();
        assert_eq!(ahead.backlog.files, Some(5 - from));
        assert_eq!(ahead.backlog.bytes, Some(8 * (5 - from)));
        ahead.to.only()
    };
    let none = ReadLimit::default();
    assert_eq!(to(0, none).await, 5);
    assert_eq!(to(1, ReadLimit { files: Some(2), ..none }).await, 3);
    assert_eq!(to(1, ReadLimit { bytes: Some(17), ..none }).await, 3);
    assert_eq!(to(1, ReadLimit { bytes: Some(1), files: Some(0), ..none }).await, 2);
    assert_eq!(to(5, none).await, 5);
}

#[tokio::test]
async fn source_new_file_wakes_waiting_readers() {
    let f = Fixture::new(&[]);
    let source = f.open().await;
    let mut changed = source.changed();
    assert_eq!(end(source.as_ref()).await, 0);
    for i in 1..=3_u64 {
        fs::write(f.path(&format!("f{i}")), "1\n").unwrap();
        tokio::time::timeout(Duration::from_secs(30), changed.changed()).await.unwrap().unwrap();
        assert_eq!(end(source.as_ref()).await, i);
    }
}

#[tokio::test]
async fn source_file_just_written_is_ahead_at_once() {
    let f = Fixture::new(&[]);
    let source = f.open().await;
    for i in 1..=20_u64 {
        fs::write(f.path(&format!("f{i}")), "1\n").unwrap();
        // At once, unless the machine has no time to tell of it.
        let mut seen = end(source.as_ref()).await;
        for _ in 0..100 {
            seen = if seen < i { end(source.as_ref()).await } else { seen };
        }
        assert_eq!(seen, i);
    }
}

#[tokio::test]
async fn source_file_deleted_or_resized_before_reading_is_one_bad_record() {
    let f = Fixture::new(&[]);
    for name in ["gone", "shrunk", "grown", "fine"] {
        f.write(name, "1\n2\n3\n");
    }
    let source = f.open().await;
    assert_eq!(end(source.as_ref()).await, 4);
    fs::remove_file(f.path("gone")).unwrap();
    fs::write(f.path("shrunk"), "1\n").unwrap();
    fs::write(f.path("grown"), "1\n2\n3\n4\n5\n").unwrap();
    let (rows, bad) = read(source.as_ref(), 0, 4, 3).await;
    assert_eq!(rows, [1, 2, 3, 1, 2, 3]);
    let bad: Vec<_> =
        bad.iter().map(|b| (b.origin.rsplit('/').next().unwrap(), b.position, b.reason.as_str())).collect();
    assert_eq!(bad.len(), 3);
    assert!(matches!(bad[0], ("gone", None, reason) if reason.contains("vanished")), "{bad:?}");
    assert!(matches!(bad[1], ("grown", None, reason) if reason.contains("from 6 to 10 bytes")), "{bad:?}");
    assert!(matches!(bad[2], ("shrunk", None, reason) if reason.contains("shrank")), "{bad:?}");
}

#[tokio::test]
async fn source_file_rewritten_before_reading_is_one_bad_record() {
    let f = Fixture::new(&[]);
    for name in ["again", "older", "touched", "fine"] {
        f.write(name, "1\n2\n");
    }
    let source = f.open().await;
    assert_eq!(end(source.as_ref()).await, 4);
    fs::write(f.path("again"), "3\n4\n").unwrap();
    let set = |name: &str, seconds| {
        let time = std::time::UNIX_EPOCH + Duration::from_secs(seconds);
        fs::File::options().write(true).open(f.path(name)).unwrap().set_modified(time).unwrap();
    };
    // As `cp -p` does behind its writing: nothing tells it from that, and what it copied counts.
    set("older", 1);
    set("touched", 1_000_000);
    let (rows, bad) = read(source.as_ref(), 0, 4, 1).await;
    assert_eq!(rows, [1, 2, 1, 2]);
    let bad: Vec<_> = bad.iter().map(|b| (b.origin.rsplit('/').next().unwrap(), b.reason.as_str())).collect();
    let reason = "the file was changed after it was found";
    assert_eq!(bad, [("again", reason), ("touched", reason)]);
}

#[tokio::test]
async fn source_file_rewritten_after_reading_is_not_cleaned_away() {
    let f = Fixture::new(&[("clean_source", "delete")]);
    for name in ["again", "grown", "read"] {
        f.write(name, "1\n2\n");
    }
    let source = f.open().await;
    assert_eq!(read(source.as_ref(), 0, end(source.as_ref()).await, 1).await.0.len(), 6);
    fs::write(f.path("again"), "3\n4\n").unwrap();
    fs::write(f.path("grown"), "1\n2\n3\n").unwrap();
    source.forget(&Offsets::single(3)).await.unwrap();
    assert_eq!((f.exists("again"), f.exists("grown"), f.exists("read")), (true, true, false));
    // What stays is not taken for new.
    f.write("new", "5\n");
    assert_eq!(end(source.as_ref()).await, 4);
}

#[tokio::test]
async fn source_files_of_an_epoch_stay_readable_until_forgotten() {
    for clean in ["off", "delete", "archive"] {
        let mut f = Fixture::new(&[("clean_source", clean)]);
        let data = tempfile::tempdir().unwrap();
        f.env.storage = Arc::new(crate::storage::DiskStorage::open(data.path()).unwrap());
        for name in ["deleted", "renamed", "replaced", "overwritten", "there"] {
            f.write(name, "1\n");
        }
        let source = f.open().await;
        let (rows, bad) = read_to_retain(source.as_ref(), 0, end(source.as_ref()).await).await;
        assert_eq!((rows.len(), bad.len()), (5, 0));
        fs::remove_file(f.path("deleted")).unwrap();
        fs::rename(f.path("renamed"), f.path("_renamed")).unwrap();
        f.write("replaced", "2\n3\n");
        fs::write(f.path("overwritten"), "5\n").unwrap();
        drop(source);
        let source = f.open().await;
        let (rows, bad) = read_to_retain(source.as_ref(), 0, 5).await;
        // Only a file that is written over in place is not what it was.
        assert_eq!((rows, bad.len()), (vec![1; 4], 1));
        assert!(bad[0].origin.ends_with("overwritten") && bad[0].reason.contains("was changed"), "{bad:?}");
        source.forget(&Offsets::single(5)).await.unwrap();
        assert!(f.env.storage.list("retained").unwrap().is_empty());
        // What took the place of another was never read, and is a file of its own.
        assert_eq!(end(source.as_ref()).await, 6);
        assert_eq!(read_to_retain(source.as_ref(), 5, 6).await.0, [2, 3], "{clean}");
        connectors::remove(7, f.env.storage.as_ref()).unwrap();
        assert!(f.env.storage.list("retained").unwrap().is_empty());
    }
}

#[tokio::test]
async fn source_file_with_any_utf8_name_is_read() {
    let f = Fixture::new(&[("clean_source", "delete")]);
    let names = ["a b", "a%20b", "100%", "ü", "a#b?c", "a\\b", "~", "a:b*", "x/y..", "'\"", "&<>|", "a^`{}[]"];
    for name in names {
        f.write(name, "1\n");
    }
    let source = f.open().await;
    let to = end(source.as_ref()).await;
    let (rows, bad) = read(source.as_ref(), 0, to, 1).await;
    assert_eq!((to, rows.len(), bad), (names.len() as u64, names.len(), vec![]));
    // No path of ours, but no reason for others to wait.
    f.write("a\nb", "1\n");
    f.write("c", "1\n");
    let (rows, bad) = read(source.as_ref(), to, end(source.as_ref()).await, 1).await;
    assert_eq!((rows.len(), bad.len()), (1, 1), "{bad:?}");
    source.forget(&Offsets::single(to)).await.unwrap();
    assert_eq!(names.into_iter().filter(|name| f.exists(name)).collect::<Vec<_>>(), [""; 0]);
}

#[tokio::test]
async fn source_bad_line_in_a_large_file_read_in_parts_is_one_bad_record() {
    let f = Fixture::new(&[]);
    let lines: String =
        (1..=200_000).map(|i| if i == 150_001 { "oops\n".to_string() } else { format!("{i}\n") }).collect();
    f.write("big", lines);
    let source = f.open().await;
    let to = end(source.as_ref()).await;
    for partitions in [1, 4] {
        let (rows, bad) = read(source.as_ref(), 0, to, partitions).await;
        assert_eq!(rows.len(), 199_999);
        assert_eq!(rows.iter().sum::<i64>(), 200_000 * 200_001 / 2 - 150_001);
        assert_eq!(bad.len(), 1);
        assert_eq!((bad[0].position, bad[0].raw.as_slice()), (Some(150_001), b"oops".as_slice()));
    }
}

#[tokio::test]
async fn source_truncated_parquet_file_is_one_bad_record() {
    let f = Fixture::new(&[("format", "parquet")]);
    let batch = RecordBatch::try_new(one(), vec![Arc::new(Int64Array::from_iter_values(0..200_000))]).unwrap();
    let mut writer = ArrowWriter::try_new(Vec::new(), one(), None).unwrap();
    writer.write(&batch).unwrap();
    let file = writer.into_inner().unwrap();
    f.write("cut", &file[..file.len() - 100]);
    f.write("whole", &file);
    let source = f.open().await;
    let to = end(source.as_ref()).await;
    let (mut rows, bad) = read(source.as_ref(), 0, to, 6).await;
    rows.sort_unstable();
    assert!(rows.into_iter().eq(0..200_000));
    assert_eq!((bad.len(), bad[0].position), (1, None));
    assert!(bad[0].origin.ends_with("/cut") && bad[0].reason.contains("cannot be read"), "{bad:?}");
}

#[tokio::test]
async fn source_files_read_are_deleted_or_archived_by_clean_source() {
    let f = Fixture::new(&[("clean_source", "delete")]);
    for name in ["a", "b", "c"] {
        f.write(name, "1\n");
    }
    let source = f.open().await;
    assert_eq!(end(source.as_ref()).await, 3);
    source.forget(&Offsets::single(2)).await.unwrap();
    source.forget(&Offsets::single(1)).await.unwrap();
    assert_eq!((f.exists("a"), f.exists("b"), f.exists("c")), (false, false, true));
    // The name is free for another file.
    f.write("a", "2\n");
    assert_eq!(end(source.as_ref()).await, 4);
    drop(source);
    let source = f.open().await;
    assert_eq!(end(source.as_ref()).await, 4);
    assert_eq!(read(source.as_ref(), 0, 4, 1).await, (vec![1, 2], vec![]));

    let f = Fixture::new(&[("clean_source", "archive")]);
    let source = f.open().await;
    for number in 1..=2 {
        f.write("sub/a", format!("{number}\n"));
        assert_eq!(end(source.as_ref()).await, number);
        source.forget(&Offsets::single(number)).await.unwrap();
        assert!(!f.exists("sub/a"));
    }
    assert_eq!(fs::read(f.path("_archive/sub/a")).unwrap(), b"1\n");
    assert_eq!(fs::read(f.path("_archive/sub/a.1")).unwrap(), b"2\n");
    // Whoever comes now finds nothing that could still be read.
    assert_eq!(end(source.as_ref()).await, 0);
}

#[tokio::test]
async fn source_without_clean_source_rereads_forgotten_files() {
    let f = Fixture::new(&[]);
    f.write("a", "1\n");
    let source = f.open().await;
    let to = end(source.as_ref()).await;
    source.forget(&Offsets::single(to)).await.unwrap();
    assert_eq!(read(source.as_ref(), 0, to, 1).await.0, [1]);
}

#[tokio::test]
async fn source_columns_are_inferred_from_the_first_file() {
    let f = Fixture::new(&[("header", "true")]);
    let error = connectors::open(7, "s", None, &f.options, &f.env).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidTableDefinition);
    assert!(error.hint_text().is_some());
    assert!(f.env.storage.list("sources").unwrap().is_empty());
    f.write("a", "x,y\n1,z\n");
    let source = connectors::open(7, "s", None, &f.options, &f.env).await.unwrap();
    let names: Vec<_> = source.schema().fields().iter().map(|f| f.to_string()).collect();
    assert_eq!(names.len(), 2);
    assert_eq!(source.schema().field(0).data_type(), &DataType::Int64);
    assert_eq!(read(source.as_ref(), 0, end(source.as_ref()).await, 1).await.0, [1]);
    connectors::remove(7, f.env.storage.as_ref()).unwrap();
    assert!(f.env.storage.list("sources").unwrap().is_empty());
}

#[tokio::test]
async fn source_missing_folder_is_refused_only_for_a_new_source() {
    let f = Fixture::new(&[]);
    let mut options = f.options.clone();
    options.insert("path", f.path("missing").to_str().unwrap());
    let error = connectors::open(8, "s", Some(one()), &options, &f.env).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::UndefinedFile);
    assert!(error.message().contains("missing\" does not exist") && error.hint_text().is_some());
    f.write("file", "1\n");
    options.insert("path", f.path("file").to_str().unwrap());
    let error = connectors::open(8, "s", Some(one()), &options, &f.env).await.unwrap_err();
    assert!(error.message().contains("not a directory"), "{error}");

    fs::create_dir(f.path("later")).unwrap();
    options.insert("path", f.path("later").to_str().unwrap());
    drop(connectors::open(8, "s", Some(one()), &options, &f.env).await.unwrap());
    fs::remove_dir(f.path("later")).unwrap();
    let source = connectors::open(8, "s", Some(one()), &options, &f.env).await.unwrap();
    let ahead = source.ahead(&Offsets::default(), &ReadLimit::default()).await;
    assert_eq!(ahead.unwrap_err().kind(), ErrorKind::UndefinedFile);
    f.write("later/a", "1\n");
    assert_eq!(end(source.as_ref()).await, 1);
}

#[test]
fn source_options_are_checked_without_io() {
    let check = |more: &[(&str, &str)]| {
        let mut options = Options::default();
        let all = [("connector", "directory"), ("path", "/no/such/folder"), ("format", "csv")];
        for (key, value) in all.iter().chain(more) {
            options.insert(*key, *value);
        }
        connectors::check("s", &options)
    };
    check(&[("header", "true"), ("max_files_per_trigger", "1"), ("path", "file:///tmp/x")]).unwrap();
    for (key, value) in [
        ("connector", "carrier pigeon"),
        ("format", "papyrus"),
        ("heder", "true"),
        ("glob", "[a"),
        ("clean_source", "burn"),
        ("archive_dir", "/tmp/x"),
        ("max_files_per_trigger", "few"),
        ("path", ""),
    ] {
        let error = check(&[(key, value)]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidParameterValue, "{key}: {error}");
    }
    let error = check(&[("clean_source", "archive"), ("archive_dir", "/no/such/folder/done")]).unwrap_err();
    assert!(error.message().contains("reads itself"));
    assert_eq!(check(&[("path", "s3://bucket/x")]).unwrap_err().kind(), ErrorKind::Unsupported);
    let limit = connectors::read_limit(&Options([("max_bytes_per_trigger".into(), "1 MB".into())].into())).unwrap();
    assert_eq!(limit, ReadLimit { bytes: Some(1 << 20), ..Default::default() });
}

#[tokio::test]
async fn source_drop_stops_its_watcher() {
    let f = Fixture::new(&[]);
    let weak = Arc::downgrade(&f.env.clock);
    let source = f.open().await;
    let mut changed = source.changed();
    drop(source);
    // The channel closes when the last part of the lookout is gone.
    while tokio::time::timeout(Duration::from_secs(30), changed.changed()).await.unwrap().is_ok() {}
    assert_eq!(weak.strong_count(), 1);
}

/// Writes epochs of one row each to the folder of a fixture, as the sink does.
struct Written {
    sink: DirectorySink,
    epoch: u64,
}

impl Written {
    fn new(f: &Fixture, format: &str) -> Written {
        let mut options = Options::default();
        let path = f.dir.path().to_str().unwrap();
        for (key, value) in
            [("path", path), ("format", format), ("partition_by", "p"), ("merge_files", "2"), ("retain", "1 h")]
        {
            options.insert(key, value);
        }
        let options = DirectorySinkOptions::from_options(&mut options.taker("sink \"s\"")).unwrap();
        let schema = partitioned();
        let (name, identity) = ("s".to_string(), "one".to_string());
        let def = connectors::SinkDef {
            name,
            identity,
            schema,
            mode: connectors::sink::Mode::Append,
            key: None,
            append_only: true,
        };
        Written { sink: DirectorySink::new(def, options, Arc::new(SystemClock)).unwrap(), epoch: 0 }
    }

    async fn write(&mut self, epochs: u64) {
        use crate::{changes::Changes, connectors::Sink, time::Epoch};
        if self.epoch == 0 {
            self.sink.open().await.unwrap();
        }
        for _ in 0..epochs {
            self.epoch += 1;
            let values = Arc::new(Int64Array::from(vec![self.epoch as i64]));
            let folders = Arc::new(Int64Array::from(vec![self.epoch as i64 % 2 * 10]));
            let rows = RecordBatch::try_new(partitioned(), vec![folders, values]).unwrap();
            let rows = connectors::Outgoing { changes: Changes::insert(rows), whole: false };
            self.sink.write(Epoch(self.epoch), &rows).await.unwrap();
        }
    }
}

fn partitioned() -> SchemaRef {
    let field = |name| Field::new(name, DataType::Int64, true);
    Arc::new(Schema::new(vec![field("p"), field("a")]))
}

#[tokio::test]
async fn source_of_a_delta_folder_reads_the_files_its_log_names() {
    for format in ["parquet", "json", "csv"] {
        let f = Fixture::new(&[("format", format), ("header", "true")]);
        let mut f = f;
        if format != "csv" {
            f.options.0.remove("header");
        }
        let open = async |f: &Fixture, schema| connectors::open(7, "s", schema, &f.options, &f.env).await.unwrap();
        let all = async |source: &dyn Source, from| {
            let to = end(source).await;
            let span = Span { from: Offsets::single(from), to: Offsets::single(to) };
            let bad = BadRecords::default();
            let hints = ScanHints {
                projection: Some(vec![1, 0]),
                partitions: 2,
                batch_rows: 10,
                bad: bad.clone(),
                retain: false,
            };
            let mut rows = Vec::new();
            for stream in source.scan(&span, &hints).unwrap() {
                let batches: Vec<RecordBatch> = stream.rows.execute(Default::default()).try_collect().await.unwrap();
                for batch in batches {
                    let column = |i: usize| batch.column(i).as_primitive::<Int64Type>().values().to_vec();
                    rows.extend(column(0).into_iter().zip(column(1)));
                }
            }
            assert_eq!(bad.take().0, vec![]);
            rows.sort();
            (rows, to)
        };
        let expected = |from: i64, to: i64| (from..=to).map(|i| (i, i % 2 * 10)).collect::<Vec<_>>();
        let source = open(&f, Some(partitioned())).await;
        let mut written = Written::new(&f, format);
        written.write(1).await;
        // What a dead epoch leaves behind.
        f.write(&format!("p=0/part-00000000000000000009-00000.{format}"), "a\n77\n");
        written.write(2).await;
        let (rows, read) = all(source.as_ref(), 0).await;
        assert_eq!(rows, expected(1, 3), "{format}");
        // By now files are merged.
        written.write(6).await;
        let (rows, read) = all(source.as_ref(), read).await;
        assert_eq!(rows, expected(4, 9), "{format}");
        drop(source);
        written.write(1).await;
        let source = open(&f, Some(partitioned())).await;
        assert_eq!(all(source.as_ref(), read).await.0, expected(10, 10), "{format}");
        // Who comes now reads merged files, and has the columns from the log.
        f.env.storage = Arc::new(MemoryStorage::default());
        let source = open(&f, None).await;
        assert_eq!(source.schema(), partitioned());
        let (rows, files) = all(source.as_ref(), 0).await;
        assert_eq!(rows, expected(1, 10), "{format}");
        assert!(files < 10);
        // Parts of the log that were deleted before they were read are missed.
        let log = f.path(if format == "parquet" { "_delta_log" } else { "_tidemark_log" });
        written.write(2).await;
        fs::remove_file(log.join(format!("{:020}.json", 11))).unwrap();
        let error = follow(&log, Some(10)).unwrap_err();
        assert!(error.message().contains("was deleted before it was read"), "{}", error.message());
    }
}
