use std::sync::Arc;

use arrow::util::pretty::pretty_format_batches;
use datafusion::{prelude::SessionContext, sql::parser::Statement as DfStatement, sql::sqlparser::ast};

use crate::sql::{functions, parse, statement::Body};

fn lowered(sql: &str) -> Box<ast::Query> {
    match parse(sql) {
        Ok(mut statements) => match statements.remove(0).body {
            Body::Query(query) => query,
            other => panic!("{sql} is no query but {other:?}"),
        },
        Err(error) => panic!("{sql}\n{error} at {:?}: {:?}", error.position(), error.hint_text()),
    }
}

#[track_caller]
fn check(sql: &str, expected: &str) {
    assert_eq!(lowered(sql).to_string(), expected, "{sql}");
}

#[track_caller]
fn refuse(sql: &str, expected: &str) {
    let Err(error) = parse(sql) else { panic!("{sql} was taken") };
    let hint = error.hint_text().unwrap_or_default();
    let position = error.position().unwrap_or(0);
    assert_eq!(format!("{}@{position} {error} / {hint}", error.kind().sqlstate()), expected, "{sql}");
}

const TUMBLED: &str = "(SELECT *, date_bin(INTERVAL '10 minutes', ts) AS window_start, date_bin(INTERVAL '10 minutes', \
                       ts) + INTERVAL '10 minutes' AS window_end FROM t)";
const HOPPED: &str = "(SELECT *, window_start + INTERVAL '10 minutes' AS window_end FROM (SELECT *, \
                      unnest(hop_starts(ts, INTERVAL '5 minutes', INTERVAL '10 minutes')) AS window_start FROM t) AS t)";

#[test]
fn tumble_is_rewritten_to_date_bin() {
    for call in [
        "TUMBLE(t, ts, INTERVAL '10 minutes')",
        "tumble(t, ts, '10 minutes')",
        "TABLE(TUMBLE(TABLE t, DESCRIPTOR(ts), INTERVAL '10' MINUTE))",
        "TUMBLE(TABLE t, DESCRIPTOR(ts), INTERVAL 10 MINUTES)",
        "TABLE(TUMBLE(DATA => TABLE t, TIMECOL => DESCRIPTOR(ts), SIZE => INTERVAL '600 seconds'))",
        "TABLE(TUMBLE(SIZE => INTERVAL '10' MINUTE, DATA => TABLE t, TIMECOL => DESCRIPTOR(ts)))",
    ] {
        check(&format!("SELECT * FROM {call}"), &format!("SELECT * FROM {TUMBLED} AS t"));
        check(&format!("SELECT * FROM {call} AS w"), &format!("SELECT * FROM {TUMBLED} AS w"));
    }
    check(
        "WITH x AS (SELECT * FROM TUMBLE(t, ts, '10 minutes')) SELECT * FROM x JOIN TUMBLE(t, ts, '10 minutes') y ON true",
        &format!("WITH x AS (SELECT * FROM {TUMBLED} AS t) SELECT * FROM x JOIN {TUMBLED} y ON true"),
    );
    check(
        "SELECT * FROM TUMBLE((SELECT * FROM t WHERE a), t.ts, '1 day', INTERVAL '-1 hour')",
        "SELECT * FROM (SELECT *, date_bin(INTERVAL '1 day', t.ts, '1969-12-31T23:00:00.000000Z') AS window_start, \
         date_bin(INTERVAL '1 day', t.ts, '1969-12-31T23:00:00.000000Z') + INTERVAL '1 day' AS window_end FROM \
         (SELECT * FROM t WHERE a))",
    );
    check(
        "SELECT * FROM TUMBLE(s.t, ts, INTERVAL '1 month')",
        "SELECT * FROM (SELECT *, date_bin(INTERVAL '1 month', ts) AS window_start, date_bin(INTERVAL '1 month', ts) + \
         INTERVAL '1 month' AS window_end FROM s.t) AS t",
    );
}

#[test]
fn hop_is_rewritten_to_unnested_starts() {
    for call in [
        "HOP(t, ts, INTERVAL '5 minutes', INTERVAL '10 minutes')",
        "TABLE(HOP(TABLE t, DESCRIPTOR(ts), INTERVAL '5' MINUTES, INTERVAL '10' MINUTES))",
        "TABLE(HOP(DATA => TABLE t, TIMECOL => DESCRIPTOR(ts), SLIDE => '5 minutes', SIZE => '10 minutes'))",
    ] {
        check(&format!("SELECT * FROM {call}"), &format!("SELECT * FROM {HOPPED} AS t"));
    }
}

#[test]
fn grouping_windows_are_rewritten() {
    let bin = "date_bin(INTERVAL '10 minutes', ts)";
    let whole = format!("named_struct('start', {bin}, 'end', {bin} + INTERVAL '10 minutes')");
    check(
        "SELECT window, count(*) FROM t GROUP BY window(ts, '10 minutes')",
        &format!("SELECT {whole} AS \"window\", count(*) FROM t GROUP BY {bin}"),
    );
    check(
        "SELECT window(ts, '10 minutes').start, window.end AS e FROM t GROUP BY window(ts, INTERVAL 10 MINUTES) \
         HAVING window.start > now() ORDER BY window",
        &format!(
            "SELECT {bin} AS \"start\", {bin} + INTERVAL '10 minutes' AS e FROM t GROUP BY {bin} HAVING {bin} > \
             now() ORDER BY {bin}"
        ),
    );
    check(
        "SELECT window(ts, '10 minutes', '10 minutes') AS w, count(*) FROM t GROUP BY w",
        &format!("SELECT {whole} AS w, count(*) FROM t GROUP BY {bin}"),
    );
    check(
        "SELECT window(ts, '10 minutes'), count(*) FROM t GROUP BY 1",
        &format!("SELECT {whole} AS \"window\", count(*) FROM t GROUP BY {bin}"),
    );
    check(
        "SELECT a FROM t JOIN u ON t.k = u.k GROUP BY a, window(t.ts, '1 hour')",
        "SELECT a FROM t JOIN u ON t.k = u.k GROUP BY a, date_bin(INTERVAL '1 hour', t.ts)",
    );
    let starts = "unnest(hop_starts(ts, INTERVAL '5 minutes', INTERVAL '10 minutes')) AS \"__window_start\"";
    check(
        "SELECT window.start, window.end, count(*) FROM t GROUP BY window(ts, '10 minutes', '5 minutes')",
        &format!(
            "SELECT \"__window_start\" AS \"start\", \"__window_start\" + INTERVAL '10 minutes' AS \"end\", count(*) \
             FROM (SELECT *, {starts} FROM t) AS t GROUP BY \"__window_start\""
        ),
    );
    check(
        "SELECT x.a FROM t AS x LEFT JOIN u ON x.k = u.k GROUP BY x.a, window(x.ts, '10 minutes', '5 minutes')",
        &format!(
            "SELECT x.a FROM (SELECT *, {} FROM t AS x) AS x LEFT JOIN u ON x.k = u.k GROUP BY x.a, \"__window_start\"",
            starts.replace("(ts", "(x.ts")
        ),
    );
    // A column that is called window is a column.
    check("SELECT t.window, window.start FROM t", "SELECT t.window, window.start FROM t");
    check("SELECT window FROM t GROUP BY window", "SELECT window FROM t GROUP BY window");
}

#[test]
fn session_windows_are_rewritten() {
    let bound = |function: &str, keys: &str, name: &str, max: &str| {
        format!("{function}(ts, ts + (INTERVAL '5 minutes'){max}) OVER ({keys}ORDER BY ts) AS \"{name}\"")
    };
    let both = |keys: &str, start: &str, end: &str, max: &str| {
        let (first, second) = (bound("session_start", keys, start, max), bound("session_end", keys, end, max));
        format!("(SELECT *, {first}, {second} FROM t) AS t")
    };
    let by_key = format!("SELECT * FROM {}", both("PARTITION BY k ", "window_start", "window_end", ""));
    check("SELECT * FROM SESSION(t PARTITION BY k, ts, INTERVAL '5 minutes')", &by_key);
    check("SELECT * FROM TABLE(SESSION(TABLE t PARTITION BY (k), DESCRIPTOR(ts), INTERVAL '5' MINUTE))", &by_key);
    check("SELECT * FROM TABLE(SESSION(TABLE t, DESCRIPTOR(ts), DESCRIPTOR(k), INTERVAL '5' MINUTE))", &by_key);
    check(
        "SELECT * FROM SESSION(t PARTITION BY (k, l), ts, '5 minutes', max => INTERVAL '1 hour')",
        &format!("SELECT * FROM {}", both("PARTITION BY k, l ", "window_start", "window_end", ", INTERVAL '1 hour'")),
    );
    check(
        "SELECT session_window.start, k, count(*) FROM t GROUP BY session_window(ts, '5 minutes'), k",
        &format!(
            "SELECT \"__window_start\" AS \"start\", k, count(*) FROM {} GROUP BY \"__window_start\", k, \"__window_end\"",
            both("PARTITION BY k ", "__window_start", "__window_end", "")
        ),
    );
}

#[test]
fn windows_of_impossible_sizes_are_refused() {
    let trap = "HOP(t, ts, slide, size) takes the slide first; window(ts, size, slide) takes it last.";
    refuse(
        "SELECT * FROM SESSION(t, ts, INTERVAL '-1 minute')",
        "22023@15 the gap of a session must be positive, not -1 minutes / ",
    );
    refuse(
        "SELECT * FROM HOP(t, ts, INTERVAL '10 minutes', INTERVAL '5 minutes')",
        &format!("22023@15 the slide of a window (10 minutes) is greater than its size (5 minutes) / {trap}"),
    );
    refuse(
        "SELECT 1 FROM t GROUP BY window(ts, '5 minutes', '10 minutes')",
        &format!("22023@26 the slide of a window (10 minutes) is greater than its size (5 minutes) / {trap}"),
    );
    refuse(
        "SELECT * FROM TUMBLE(t, ts, INTERVAL '0 s')",
        "22023@15 the size of a window must be positive, not 0 seconds / ",
    );
    refuse(
        "SELECT * FROM HOP(t, ts, INTERVAL '-1 s', INTERVAL '5 s')",
        "22023@15 the slide of a window must be positive, not -1 seconds / ",
    );
    refuse(
        "SELECT * FROM HOP(t, ts, INTERVAL '1 ms', INTERVAL '1 day')",
        "54000@15 a row lies in 86400000 windows / Slide by more, or make the windows smaller.",
    );
    refuse(
        "SELECT * FROM HOP(t, ts, INTERVAL '1 month', INTERVAL '2 months')",
        "0A000@15 a sliding window of 2 months is not supported / Say it in days.",
    );
    refuse(
        "SELECT * FROM TUMBLE(t, ts, INTERVAL '1 month 1 day')",
        "0A000@15 a window of months and days of 1 month 1 day is not supported / Say it in days.",
    );
}

#[test]
fn window_calls_with_wrong_arguments_are_refused() {
    refuse(
        "SELECT count(*) FROM t GROUP BY session_window(ts)",
        "42883@33 wrong arguments of session_window() / Write session_window(ts, '5 minutes').",
    );
    refuse(
        "SELECT * FROM CUMULATE(t, ts, '1 m', '10 m')",
        "0A000@15 CUMULATE is not supported / TUMBLE and HOP make windows of a fixed size, SESSION windows that end with a gap.",
    );
    refuse(
        "SELECT * FROM TUMBLE(t, ts, x)",
        "0A000@29 an interval that is not constant (x) is not supported / Write INTERVAL '10 minutes'.",
    );
    refuse(
        "SELECT * FROM TUMBLE(t, ts)",
        "42883@15 wrong arguments of a window function / Write TUMBLE(t, ts, INTERVAL '10 minutes').",
    );
    refuse(
        "SELECT * FROM TUMBLE(t, ts + '1 s', '10 minutes')",
        "0A000@25 event time ts + '1 s' of a window function is not supported / It is a column: compute it in a \
         subquery, as in TUMBLE((SELECT …, … AS ts FROM t), ts, …).",
    );
    refuse(
        "SELECT * FROM TUMBLE(1, ts, '10 minutes')",
        "0A000@15 window function over 1 is not supported / Its first argument is the name of a relation, or a \
         subquery in parentheses.",
    );
    refuse(
        "SELECT window(ts) FROM t",
        "42883@8 wrong arguments of window() / Write window(ts, '10 minutes') or window(ts, '10 minutes', '5 minutes').",
    );
}

#[test]
fn windows_in_queries_that_cannot_have_them_are_refused() {
    refuse(
        "SELECT count(*) FROM t JOIN u ON t.k = u.k GROUP BY session_window(t.ts, '5 minutes')",
        "0A000@68 session_window over a join is not supported / \
         Write FROM SESSION((SELECT … FROM a JOIN b ON …) PARTITION BY key, ts, gap).",
    );
    refuse(
        "SELECT window(ts, '1 m'), window(ts, '2 m') FROM t",
        "0A000@27 more than one window in a SELECT is not supported / Join two queries with one each.",
    );
    refuse(
        "SELECT 1 FROM t RIGHT JOIN u ON true GROUP BY window(t.ts, '10 m', '5 m')",
        "0A000@54 a sliding window over an outer join is not supported / Write FROM HOP(t, ts, slide, size) in place \
         of that relation.",
    );
    refuse(
        "SELECT 1 FROM t GROUP BY TUMBLE(ts, INTERVAL '1 m')",
        "0A000@26 TUMBLE outside FROM is not supported / Write FROM TUMBLE(t, ts, INTERVAL '10 minutes').",
    );
}

async fn run(sql: &str) -> String {
    let context = SessionContext::new();
    for function in functions::all() {
        context.register_udf(Arc::unwrap_or_clone(function));
    }
    let rows = "('a', TIMESTAMP '2024-01-01 01:01:00'), ('a', TIMESTAMP '2024-01-01 01:09:00'), \
                ('b', TIMESTAMP '2024-01-01 01:11:00'), ('c', NULL)";
    let make = format!(
        "CREATE TABLE t AS SELECT k, arrow_cast(ts, 'Timestamp(Microsecond, None)') AS ts, \
         arrow_cast(ts, 'Timestamp(Microsecond, Some(\"+00:00\"))') AS tz FROM (VALUES {rows}) AS v (k, ts)"
    );
    context.sql(&make).await.unwrap().collect().await.unwrap();
    let statement = DfStatement::Statement(Box::new(ast::Statement::Query(lowered(sql))));
    let plan = context.state().statement_to_plan(statement).await.unwrap_or_else(|e| panic!("{sql}\n{e}"));
    let batches = context.execute_logical_plan(plan).await.unwrap().collect().await.unwrap();
    let table = pretty_format_batches(&batches).unwrap().to_string();
    table.lines().filter(|l| !l.starts_with('+')).skip(1).map(|l| l.replace(' ', "") + "\n").collect()
}

#[tokio::test]
async fn tumbling_windows_count_rows_per_window() {
    for (column, zone) in [("ts", ""), ("tz", "Z")] {
        let expected = format!(
            "|a|2024-01-01T01:00:00{zone}|2024-01-01T01:10:00{zone}|2|\n\
             |b|2024-01-01T01:10:00{zone}|2024-01-01T01:20:00{zone}|1|\n|c|||1|\n"
        );
        let tumble = format!(
            "SELECT t.k, window_start, window_end, count(*) FROM TUMBLE(t, {column}, '10 minutes') \
             GROUP BY t.k, window_start, window_end ORDER BY 1"
        );
        assert_eq!(run(&tumble).await, expected);
        let spark = format!(
            "SELECT k, window.start, window.end, count(*) FROM t GROUP BY k, window({column}, '10 minutes') \
             ORDER BY k, window"
        );
        assert_eq!(run(&spark).await, expected);
        let moved = format!(
            "SELECT k, window_start FROM TUMBLE(t, {column}, '10 minutes', INTERVAL '5 minutes') ORDER BY 1, 2"
        );
        let expected = format!(
            "|a|2024-01-01T00:55:00{zone}|\n|a|2024-01-01T01:05:00{zone}|\n|b|2024-01-01T01:05:00{zone}|\n|c||\n"
        );
        assert_eq!(run(&moved).await, expected);
        let month = format!("SELECT k, window_start, window_end FROM TUMBLE(t, {column}, '1 month') WHERE k = 'b'");
        assert_eq!(run(&month).await, format!("|b|2024-01-01T00:00:00{zone}|2024-02-01T00:00:00{zone}|\n"));
    }
    let whole = "SELECT window, count(*) FROM t WHERE k = 'b' GROUP BY window(ts, '10 minutes')";
    assert_eq!(run(whole).await, "|{start:2024-01-01T01:10:00,end:2024-01-01T01:20:00}|1|\n");
}

#[tokio::test]
async fn sliding_windows_count_rows_per_window() {
    for (column, zone) in [("ts", ""), ("tz", "Z")] {
        let rows = [("00:55", "01:05", 1), ("01:00", "01:10", 2), ("01:05", "01:15", 2), ("01:10", "01:20", 1)];
        let expected: String = rows
            .iter()
            .map(|(from, to, n)| format!("|2024-01-01T{from}:00{zone}|2024-01-01T{to}:00{zone}|{n}|\n"))
            .collect();
        let hop = format!(
            "SELECT window_start, window_end, count(t.k) FROM HOP(t, {column}, '5 minutes', '10 minutes') \
             GROUP BY window_start, window_end ORDER BY 1"
        );
        assert_eq!(run(&hop).await, expected);
        let spark = format!(
            "SELECT window.start, window.end, count(t.k) FROM t GROUP BY window(t.{column}, '10 minutes', '5 minutes') \
             ORDER BY window.start"
        );
        assert_eq!(run(&spark).await, expected);
        let joined = format!(
            "SELECT window.start, window.end, count(x.k) FROM t AS x LEFT JOIN (VALUES (1)) AS u (n) ON u.n = 2 \
             GROUP BY window(x.{column}, '10 minutes', '5 minutes') ORDER BY 1"
        );
        assert_eq!(run(&joined).await, expected);
    }
    let moved = "SELECT window_start FROM HOP(t, ts, '10 minutes', '10 minutes', INTERVAL '1 minute') ORDER BY 1";
    assert_eq!(
        run(moved).await,
        "|2024-01-01T01:01:00|\n|2024-01-01T01:01:00|\n|2024-01-01T01:11:00|\n",
        "a row without event time lies in no window"
    );
}
