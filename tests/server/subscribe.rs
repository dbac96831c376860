//! `SUBSCRIBE`: the changes of a relation as they come, by every way to ask for them, and every way to end.

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader},
    pin::Pin,
    process::{Command, Stdio},
    time::Duration,
};

use futures::{Stream, StreamExt, TryStreamExt};
use rand::{Rng, SeedableRng, rngs::SmallRng};
use tokio::time::{Instant, timeout};
use tokio_postgres::{Client, Error, NoTls, SimpleQueryMessage};

use super::harness::{
    Home, PATIENCE, Server, checkout, error_text, fails, finished, rows, run, seed, signal, tidemark,
};

const SCENE: &str = "
CREATE TABLE orders (id BIGINT PRIMARY KEY, who TEXT, n BIGINT);
CREATE MATERIALIZED VIEW spent AS SELECT who, sum(n) AS n FROM orders GROUP BY who;
INSERT INTO orders VALUES (1, 'ada', 1), (2, 'bob', 2);
FLUSH";

/// A subscription that runs, read row by row.
struct ChangeFeed(Pin<Box<dyn Stream<Item = Result<String, Error>> + Send>>);

impl ChangeFeed {
    /// Returns when it has begun: what comes later is told.
    async fn begin(client: &Client, sql: &str) -> ChangeFeed {
        let mut messages = Box::pin(client.simple_query_raw(sql).await.unwrap());
        let first = timeout(PATIENCE, messages.next()).await.expect("no answer").expect("no message");
        assert!(matches!(first, Ok(SimpleQueryMessage::RowDescription(_))), "{first:?}");
        ChangeFeed(Box::pin(messages.try_filter_map(async |message| {
            Ok(match message {
                SimpleQueryMessage::Row(row) => {
                    let columns: Vec<&str> = (0..row.len()).map(|n| row.get(n).unwrap_or("NULL")).collect();
                    Some(columns.join("|"))
                }
                _ => None,
            })
        })))
    }

    /// The next row: its epoch, and the rest.
    async fn row(&mut self) -> (u64, String) {
        let row = timeout(PATIENCE, self.0.next()).await.expect("no row comes").expect("the subscription has ended");
        split_epoch(&row.unwrap_or_else(|error| panic!("{}", error_text(&error))))
    }

    /// So many rows without their epochs, which only grow.
    async fn rows(&mut self, count: usize) -> Vec<String> {
        let (mut found, mut last) = (Vec::new(), 0);
        while found.len() < count {
            let (epoch, row) = self.row().await;
            assert!(epoch >= last, "epoch {epoch} after {last}");
            last = epoch;
            found.push(row);
        }
        found
    }

    /// That it ends by itself, with no other row.
    async fn expect_end(mut self) {
        let end = timeout(PATIENCE, self.0.next()).await.expect("it does not end");
        assert!(end.is_none(), "{end:?}");
    }

    /// The error that ends it.
    async fn end(mut self) -> String {
        loop {
            match timeout(PATIENCE, self.0.next()).await.expect("it does not end") {
                Some(Ok(_)) => {}
                Some(Err(error)) => return error_text(&error),
                None => panic!("it ended without an error"),
            }
        }
    }
}

fn split_epoch(row: &str) -> (u64, String) {
    let (epoch, rest) = row.split_once('|').unwrap();
    (epoch.parse().unwrap(), rest.to_string())
}

fn sorted(mut rows: Vec<String>) -> Vec<String> {
    rows.sort();
    rows
}

async fn setting() -> (Server, Client) {
    let server = Home::new().start();
    let client = server.connect().await;
    run(&client, SCENE).await;
    (server, client)
}

#[tokio::test(flavor = "multi_thread")]
async fn subscribe_sends_each_change_of_views_and_tables() {
    let (server, client) = setting().await;
    let mut feed = ChangeFeed::begin(&server.connect().await, "SUBSCRIBE TO spent").await;
    let mut later = ChangeFeed::begin(&server.connect().await, "SUBSCRIBE spent WITH (snapshot = false)").await;
    let mut table = ChangeFeed::begin(&server.connect().await, "SUBSCRIBE TO public.orders").await;
    assert_eq!(sorted(feed.rows(2).await), ["1|ada|1", "1|bob|2"]);
    assert_eq!(sorted(table.rows(2).await), ["1|1|ada|1", "1|2|bob|2"]);
    for (change, of_the_view, of_the_table) in [
        ("INSERT INTO orders VALUES (3, 'ada', 5)", vec!["-1|ada|1", "1|ada|6"], vec!["1|3|ada|5"]),
        ("UPDATE orders SET n = 3 WHERE id = 2", vec!["-1|bob|2", "1|bob|3"], vec!["-1|2|bob|2", "1|2|bob|3"]),
        ("DELETE FROM orders WHERE who = 'bob'", vec!["-1|bob|3"], vec!["-1|2|bob|3"]),
        ("INSERT INTO orders VALUES (4, 'eve', 9)", vec!["1|eve|9"], vec!["1|4|eve|9"]),
    ] {
        run(&client, change).await;
        assert_eq!(feed.rows(of_the_view.len()).await, of_the_view, "{change}");
        assert_eq!(later.rows(of_the_view.len()).await, of_the_view, "{change}");
        assert_eq!(table.rows(of_the_table.len()).await, of_the_table, "{change}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn subscribe_large_epoch_is_complete() {
    let (server, client) = setting().await;
    let mut feed = ChangeFeed::begin(&server.connect().await, "SUBSCRIBE TO orders").await;
    feed.rows(2).await;
    run(&client, "INSERT INTO orders SELECT i, 'eve', i FROM generate_series(10, 30009) AS s(i)").await;
    run(&client, "UPDATE orders SET n = n + 1 WHERE who = 'eve'").await;
    let (epoch, _) = feed.row().await;
    let mut sums = BTreeMap::new();
    *sums.entry((epoch, 1)).or_insert(0) += 1;
    for _ in 1..90_000 {
        let (epoch, row) = feed.row().await;
        let diff: i64 = row.split('|').next().unwrap().parse().unwrap();
        *sums.entry((epoch, diff)).or_insert(0) += 1;
    }
    let sums: Vec<_> = sums.into_iter().collect();
    assert_eq!(sums, [((epoch, 1), 30_000), ((epoch + 1, -1), 30_000), ((epoch + 1, 1), 30_000)]);
}

/// By the extended protocol, and as COPY.
#[tokio::test(flavor = "multi_thread")]
async fn subscribe_extended_protocol_and_copy_give_the_same_rows() {
    let (server, client) = setting().await;
    let other = server.connect().await;
    let statement = other.prepare("SUBSCRIBE TO spent").await.unwrap();
    let columns: Vec<String> = statement.columns().iter().map(|c| format!("{} {}", c.name(), c.type_())).collect();
    assert_eq!(columns, ["epoch int8", "diff int8", "who text", "n int8"]);
    let none: [&(dyn tokio_postgres::types::ToSql + Sync); 0] = [];
    let mut typed = Box::pin(other.query_raw(&statement, none).await.unwrap());
    let third = server.connect().await;
    let mut copied =
        Box::pin(third.copy_out("COPY (SUBSCRIBE TO spent) TO STDOUT (FORMAT csv, HEADER)").await.unwrap());
    let (mut rows, mut lines) = (Vec::new(), Vec::new());
    for round in 0..2 {
        while rows.len() < 2 + 2 * round {
            let row = timeout(PATIENCE, typed.next()).await.expect("no row").unwrap().unwrap();
            assert!(row.get::<_, i64>(0) > 0);
            rows.push(format!("{},{},{}", row.get::<_, i64>(1), row.get::<_, &str>(2), row.get::<_, i64>(3)));
        }
        while lines.len() < 3 + 2 * round {
            let line = timeout(PATIENCE, copied.next()).await.expect("no line").unwrap().unwrap();
            lines.push(String::from_utf8(line.to_vec()).unwrap());
        }
        if round == 0 {
            run(&client, "UPDATE orders SET n = 7 WHERE id = 1").await;
        }
    }
    assert_eq!(lines.remove(0), "epoch,diff,who,n\n");
    let lines: Vec<&str> = lines.iter().map(|line| line.split_once(',').unwrap().1.trim_end()).collect();
    assert_eq!(rows, lines);
    assert_eq!(rows[2..], ["-1,ada,1", "1,ada,7"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn subscribe_cursor_fetch_returns_pending_rows_or_waits_for_its_timeout() {
    let (server, client) = setting().await;
    let reader = server.connect().await;
    let error = fails(&reader, "DECLARE c CURSOR FOR SUBSCRIBE TO spent").await;
    assert_eq!(error.code().code(), "25000", "{error}");
    run(&reader, "BEGIN; DECLARE c CURSOR FOR SUBSCRIBE TO spent").await;
    let fetched = async |fetch: &str| -> Vec<String> {
        rows(&reader, fetch).await.iter().map(|row| split_epoch(row).1).collect()
    };
    assert_eq!(sorted([fetched("FETCH c").await, fetched("FETCH ALL FROM c").await].concat()), ["1|ada|1", "1|bob|2"]);
    let nothing: [&str; 0] = [];
    assert_eq!(fetched("FETCH ALL FROM c").await, nothing);
    run(&client, "INSERT INTO orders VALUES (3, 'ada', 5); FLUSH").await;
    run(&client, "INSERT INTO orders VALUES (4, 'eve', 5); FLUSH").await;
    assert_eq!(fetched("FETCH 2 FROM c").await, ["-1|ada|1", "1|ada|6"]);
    assert_eq!(fetched("FETCH 2 FROM c").await, ["1|eve|5"]);
    // So long and no longer.
    let started = Instant::now();
    assert_eq!(fetched("FETCH 1 FROM c WITH (timeout = '300 ms')").await, nothing);
    assert!(started.elapsed() >= Duration::from_millis(300));
    // As soon as all that was asked for is there: it waits for more than the row that it has given.
    run(&client, "INSERT INTO orders VALUES (5, 'pat', 1); FLUSH").await;
    let mut fetch = ChangeFeed::begin(&reader, "FETCH 2 FROM c WITH (timeout = '10 minutes')").await;
    assert_eq!(fetch.rows(1).await, ["1|pat|1"]);
    run(&client, "DELETE FROM orders WHERE id = 4").await;
    assert_eq!(fetch.rows(1).await, ["-1|eve|5"]);
    fetch.expect_end().await;
    run(&client, "DELETE FROM orders WHERE id = 3; FLUSH").await;
    run(&reader, "MOVE 1 FROM c").await;
    assert_eq!(fetched("FETCH ALL FROM c").await, ["1|ada|1"]);
    let statement = reader.prepare("FETCH ALL FROM c").await.unwrap();
    run(&client, "DELETE FROM orders WHERE id = 1; FLUSH").await;
    assert_eq!(reader.query(&statement, &[]).await.unwrap().len(), 1);
    run(&reader, "CLOSE c; DECLARE q CURSOR FOR SELECT 1").await;
    let error = fails(&reader, "FETCH 1 FROM q WITH (timeout = '1s')").await;
    assert_eq!(error.code().code(), "0A000", "{error}");
}

/// Reads a view through reconnects and crashes: what is read adds up to the view.
#[tokio::test(flavor = "multi_thread")]
async fn subscribe_through_reconnects_and_kills_gives_each_change_once() {
    let home = Home::new();
    let mut server = home.start();
    let mut dice = SmallRng::seed_from_u64(seed());
    run(&server.connect().await, SCENE).await;
    let mut read: [(BTreeMap<String, i64>, u64); 2] = Default::default();
    for round in 0..9 {
        let client = server.connect().await;
        // Some of it while nobody is subscribed.
        change(&client, &mut dice).await;
        for ((held, last), name) in read.iter_mut().zip(["spent", "orders"]) {
            // What was read of an epoch that may not have come whole is read again.
            let after = if *last == 0 { String::new() } else { format!("AS OF EPOCH {last}") };
            let mut feed = ChangeFeed::begin(&server.connect().await, &format!("SUBSCRIBE TO {name} {after}")).await;
            change(&client, &mut dice).await;
            let wanted = sorted(rows(&client, &format!("SELECT * FROM {name}")).await);
            let (mut now, mut at) = (held.clone(), *last);
            while now.keys().cloned().collect::<Vec<_>>() != wanted {
                let (epoch, row) = feed.row().await;
                if epoch > at {
                    held.clone_from(&now);
                    *last = std::mem::replace(&mut at, epoch);
                }
                let (diff, row) = row.split_once('|').unwrap();
                let count = now.entry(row.to_string()).or_default();
                *count += diff.parse::<i64>().unwrap();
                assert!((0..=1).contains(count), "{row} is there {count} times");
                if *count == 0 {
                    now.remove(row);
                }
            }
        }
        if round == 3 {
            assert!(server.terminate().await.success());
            server = home.start();
        } else if round % 2 == 0 {
            change(&client, &mut dice).await;
            server.kill();
            server = home.start();
        }
    }
    let client = server.connect().await;
    let error = fails(&client, "SUBSCRIBE TO spent AS OF EPOCH 1000000").await;
    assert_eq!(error.code().code(), "22023", "{error}");
}

async fn change(client: &Client, dice: &mut SmallRng) {
    for _ in 0..dice.random_range(1..6) {
        let (id, who, n) = (dice.random_range(0..8), dice.random_range(0..4), dice.random_range(0..100));
        let change = match dice.random_range(0..3) {
            0 => format!("DELETE FROM orders WHERE id = {id}"),
            1 => format!("UPDATE orders SET n = {n} WHERE id < {id} AND n <> {n}"),
            _ => format!("INSERT INTO orders VALUES ({id}, 'w{who}', {n}) ON CONFLICT DO NOTHING"),
        };
        run(client, &change).await;
    }
    run(client, "FLUSH").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn subscribe_to_a_dropped_or_replaced_relation_ends_with_an_error() {
    let (server, client) = setting().await;
    run(&client, "CREATE MATERIALIZED VIEW other AS SELECT who FROM orders").await;
    let of = async |name: &str| ChangeFeed::begin(&server.connect().await, &format!("SUBSCRIBE TO {name}")).await;
    let mut feeds = [of("spent").await, of("orders").await, of("other").await];
    for feed in &mut feeds {
        feed.rows(2).await;
    }
    let holder = server.connect().await;
    run(&holder, "DECLARE c CURSOR WITH HOLD FOR SUBSCRIBE TO spent; FETCH ALL c").await;
    run(&client, "CREATE OR REPLACE MATERIALIZED VIEW other AS SELECT who, n FROM orders").await;
    run(&client, "DROP TABLE orders CASCADE").await;
    for (feed, name) in feeds.into_iter().zip(["spent", "orders", "other"]) {
        let error = feed.end().await;
        assert!(error.starts_with(&format!("42P01: \"{name}\" was dropped\nHINT")), "{error}");
    }
    for fetch in ["FETCH ALL c", "FETCH 1 c WITH (timeout = '1 hour')"] {
        assert_eq!(fails(&holder, fetch).await.message(), "\"spent\" was dropped");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn subscribe_ends_on_cancel_timeout_and_sigterm() {
    let (server, client) = setting().await;
    let reader = server.connect().await;
    let mut feed = ChangeFeed::begin(&reader, "SUBSCRIBE TO spent").await;
    feed.rows(2).await;
    reader.cancel_token().cancel_query(NoTls).await.unwrap();
    assert!(feed.end().await.starts_with("57014: canceling statement due to user request"));
    run(&reader, "SET statement_timeout = '300 ms'").await;
    let late = ChangeFeed::begin(&reader, "SUBSCRIBE TO spent").await.end().await;
    assert!(late.starts_with("57014: canceling statement due to statement timeout"), "{late}");
    run(&reader, "RESET statement_timeout").await;
    assert_eq!(rows(&reader, "SELECT 1").await, ["1"]);
    // Of a cursor that waits.
    run(&reader, "BEGIN; DECLARE c CURSOR FOR SUBSCRIBE TO spent").await;
    let mut fetch = ChangeFeed::begin(&reader, "FETCH 3 c WITH (timeout = '1 hour')").await;
    fetch.rows(2).await;
    reader.cancel_token().cancel_query(NoTls).await.unwrap();
    let error = fetch.end().await;
    assert!(error.starts_with("57014"), "{error}");
    run(&reader, "ROLLBACK").await;
    // One that nobody reads any more, one that is read: neither keeps the server.
    drop(ChangeFeed::begin(&server.connect().await, "SUBSCRIBE TO orders").await);
    let last = ChangeFeed::begin(&server.connect().await, "SUBSCRIBE TO orders").await;
    run(&client, "INSERT INTO orders VALUES (5, 'eve', 1)").await;
    let (status, end) = tokio::join!(server.terminate(), last.end());
    assert!(status.success());
    assert!(end.starts_with("57P01"), "{end}");
}

/// Whoever reads slower than rows come is told so, and holds no more than the limit.
#[tokio::test(flavor = "multi_thread")]
async fn slow_subscriber_gets_snapshot_required_error() {
    let home = Home::new();
    std::fs::write(home.path("tidemark.yaml"), "changelog: { max_rows: 1000 }\n").unwrap();
    let server = home.start();
    let client = server.connect().await;
    run(&client, "CREATE TABLE t (id BIGINT PRIMARY KEY, filling TEXT); INSERT INTO t VALUES (0, 'x')").await;
    let slow = server.connect().await;
    run(&slow, "BEGIN; DECLARE c CURSOR FOR SUBSCRIBE TO t").await;
    let first = split_epoch(&rows(&slow, "FETCH ALL c").await[0]).0;
    for n in 0..10 {
        let values = format!("SELECT i + {n} * 400, repeat('x', 1000) FROM generate_series(1, 400) AS s(i)");
        run(&client, &format!("INSERT INTO t {values}")).await;
    }
    let error = fails(&slow, "FETCH ALL c").await;
    assert_eq!(error.code().code(), "55000", "{error}");
    assert_eq!(error.message(), "the subscription to \"t\" is too far behind");
    assert!(error.hint().unwrap().contains("SUBSCRIBE again"), "{error:?}");
    run(&slow, "ROLLBACK").await;
    let error = fails(&slow, &format!("SUBSCRIBE TO t AS OF EPOCH {first}")).await;
    assert_eq!(error.code().code(), "55000", "{error}");
    assert!(error.message().starts_with("the changes of \"t\" after epoch"), "{error}");
    // A client that does not read at all keeps nobody waiting, and can be ended.
    let stuck = server.connect().await;
    let feed = ChangeFeed::begin(&stuck, "SUBSCRIBE TO t").await;
    run(&client, "UPDATE t SET filling = repeat('y', 2000)").await;
    assert_eq!(rows(&client, "SELECT count(*) FROM t").await, ["4001"]);
    stuck.cancel_token().cancel_query(NoTls).await.unwrap();
    assert!(feed.end().await.starts_with("57014"));
}

#[tokio::test(flavor = "multi_thread")]
async fn psql_copy_of_subscribe_prints_rows_as_they_come() {
    let (server, client) = setting().await;
    let mut command = Command::new("stdbuf");
    command.args(["-oL", "psql", "-X", "-q", "-h", "127.0.0.1", "-U", "tidemark", "-d", "tidemark", "-p"]);
    command.arg(server.port.to_string()).args(["-c", "COPY (SUBSCRIBE TO spent) TO STDOUT"]);
    let there = Command::new("psql").arg("--version").output().is_ok();
    let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let (true, Ok(mut child)) = (there, child) else {
        return eprintln!("not tested: there is no psql here");
    };
    let (said, mut says) = tokio::sync::mpsc::unbounded_channel();
    let out = BufReader::new(child.stdout.take().unwrap());
    std::thread::spawn(move || out.lines().map_while(Result::ok).for_each(|line| drop(said.send(line))));
    let mut lines = async |count: usize| {
        let mut lines = Vec::new();
        for _ in 0..count {
            let line = timeout(PATIENCE, says.recv()).await.expect("psql shows nothing").expect("psql has ended");
            lines.push(line.split_once('\t').unwrap().1.to_string());
        }
        lines
    };
    assert_eq!(sorted(lines(2).await), ["1\tada\t1", "1\tbob\t2"]);
    run(&client, "UPDATE orders SET n = 5 WHERE id = 1").await;
    assert_eq!(lines(2).await, ["-1\tada\t1", "1\tada\t5"]);
    // Ctrl-C.
    signal("-INT", child.id());
    let ended = tokio::task::spawn_blocking(move || child.wait_with_output().unwrap()).await.unwrap();
    let error = String::from_utf8_lossy(&ended.stderr).into_owned();
    assert!(error.contains("canceling statement due to user request"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn subscribe_sql_example_gives_its_answers() {
    let server = Home::new().start();
    let mut command = tidemark();
    command.current_dir(server.home.path("")).arg("sql").env("PGPORT", server.port.to_string());
    let (status, stdout, stderr) = finished(command.arg("-f").arg(checkout("sql/examples/subscribe.sql"))).await;
    assert!(status.success(), "{stderr}");
    let lines = stdout.lines().filter(|line| line.contains('|'));
    let cells = lines.map(|line| line.split('|').skip(1).map(str::trim).collect::<Vec<_>>().join("|"));
    let rows: Vec<String> = cells.filter(|row| !row.starts_with("diff")).collect();
    assert_eq!(sorted(rows[..2].to_vec()), ["1|ada|1|7.50", "1|bob|1|6.00"], "{stdout}");
    assert_eq!(rows[2..], ["-1|bob|1|6.00", "1|bob|2|8.00"], "{stdout}");
}
