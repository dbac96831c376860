//! Rows in a PostgreSQL server, through `kill -9` of ours and crashes of it.

use std::collections::BTreeMap;

use rand::{Rng, SeedableRng, rngs::SmallRng};
use tokio_postgres::Client;

use super::harness::{Home, Server, eventually, fails, rows, run, seed};

#[path = "../postgres/server.rs"]
mod server;

pub use self::server::Postgres;
use self::server::{PASSWORD, USER};

/// The options of a sink into a table.
pub fn to(postgres: &Postgres, table: &str) -> String {
    let port = postgres.port;
    let url = format!("postgres://{USER}@127.0.0.1:{port}/postgres");
    format!("WITH (connector = 'postgres', url = '{url}', password = '{PASSWORD}', table = '{table}')")
}

/// Rows of files, a table that is changed, a whole answer: written while both servers die again and again.
#[tokio::test(flavor = "multi_thread")]
async fn postgres_sink_with_both_servers_killed_is_exactly_once() {
    let Some(mut postgres) = Postgres::start() else { return };
    let mut rng = SmallRng::seed_from_u64(seed());
    let home = Home::new();
    home.folder("landed");
    let mut ours = Some(home.start());
    let client = ours.as_ref().unwrap().connect().await;
    run(
        &client,
        "CREATE SOURCE landed (id BIGINT, k INT) WITH (connector = 'directory', path = 'landed', format = 'csv')",
    )
    .await;
    run(&client, "CREATE TABLE items (id BIGINT PRIMARY KEY, k INT NOT NULL, n BIGINT)").await;
    run(&client, &format!("CREATE SINK copied {} AS SELECT id, k FROM landed", to(&postgres, "copied"))).await;
    let counted = "SELECT k, count(*) AS items, sum(n) AS total FROM items GROUP BY k";
    run(&client, &format!("CREATE SINK counted {} AS {counted}", to(&postgres, "counted"))).await;
    let whole = to(&postgres, "whole").replace(')', ", type = 'complete')");
    run(&client, &format!("CREATE SINK whole {whole} AS SELECT k, count(*) AS n FROM landed GROUP BY k")).await;
    drop(client);

    let (mut landed, mut items) = (Vec::new(), BTreeMap::new());
    for round in 0..24 {
        let server = ours.get_or_insert_with(|| home.start());
        let client = server.connect().await;
        for _ in 0..rng.random_range(1..8) {
            let mut text = String::new();
            for _ in 0..rng.random_range(1..200) {
                let row = (landed.len(), rng.random_range(0..7));
                text += &format!("{},{}\n", row.0, row.1);
                landed.push(row);
            }
            home.put(&format!("landed/{:06}.csv", landed.len()), text);
            change(&client, &mut items, &mut rng).await;
        }
        match round % 4 {
            0 => ours.take().unwrap().kill(),
            2 => {
                postgres.crash();
                change(&client, &mut items, &mut rng).await;
                if rng.random_bool(0.5) {
                    ours.take().unwrap().kill();
                }
                postgres.go_on();
            }
            _ => {}
        }
    }
    let client = ours.get_or_insert_with(|| home.start()).connect().await;
    let expected = rows(&client, &format!("{counted} ORDER BY k")).await;
    let same = async |query: &str, expected: &[String]| {
        eventually(query, async || (postgres.rows(query).await == expected).then_some(())).await;
    };
    same("SELECT * FROM counted ORDER BY k", &expected).await;
    let expected: Vec<String> = landed.iter().map(|(id, k)| format!("{id}|{k}")).collect();
    same("SELECT * FROM copied ORDER BY id", &expected).await;
    let expected = rows(&client, "SELECT k, count(*) FROM landed GROUP BY k ORDER BY k").await;
    same("SELECT * FROM whole ORDER BY k", &expected).await;
    assert_eq!(rows(&client, "SELECT count(*) FROM items").await, [items.len().to_string()]);
}

/// Inserts, updates and deletes some rows of the table; a client who sends them once, while the server lives.
async fn change(client: &Client, items: &mut BTreeMap<i64, (i64, i64)>, rng: &mut SmallRng) {
    let id = rng.random_range(0..200);
    let (k, n) = (rng.random_range(0..9), rng.random_range(-50..50));
    let statement = match items.contains_key(&id) {
        true if rng.random_bool(0.4) => {
            items.remove(&id);
            format!("DELETE FROM items WHERE id = {id}")
        }
        true => {
            items.insert(id, (k, n));
            format!("UPDATE items SET k = {k}, n = {n} WHERE id = {id}")
        }
        false => {
            items.insert(id, (k, n));
            format!("INSERT INTO items VALUES ({id}, {k}, {n})")
        }
    };
    run(client, &statement).await;
}

/// Whatever PostgreSQL says, the password that a sink was given is shown nowhere.
#[tokio::test(flavor = "multi_thread")]
async fn postgres_sink_error_quoting_the_password_is_redacted() {
    let Some(postgres) = Postgres::shared() else { return };
    postgres.rows("CREATE TABLE telling (n bigint)").await;
    let refuses = "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN RAISE EXCEPTION 'no row for %', 'PASSWORD' USING HINT = 'Not PASSWORD.'; END $$;
        CREATE TRIGGER refuses BEFORE INSERT ON telling FOR EACH ROW EXECUTE FUNCTION refuse()";
    postgres.rows(&refuses.replace("PASSWORD", PASSWORD)).await;
    let home = Home::new();
    let server = home.start();
    let client = server.connect().await;
    let sink = to(postgres, "telling").replace(&format!("'{PASSWORD}'"), "SECRET word");
    run(&client, &format!("CREATE SECRET word AS '{PASSWORD}'; CREATE TABLE t (n BIGINT) APPEND ONLY")).await;
    run(&client, &format!("CREATE SINK s {sink} AS SELECT n FROM t; INSERT INTO t VALUES (1)")).await;
    let error = fails(&client, "FLUSH s").await;
    assert!(error.message().contains("no row for ***"), "{error:?}");
    let state = "SELECT last_error FROM tidemark.queries WHERE state = 'failed'";
    assert!(rows(&client, state).await[0].contains("no row for ***"));
    let shown = format!("{error:?} {:?} {}", rows(&client, state).await, home.log());
    assert!(!shown.contains(PASSWORD), "{shown}");
}

/// A table that refuses a row stops the sink, which says which row; once it does not, the sink goes on.
#[tokio::test(flavor = "multi_thread")]
async fn postgres_sink_refused_row_fails_it_until_resumed() {
    let Some(postgres) = Postgres::shared() else { return };
    postgres.rows("CREATE TABLE small (id bigint PRIMARY KEY, n bigint CHECK (n < 100))").await;
    let server: Server = Home::new().start();
    let client = server.connect().await;
    run(&client, "CREATE TABLE t (id BIGINT PRIMARY KEY, n BIGINT)").await;
    run(
        &client,
        &format!(
            "CREATE SINK s {} AS SELECT id, n FROM t",
            to(postgres, "small").replace(')', ", primary_key = 'id')")
        ),
    )
    .await;
    run(&client, "INSERT INTO t VALUES (1, 1)").await;
    let there = "SELECT * FROM small ORDER BY id";
    eventually("a row is there", async || (postgres.rows(there).await == ["1|1"]).then_some(())).await;
    run(&client, "INSERT INTO t VALUES (2, 200), (3, 3)").await;
    let state = "SELECT state, last_error FROM tidemark.queries WHERE name = 's'";
    let state_row =
        eventually("it stops", async || rows(&client, state).await.into_iter().find(|row| row.starts_with("failed")))
            .await;
    assert!(state_row.contains("Failing row contains (2, 200)") && !state_row.contains(PASSWORD), "{state_row}");
    assert_eq!(postgres.rows(there).await, ["1|1"]);
    postgres.rows("ALTER TABLE small DROP CONSTRAINT small_n_check").await;
    run(&client, "ALTER SINK s RESUME").await;
    eventually("all are there", async || (postgres.rows(there).await == ["1|1", "2|200", "3|3"]).then_some(())).await;
    assert!(!server.home.log().contains(PASSWORD), "{}", server.home.log());
    let slip = to(postgres, "u").replace(')', ", creat_table = true)");
    let error = fails(&client, &format!("CREATE SINK u {slip} AS SELECT id FROM t")).await;
    assert!(error.hint().is_some_and(|hint| hint.contains("\"create_table\"")), "{error:?}");
}
