//! Lines over TCP, from `nc -lk` where there is one and from a listener of this process where there is none.

use std::process::{Child, Command, Stdio};

use rand::{Rng, SeedableRng, rngs::SmallRng};
use tidemark::engine::EngineOptions;
use tokio::{
    io::AsyncWriteExt,
    net::{TcpListener, TcpStream},
    time::timeout,
};
use tokio_postgres::Client;

use super::harness::{Home, PATIENCE, Server, eventually, finished, rows, run, seed, tidemark};
use crate::harness::Rig;

async fn accept(listener: &TcpListener) -> TcpStream {
    timeout(PATIENCE, listener.accept()).await.unwrap().unwrap().0
}

fn source(port: u16, more: &str) -> String {
    format!(
        "CREATE SOURCE lines (line TEXT)
         WITH (connector = 'socket', host = '127.0.0.1', port = {port}, format = 'text'{more})"
    )
}

async fn eventually_rows(client: &Client, query: &str, expected: &[&str]) {
    eventually(query, async || (rows(client, query).await == expected).then_some(())).await;
}

/// `nc -lk` on a free port, if this machine has one that can.
struct Netcat(Child);

impl Netcat {
    async fn start(port: u16) -> Option<Netcat> {
        let mut command = Command::new("nc");
        command.args(["-lk", "127.0.0.1", &port.to_string()]);
        let child = command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        match child {
            Ok(child) => Some(Netcat(child)),
            Err(_) => {
                eprintln!("left out: nc -lk, which this machine does not have; a listener of the test stands in");
                None
            }
        }
    }
}

impl Drop for Netcat {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// The pipeline is there before anybody listens. Then lines come, and are counted line by line and in all.
#[tokio::test(flavor = "multi_thread")]
async fn words_yaml_pipeline_counts_lines() {
    use std::io::Write;
    let home = Home::new();
    let port = free_port();
    let mut command = home.pipeline("config/pipelines/words.yaml");
    command.env("WORDS_PORT", port.to_string());
    let server = Server::ready(&home, command);
    let client = server.connect().await;
    let state = "SELECT DISTINCT state FROM tidemark.inputs WHERE input = 'lines'";
    let refused = format!("not connected to 127.0.0.1:{port}: Connection refused (os error 111)");
    eventually_rows(&client, state, &[&refused]).await;

    let said = "to be or not to be\nthat is the question\n\nto  sleep\n";
    let mut netcat = Netcat::start(port).await;
    let peer = match &mut netcat {
        Some(netcat) => {
            eventually_rows(&client, state, &[&format!("connected to 127.0.0.1:{port}")]).await;
            netcat.0.stdin.as_mut().unwrap().write_all(said.as_bytes()).unwrap();
            None
        }
        None => {
            let listener = TcpListener::bind(("127.0.0.1", port)).await.unwrap();
            let mut peer = accept(&listener).await;
            eventually_rows(&client, state, &[&format!("connected to 127.0.0.1:{port}")]).await;
            peer.write_all(said.as_bytes()).await.unwrap();
            Some((listener, peer))
        }
    };
    let words = "SELECT word, count FROM words WHERE count > 1 ORDER BY word";
    eventually_rows(&client, words, &["be|2", "to|3"]).await;
    let by_line = "SELECT word, count FROM words_by_line WHERE line LIKE 'to%' ORDER BY line, word";
    eventually_rows(&client, by_line, &["sleep|1", "to|1", "be|2", "not|1", "or|1", "to|2"]).await;
    drop((netcat, peer));
    eventually("it says so", async || rows(&client, state).await[0].starts_with("not connected").then_some(())).await;
    assert!(home.log().contains("connected to 127.0.0.1"), "{}", home.log());
}

/// Two views of one source, one of them late; a server that is killed again and again while a peer sends. What the
/// journal took is counted once by both: the answers are those of the lines that the source itself still has.
#[tokio::test(flavor = "multi_thread")]
async fn socket_source_journalled_lines_count_once_through_kill_9() {
    let mut rng = SmallRng::seed_from_u64(seed());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let home = Home::new();
    let mut server = home.start();
    let client = server.connect().await;
    run(&client, &source(port, "")).await;
    let view = |name: &str| {
        format!(
            "CREATE MATERIALIZED VIEW {name} WITH (checkpoint_interval = '100 ms')
             AS SELECT count(*) AS n, count(DISTINCT line) AS different, min(line) AS first FROM lines"
        )
    };
    run(&client, &view("early")).await;
    // It reads nothing for now, and so everything stays.
    run(&client, "CREATE MATERIALIZED VIEW keeper AS SELECT line, count(*) AS n FROM lines GROUP BY line").await;
    run(&client, "ALTER MATERIALIZED VIEW keeper PAUSE").await;
    let mut sent = 0;
    for round in 0..6 {
        let mut peer = accept(&listener).await;
        for _ in 0..rng.random_range(1..30) {
            let lines: String = (0..rng.random_range(1..50))
                .map(|_| {
                    sent += 1;
                    format!("{sent:06}\n")
                })
                .collect();
            peer.write_all(lines.as_bytes()).await.unwrap();
        }
        let client = server.connect().await;
        if round == 2 {
            run(&client, &view("late")).await;
        }
        // Something of it is in the journal. What is not by now may be lost, and is nobody's promise.
        eventually_rows(&client, "SELECT count(*) > 0 FROM lines", &["t"]).await;
        if round % 2 == 0 {
            peer.write_all(b"cut").await.unwrap();
        }
        server.kill();
        drop(peer);
        server = home.start();
    }
    let client = server.connect().await;
    let mut peer = accept(&listener).await;
    peer.write_all(b"the end\n").await.unwrap();
    eventually_rows(&client, "SELECT count(*) FROM lines WHERE line = 'the end'", &["1"]).await;
    let oracle = rows(&client, "SELECT count(*), count(DISTINCT line), min(line) FROM lines").await;
    run(&client, "FLUSH").await;
    assert_eq!(rows(&client, "SELECT * FROM early").await, oracle);
    assert_eq!(rows(&client, "SELECT * FROM late").await, oracle);
    run(&client, "ALTER MATERIALIZED VIEW keeper RESUME").await;
    run(&client, "FLUSH").await;
    let kept = rows(&client, "SELECT line FROM keeper WHERE n = 1 AND line <> 'the end'").await;
    // Nothing twice, and no half line.
    assert_eq!(format!("{}", kept.len() + 1), oracle[0].split('|').next().unwrap());
    assert!(kept.iter().all(|line| line.len() == 6) && kept.len() <= sent, "{} of {sent}", kept.len());
}

/// An engine that dies at each of its storage writes in turn, while whoever connects is told twenty lines. The number of
/// lines that a view has counted is the number that it has read, each of them once.
#[test]
fn socket_source_crash_at_every_write_counts_each_line_once() {
    crate::harness::run(2, async || {
        let mut crash = 0;
        let mut struck = true;
        while struck {
            crash += 1;
            struck = crashed_at(crash).await;
        }
        assert!(crash > 5, "only {crash} writes");
    });
}

/// Whether that many writes were made at all.
async fn crashed_at(write: u64) -> bool {
    const LINES: i64 = 20;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    // However fast they come, there is more than one epoch to die in.
    let source = source(listener.local_addr().unwrap().port(), ", max_rows_per_trigger = 3");
    let view = format!(
        "CREATE MATERIALIZED VIEW v AS SELECT count(*) AS n, count(DISTINCT line) AS different,
             count(*) FILTER (WHERE line LIKE '%line {}') AS ends FROM lines",
        LINES - 1
    );
    let talk = tokio::spawn(async move {
        let mut peers = Vec::new();
        for number in 0.. {
            let (mut peer, _) = listener.accept().await.unwrap();
            for line in 0..LINES {
                // Where the other side has died already, another comes.
                let _ = peer.write_all(format!("peer {number} line {line}\n").as_bytes()).await;
                tokio::task::yield_now().await;
            }
            peers.push(peer);
        }
    });
    let mut rig = Rig::new(EngineOptions::default()).await;
    let fail_at = rig.storage.writes() + write;
    rig.storage.fail_at(fail_at);
    let mut seen = 0;
    let state = async |rig: &Rig| -> Option<(i64, bool)> {
        let query = "SELECT n, different, ends, i.offsets FROM v, tidemark.inputs i WHERE i.query = 'v'";
        let rows = rig.sql(query).await.ok()?;
        let row: Vec<String> = rows.0.first()?.iter().map(ToString::to_string).collect();
        let n: i64 = row[0].parse().unwrap();
        let settled = row[1] == row[0] && row[3] == format!("{{\"0\":{n}}}");
        Some((n, settled && row[2] != "0"))
    };
    // Whatever the crash leaves of them is made again.
    let make = async |rig: &Rig| {
        let _ = rig.sql(&source.replace("SOURCE", "SOURCE IF NOT EXISTS")).await;
        let _ = rig.sql(&view.replace("VIEW", "VIEW IF NOT EXISTS")).await;
    };
    make(&rig).await;
    eventually("all is told, or the storage is broken", async || {
        let now = state(&rig).await;
        seen = now.map_or(seen, |(n, _)| n);
        (rig.storage.writes() >= fail_at || now.is_some_and(|(_, done)| done)).then_some(())
    })
    .await;
    let struck = rig.storage.writes() >= fail_at;
    rig.crash().await;
    make(&rig).await;
    eventually("each line is counted once", async || {
        let (n, done) = state(&rig).await?;
        (done && n >= seen).then_some(())
    })
    .await;
    talk.abort();
    struck
}

/// Bytes that are no text, a line that is too long and one that was cut: dead letters, with their numbers.
#[tokio::test(flavor = "multi_thread")]
async fn socket_source_invalid_long_or_cut_line_is_a_dead_letter() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let server = Home::new().start();
    let client = server.connect().await;
    run(&client, &source(port, ", max_line_bytes = '1 kB'")).await;
    run(&client, "CREATE MATERIALIZED VIEW n AS SELECT count(*) AS n FROM lines").await;
    let mut peer = accept(&listener).await;
    peer.write_all(b"one\n\xff\xfe\n").await.unwrap();
    for _ in 0..20 {
        peer.write_all(&vec![b'x'; 1 << 20]).await.unwrap();
    }
    peer.write_all(b"\ntwo\nthr").await.unwrap();
    drop(peer);
    eventually_rows(&client, "SELECT n FROM n", &["2"]).await;
    let letters = "SELECT file, line, length(encode(raw, 'hex')) / 2 FROM tidemark.dead_letters ORDER BY line";
    let at = |line: u64, bytes: u64| format!("127.0.0.1:{port}|{line}|{bytes}");
    eventually_rows(&client, letters, &[&at(1, 2), &at(2, 1024), &at(4, 3)]).await;
}

/// What an operator reads before he runs it.
#[tokio::test(flavor = "multi_thread")]
async fn socket_source_without_port_is_refused_by_check() {
    let home = Home::new();
    home.put("p.yaml", "sources:\n  lines: { connector: socket, host: localhost, format: text }\n");
    let (status, _, stderr) = finished(tidemark().arg("check").arg(home.path("p.yaml"))).await;
    assert!(!status.success() && stderr.contains("needs option \"port\""), "{stderr}");
}
