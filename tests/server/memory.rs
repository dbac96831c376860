//! What a client, a view or a subscriber may hold in memory. A server that is told to stay within 512 MB is asked for
//! more in every way there is: each is answered by an error, nobody else notices, and the process stays within.
//!
//! The bound is on the high-water mark of the process beyond what it has when it has started: `memory_limit`, whatever the
//! build. A release build starts with some 50 MB, so that it stays within a container of 682 MB, of which 512 are three
//! quarters.

use tokio::{sync::oneshot, task::JoinHandle};
use tokio_postgres::Client;

use super::{
    harness::{Home, Server, error_text, eventually, fails, rows, run, try_rows},
    raw::Raw,
};

const LIMIT_MB: u64 = 512;

/// A server with its limit, a view that runs, and somebody who asks it something small all the time.
struct Guarded {
    server: Server,
    client: Client,
    started_kb: u64,
    seen: u64,
    stop: oneshot::Sender<()>,
    other: JoinHandle<u64>,
}

impl Guarded {
    async fn start() -> Guarded {
        Guarded::with("").await
    }

    async fn with(more: &str) -> Guarded {
        let home = Home::new();
        std::fs::write(home.path("tidemark.yaml"), format!("memory_limit: {LIMIT_MB} MB\n{more}")).unwrap();
        let server = home.start();
        let client = server.connect().await;
        run(
            &client,
            "CREATE SOURCE ticks (n BIGINT) WITH (connector = 'datagen', rows_per_second = 1000,
               fields.n.kind = 'sequence', fields.n.start = 1);
             CREATE MATERIALIZED VIEW counted AS SELECT count(*) AS n FROM ticks",
        )
        .await;
        let seen = counted(&client).await;
        let started_kb = high_water_kb(server.pid());
        let (stop, mut stopped) = oneshot::channel();
        let asking = server.connect().await;
        let other = tokio::spawn(async move {
            let mut asked = 0;
            while stopped.try_recv().is_err() {
                assert_eq!(rows(&asking, "SELECT 1").await, ["1"]);
                asked += 1;
                tokio::task::yield_now().await;
            }
            asked
        });
        Guarded { server, client, started_kb, seen, stop, other }
    }

    /// Nobody else has noticed anything, and the process has stayed within.
    async fn assert_within_memory(self) {
        let Guarded { server, client, started_kb, seen, stop, other } = self;
        eventually("the view goes on", async || (counted(&client).await > seen).then_some(())).await;
        assert_eq!(rows(&client, STATE).await, ["running"]);
        stop.send(()).unwrap();
        assert!(other.await.expect("whoever asks for little is answered") > 0);
        let high_kb = high_water_kb(server.pid());
        let grown = (high_kb - started_kb) / 1024;
        eprintln!("{grown} MB more than the {} MB that it began with", started_kb / 1024);
        assert!(grown < LIMIT_MB, "{grown} MB more than the {} MB that it began with", started_kb / 1024);
    }
}

/// What the view beside them is doing.
const STATE: &str = "SELECT state FROM tidemark.queries WHERE name = 'counted'";

async fn counted(client: &Client) -> u64 {
    rows(client, "SELECT n FROM counted").await.first().map_or(0, |n| n.parse().unwrap())
}

/// The most that a process ever had in memory.
fn high_water_kb(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

fn is_limit(code: &str) -> bool {
    ["53200", "53400", "54000", "54011"].contains(&code)
}

/// Texts that are short to send and long to read.
#[tokio::test(flavor = "multi_thread")]
async fn statements_with_huge_lists_are_refused_within_memory() {
    let guarded = Guarded::start().await;
    let many = |what: &str| what.repeat((8 << 20) / what.len());
    run(&guarded.client, "CREATE TABLE t (x BIGINT)").await;
    for sql in [
        format!("SELECT {}x FROM t", many("x, ")),
        format!("SELECT {}1", "1, ".repeat(2000)),
        format!("SELECT 1 WHERE 1 IN ({}1)", many("1, ")),
        format!("INSERT INTO t VALUES {}(1)", many("(1), ")),
        format!("VALUES ({}1)", many("1, ")),
        format!("SELECT {}1", many("1+")),
        format!("CREATE TABLE w ({}b INT)", (0..2000).map(|n| format!("a{n} INT, ")).collect::<String>()),
        format!("PREPARE p AS SELECT ARRAY[{}1]", many("1, ")),
    ] {
        let error = fails(&guarded.client, &sql).await;
        assert!(is_limit(error.code().code()), "{}…: {error:?}", &sql[..40]);
    }
    guarded.assert_within_memory().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn unfinished_large_messages_stay_within_session_memory() {
    let guarded = Guarded::start().await;
    let mut sockets = Vec::new();
    for _ in 0..90 {
        let mut socket = Raw::open(guarded.server.port).await;
        socket.begin(b'Q', 16 << 20).await;
        // The last byte never comes.
        socket.send_bytes(&vec![b'x'; (16 << 20) - 5]).await;
        sockets.push(socket);
    }
    // It does, after all: who found no room is told so, and goes on.
    let mut refused = 0;
    for mut socket in sockets {
        socket.send_bytes(b"\0").await;
        refused += usize::from(socket.error().await.as_deref() == Some("53200"));
        socket.query("SELECT 1").await;
        assert_eq!(socket.error().await, None);
    }
    assert!(refused > 80, "{refused}");
    guarded.assert_within_memory().await;
}

/// A value that is wide once, and that every row of a batch has.
#[tokio::test(flavor = "multi_thread")]
async fn repeated_wide_values_stay_within_memory() {
    let guarded = Guarded::start().await;
    let client = &guarded.client;
    run(
        client,
        "CREATE TABLE n (k INT, id INT); INSERT INTO n SELECT 1, value FROM generate_series(1, 5000);
         CREATE TABLE one (k INT, x TEXT); INSERT INTO one VALUES (1, repeat('x', 1000000))",
    )
    .await;
    for (sql, answer) in [
        ("SELECT length(max(repeat('x', 250000))) FROM n", "250000"),
        ("SELECT count(DISTINCT repeat('x', 200000)) FROM n", "1"),
        (
            "SELECT count(*) FROM (SELECT 'x' || repeat('x', 1000000) AS x, id FROM n) AS s WHERE length(x || id::text) > 9",
            "5000",
        ),
        ("SELECT max(length(x || id::text)) FROM one JOIN n USING (k)", "1000004"),
        ("SELECT length(max(x)) FROM one JOIN n USING (k)", "1000000"),
    ] {
        assert_eq!(rows(client, sql).await, [answer], "{sql}");
    }
    for (name, sql) in
        [("wide", "SELECT id, repeat('x', 300000) AS x FROM n"), ("joined", "SELECT id, x FROM one JOIN n USING (k)")]
    {
        run(client, &format!("CREATE MATERIALIZED VIEW {name} AS {sql}")).await;
        let error = fails(client, &format!("FLUSH {name}")).await;
        assert!(is_limit(error.code().code()), "{sql}: {error:?}");
    }
    guarded.assert_within_memory().await;
}

/// Whether a join of few rows with one of a table, which is as wide as that, is planned with round robin.
async fn is_round_robin(client: &Client, table: &str) -> bool {
    let plan = rows(client, &format!("EXPLAIN SELECT max(length(x || id::text)) FROM {table} JOIN n USING (k)")).await;
    plan.iter().any(|line| line.contains("RoundRobinBatch"))
}

/// It buffers without bound what one of its readers has not taken.
#[tokio::test(flavor = "multi_thread")]
async fn wide_rows_are_planned_without_round_robin_repartition() {
    let home = Home::new();
    home.put("tidemark.yaml", "threads: { query: 2 }\n");
    let server = home.start();
    let client = server.connect().await;
    run(
        &client,
        "CREATE TABLE n (k INT, id INT); INSERT INTO n SELECT 1, value FROM generate_series(1, 5000);
         CREATE TABLE narrow (k INT, x TEXT); INSERT INTO narrow VALUES (1, 'x');
         CREATE TABLE wide (k INT, x TEXT); INSERT INTO wide VALUES (1, repeat('x', 1000000))",
    )
    .await;
    assert!(is_round_robin(&client, "narrow").await, "it is there to be left out");
    assert!(!is_round_robin(&client, "wide").await);
}

/// Rows that one statement writes are there before any of them is written.
#[tokio::test(flavor = "multi_thread")]
async fn large_writes_are_refused_within_memory() {
    let guarded = Guarded::start().await;
    let client = &guarded.client;
    run(client, "CREATE TABLE t (id BIGINT, s TEXT)").await;
    for sql in [
        "INSERT INTO t SELECT value, repeat('x', 10000) FROM generate_series(1, 200000)",
        "CREATE TABLE u AS SELECT value, repeat('x', 10000) AS s FROM generate_series(1, 200000)",
    ] {
        let error = fails(client, sql).await;
        assert!(is_limit(error.code().code()), "{sql}: {error:?}");
    }
    run(client, "INSERT INTO t SELECT value, repeat('x', 1000) FROM generate_series(1, 10000)").await;
    let error = fails(client, "UPDATE t SET s = repeat('y', 100000)").await;
    assert!(is_limit(error.code().code()), "{error:?}");
    // A row that never ends, and rows that never end.
    for line in [vec![b'x'; 1 << 20], format!("1\t{}\n", "x".repeat(1 << 20)).into_bytes()] {
        let mut socket = Raw::open(guarded.server.port).await;
        socket.query("COPY t FROM STDIN").await;
        for _ in 0..200 {
            socket.copy_data(&line).await;
        }
        socket.copy_done().await;
        let code = socket.error().await;
        assert!(code.as_deref().is_some_and(is_limit), "{code:?}");
    }
    assert_eq!(rows(client, "SELECT count(*), max(length(s)) FROM t").await, ["10000|1000"]);
    guarded.assert_within_memory().await;
}

/// More sockets than there are places for, none of which says who it is: whoever does is let in.
#[tokio::test(flavor = "multi_thread")]
async fn stalled_connections_do_not_block_new_clients() {
    let guarded = Guarded::with("sessions: { startup_timeout: 3600 s }\n").await;
    let mut stalled = Vec::new();
    for n in 0..400 {
        let mut socket = Raw::connect(guarded.server.port).await;
        // Nothing at all, half a length, half a packet.
        socket.send_bytes([&b""[..], b"\0\0", b"\0\0\0\x54\0\x03\0\0user\0"][n % 3]).await;
        stalled.push(socket);
    }
    let client = guarded.server.connect().await;
    assert_eq!(rows(&client, "SELECT 1").await, ["1"]);
    // The first ones have made room, and were told why.
    assert_eq!(stalled[0].error().await.as_deref(), Some("53300"));
    drop(stalled);
    guarded.assert_within_memory().await;
}

/// Who is slow is not who stalls: a packet that comes byte by byte is a packet.
#[tokio::test(flavor = "multi_thread")]
async fn startup_packet_sent_byte_by_byte_is_accepted() {
    let server = Home::new().start();
    let mut socket = Raw::connect(server.port).await;
    for byte in Raw::startup_packet() {
        socket.send_bytes(&[byte]).await;
    }
    assert_eq!(socket.error().await, None);
}

/// Rows that are gone are not gone for who still reads them: they count as the table's until nobody does.
#[tokio::test(flavor = "multi_thread")]
async fn rows_held_by_open_readers_count_against_the_table() {
    let guarded = Guarded::with("state:\n  memory_limit: 60 MB\n").await;
    let client = &guarded.client;
    run(client, "CREATE TABLE t (id BIGINT PRIMARY KEY, s TEXT)").await;
    for part in 0..8 {
        let rows = format!("SELECT i, repeat('x', 1000) FROM generate_series({part}001, {part}999) AS g(i)");
        run(client, &format!("INSERT INTO t {rows}")).await;
    }
    let mut readers = Vec::new();
    let mut refused = 0;
    for round in 0..12 {
        let reader = guarded.server.connect().await;
        run(&reader, "BEGIN; DECLARE c CURSOR FOR SELECT length(s), unnest(array_repeat(id, 10000)) FROM t").await;
        assert_eq!(rows(&reader, "FETCH 1 FROM c").await.len(), 1);
        readers.push(reader);
        match client.simple_query(&format!("UPDATE t SET s = repeat('{}', 1000)", char::from(b'a' + round))).await {
            Ok(_) => {}
            Err(error) => {
                let code = error.code().map(|code| code.code().to_string()).unwrap_or_default();
                assert!(is_limit(&code) && error_text(&error).contains("table \"t\""), "{}", error_text(&error));
                refused += 1;
            }
        }
    }
    assert!((4..12).contains(&refused), "{refused} were refused");
    drop(readers);
    eventually("there is room again", async || client.simple_query("UPDATE t SET s = 'y'").await.ok()).await;
    // The readers held all that tables and views may hold together: the view may have been refused its part, and then
    // tries again.
    eventually("the view runs", async || (rows(client, STATE).await == ["running"]).then_some(())).await;
    guarded.assert_within_memory().await;
}

/// A view remembers much of a large table: its first checkpoint is a copy of that, and so is each that replaces a chain.
#[tokio::test(flavor = "multi_thread")]
async fn checkpoints_of_large_state_stay_within_memory() {
    let guarded = Guarded::start().await;
    let client = &guarded.client;
    run(
        client,
        "CREATE TABLE t (id BIGINT, s TEXT) APPEND ONLY;
         INSERT INTO t SELECT i, repeat('x', 500) || i FROM generate_series(1, 50000) AS g(i);
         CREATE MATERIALIZED VIEW v WITH (checkpoint_interval = '10 ms') AS
           SELECT s, count(*) AS n FROM t GROUP BY s",
    )
    .await;
    for part in 1..40 {
        run(
            client,
            &format!("INSERT INTO t SELECT i, 'y' || i FROM generate_series({part}00, {part}99) AS g(i); FLUSH"),
        )
        .await;
    }
    assert_eq!(rows(client, "SELECT count(*), sum(n) FROM v").await, ["53900|53900"]);
    guarded.assert_within_memory().await;
}

/// A start that finds more than may be held refuses what has no room, by its name; all of it is there again once it has.
#[tokio::test(flavor = "multi_thread")]
async fn start_with_a_lower_memory_limit_refuses_relations_by_name_and_loses_nothing() {
    let home = Home::new();
    let configure = |limit: &str| home.put("tidemark.yaml", format!("state: {{ memory_limit: {limit} }}\n"));
    configure("200 MB");
    let server = home.start();
    let client = server.connect().await;
    run(
        &client,
        "CREATE TABLE small (id BIGINT PRIMARY KEY);
         INSERT INTO small SELECT i FROM generate_series(1, 1000) AS g(i);
         CREATE TABLE large (id BIGINT, s TEXT) APPEND ONLY;
         INSERT INTO large SELECT i, repeat('x', 500) || i FROM generate_series(1, 30000) AS g(i);
         CREATE MATERIALIZED VIEW few AS SELECT count(*) AS n FROM small;
         CREATE SOURCE many (n BIGINT) WITH (connector = 'datagen', rows_per_second = 0, number_of_rows = 100000,
           fields.n.kind = 'sequence', fields.n.start = 1);
         CREATE MATERIALIZED VIEW wide AS SELECT n, count(*) AS c FROM many GROUP BY n;
         FLUSH",
    )
    .await;
    assert!(server.terminate().await.success());

    configure("4 MB");
    let server = home.start();
    let client = server.connect().await;
    eventually("the small ones serve", async || (rows(&client, "SELECT n FROM few").await == ["1000"]).then_some(()))
        .await;
    for (name, is) in [("large", "table"), ("wide", "view")] {
        let error = eventually("it is refused", async || {
            let error = client.simple_query(&format!("SELECT count(*) FROM {name}")).await.err()?;
            Some(error_text(&error)).filter(|text| !text.contains("still recovering"))
        })
        .await;
        assert!(error.contains("53400") && error.contains(&format!("{is} \"{name}\"")), "{error}");
        assert!(error.contains("state.memory_limit"), "{error}");
    }
    run(&client, "INSERT INTO small VALUES (1001); FLUSH few").await;
    assert_eq!(rows(&client, "SELECT n FROM few").await, ["1001"]);
    server.kill();

    configure("200 MB");
    let server = home.start();
    let client = server.connect().await;
    eventually("all is there", async || {
        let counts = "SELECT (SELECT count(*) FROM large), (SELECT count(*) FROM wide), (SELECT n FROM few)";
        (try_rows(&client, counts).await.ok()? == ["30000|100000|1001"]).then_some(())
    })
    .await;
}
