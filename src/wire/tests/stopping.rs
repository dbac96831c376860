//! Cancellation, timeouts, disconnects and shutdown, each during a statement or a session.

use std::time::Duration;

use tokio::io::AsyncWriteExt;

use super::{queries::opened, *};

#[tokio::test]
async fn cancel_request_ends_only_the_running_statement() {
    let server = Server::start().await;
    let client = server.connect().await;
    let token = client.cancel_token();
    for sql in ["SELECT * FROM forever", "SELECT count(*) FROM endless"] {
        let cancel = async {
            server.door.watch.begun.notified().await;
            token.cancel_query(NoTls).await.expect("sent");
        };
        let (failed, ()) = tokio::join!(failure(&client, sql), cancel);
        assert_eq!(failed, "57014 canceling statement due to user request", "{sql}");
        server.door.watch.gone.notified().await;
        assert_eq!(simple(&client, "SELECT 1").await, ["1", "(1)"]);
    }
    // A cancel request after the end of the statement has no effect.
    token.cancel_query(NoTls).await.expect("sent");
    assert_eq!(simple(&client, "SELECT 2").await, ["2", "(1)"]);
}

#[tokio::test]
async fn pg_cancel_backend_cancels_another_session() {
    let server = Server::start().await;
    let (client, other) = (server.connect().await, server.connect().await);
    let pid = simple(&client, "SELECT pg_backend_pid()").await.remove(0);
    let cancel = async {
        server.door.watch.begun.notified().await;
        assert_eq!(simple(&other, &format!("SELECT pg_cancel_backend({pid})")).await, ["t", "(1)"]);
    };
    let (failed, ()) = tokio::join!(failure(&client, "SELECT * FROM forever"), cancel);
    assert_eq!(failed, "57014 canceling statement due to user request");
}

#[tokio::test]
async fn statement_timeout_ends_the_statement() {
    let server = Server::start().await;
    let client = server.connect().await;
    simple(&client, "SET statement_timeout = '20ms'").await;
    let late = "57014 canceling statement due to statement timeout";
    assert_eq!(failure(&client, "SELECT * FROM forever").await, late);
    server.door.watch.gone.notified().await;
    assert_eq!(error_text(&client.query("SELECT * FROM forever", &[]).await.expect_err("late")), late);
    assert_eq!(simple(&client, "SET statement_timeout = 0; SELECT 1").await, ["(0)", "1", "(1)"]);
}

#[tokio::test]
async fn statement_timeout_while_recovering_names_the_view() {
    let server = Server::start().await;
    let client = server.connect().await;
    simple(&client, "SET statement_timeout = '20ms'").await;
    let late = "57014 canceling statement due to statement timeout";
    let answer = async {
        let mut answer = failure(&client, "FLUSH").await;
        while answer == late {
            // It timed out before it waited for anything.
            answer = failure(&client, "FLUSH").await;
        }
        answer
    };
    assert_eq!(answer.await, "55000 view \"v\" is still recovering");
    // The relation named for one statement is not named for the next.
    assert_eq!(failure(&client, "SELECT * FROM forever").await, late);
    server.door.watch.begun.notified().await;
    simple(&client, "RESET statement_timeout").await;
    let token = client.cancel_token();
    let cancel = async {
        server.door.watch.begun.notified().await;
        token.cancel_query(NoTls).await.expect("sent");
    };
    let (failed, ()) = tokio::join!(failure(&client, "FLUSH"), cancel);
    assert_eq!(failed, "57014 canceling statement due to user request");
}

#[tokio::test]
async fn client_disconnect_cancels_its_query() {
    let server = Server::start().await;
    let mut socket = opened(&server).await;
    socket.write_all(b"Q\0\0\0\x1aSELECT * FROM forever\0").await.expect("sent");
    server.door.watch.begun.notified().await;
    drop(socket);
    server.door.watch.gone.notified().await;
    assert_eq!(simple(&server.connect().await, "SELECT 1").await, ["1", "(1)"]);
}

#[tokio::test]
async fn panic_is_an_internal_error_of_its_statement_only() {
    let server = Server::start().await;
    let client = server.connect().await;
    simple(&client, "BEGIN").await;
    let failed = failure(&client, "SELECT explode(n) FROM numbers").await;
    assert!(failed.starts_with("XX000 ") && failed.contains("boom"), "{failed}");
    simple(&client, "ROLLBACK").await;
    assert_eq!(simple(&client, "SELECT 1").await, ["1", "(1)"]);
}

#[tokio::test]
async fn shutdown_terminates_sessions_with_admin_shutdown() {
    let mut server = Server::start().await;
    let (idle, idle_connection) = tokio_postgres::connect(&server.config(), NoTls).await.expect("connected");
    let busy = server.connect().await;
    let stop = async {
        server.door.watch.begun.notified().await;
        server.shutdown.cancel();
    };
    let (failed, (), ended) = tokio::join!(failure(&busy, "SELECT * FROM forever"), stop, idle_connection);
    assert_eq!(failed, "57P01 terminating connection due to administrator command");
    assert_eq!(error_text(&ended.expect_err("told")), "57P01 terminating connection due to administrator command");
    drop(idle);
    (&mut server.serving).await.expect("no panic").expect("served");
    assert!(tokio_postgres::connect(&server.config(), NoTls).await.is_err());
}

#[tokio::test]
async fn session_beyond_the_limit_is_refused() {
    let server = Server::with(|options| options.sessions_max = 1).await;
    let client = server.connect().await;
    let Err(refused) = tokio_postgres::connect(&server.config(), NoTls).await else { panic!("there was room") };
    assert_eq!(error_text(&refused), "53300 sorry, too many clients already");
    assert_eq!(simple(&client, "SELECT 1").await, ["1", "(1)"]);
}

#[tokio::test]
async fn startup_timeout_ends_a_silent_connection() {
    use tokio::io::AsyncReadExt;
    let server = Server::with(|options| options.startup_timeout = Duration::from_millis(20)).await;
    let mut socket = tokio::net::TcpStream::connect(server.address).await.expect("connected");
    let mut answer = Vec::new();
    socket.read_to_end(&mut answer).await.expect("closed");
    assert!(String::from_utf8_lossy(&answer).contains("due to timeout"));
}
