//! What a server makes of parameters whose types the client leaves to it, and where it says an error is.

use tokio_postgres::{
    error::ErrorPosition,
    types::{Kind, Type},
};

use super::harness::{Home, error_text, fails, rows, run};

#[tokio::test(flavor = "multi_thread")]
async fn parameters_get_their_types_from_context() {
    let server = Home::new().start();
    let client = server.connect().await;
    run(&client, "CREATE TABLE t (id BIGINT PRIMARY KEY, n INT, name TEXT, d DATE, x NUMERIC(10, 2))").await;
    for (sql, expected) in [
        ("SELECT $1::int", &[Type::INT4][..]),
        ("SELECT CAST($1 AS timestamptz)", &[Type::TIMESTAMPTZ]),
        ("SELECT $1::numeric(10, 2)", &[Type::NUMERIC]),
        ("SELECT id FROM t WHERE id = ANY($1)", &[Type::INT8_ARRAY]),
        ("SELECT id FROM t WHERE id = ANY($1::int[])", &[Type::INT4_ARRAY]),
        ("SELECT id FROM t LIMIT $1 OFFSET $2", &[Type::INT8, Type::INT8]),
        ("SELECT coalesce($1, 0)", &[Type::INT8]),
        ("SELECT substr('abc', $1)", &[Type::INT4]),
        ("SELECT CASE WHEN $1 > 1 THEN $2 ELSE 1 END", &[Type::INT8, Type::INT8]),
        ("SELECT id FROM t WHERE id = $1 OR n = $1", &[Type::INT8]),
        ("SELECT $1", &[Type::TEXT]),
        ("EXPLAIN SELECT id FROM t WHERE d = $1", &[Type::DATE]),
        ("INSERT INTO t (id, name, d) SELECT $1, $2, $3", &[Type::INT8, Type::TEXT, Type::DATE]),
        ("INSERT INTO t (id, x) VALUES ($1, $2)", &[Type::INT8, Type::NUMERIC]),
        ("INSERT INTO t VALUES ($1, $2)", &[Type::INT8, Type::INT4]),
        ("INSERT INTO t (id, n) VALUES ($1, DEFAULT)", &[Type::INT8]),
        ("UPDATE t SET n = $1 WHERE name = $2", &[Type::INT4, Type::TEXT]),
        ("UPDATE t SET n = DEFAULT WHERE name = $1", &[Type::TEXT]),
        ("DELETE FROM t AS q WHERE q.id = $1", &[Type::INT8]),
        ("SELECT tgname FROM pg_trigger WHERE tgrelid = $1::int", &[Type::INT4]),
        ("SELECT oid FROM pg_type WHERE oid = ANY($1::oid[])", &[Type::OID_ARRAY]),
    ] {
        let statement = client.prepare(sql).await.unwrap_or_else(|e| panic!("{sql}: {}", error_text(&e)));
        // An enum of the catalog's would be of another kind.
        assert!(statement.params().iter().all(|ty| matches!(ty.kind(), Kind::Simple | Kind::Array(_))));
        let types: Vec<&str> = statement.params().iter().map(Type::name).collect();
        let expected: Vec<&str> = expected.iter().map(Type::name).collect();
        assert_eq!(types, expected, "{sql}");
    }
    let inserted = client.execute("INSERT INTO t (id, name) SELECT $1, $2", &[&1i64, &"ada"]).await.unwrap();
    assert_eq!(inserted, 1);
    let found = client.query("SELECT name FROM t WHERE id = ANY($1) LIMIT $2", &[&vec![1i64, 7], &5i64]).await.unwrap();
    assert_eq!(found[0].get::<_, &str>(0), "ada");
    let lines = client.query("EXPLAIN SELECT name FROM t WHERE id = $1", &[&1i64]).await.unwrap();
    assert!(!lines.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn invalid_parameter_numbers_are_refused_and_the_session_continues() {
    let server = Home::new().start();
    let client = server.connect().await;
    for (sql, code) in
        [("SELECT $4000000000", "42P02"), ("SELECT $0", "42P02"), ("SELECT $65536", "42P02"), ("SELECT $3", "42P18")]
    {
        let error = client.prepare(sql).await.expect_err(sql);
        assert_eq!(error.code().map(|c| c.code()), Some(code), "{sql}: {}", error_text(&error));
    }
    assert_eq!(fails(&client, "SELECT $1").await.message(), "there is no parameter $1");
    assert_eq!(fails(&client, "SELECT $4000000000").await.code().code(), "42P02");
    assert_eq!(rows(&client, "SELECT 1").await, ["1"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn planner_errors_have_sqlstate_and_position() {
    let server = Home::new().start();
    let client = server.connect().await;
    run(&client, "CREATE TABLE t (id BIGINT PRIMARY KEY, name TEXT)").await;
    for (sql, code, place) in [
        ("SELECT nope FROM t", "42703", Some(8)),
        ("SELECT id\n  FROM nowhere", "42P01", Some(18)),
        ("SELECT nofunc(id) FROM t", "42883", Some(8)),
        ("DELETE FROM t WHERE nope = 1", "42703", Some(21)),
        ("SELECT upper(1)", "42883", None),
        ("SELECT avg(INTERVAL '1 day')", "42883", None),
        ("SELECT sum('a')", "42883", None),
        ("SELECT id FROM t ORDER BY 2", "42P10", None),
        ("SELECT id FROM t LIMIT -1", "2201W", None),
        ("SELECT id FROM t OFFSET -1", "2201X", None),
        ("SELECT (SELECT value FROM generate_series(1, 3))", "21000", None),
        ("SELECT '99999999999'::int", "22003", None),
        ("INSERT INTO t VALUES (1, 'a') ON CONFLICT (name) DO NOTHING", "42P10", None),
    ] {
        let error = fails(&client, sql).await;
        assert_eq!(error.code().code(), code, "{sql}: {error}");
        assert!(!error.message().contains("DataFusion"), "{sql}: {error}");
        let position = place.map(ErrorPosition::Original);
        assert_eq!(error.position(), position.as_ref(), "{sql}: {error}");
    }
    // Of a second statement it is the place in the whole text.
    let error = fails(&client, "SELECT 1; SELECT nope FROM t").await;
    assert_eq!(error.position(), Some(&ErrorPosition::Original(18)));
}

/// Moments have a zone, and are shown in that of the session; text without an offset means UTC wherever it stands.
#[tokio::test(flavor = "multi_thread")]
async fn timestamptz_is_shown_in_the_session_time_zone() {
    let server = Home::new().start();
    let client = server.connect().await;
    run(&client, "CREATE TABLE t (at TIMESTAMPTZ); INSERT INTO t VALUES ('2024-01-01 12:00:00+00')").await;
    run(&client, "SET TimeZone = 'Asia/Tokyo'").await;
    assert_eq!(rows(&client, "SELECT at FROM t").await, ["2024-01-01 21:00:00+09"]);
    assert_eq!(rows(&client, "SELECT '2024-01-01 12:00:00'::timestamptz").await, ["2024-01-01 21:00:00+09"]);
    assert_eq!(rows(&client, "SELECT '2024-01-01 21:00:00+09'::timestamptz").await, ["2024-01-01 21:00:00+09"]);
    for moment in ["'2024-01-01 12:00:00'", "'2024-01-01 12:00:00'::timestamptz"] {
        assert_eq!(rows(&client, &format!("SELECT count(*) FROM t WHERE at = {moment}")).await, ["1"], "{moment}");
    }
    let now = client.query_one("SELECT now(), current_timestamp", &[]).await.unwrap();
    assert!(now.columns().iter().all(|c| *c.type_() == Type::TIMESTAMPTZ));
}
