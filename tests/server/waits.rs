//! Nobody waits for what is somebody else's: a query that has failed, an outside that says nothing, an epoch.

use std::{
    io::Read,
    net::{TcpListener, TcpStream},
    sync::{Arc, Mutex},
};

use futures::future::poll_fn;
use tokio_postgres::{AsyncMessage, Client, NoTls};

use super::harness::{Home, PATIENCE, Server, fails, rows, run};

/// A client, and the notices that it was told.
async fn connect_with_notices(server: &Server) -> (Client, impl Fn() -> Vec<String>) {
    let parameters = format!("host=127.0.0.1 port={} user=tidemark dbname=tidemark", server.port);
    let (client, mut connection) = tokio_postgres::connect(&parameters, NoTls).await.unwrap();
    let notices = Arc::new(Mutex::new(Vec::new()));
    let received = notices.clone();
    tokio::spawn(async move {
        while let Some(Ok(message)) = poll_fn(|context| connection.poll_message(context)).await {
            if let AsyncMessage::Notice(notice) = message {
                let text = format!("{} {}: {}", notice.severity(), notice.code().code(), notice.message());
                received.lock().unwrap().push(text);
            }
        }
    });
    (client, move || std::mem::take(&mut *notices.lock().unwrap()))
}

#[tokio::test(flavor = "multi_thread")]
async fn flush_beside_failed_views_succeeds_and_names_each() {
    let server = Home::new().start();
    let (client, notices) = connect_with_notices(&server).await;
    run(
        &client,
        "CREATE TABLE t (id INT PRIMARY KEY, n INT);
         CREATE MATERIALIZED VIEW shares AS SELECT id, 100 / n AS share FROM t;
         CREATE MATERIALIZED VIEW above AS SELECT count(*) AS n FROM shares;
         CREATE MATERIALIZED VIEW parts AS SELECT id, 7 % n AS part FROM t;
         CREATE MATERIALIZED VIEW total AS SELECT sum(n) AS n FROM t;
         CREATE SINK out AS SELECT id, 1 / n AS x FROM t WITH (connector = 'blackhole');
         INSERT INTO t VALUES (1, 10);
         FLUSH",
    )
    .await;
    assert_eq!(notices(), [""; 0]);
    run(&client, "INSERT INTO t VALUES (2, 0); FLUSH").await;
    let failed = "materialized view \"shares\" (division by zero), materialized view \"parts\" (division by zero), sink \
                  \"out\" (division by zero)";
    assert_eq!(notices(), [format!("WARNING 01000: not everything is flushed: {failed}")]);
    assert_eq!(rows(&client, "SELECT n FROM total").await, ["10"], "the others were waited for");
    run(&client, "INSERT INTO t VALUES (3, 5); FLUSH total").await;
    assert_eq!((notices(), rows(&client, "SELECT n FROM total").await), (vec![], vec!["15".to_string()]));
    for name in ["shares", "parts", "public.out"] {
        let error = fails(&client, &format!("FLUSH {name}")).await;
        let label = name.trim_start_matches("public.");
        assert!(error.code().code() == "22012" && error.message().contains(label), "{error:?}");
    }
    run(&client, "FLUSH above; FLUSH t").await;
    assert_eq!(
        notices(),
        ["WARNING 01000: not everything is flushed: materialized view \"shares\" (division by zero)"],
        "what it reads has failed, it has not"
    );
    assert_eq!(fails(&client, "FLUSH nobody").await.code().code(), "42P01");
    run(&client, "DELETE FROM t WHERE id = 2; ALTER MATERIALIZED VIEW shares RESUME; FLUSH shares").await;
    assert_eq!((notices(), rows(&client, "SELECT count(*) FROM shares").await), (vec![], vec!["2".to_string()]));
}

/// A server that accepts, and never says a word.
struct Silent(TcpListener);

impl Silent {
    fn new() -> Silent {
        Silent(TcpListener::bind("127.0.0.1:0").unwrap())
    }

    fn sink(&self, name: &str) -> String {
        let port = self.0.local_addr().unwrap().port();
        format!(
            "CREATE SINK {name} FROM t WITH (connector = 'postgres', url = 'postgres://u@127.0.0.1:{port}/d', table = 't')"
        )
    }

    /// The next one who comes.
    async fn accept(&self) -> TcpStream {
        let listener = self.0.try_clone().unwrap();
        tokio::task::spawn_blocking(move || listener.accept().unwrap().0).await.unwrap()
    }
}

/// Waits until the other end has hung up.
async fn hung_up(mut socket: TcpStream) {
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let read = tokio::task::spawn_blocking(move || socket.read_to_end(&mut Vec::new()));
    read.await.unwrap().expect("the connection is given up");
}

#[tokio::test(flavor = "multi_thread")]
async fn create_sink_to_a_silent_server_blocks_no_others_and_ends_on_disconnect() {
    let home = Home::new();
    home.put("tidemark.yaml", "connectors: {open_timeout: 1 h}");
    let server = home.start();
    let client = server.connect().await;
    run(&client, "CREATE TABLE t (n INT) APPEND ONLY").await;
    let silent = Silent::new();
    for dies in [true, false] {
        let parameters = format!("host=127.0.0.1 port={} user=tidemark dbname=tidemark", server.port);
        let (other, connection) = tokio_postgres::connect(&parameters, NoTls).await.unwrap();
        let connection = tokio::spawn(connection);
        let (cancel, create) = (other.cancel_token(), silent.sink("s"));
        let creating = tokio::spawn(async move { other.batch_execute(&create).await });
        let socket = silent.accept().await;
        let others =
            "CREATE TABLE u (n INT); INSERT INTO t VALUES (1); CREATE MATERIALIZED VIEW v AS SELECT n FROM t; FLUSH;
            CREATE SINK w FROM v WITH (connector = 'blackhole'); DROP SINK w; DROP MATERIALIZED VIEW v; DROP TABLE u";
        run(&client, others).await;
        let same = "SET statement_timeout = '50 ms'; CREATE TABLE s (n INT)";
        assert_eq!(fails(&client, same).await.code().code(), "57014", "the name is not free");
        run(&client, "RESET statement_timeout").await;
        assert!(!creating.is_finished());
        match dies {
            true => connection.abort(),
            false => cancel.cancel_query(NoTls).await.unwrap(),
        }
        let error = creating.await.unwrap().unwrap_err();
        assert!(dies || error.code().is_some_and(|code| code.code() == "57014"), "{error}");
        run(&client, "CREATE TABLE s (n INT); DROP TABLE s").await;
        hung_up(socket).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn create_sink_to_a_silent_server_fails_at_open_timeout() {
    let home = Home::new();
    home.put("tidemark.yaml", "connectors: {open_timeout: 100 ms}");
    let server = home.start();
    let client = server.connect().await;
    run(&client, "CREATE TABLE t (n INT) APPEND ONLY").await;
    let silent = Silent::new();
    let error = fails(&client, &silent.sink("s")).await;
    assert_eq!(
        (error.code().code(), error.message()),
        ("57P03", "sink \"s\": what is outside did not answer within 100ms")
    );
    assert!(error.hint().is_some_and(|hint| hint.contains("connectors.open_timeout")), "{error:?}");
    run(&client, "CREATE TABLE s (n INT)").await;
    hung_up(silent.accept().await).await;
}
