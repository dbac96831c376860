//! What a reader of the log sees, wherever the writer is cut off.

use std::sync::atomic::{AtomicU64, Ordering};

use arrow::{
    array::{ArrayRef, AsArray, Int64Array, StringArray},
    datatypes::{DataType, Field, Int64Type, Schema},
};
use datafusion::prelude::{ParquetReadOptions, SessionContext};
use futures::{StreamExt, stream::BoxStream};
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, PutMultipartOptions,
    PutOptions, PutPayload, PutResult, local::LocalFileSystem, memory::InMemory, path::Path,
};

use super::*;
use crate::{
    connectors::Fence,
    formats::{Format, Request},
    options::Options,
    time::ManualClock,
};

/// A store that fails at a change and ever after, as if its machine died; what fails at first may have come through.
#[derive(Debug)]
struct Flaky {
    inner: Arc<dyn ObjectStore>,
    changes: AtomicU64,
    fail_at: u64,
    through: bool,
}

impl std::fmt::Display for Flaky {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Flaky({})", self.inner)
    }
}

fn broken() -> object_store::Error {
    object_store::Error::Generic { store: "flaky", source: "the machine died".into() }
}

impl Flaky {
    fn new(inner: &Arc<dyn ObjectStore>, fail_at: u64, through: bool) -> Arc<Flaky> {
        Arc::new(Flaky { inner: inner.clone(), changes: AtomicU64::new(0), fail_at, through })
    }

    /// Whether a change takes effect, and whether that is told.
    fn change(&self) -> (bool, bool) {
        let n = self.changes.fetch_add(1, Ordering::SeqCst) + 1;
        (n < self.fail_at || n == self.fail_at && self.through, n < self.fail_at)
    }

    fn died(&self) -> bool {
        self.changes.load(Ordering::SeqCst) >= self.fail_at
    }
}

#[async_trait]
impl ObjectStore for Flaky {
    async fn put_opts(&self, to: &Path, bytes: PutPayload, options: PutOptions) -> object_store::Result<PutResult> {
        let (done, reported) = self.change();
        let put = if done { Some(self.inner.put_opts(to, bytes, options).await?) } else { None };
        put.filter(|_| reported).ok_or_else(broken)
    }

    async fn put_multipart_opts(
        &self,
        to: &Path,
        options: PutMultipartOptions,
    ) -> object_store::Result<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(to, options).await
    }

    async fn get_opts(&self, path: &Path, options: GetOptions) -> object_store::Result<GetResult> {
        if self.died() { Err(broken()) } else { self.inner.get_opts(path, options).await }
    }

    fn delete_stream(
        &self,
        paths: BoxStream<'static, object_store::Result<Path>>,
    ) -> BoxStream<'static, object_store::Result<Path>> {
        let (done, reported) = self.change();
        let deleted = if done { self.inner.delete_stream(paths) } else { futures::stream::empty().boxed() };
        if reported { deleted } else { deleted.filter(|_| async { false }).chain(failing()).boxed() }
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, object_store::Result<ObjectMeta>> {
        if self.died() { failing() } else { self.inner.list(prefix) }
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> object_store::Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> object_store::Result<()> {
        let (done, reported) = self.change();
        if done {
            self.inner.copy_opts(from, to, options).await?;
        }
        if reported { Ok(()) } else { Err(broken()) }
    }
}

fn failing<T: Send + 'static>() -> BoxStream<'static, object_store::Result<T>> {
    futures::stream::once(async { Err(broken()) }).boxed()
}

fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("k", DataType::Int64, false),
        Field::new("v", DataType::Utf8, true),
        Field::new("p", DataType::Utf8, true),
    ]))
}

fn def(identity: &str) -> SinkDef {
    SinkDef {
        name: "s".to_string(),
        identity: identity.to_string(),
        schema: schema(),
        mode: Mode::Append,
        key: None,
        append_only: true,
    }
}

/// How the test runs a sink.
#[derive(Clone)]
struct Setup {
    options: Vec<(&'static str, &'static str)>,
    clock: Arc<ManualClock>,
}

impl Setup {
    fn new(format: &'static str, more: &[(&'static str, &'static str)]) -> Setup {
        let options = [&[("path", "out"), ("format", format)], more].concat();
        Setup { options, clock: Arc::new(ManualClock::new(1_700_000_000_000_000)) }
    }

    fn options(&self) -> DirectorySinkOptions {
        let mut options = Options::default();
        for (key, value) in &self.options {
            options.insert(*key, *value);
        }
        let mut taker = options.taker("sink \"s\"");
        let taken = DirectorySinkOptions::from_options(&mut taker).unwrap();
        taker.finish().unwrap();
        taken
    }

    fn sink(&self, identity: &str, place: &Arc<SinkFolder>) -> DirectorySink {
        let mut sink = DirectorySink::new(def(identity), self.options(), self.clock.clone()).unwrap();
        sink.place = Some(place.clone());
        sink
    }

    /// The rows that the log says are there.
    async fn seen(&self, place: &Arc<SinkFolder>) -> Vec<String> {
        let parquet = self.options().format.is_parquet();
        let history = History::read(place, parquet).await.unwrap();
        let mut options = Options::default();
        options.insert("format", self.options().format.name());
        options.insert("multiline", "true");
        if self.options().format.name() == "csv" {
            options.insert("header", "true");
        }
        let format = Format::from_options(&mut options.taker("source \"s\"")).unwrap();
        let mut rows = Vec::new();
        for add in history.contents.files.values() {
            let bytes = place.read(&on_disk(&add.path)).await.unwrap();
            assert_eq!(bytes.len() as i64, add.size);
            let partitions = self.options.iter().any(|(key, _)| *key == "partition_by");
            let columns = if partitions { schema().project(&[0, 1]).unwrap().into() } else { schema() };
            let projection = (0..columns.fields().len()).collect();
            let request = Request { schema: columns, projection, batch_rows: 1_000 };
            let part = 0..bytes.len() as u64;
            let bad = Box::new(|bad| panic!("{bad:?}"));
            let mut count = 0;
            for batch in format.read("f", Arc::new(bytes), part, &request, bad).unwrap() {
                let batch = batch.unwrap().batch;
                count += batch.num_rows() as u64;
                let (keys, values) = (batch.column(0).as_primitive::<Int64Type>(), batch.column(1).as_string::<i32>());
                for row in 0..batch.num_rows() {
                    let partition = match batch.columns().get(2) {
                        Some(column) => column.is_valid(row).then(|| column.as_string::<i32>().value(row).to_string()),
                        None => add.partition_values["p"].clone(),
                    };
                    rows.push(format!("{}|{}|{partition:?}", keys.value(row), values.value(row)));
                }
            }
            assert_eq!(count, rows_of(add));
        }
        rows.sort();
        rows
    }
}

const PARTITIONS: [Option<&str>; 3] = [Some("x"), Some("ü/ %"), None];

fn outgoing(epoch: u64) -> Outgoing {
    let first = epoch as i64 * 10;
    let keys = Int64Array::from_iter_values(first..first + 6);
    let values: StringArray = keys.values().iter().map(|k| Some(format!("row\n{k}"))).collect();
    let partitions: StringArray = (0..6).map(|i| PARTITIONS[i % 3]).collect();
    let columns: Vec<ArrayRef> = vec![Arc::new(keys), Arc::new(values), Arc::new(partitions)];
    let rows = RecordBatch::try_new(schema(), columns).unwrap();
    Outgoing { changes: Changes::insert(rows), whole: false }
}

fn expected(epochs: impl Iterator<Item = u64>) -> Vec<String> {
    let mut rows: Vec<_> = epochs
        .flat_map(|epoch| (0..6).map(move |i| (epoch * 10 + i, PARTITIONS[i as usize % 3])))
        .map(|(k, partition)| format!("{k}|row\n{k}|{:?}", partition.map(str::to_string)))
        .collect();
    rows.sort();
    rows
}

async fn run(sink: &mut DirectorySink, from: u64, to: u64, acknowledged: &mut u64) -> Result<()> {
    let there = sink.open().await?;
    assert_eq!(there, Epoch(from - 1));
    for epoch in from..=to {
        sink.write(Epoch(epoch), &outgoing(epoch)).await?;
        *acknowledged = epoch;
    }
    Ok(())
}

/// Files that are neither listed nor wait to be deleted.
async fn unreferenced_files(setup: &Setup, place: &Arc<SinkFolder>) -> Vec<String> {
    let history = History::read(place, setup.options().format.is_parquet()).await.unwrap();
    let listed = |path: &str| {
        let path = in_log(path);
        history.contents.files.contains_key(&path) || history.contents.removed.contains_key(&path)
    };
    let all = place.list("").await.unwrap().into_iter().map(|file| file.path);
    all.filter(|path| path.starts_with("_drafts") || !is_hidden(path) && !listed(path)).collect()
}

/// Dies at each change of the store in turn.
async fn crash_at_every_write(setup: Setup, local: bool, before: u64, last: u64) {
    for through in [false, true] {
        for fail_at in 1.. {
            let folder = tempfile::tempdir().unwrap();
            let root = local.then(|| folder.path().to_path_buf());
            let store: Arc<dyn ObjectStore> = match &root {
                Some(root) => Arc::new(LocalFileSystem::new_with_prefix(root).unwrap()),
                None => Arc::new(InMemory::new()),
            };
            let healthy = Arc::new(SinkFolder::new("out", store.clone(), root.clone()));
            let mut acknowledged = before;
            if before > 0 {
                run(&mut setup.sink("one", &healthy), 1, before, &mut acknowledged).await.unwrap();
            }
            let flaky = Flaky::new(&store, fail_at, through);
            let place = Arc::new(SinkFolder::new("out", flaky.clone(), root));
            let done = run(&mut setup.sink("one", &place), before + 1, last, &mut acknowledged).await;
            let context = format!("change {fail_at}, through {through}, {done:?}");
            let seen = setup.seen(&healthy).await;
            let next = acknowledged + u64::from(seen.len() > expected(1..=acknowledged).len());
            assert_eq!(seen, expected(1..=next), "{context}");
            let mut sink = setup.sink("one", &healthy);
            assert_eq!(sink.open().await.unwrap(), Epoch(next), "{context}");
            assert_eq!(unreferenced_files(&setup, &healthy).await, Vec::<String>::new(), "{context}");
            assert_eq!(setup.seen(&healthy).await, expected(1..=next), "{context}");
            for epoch in next + 1..=last + 1 {
                sink.write(Epoch(epoch), &outgoing(epoch)).await.unwrap();
            }
            assert_eq!(setup.seen(&healthy).await, expected(1..=last + 1), "{context}");
            if !flaky.died() {
                break;
            }
        }
    }
}

const PARTITIONED: (&str, &str) = ("partition_by", "p");

#[tokio::test]
async fn sink_crash_at_any_write_leaves_whole_epochs() {
    let merging = [("merge_files", "2"), ("retain", "0 s"), PARTITIONED];
    crash_at_every_write(Setup::new("json", &merging), false, 0, 5).await;
    crash_at_every_write(Setup::new("csv", &merging[..2]), false, 0, 5).await;
    crash_at_every_write(Setup::new("csv", &[("target_file_size", "1 B")]), false, 0, 3).await;
}

#[tokio::test]
async fn sink_crash_at_any_write_on_disk_leaves_whole_epochs() {
    // Of few files: each is synced.
    crash_at_every_write(Setup::new("json", &[("merge_files", "2"), ("retain", "0 s")]), true, 0, 3).await;
}

#[tokio::test]
async fn sink_crash_at_any_write_of_a_log_checkpoint_leaves_whole_epochs() {
    crash_at_every_write(Setup::new("json", &[("merge_files", "8"), ("retain", "0 s")]), false, 97, 101).await;
}

#[tokio::test]
async fn sink_log_and_folder_stay_small_over_many_epochs() {
    let place = Arc::new(SinkFolder::new("out", Arc::new(InMemory::new()), None));
    let setup = Setup::new("json", &[("merge_files", "4"), ("retain", "10 s")]);
    let mut sink = setup.sink("one", &place);
    sink.open().await.unwrap();
    let (mut entries, mut files) = (0, 0);
    for epoch in 1..=450 {
        // The store has a clock of its own: all that it has is old to this one.
        setup.clock.set(4_000_000_000_000_000 + epoch as i64 * 1_000_000);
        sink.write(Epoch(epoch), &outgoing(epoch)).await.unwrap();
        entries = entries.max(place.list(OWN).await.unwrap().len());
        files = files.max(place.list("").await.unwrap().len() - place.list(OWN).await.unwrap().len());
    }
    assert!(entries <= 110 && files < 40, "{entries} {files}");
    assert_eq!(setup.seen(&place).await, expected(1..=450));
    assert_eq!(setup.sink("one", &place).open().await.unwrap(), Epoch(450));
}

#[tokio::test]
async fn sink_replaced_files_stay_for_the_retention_time() {
    let place = Arc::new(SinkFolder::new("out", Arc::new(InMemory::new()), None));
    let setup = Setup::new("json", &[("retain", "10 s")]);
    let mut sink = setup.sink("one", &place);
    sink.open().await.unwrap();
    let whole = |epoch| Outgoing { whole: true, ..outgoing(epoch) };
    let files = async || place.list("").await.unwrap().iter().filter(|file| !is_hidden(&file.path)).count();
    for epoch in 1..=3 {
        sink.write(Epoch(epoch), &whole(epoch)).await.unwrap();
        assert_eq!(setup.seen(&place).await, expected(epoch..=epoch));
        assert_eq!(files().await, epoch as usize);
    }
    setup.clock.set(setup.clock.now() + 10_000_000);
    sink.open().await.unwrap();
    assert_eq!(files().await, 3);
    sink.write(Epoch(4), &whole(4)).await.unwrap();
    assert_eq!(files().await, 2);
    let nothing = Outgoing { changes: Changes::empty(schema()), whole: true };
    sink.write(Epoch(5), &nothing).await.unwrap();
    assert_eq!(setup.seen(&place).await, expected(1..1));
}

#[tokio::test]
async fn sink_folder_of_another_sink_or_writer_is_refused() {
    let place = Arc::new(SinkFolder::new("out", Arc::new(InMemory::new()), None));
    let setup = Setup::new("json", &[]);
    let (mut old, mut new) = (setup.sink("one", &place), setup.sink("one", &place));
    old.open().await.unwrap();
    old.write(Epoch(1), &outgoing(1)).await.unwrap();
    assert_eq!(new.open().await.unwrap(), Epoch(1));
    let error = old.write(Epoch(2), &outgoing(2)).await.unwrap_err();
    assert_eq!(error.message(), "somebody else writes to directory \"out\" of sink \"s\"");
    new.write(Epoch(2), &outgoing(2)).await.unwrap();
    assert_eq!(setup.seen(&place).await, expected(1..=2));
    let error = setup.sink("two", &place).open().await.unwrap_err();
    assert_eq!(error.message(), "directory \"out\" of sink \"s\" belongs to another sink");
    let error = Setup::new("json", &[PARTITIONED]).sink("one", &place).open().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidDefinition);
    assert_eq!(
        Setup::new("csv", &[]).sink("one", &place).open().await.unwrap_err().kind(),
        ErrorKind::InvalidDefinition
    );
    let error = Setup::new("parquet", &[]).sink("one", &place).open().await.unwrap_err();
    assert!(error.message().starts_with("directory \"out\" is not empty"), "{}", error.message());
}

#[tokio::test]
async fn sink_retraction_is_refused_and_diff_of_two_writes_two_rows() {
    let place = Arc::new(SinkFolder::new("out", Arc::new(InMemory::new()), None));
    let setup = Setup::new("json", &[]);
    let mut sink = setup.sink("one", &place);
    sink.open().await.unwrap();
    let with = |diffs: Vec<i64>| {
        let rows = outgoing(1).changes.rows().slice(0, 2);
        Outgoing { changes: Changes::new(rows, diffs.into()), whole: false }
    };
    let error = sink.write(Epoch(1), &with(vec![1, -1])).await.unwrap_err();
    assert_eq!(error.message(), "rows of sink \"s\" are withdrawn, and a file cannot say so");
    assert_eq!(sink.open().await.unwrap(), Epoch(0));
    sink.write(Epoch(1), &with(vec![2, 1])).await.unwrap();
    let rows = expected(1..=1);
    assert_eq!(setup.seen(&place).await, [rows[0].clone(), rows[0].clone(), rows[1].clone()]);
}

#[tokio::test]
async fn sink_parquet_folder_is_readable_as_plain_files() {
    let folder = tempfile::tempdir().unwrap();
    let place = Arc::new(SinkFolder::local("out", folder.path().join("made/for/it"), &Fence::default()).unwrap());
    let setup = Setup::new("parquet", &[("merge_files", "3")]);
    let mut acknowledged = 0;
    let mut sink = setup.sink("one", &place);
    run(&mut sink, 1, 10, &mut acknowledged).await.unwrap();
    assert_eq!(setup.seen(&place).await, expected(1..=10));
    let history = History::read(&place, true).await.unwrap();
    assert!(history.contents.files.len() < 6, "{:?}", history.contents.files.keys());
    let root = folder.path().join("made/for/it");
    let paths: Vec<_> = history.contents.files.keys().map(|path| root.join(path).display().to_string()).collect();
    let listed = SessionContext::new().read_parquet(paths, ParquetReadOptions::default()).await.unwrap();
    assert_eq!(listed.count().await.unwrap(), 60);
    let def = SinkDef { schema: Arc::new(Schema::new(vec![Field::new("p q", DataType::Utf8, true)])), ..def("one") };
    let error = DirectorySink::new(def, setup.options(), setup.clock.clone()).unwrap_err();
    assert_eq!(error.message(), "a Parquet folder cannot have a column of the name \"p q\"");
}

#[test]
fn sink_large_epoch_is_split_by_target_file_size() {
    let keys: ArrayRef = Arc::new(Int64Array::from_iter_values(0..20_000));
    let rows = RecordBatch::try_from_iter([("k", keys)]).unwrap();
    for format in ["parquet", "json"] {
        let format = Setup::new(format, &[]).options().format;
        let sizes = |target| {
            let files = encode(&format, &rows.schema(), &rows, target).unwrap();
            files.iter().map(|file| file.rows).collect::<Vec<_>>()
        };
        assert_eq!(sizes(1), [8_192, 8_192, 3_616]);
        assert_eq!(sizes(1 << 30), [20_000]);
    }
}

#[test]
fn sink_invalid_options_are_refused() {
    for (key, value) in [("format", "avro"), ("target_file_size", "0"), ("merge_files", "1"), ("retain", "soon")] {
        let mut options = Options::default();
        options.insert("path", "out");
        options.insert("format", "json");
        options.insert(key, value);
        let error = DirectorySinkOptions::from_options(&mut options.taker("sink \"s\"")).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidParameterValue, "{key}");
    }
}
