use std::fmt::Write;

use datafusion::sql::sqlparser::tokenizer::Location;
use proptest::prelude::*;

use super::*;
use crate::sql::statement::*;

/// A statement in one line that a person reads.
fn tell(body: &Body) -> String {
    match body {
        Body::CreateSource(s) => {
            let fixed = if s.fixed { " fixed" } else { "" };
            let key = if s.key.is_empty() { String::new() } else { format!(" key {:?}", s.key) };
            format!("source {}{}", head(&s.name, s.exists), columns(&s.columns))
                + &key
                + fixed
                + &watermark(&s.watermark)
                + &options(&s.options)
        }
        Body::CreateTable(t) => create_table(t),
        Body::CreateView(v) => {
            let mut text = format!("{} {}", v.kind, head(&v.name, v.exists));
            if !v.columns.is_empty() {
                write!(text, " {:?}", v.columns).unwrap();
            }
            text += &watermark(&v.watermark);
            text += &options(&v.options);
            write!(text, " as {}", v.query).unwrap();
            if let Some(emit) = v.emit {
                write!(text, " emit {emit:?}").unwrap();
            }
            text
        }
        Body::CreateFunction(f) => {
            let strict = if f.strict { " strict" } else { "" };
            let returns = format!(" returns {}{strict} as {}", f.returns, f.body);
            format!("function {} replace={}{}{returns}", name(&f.name), f.replace, arguments(&f.arguments))
        }
        Body::CreateAggregate(a) => {
            let mut text = format!("aggregate {} replace={}{}", name(&a.name), a.replace, arguments(&a.arguments));
            write!(text, " step {} state {} initial {:?}", name(&a.step), a.state, a.initial).unwrap();
            for (what, function) in [("finish", &a.finish), ("combine", &a.combine)] {
                function.iter().for_each(|function| write!(text, " {what} {}", name(function)).unwrap());
            }
            text
        }
        Body::DropFunctions(d) => {
            let named = |(n, types): &(Name, Option<Vec<_>>)| match types {
                Some(types) => format!("{}{types:?}", name(n)),
                None => name(n),
            };
            let names: Vec<_> = d.names.iter().map(named).collect();
            format!("drop functions {} aggregates={} if_exists={}", names.join(", "), d.aggregates, d.if_exists)
        }
        Body::Drop(d) => {
            let names: Vec<_> = d.names.iter().map(name).collect();
            format!("drop {} {names:?} if_exists={} cascade={}", d.kind, d.if_exists, d.cascade)
        }
        Body::Alter(a) => format!("alter {} {} {:?}", a.kind, name(&a.name), a.action),
        Body::Query(q) => format!("query {q}"),
        Body::Insert(i) => i.to_string(),
        Body::Update(u) => u.to_string(),
        Body::Delete(d) => d.to_string(),
        Body::CopyIn(c) => format!("copy in {} {:?} {}", name(&c.table), c.columns, copy_format(&c.format)),
        Body::CopyOut(c) => format!("copy out {} {}", reads(&c.reads), copy_format(&c.format)),
        Body::Explain { analyze, verbose, statement } => {
            format!("explain analyze={analyze} verbose={verbose} [{}] {}", statement.text, tell(&statement.body))
        }
        Body::ExplainRelation(n) => format!("explain relation {}", name(n)),
        Body::Prepare { name, types, statement } => {
            format!("prepare {name} {types:?} [{}] {}", statement.text, tell(&statement.body))
        }
        Body::Execute { name, parameters } => {
            format!("execute {name} {:?}", parameters.iter().map(ToString::to_string).collect::<Vec<_>>())
        }
        Body::Declare { name, reads: r, hold, binary } => {
            format!("declare {name} hold={hold} binary={binary} {}", reads(r))
        }
        Body::Subscribe(s) => subscribe(s),
        other => format!("{other:?}"),
    }
}

fn create_table(t: &CreateTable) -> String {
    let mut text = format!("table {}{}", head(&t.name, t.exists), columns(&t.columns));
    if !t.primary_key.is_empty() {
        write!(text, " key {:?}", t.primary_key).unwrap();
    }
    if t.append_only {
        text += " append only";
    }
    text += &watermark(&t.watermark);
    text += &options(&t.options);
    if let Some(query) = &t.query {
        write!(text, " as {query}").unwrap();
    }
    text
}

fn reads(reads: &Reads) -> String {
    match reads {
        Reads::Query(query) => query.to_string(),
        Reads::Subscription(s) => subscribe(s),
    }
}

fn subscribe(s: &Subscribe) -> String {
    format!("subscribe {} snapshot={} after={:?}", name(&s.relation), s.snapshot, s.after)
}

fn name(name: &Name) -> String {
    match &name.schema {
        Some(schema) => format!("{schema}.{}", name.name),
        None => name.name.clone(),
    }
}

fn arguments(arguments: &[Argument]) -> String {
    let all = arguments.iter().map(|a| format!("{} {}", a.name.as_deref().unwrap_or("_"), a.data_type));
    format!(" ({})", all.collect::<Vec<_>>().join(", "))
}

fn head(n: &Name, exists: IfExists) -> String {
    match exists {
        IfExists::Fail => name(n),
        exists => format!("{} {exists:?}", name(n)),
    }
}

fn columns(columns: &[ColumnDef]) -> String {
    let all = columns.iter().map(|c| {
        let mut text = format!("{} {}", c.name, c.data_type);
        if c.not_null {
            text += " not null";
        }
        if let Some(default) = &c.default {
            write!(text, " default {default}").unwrap();
        }
        text
    });
    match columns {
        [] => String::new(),
        _ => format!(" ({})", all.collect::<Vec<_>>().join(", ")),
    }
}

fn watermark(watermark: &Option<WatermarkDef>) -> String {
    watermark.as_ref().map_or_else(String::new, |w| format!(" watermark {} -{}us", w.column, w.delay_us))
}

fn options(options: &crate::options::Options) -> String {
    match options.0.is_empty() {
        true => String::new(),
        false => format!(" {:?}", options.0),
    }
}

fn copy_format(f: &CopyFormat) -> String {
    let bytes = [f.delimiter, f.quote, f.escape].map(char::from);
    format!("{:?} {bytes:?} null={:?} header={}", f.kind, f.null, f.header)
}

#[track_caller]
fn check(sql: &str, expected: &str) {
    let described: Vec<String> = match parse(sql) {
        Ok(statements) => statements.iter().map(|s| tell(&s.body)).collect(),
        Err(error) => {
            panic!("{sql}\n{error} at {:?}: {:?} {:?}", error.position(), error.detail_text(), error.hint_text())
        }
    };
    assert_eq!(described.join("\n"), expected, "{sql}");
}

/// The error of a text: `SQLSTATE@position message`, then ` / hint` if there is one.
#[track_caller]
fn refuse(sql: &str, expected: &str) {
    let error = match parse(sql) {
        Ok(statements) => panic!("{sql}\nwas taken as {statements:?}"),
        Err(error) => error,
    };
    let mut reported = format!("{}@{} {error}", error.kind().sqlstate(), error.position().unwrap_or(0));
    if let Some(hint) = error.hint_text() {
        reported += " / ";
        reported += hint;
    }
    assert_eq!(reported, expected, "{sql}");
}

#[test]
fn parse_create_source_spellings() {
    check(
        "CREATE SOURCE flights_raw (origin TEXT, dest TEXT, landed_at TIMESTAMP) WITH (connector = 'directory', \
         path = 'data/flights', format = 'csv', header = true, max_files_per_trigger = 1)",
        "source flights_raw (origin TEXT, dest TEXT, landed_at TIMESTAMP) {\"connector\": \"directory\", \"format\": \
         \"csv\", \"header\": \"true\", \"max_files_per_trigger\": \"1\", \"path\": \"data/flights\"}",
    );
    check(
        "CREATE SOURCE IF NOT EXISTS s WITH ('connector' = 'datagen', fields.id.kind = sequence, \"rows\"=-1.5)",
        "source s Skip {\"connector\": \"datagen\", \"fields.id.kind\": \"sequence\", \"rows\": \"-1.5\"}",
    );
    check(
        "create or replace source Public.\"S x\" (a int not null, watermark for A as a - interval '5 seconds') \
         with (connector = kafka, properties.bootstrap.server = 'k:9092') format plain encode json",
        "source public.S x Replace { discard_rows: false } (a INT not null) watermark a -5000000us {\"connector\": \"kafka\", \"format\": \
         \"json\", \"properties.bootstrap.server\": \"k:9092\"}",
    );
    check(
        "CREATE SOURCE s (a INT, WATERMARK FOR at AS at) INCLUDE key TEXT AS \"K\", offset, header 'a''b' AS h \
         INCLUDE timestamp AS at WITH (connector = 'kafka')",
        "source s (a INT) watermark at -0us {\"connector\": \"kafka\", \"include\": \"key TEXT AS \\\"K\\\", offset, \
         header 'a''b' AS \\\"h\\\", timestamp AS \\\"at\\\"\"}",
    );
    refuse(
        "CREATE SOURCE s (a INT) INCLUDE value WITH (connector = 'kafka')",
        "42601@33 syntax error at or near \"value\"",
    );
    check(
        "CREATE SOURCE s (a INT) FORMAT CSV (delimiter = ';') WITH (connector = 'directory')",
        "source s (a INT) {\"connector\": \"directory\", \"delimiter\": \";\", \"format\": \"csv\"}",
    );
    check(
        "CREATE SOURCE s (a INT PRIMARY KEY) WITH (connector = 'x') FORMAT DEBEZIUM ENCODE JSON (timestamp_format = 'epoch')",
        "source s (a INT not null) key [\"a\"] {\"connector\": \"x\", \"format\": \"debezium_json\", \
         \"timestamp_format\": \"epoch\"}",
    );
    check(
        "CREATE TABLE s (a INT, PRIMARY KEY (a) NOT ENFORCED) WITH ('connector' = 'directory', 'trigger' = INTERVAL '1 s')",
        "source s (a INT) {\"connector\": \"directory\", \"trigger\": \"1 s\"}",
    );
    check(
        "CREATE EXTERNAL TABLE t (a INT) STORED AS CSV WITH HEADER ROW LOCATION 'data/t' OPTIONS ('format.delimiter' ';')",
        "source t (a INT) fixed {\"connector\": \"directory\", \"delimiter\": \";\", \"format\": \"csv\", \"header\": \
         \"true\", \"path\": \"data/t\"}",
    );
    check(
        "CREATE EXTERNAL TABLE t STORED AS PARQUET LOCATION 's3://b/t' OPTIONS (format.has_header true)",
        "source t fixed {\"connector\": \"directory\", \"format\": \"parquet\", \"header\": \"true\", \"path\": \"s3://b/t\"}",
    );
}

#[test]
fn parse_watermark_spellings() {
    for spelling in [
        "WATERMARK FOR ts AS ts - INTERVAL '5 seconds'",
        "WATERMARK FOR ts AS ts - INTERVAL '5' SECOND",
        "WATERMARK FOR ts AS (ts - (INTERVAL 5 SECONDS))",
        "WATERMARK FOR ts AS ts - '5 seconds'::interval",
        "WATERMARK (ts, INTERVAL '5 seconds')",
        "WATERMARK (ts, '5 seconds')",
        "WATERMARK ts DELAY OF INTERVAL 5 SECONDS",
        "WATERMARK ts DELAY OF INTERVAL '5 seconds'",
    ] {
        check(&format!("CREATE TABLE t (ts TIMESTAMP, {spelling})"), "table t (ts TIMESTAMP) watermark ts -5000000us");
        let stream = "stream s watermark ts -5000000us as SELECT ts FROM r";
        check(&format!("CREATE STREAM s WITH {spelling} AS SELECT ts FROM r"), stream);
        check(&format!("CREATE STREAM s {spelling} AS SELECT ts FROM r"), stream);
        check(
            &format!("CREATE STREAM s ({}) AS SELECT ts FROM r", "ts, ".to_string() + spelling),
            "stream s [\"ts\"] watermark ts -5000000us as SELECT ts FROM r",
        );
        for with in [format!("WITH {spelling} WITH (a = 1)"), format!("WITH (a = 1) WITH {spelling}")] {
            check(
                &format!("CREATE STREAM s {with} AS SELECT ts FROM r EMIT ON UPDATE"),
                "stream s watermark ts -5000000us {\"a\": \"1\"} as SELECT ts FROM r emit OnUpdate",
            );
        }
    }
    check("CREATE TABLE t (ts TIMESTAMP, WATERMARK FOR ts AS ts)", "table t (ts TIMESTAMP) watermark ts -0us");
    check("CREATE TABLE t (watermark INT, \"watermark for\" INT)", "table t (watermark INT, watermark for INT)");
    let hint = "Write WATERMARK FOR ts AS ts - INTERVAL '5 seconds'.";
    for (written, position, what) in [
        ("WATERMARK FOR ts AS ts + INTERVAL '5 s'", 51, "watermark ts + INTERVAL '5 s' is not supported"),
        ("WATERMARK FOR ts AS other - INTERVAL '5 s'", 51, "watermark other - INTERVAL '5 s' is not supported"),
        ("WATERMARK FOR ts AS now()", 51, "watermark now() is not supported"),
    ] {
        refuse(&format!("CREATE TABLE t (ts TIMESTAMP, {written})"), &format!("0A000@{position} {what} / {hint}"));
    }
    refuse(
        "CREATE TABLE t (ts TIMESTAMP, WATERMARK FOR ts AS ts - INTERVAL '1 month')",
        "0A000@51 a watermark delay of months or years is not supported / Say it in days.",
    );
    refuse(
        "CREATE TABLE t (ts TIMESTAMP, WATERMARK FOR ts AS ts - INTERVAL '-1 s')",
        &format!("22023@51 watermark delay must not be negative: INTERVAL '-1 s' / {hint}"),
    );
    refuse(
        "CREATE TABLE t (ts TIMESTAMP, WATERMARK FOR ts AS ts - x)",
        "0A000@51 an interval that is not constant (x) is not supported / Write INTERVAL '10 minutes'.",
    );
    refuse("CREATE TABLE t (a INT, WATERMARK FOR ts AS ts)", "42703@38 column \"ts\" of the watermark does not exist");
    refuse(
        "CREATE TABLE t (ts TIMESTAMP, WATERMARK FOR ts AS ts) WATERMARK (ts, '1 s')",
        "42601@66 watermark specified more than once",
    );
}

#[test]
fn parse_create_sink_spellings() {
    let sink = |rest: &str| format!("sink s {{\"connector\": \"console\"}} as SELECT * FROM v{rest}");
    for written in [
        "CREATE SINK s FROM v WITH (connector = 'console')",
        "CREATE SINK s WITH (connector = 'console') FROM v",
        "CREATE SINK s AS SELECT * FROM v WITH (connector = 'console')",
        "CREATE SINK s WITH (connector = 'console') AS SELECT * FROM v",
        "create sink s as table v with (connector = console)",
    ] {
        check(written, &sink(""));
    }
    for written in [
        "CREATE SINK s AS SELECT * FROM v EMIT ON WINDOW CLOSE WITH (connector = 'console')",
        "CREATE SINK s FROM v EMIT FINAL WITH (connector = 'console')",
        "CREATE SINK s AS SELECT * FROM v WITH (connector = 'console') EMIT ON WINDOW CLOSE",
        "CREATE SINK s WITH (connector = 'console') AS SELECT * FROM v EMIT ON WINDOW CLOSE",
    ] {
        check(written, &sink(" emit OnWindowClose"));
    }
    check(
        "CREATE OR REPLACE SINK public.s AS WITH c AS (SELECT 1 AS a) SELECT a FROM c WITH (type = upsert, \
         properties.bootstrap.server = 'k:1') FORMAT PLAIN ENCODE JSON",
        "sink public.s Replace { discard_rows: false } {\"format\": \"json\", \"properties.bootstrap.server\": \"k:1\", \"type\": \"upsert\"} \
         as WITH c AS (SELECT 1 AS a) SELECT a FROM c",
    );
    check("CREATE SINK IF NOT EXISTS s FROM v WITH (from = 'x')", "sink s Skip {\"from\": \"x\"} as SELECT * FROM v");
    check(
        "EXPLAIN (VERBOSE) CREATE SINK s FROM v WITH (a = 1)",
        "explain analyze=false verbose=true [CREATE SINK s FROM v WITH (a = 1)] sink s {\"a\": \"1\"} as SELECT * FROM v",
    );
    check("EXPLAIN SINK s", "explain relation s");
    check("DROP SINK IF EXISTS s", "drop sink [\"s\"] if_exists=true cascade=false");
    check("ALTER SINK s PAUSE", "alter sink s Pause");
    refuse("CREATE SINK s FROM v", "42601@21 syntax error at end of input / A sink needs WITH (connector = '…').");
    refuse(
        "CREATE SINK s WITH (connector = 'console')",
        "42601@43 syntax error at end of input / A sink takes the rows of a relation or of a query.",
    );
    refuse(
        "CREATE SINK s (a) FROM v WITH (connector = 'console')",
        "0A000@15 a list of columns in CREATE SINK is not supported / A sink has the columns of its query: name them \
         there with AS.",
    );
    refuse(
        "CREATE SINK s FROM v APPEND ONLY WITH (connector = 'console')",
        "42601@29 syntax error at or near \"ONLY\"",
    );
}

#[test]
fn parse_create_table_spellings() {
    check(
        "CREATE TABLE t (id BIGINT PRIMARY KEY, v TEXT DEFAULT 'x' NOT NULL, w NUMERIC(5,2) NULL)",
        "table t (id BIGINT not null, v TEXT not null default 'x', w NUMERIC(5,2)) key [\"id\"]",
    );
    check(
        "CREATE UNLOGGED TABLE IF NOT EXISTS t (a INT, b INT, CONSTRAINT k PRIMARY KEY (a, b)) WITH (retain = '1 day')",
        "table t Skip (a INT not null, b INT not null) key [\"a\", \"b\"] {\"retain\": \"1 day\"}",
    );
    check("CREATE TABLE t (a INT) APPEND ONLY", "table t (a INT) append only");
    check("CREATE TABLE t AS SELECT 1 AS a", "table t as SELECT 1 AS a");
    check("CREATE TABLE t APPEND ONLY AS TABLE s WITH DATA", "table t append only as SELECT * FROM s");
    check("CREATE TABLE t (a INT[], b STRUCT<x INT, y TEXT>)", "table t (a INT[], b STRUCT<x INT, y TEXT>)");
    refuse("CREATE TABLE t ()", "42P16@14 table \"t\" has no columns / Write CREATE TABLE t (a INTEGER, b TEXT).");
    refuse("CREATE TABLE t (a INT, A TEXT)", "42701@24 column \"a\" specified more than once");
    refuse("CREATE TABLE t (a INT, PRIMARY KEY (b))", "42703@24 column \"b\" named in key does not exist");
    refuse("CREATE TABLE t (a INT PRIMARY KEY, b INT PRIMARY KEY)", "42P16@42 multiple primary keys are not allowed");
    refuse("CREATE TABLE t (a INT UNIQUE)", "0A000@23 UNIQUE is not supported");
    refuse("CREATE TABLE t (a INT, CHECK (a > 0))", "0A000@24 CHECK is not supported");
    refuse("CREATE TABLE t (a INT REFERENCES u)", "0A000@23 REFERENCES is not supported");
    refuse(
        "CREATE TABLE t (a INT, b AS a + 1)",
        "0A000@26 computed column \"b\" is not supported / Compute it in a stream over the source.",
    );
    refuse(
        "CREATE TEMP TABLE t (a INT)",
        "0A000@8 CREATE TEMP is not supported / Create a table and drop it after use.",
    );
    refuse(
        "CREATE TABLE t (a INT) AS SELECT 1",
        "0A000@14 a list of columns in CREATE TABLE … AS is not supported / A table created AS a query has the \
         query's columns: cast them there.",
    );
    refuse("CREATE TABLE t AS SELECT 1 WITH NO DATA", "0A000@28 WITH NO DATA is not supported");
}

#[test]
fn parse_create_view_and_stream_spellings() {
    check(
        "CREATE MATERIALIZED VIEW landings WITH (trigger = '500 ms') AS SELECT window_start, dest, count(*) AS landed \
         FROM TUMBLE(flights, landed_at, INTERVAL '10 minutes') GROUP BY window_start, dest EMIT ON WINDOW CLOSE;",
        "materialized view landings {\"trigger\": \"500 ms\"} as SELECT window_start, dest, count(*) AS landed FROM \
         (SELECT *, date_bin(INTERVAL '10 minutes', landed_at) AS window_start, date_bin(INTERVAL '10 minutes', \
         landed_at) + INTERVAL '10 minutes' AS window_end FROM flights) AS flights GROUP BY window_start, dest \
         emit OnWindowClose",
    );
    for (written, meant) in [
        ("EMIT ON WINDOW CLOSE", "OnWindowClose"),
        ("EMIT AFTER WINDOW CLOSE", "OnWindowClose"),
        ("emit final", "OnWindowClose"),
        ("EMIT ON UPDATE", "OnUpdate"),
        ("EMIT CHANGES", "OnUpdate"),
        ("EMIT COMPLETE", "Complete"),
    ] {
        check(
            &format!("CREATE MATERIALIZED VIEW v AS SELECT a FROM t {written}"),
            &format!("materialized view v as SELECT a FROM t emit {meant}"),
        );
    }
    check("CREATE VIEW v (x, \"Y\") AS SELECT 1, 2", "view v [\"x\", \"Y\"] as SELECT 1, 2");
    check("CREATE OR REPLACE VIEW v AS VALUES (1)", "view v Replace { discard_rows: false } as VALUES (1)");
    check("CREATE STREAM IF NOT EXISTS s AS SELECT emit FROM t", "stream s Skip as SELECT emit FROM t");
    check("CREATE MATERIALIZED VIEW v AS SELECT 1 AS a WITH DATA", "materialized view v as SELECT 1 AS a");
    refuse(
        "CREATE VIEW v AS SELECT 1 EMIT CHANGES",
        "0A000@27 EMIT of a view is not supported / Create a materialized view.",
    );
    refuse(
        "SELECT a FROM t EMIT CHANGES",
        "0A000@17 EMIT outside CREATE STREAM, MATERIALIZED VIEW and SINK is not supported / Create a materialized \
         view with it, and SELECT from that.",
    );
    refuse(
        "CREATE STREAM s AS SELECT a FROM t EMIT SOMETIMES",
        "42601@41 syntax error at or near \"SOMETIMES\" / A standing query ends in EMIT ON WINDOW CLOSE, EMIT ON \
         UPDATE or EMIT COMPLETE.",
    );
    refuse(
        "CREATE STREAM s (a INT) WITH (kafka_topic = 't')",
        "0A000@17 CREATE STREAM with column types is not supported / CREATE SOURCE describes an outside input.",
    );
    refuse(
        "CREATE OR REPLACE STREAM IF NOT EXISTS s AS SELECT 1",
        "42601@26 syntax error at or near \"IF\" / OR REPLACE and IF NOT EXISTS exclude each other.",
    );
}

#[test]
fn parse_drop_alter_show_and_explain_spellings() {
    check("DROP SOURCE s", "drop source [\"s\"] if_exists=false cascade=false");
    check("DROP TABLE IF EXISTS a, public.b CASCADE", "drop table [\"a\", \"public.b\"] if_exists=true cascade=true");
    check("DROP MATERIALIZED VIEW v RESTRICT", "drop materialized view [\"v\"] if_exists=false cascade=false");
    check("ALTER MATERIALIZED VIEW v PAUSE", "alter materialized view v Pause");
    check("ALTER STREAM v RESUME", "alter stream v Resume");
    check("ALTER TABLE t RENAME TO \"U\"", "alter table t RenameTo(\"U\")");
    check("ALTER SOURCE s RESET OFFSETS", "alter source s ResetOffsets");
    check("SHOW SOURCES; SHOW MATERIALIZED VIEWS", "Show(Objects(Source))\nShow(Objects(MaterializedView))");
    check(
        "SHOW CREATE MATERIALIZED VIEW v",
        "Show(Create(Some(MaterializedView), Name { schema: None, name: \"v\", position: 31 }))",
    );
    check("SHOW CREATE v", "Show(Create(None, Name { schema: None, name: \"v\", position: 13 }))");
    check("DESCRIBE t", "Show(Columns(Name { schema: None, name: \"t\", position: 10 }))");
    check("SHOW COLUMNS FROM t", "Show(Columns(Name { schema: None, name: \"t\", position: 19 }))");
    check("FLUSH", "Flush(None)");
    check("FLUSH a.v", "Flush(Some(Name { schema: Some(\"a\"), name: \"v\", position: 7 }))");
    refuse("FLUSH v, w", "42601@8 syntax error at or near \",\"");
    check("EXPLAIN SELECT 1", "explain analyze=false verbose=false [SELECT 1] query SELECT 1");
    check("EXPLAIN ANALYZE VERBOSE TABLE t", "explain analyze=true verbose=true [TABLE t] query SELECT * FROM t");
    check(
        "EXPLAIN (ANALYZE, VERBOSE off, FORMAT TEXT) SELECT 1",
        "explain analyze=true verbose=false [SELECT 1] query SELECT 1",
    );
    check("EXPLAIN (SELECT 1)", "explain analyze=false verbose=false [(SELECT 1)] query (SELECT 1)");
    check("EXPLAIN MATERIALIZED VIEW v", "explain relation v");
    check(
        "EXPLAIN CREATE MATERIALIZED VIEW v AS SELECT 1 EMIT COMPLETE",
        "explain analyze=false verbose=false [CREATE MATERIALIZED VIEW v AS SELECT 1 EMIT COMPLETE] materialized view \
         v as SELECT 1 emit Complete",
    );
    refuse("DROP FROB s", "42601@6 syntax error at or near \"FROB\"");
    refuse("CREATE INDEX i ON t (a)", "0A000@8 CREATE INDEX is not supported");
    refuse("CREATE SORCE s", "42601@8 syntax error at or near \"SORCE\" / Perhaps you meant CREATE SOURCE.");
    refuse(
        "ALTER TABLE t ADD COLUMN a INT",
        "0A000@15 ALTER TABLE … ADD is not supported / Make a second table as it is to be, and take the rows along: CREATE \
         TABLE t_2 (…); INSERT INTO t_2 SELECT … FROM t.",
    );
    refuse(
        "ALTER SOURCE s PAUSE",
        "0A000@14 PAUSE or RESUME of a source is not supported / Only streams, materialized views and sinks run, so only \
         they can be paused.",
    );
    refuse("TAIL v", "0A000@1 TAIL is not supported / SUBSCRIBE TO v gives the changes of a view as they come.");
    refuse(
        "MERGE INTO t USING s ON a = b WHEN MATCHED THEN DELETE",
        "0A000@1 MERGE is not supported / INSERT … ON CONFLICT writes over rows that exist.",
    );
    refuse("EXPLAIN EXPLAIN SELECT 1", "42601@9 syntax error at or near \"EXPLAIN\"");
}

#[test]
fn parse_select_and_dml_spellings() {
    check("TABLE t", "query SELECT * FROM t");
    check("(TABLE a) UNION ALL TABLE \"B\"", "query (SELECT * FROM a) UNION ALL SELECT * FROM \"B\"");
    check("SELECT a FROM t ORDER BY a FETCH FIRST 3 ROWS ONLY", "query SELECT a FROM t ORDER BY a LIMIT 3");
    check("SELECT * FROM (SELECT a FROM t FETCH NEXT ROW ONLY) x", "query SELECT * FROM (SELECT a FROM t LIMIT 1) x");
    check("INSERT INTO TABLE t VALUES (1)", "INSERT INTO TABLE t VALUES (1)");
    check("INSERT INTO t TABLE s", "INSERT INTO t SELECT * FROM s");
    check(
        "INSERT INTO t (a) VALUES (1) ON CONFLICT (a) DO UPDATE SET b = excluded.b RETURNING a",
        "INSERT INTO t (a) VALUES (1) ON CONFLICT(a) DO UPDATE SET b = excluded.b RETURNING a",
    );
    check(
        "INSERT INTO t SELECT * FROM TUMBLE(s, ts, '1 minute')",
        "INSERT INTO t SELECT * FROM (SELECT *, date_bin(INTERVAL '1 minute', ts) AS window_start, date_bin(INTERVAL \
         '1 minute', ts) + INTERVAL '1 minute' AS window_end FROM s) AS s",
    );
    check("UPDATE t SET a = 1 WHERE b = $1", "UPDATE t SET a = 1 WHERE b = $1");
    check("DELETE FROM t WHERE a IN (SELECT 1) RETURNING *", "DELETE FROM t WHERE a IN (SELECT 1) RETURNING *");
    check(" ; SELECT 1 ; -- two\n SELECT 2;;", "query SELECT 1\nquery SELECT 2");
    check("-- nothing\n/* at all */", "");
    refuse("SELECT 1 INTO u", "0A000@15 SELECT INTO is not supported / Write CREATE TABLE … AS SELECT ….");
    refuse("SELECT * FROM t FOR UPDATE", "0A000@1 SELECT … FOR UPDATE is not supported");
    refuse("WITH x AS (SELECT 1) DELETE FROM t", "0A000@1 WITH … DELETE is not supported");
    refuse(
        "INSERT OVERWRITE t SELECT 1",
        "0A000@1 INSERT OVERWRITE is not supported / Write INSERT INTO t (…) VALUES (…) [ON CONFLICT …].",
    );
}

#[test]
fn parse_session_statement_spellings() {
    check(
        "SET search_path TO \"$user\", public",
        "Set { name: \"search_path\", value: Some(\"\\\"$user\\\", public\"), local: false }",
    );
    check(
        "SET LOCAL statement_timeout = '5s'",
        "Set { name: \"statement_timeout\", value: Some(\"5s\"), local: true }",
    );
    check("SET SESSION TimeZone TO 'UTC'", "Set { name: \"timezone\", value: Some(\"UTC\"), local: false }");
    check("SET TIME ZONE -7", "Set { name: \"timezone\", value: Some(\"-7\"), local: false }");
    check(
        "SET TIME ZONE INTERVAL '+02:00' HOUR TO MINUTE",
        "Set { name: \"timezone\", value: Some(\"+02:00\"), local: false }",
    );
    check("SET NAMES 'utf8'", "Set { name: \"client_encoding\", value: Some(\"utf8\"), local: false }");
    check("SET extra_float_digits = 3", "Set { name: \"extra_float_digits\", value: Some(\"3\"), local: false }");
    check("SET tidemark.x TO DEFAULT", "Set { name: \"tidemark.x\", value: None, local: false }");
    check(
        "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ",
        "Set { name: \"transaction_isolation\", value: Some(\"repeatable read\"), local: true }",
    );
    check(
        "SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY",
        "Set { name: \"default_transaction_read_only\", value: Some(\"on\"), local: false }",
    );
    check("SHOW TRANSACTION ISOLATION LEVEL", "Show(Setting(\"transaction_isolation\"))");
    check("SHOW server_version; SHOW ALL", "Show(Setting(\"server_version\"))\nShow(AllSettings)");
    check("RESET ALL; RESET timezone", "Reset(None)\nReset(Some(\"timezone\"))");
    check("BEGIN; START TRANSACTION READ ONLY", "Begin { read_only: None }\nBegin { read_only: Some(true) }");
    check("BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY, DEFERRABLE", "Begin { read_only: Some(true) }");
    check("COMMIT; END WORK; ROLLBACK; ABORT", "Commit\nCommit\nRollback\nRollback");
    check(
        "SAVEPOINT a; RELEASE SAVEPOINT a; ROLLBACK TO a",
        "NoOp(\"SAVEPOINT\")\nNoOp(\"RELEASE\")\nNoOp(\"ROLLBACK\")",
    );
    check(
        "UNLISTEN *; LISTEN x; VACUUM (FULL) t; LOCK TABLE t",
        "NoOp(\"UNLISTEN\")\nNoOp(\"LISTEN\")\nNoOp(\"VACUUM\")\nNoOp(\"LOCK TABLE\")",
    );
    check("DISCARD ALL; DISCARD TEMPORARY", "Discard(All)\nDiscard(Temp)");
    check("DEALLOCATE ALL; DEALLOCATE PREPARE \"p\"", "Deallocate(None)\nDeallocate(Some(\"p\"))");
    check("PREPARE p (int, text) AS SELECT $1", "prepare p [Int(None), Text] [SELECT $1] query SELECT $1");
    check("EXECUTE p(1 + 1, 'x'); EXECUTE q", "execute p [\"1 + 1\", \"'x'\"]\nexecute q []");
    check(
        "DECLARE \"SQL_CUR1\" BINARY NO SCROLL CURSOR WITH HOLD FOR SELECT 1",
        "declare SQL_CUR1 hold=true binary=true SELECT 1",
    );
    check(
        "FETCH ALL c; FETCH 5 FROM c; FETCH FORWARD ALL IN c; FETCH NEXT c",
        "Fetch { name: \"c\", count: All, skip: false, timeout: None }\nFetch { name: \"c\", count: Rows(5), skip: \
         false, timeout: None }\nFetch { name: \"c\", count: All, skip: false, timeout: None }\nFetch { name: \"c\", \
         count: Rows(1), skip: false, timeout: None }",
    );
    check(
        "FETCH c; MOVE FORWARD 10 FROM c; CLOSE c; CLOSE ALL",
        "Fetch { name: \"c\", count: Rows(1), skip: false, timeout: None }\nFetch { name: \"c\", count: Rows(10), \
         skip: true, timeout: None }\nClose(Some(\"c\"))\nClose(None)",
    );
    refuse(
        "FETCH BACKWARD 1 FROM c",
        "0A000@7 FETCH BACKWARD is not supported / A cursor goes forward: FETCH [FORWARD] n FROM c.",
    );
    check(
        "FETCH 5 FROM c WITH (timeout = '1.5s')",
        "Fetch { name: \"c\", count: Rows(5), skip: false, timeout: Some(1.5s) }",
    );
    refuse(
        "FETCH ALL c WITH (timeout = 'soon')",
        "22023@18 option \"timeout\" of FETCH takes a duration such as '500 ms' or '10 seconds', not 'soon'",
    );
    refuse("COMMIT AND CHAIN", "0A000@8 AND CHAIN is not supported");
    refuse("BEGIN ISOLATION LEVEL SOLID", "42601@23 syntax error at or near \"SOLID\"");
    refuse("PREPARE p AS PREPARE q AS SELECT 1", "42601@14 syntax error at or near \"PREPARE\"");
}

#[test]
fn parse_subscribe_spellings() {
    check("SUBSCRIBE TO v", "subscribe v snapshot=true after=None");
    check("SUBSCRIBE \"V\"", "subscribe V snapshot=true after=None");
    check(
        "SUBSCRIBE public.v WITH (snapshot = false, progress = false)",
        "subscribe public.v snapshot=false after=None",
    );
    check("SUBSCRIBE v WITH (SNAPSHOT)", "subscribe v snapshot=true after=None");
    check("SUBSCRIBE TO v AS OF EPOCH 42", "subscribe v snapshot=true after=Some(42)");
    check("SUBSCRIBE v AS OF EPOCH 0 WITH (snapshot = off)", "subscribe v snapshot=false after=Some(0)");
    check("DECLARE c CURSOR FOR SUBSCRIBE v", "declare c hold=false binary=false subscribe v snapshot=true after=None");
    check(
        "COPY (SUBSCRIBE TO v) TO STDOUT",
        "copy out subscribe v snapshot=true after=None Text ['\\t', '\"', '\"'] null=\"\\\\N\" header=false",
    );
    refuse("SUBSCRIBE", "42601@10 syntax error at end of input");
    refuse("SUBSCRIBE TO v AS OF 42", "42601@22 syntax error at or near \"42\"");
    refuse("SUBSCRIBE TO v AS OF EPOCH -1", "42601@28 syntax error at or near \"-\"");
    refuse("SUBSCRIBE TO v WITH (snapshot = maybe)", "42601@33 syntax error at or near \"maybe\"");
    refuse(
        "SUBSCRIBE TO v WITH (snapshop = true)",
        "42601@22 option \"snapshop\" not recognized / SUBSCRIBE has snapshot and progress.",
    );
    refuse("SUBSCRIBE TO v WITH (snapshot, snapshot)", "42601@32 option \"snapshot\" specified more than once");
    refuse(
        "SUBSCRIBE TO v WITH (progress = true)",
        "0A000@22 SUBSCRIBE … WITH (progress = true) is not supported / An epoch is whole when there are rows of a later one.",
    );
    refuse(
        "SUBSCRIBE TO v WITH (snapshot = true) AS OF EPOCH 1",
        "22023@22 snapshot = true and AS OF EPOCH contradict each other / AS OF EPOCH goes on after an epoch whose rows \
         are known; leave one of them out.",
    );
    refuse(
        "SUBSCRIBE TO (SELECT 1)",
        "0A000@14 SUBSCRIBE to a query is not supported / CREATE MATERIALIZED VIEW … AS the query, and SUBSCRIBE to that.",
    );
    refuse("SUBSCRIBE v ENVELOPE UPSERT (KEY (a))", "0A000@13 SUBSCRIBE … ENVELOPE is not supported");
}

#[test]
fn parse_copy_spellings() {
    let text = "Text ['\\t', '\"', '\"'] null=\"\\\\N\" header=false";
    check("COPY t FROM STDIN", &format!("copy in t [] {text}"));
    check(
        "COPY public.t (a, \"B\") FROM STDIN WITH (FORMAT csv, HEADER, DELIMITER ';', NULL 'x')",
        "copy in public.t [\"a\", \"B\"] Csv [';', '\"', '\"'] null=\"x\" header=true",
    );
    check(
        "COPY t FROM STDIN CSV HEADER QUOTE AS '''' ESCAPE '\\'",
        "copy in t [] Csv [',', '\\'', '\\\\'] null=\"\" header=true",
    );
    check("COPY t FROM STDIN WITH BINARY", "copy in t [] Binary ['\\t', '\"', '\"'] null=\"\\\\N\" header=false");
    check("COPY t TO STDOUT", &format!("copy out SELECT * FROM \"t\" {text}"));
    check(
        "COPY s.t (a, b) TO STDOUT (FORMAT 'text')",
        &format!("copy out SELECT \"a\", \"b\" FROM \"s\".\"t\" {text}"),
    );
    check(
        "COPY (SELECT 1) TO STDOUT (FORMAT BINARY)",
        "copy out SELECT 1 Binary ['\\t', '\"', '\"'] null=\"\\\\N\" header=false",
    );
    let hint = "COPY goes to and from the client: psql's \\copy reads its files; CREATE SOURCE reads the server's.";
    refuse("COPY t FROM '/etc/passwd'", &format!("0A000@13 COPY with a file of the server is not supported / {hint}"));
    refuse("COPY t TO PROGRAM 'x'", &format!("0A000@11 COPY with a program is not supported / {hint}"));
    refuse("COPY t FROM STDIN (FORMAT avro)", "22023@20 COPY format \"avro\" not recognized");
    refuse("COPY t FROM STDIN (FROBNICATE)", "42601@20 option \"frobnicate\" not recognized");
    refuse("COPY t FROM STDIN (DELIMITER 'ab')", "0A000@30 COPY delimiter must be a single one-byte character");
    refuse("COPY t FROM STDIN (QUOTE 'x')", "0A000@19 COPY QUOTE requires CSV mode");
    refuse(
        "COPY t FROM STDIN (FORMAT csv, DELIMITER '\"')",
        "22023@19 COPY quote character must not appear in the delimiter or the null string",
    );
}

#[test]
fn parse_syntax_errors_have_position_and_hint() {
    refuse("SELEC 1", "42601@1 syntax error at or near \"SELEC\" / Perhaps you meant SELECT.");
    refuse("SELECT 1; SELECT * FORM t", "42601@25 syntax error at or near \"t\"");
    refuse(
        "SELECT ñ,\n  a FROM WHERE x",
        "42601@20 syntax error at or near \"WHERE\" / WHERE is a reserved word: to use it as a name, write \"WHERE\".",
    );
    refuse("SELECT (1 + 2", "42601@14 syntax error at end of input / A parenthesis is not closed.");
    refuse("SELECT a, FROM t", "42601@11 syntax error at or near \"FROM\" / There is a comma too many before it.");
    refuse("SELECT 'abc", "42601@8 unterminated string literal");
    refuse("SELECT /* x", "42601@12 unexpected EOF while in a multi-line comment");
    refuse("SELECT 1 SELECT 2", "42601@10 syntax error at or near \"SELECT\"");
    refuse("CREATE TABLE t (a INT,)", "42601@23 syntax error at or near \")\" / There is a comma too many before it.");
    refuse(
        "CREATE SOURCE end WITH (connector = 'x')",
        "42601@15 syntax error at or near \"end\" / end is a reserved word: to use it as a name, write \"end\".",
    );
    refuse("CREATE SOURCE s", "42601@16 syntax error at end of input / A source needs WITH (connector = '…').");
    refuse("CREATE SOURCE s WITH (a = 'x', A = 'y')", "42601@32 option \"A\" specified more than once");
    refuse(
        "CREATE TABLE t (a INT) FORMAT DEBEZIUM ENCODE AVRO",
        "0A000@24 FORMAT DEBEZIUM ENCODE AVRO is not supported / FORMAT PLAIN takes records that stand for themselves; \
         UPSERT and DEBEZIUM are of JSON.",
    );
    refuse(
        "CREATE SOURCE s (a INT) WITH (connector = 'x') FORMAT UPSERT ENCODE JSON",
        "42P16@15 source \"s\" needs a PRIMARY KEY / Write CREATE SOURCE s (id BIGINT PRIMARY KEY, …).",
    );
    refuse(
        &format!("CREATE TABLE t (a {}int{})", "ROW(a ".repeat(51), ")".repeat(51)),
        "54000@319 type is nested too deeply",
    );
    refuse("DROP TABLE a.b.c", "0A000@12 cross-database reference \"a.b.…\" is not supported");
    refuse(
        "SELECT * FROM t WATERMARK ts DELAY OF INTERVAL 1 SECOND",
        "42601@27 syntax error at or near \"ts\" / A watermark belongs to a source, a table or a stream: CREATE STREAM \
         s WITH WATERMARK FOR ts AS ….",
    );
    check("SELECT ÄB FROM T", "query SELECT ÄB FROM T");
    refuse("1", "42601@1 syntax error at or near \"1\"");
    let error = parse("SELECT 1;\nSELECT * FROM t WHERE ==").unwrap_err();
    assert_eq!(line_column("SELECT 1;\nSELECT * FROM t WHERE ==", error.position().unwrap()), (2, 23));
}

#[test]
fn parse_each_statement_keeps_its_own_text_and_positions() {
    let text = "  SELECT 'ü;' AS a ; \n/* c */ CREATE STREAM ß AS\n SELECT b FROM t EMIT CHANGES /* d */;";
    let statements = parse(text).unwrap();
    assert_eq!(statements[0].text, "SELECT 'ü;' AS a");
    assert_eq!(statements[1].text, "CREATE STREAM ß AS\n SELECT b FROM t EMIT CHANGES");
    let Body::CreateView(view) = &statements[1].body else { panic!("no stream") };
    assert_eq!(view.name.position, 45);
    assert_eq!(statements[1].position(Location::new(3, 9)), Some(58));
    assert_eq!(text.chars().nth(57), Some('b'));
    assert_eq!(statements[1].position(Location::new(1, 1)), None);
    for statement in statements {
        let again = parse(&statement.text).unwrap().remove(0);
        assert_eq!(tell(&again.body), tell(&statement.body));
    }
}

/// On a stack as small as a worker's.
fn on_a_small_stack(work: impl FnOnce() + Send + 'static) {
    std::thread::Builder::new().stack_size(2 << 20).spawn(work).unwrap().join().unwrap();
}

#[test]
fn parse_long_and_deep_texts_neither_hang_nor_overflow() {
    let nest = |n: usize, open: &str, core: &str, close: &str| format!("{}{core}{}", open.repeat(n), close.repeat(n));
    let mut texts: Vec<String> = vec![];
    for n in [5, 12, 40, 100, 249, 990, 20_000] {
        texts.push(format!("SELECT {}", nest(n, "(", "1", ")")));
        texts.push(format!("SELECT * FROM {}", nest(n, "(", "t", ")")));
        texts.push(format!("SELECT * FROM {}", nest(n, "(SELECT * FROM ", "t", ") x")));
        texts.push(nest(n, "(", "SELECT 1", ")"));
        texts.push(format!("SELECT {}", nest(n, "f(", "1", ")")));
        texts.push(format!("SELECT {}", nest(n, "[", "1", "]")));
        texts.push(format!("SELECT {}", nest(n, "CASE WHEN a THEN ", "1", " END")));
        texts.push(format!("SELECT {} a", "NOT ".repeat(n)));
        texts.push(format!("SELECT {}1", "- ".repeat(n)));
        texts.push(format!("SELECT 1{}", " + 1".repeat(n)));
        texts.push(format!("SELECT a{}", "::int".repeat(n)));
        texts.push(format!("SELECT a = 1{}", " OR a = 1".repeat(n)));
        texts.push(format!("SELECT 1{}", " UNION ALL SELECT 1".repeat(n)));
        texts.push(format!("SELECT 1 FROM t{}", " JOIN t ON true".repeat(n)));
        texts.push(format!("CREATE TABLE t (a {})", nest(n, "STRUCT<a ", "INT", ">")));
        texts.push(format!("CREATE TABLE t (a INT{})", "[]".repeat(n)));
        texts.push(format!("CREATE TABLE t (a STRUCT<a {}>)", nest(n, "Nullable(", "INT", ")")));
        texts.push(format!("CREATE TABLE t (a STRUCT<a {}>)", nest(n, "Nested(a ", "INT", ")")));
        texts.push(format!("CREATE TABLE t (a {})", nest(n, "TABLE(a ", "INT", ")")));
        texts.push(format!("SELECT a::{}", nest(n, "ARRAY<", "INT", ">")));
        texts.push(format!("SELECT {}", nest(n, "CAST(", "1 AS", " INT)")));
        texts.push(format!("SELECT {}", "CAST(".repeat(n)));
        texts.push(format!("SELECT {}", "position(a IN position(".repeat(n)));
        texts.push(format!("SELECT {}", "EXISTS (SELECT ".repeat(n)));
        texts.push(format!("SELECT * FROM {}", "(a JOIN (SELECT 1) b ON ".repeat(n)));
        texts.push(format!("SELECT {}1", "a IN (".repeat(n)));
        texts.push(format!("WITH {} SELECT 1", nest(n, "a AS (WITH ", "a AS (SELECT 1) SELECT 1", ") SELECT 1")));
        texts.push(format!("SELECT a{}", ".a".repeat(n)));
        texts.push(format!("SELECT a{}", "[1]".repeat(n)));
        texts.push(format!("SELECT a{}", " IS NULL".repeat(n)));
        texts.push(format!("SELECT a{}", " COLLATE b".repeat(n)));
        texts.push(format!("SELECT a = 1{}", " AND b > 1 OR a = 1".repeat(n)));
        texts.push(format!("SELECT 1{}", " EXCEPT SELECT 1".repeat(n)));
        texts.push(format!("INSERT INTO t SELECT 1{}", " UNION SELECT 1".repeat(n)));
        texts.push(format!("EXECUTE p(1{})", "::int".repeat(n)));
        texts.push(format!("CREATE TABLE t (a INT DEFAULT 1{})", " + 1".repeat(n)));
        texts.push(format!("VALUES (1){}", ", (1)".repeat(n)));
        texts.push(format!("SELECT 1{}", ", 1".repeat(n)));
        texts.push("SELECT 1;".repeat(n));
        texts.push("é;".repeat(n));
        texts.push("(".repeat(n));
        texts.push("SELECT (".repeat(n));
        texts.push("EXPLAIN ".repeat(n));
    }
    on_a_small_stack(move || {
        for text in texts {
            if let Ok(statements) = parse(&text) {
                let copy = statements.clone();
                assert!(copy == statements && !format!("{copy:?}").is_empty());
            }
        }
    });
    refuse(
        &format!("SELECT {}", nest(200, "(", "1", ")")),
        "54000@71 statement is nested too deeply / Break it into several common table expressions.",
    );
    assert_eq!(parse(&format!("SELECT 1 IN (1{})", ", 1".repeat(20_000))).unwrap().len(), 1);
    assert_eq!(parse(&format!("SELECT 1{}", ", 1".repeat(1663))).unwrap().len(), 1);
    for wide in [format!("SELECT 1{}", ", 1".repeat(1664)), format!("VALUES (1{})", ", 1".repeat(1664))] {
        refuse(&wide, "54011@1 target lists can have at most 1664 entries");
    }
    assert_eq!(parse(&format!("SELECT a = 1{}", " OR a = 1".repeat(500))).unwrap().len(), 1);
}

const SOUP: &[&str] = &[
    "SELECT",
    "FROM",
    "WHERE",
    "GROUP",
    "BY",
    "ORDER",
    "CREATE",
    "SOURCE",
    "STREAM",
    "TABLE",
    "MATERIALIZED",
    "VIEW",
    "WITH",
    "WATERMARK",
    "FOR",
    "AS",
    "INTERVAL",
    "'5 seconds'",
    "DELAY",
    "OF",
    "(",
    ")",
    "(",
    ")",
    ",",
    ",",
    ";",
    "=",
    ".",
    "*",
    "a",
    "t",
    "\"B\"",
    "1",
    "-",
    "+",
    "::",
    "int",
    "TEXT",
    "[",
    "]",
    "TUMBLE",
    "HOP",
    "window",
    "TABLE(",
    "DESCRIPTOR",
    "=>",
    "EMIT",
    "ON",
    "CLOSE",
    "UPDATE",
    "DROP",
    "ALTER",
    "SHOW",
    "EXPLAIN",
    "INSERT",
    "INTO",
    "VALUES",
    "COPY",
    "STDIN",
    "TO",
    "SET",
    "FETCH",
    "DECLARE",
    "CURSOR",
    "PREPARE",
    "EXECUTE",
    "PRIMARY",
    "KEY",
    "NOT",
    "NULL",
    "EXISTS",
    "IF",
    "FORMAT",
    "ENCODE",
    "JSON",
    "STRUCT<",
    ">",
    ">>",
    "JOIN",
    "UNION",
    "ALL",
    "CASE",
    "WHEN",
    "END",
    "$1",
    "'",
    "\"",
    "--",
    "/*",
    "$$",
    "E'\\",
    "\n",
    "ü",
    "BEGIN",
    "END",
    "DELETE",
    "MERGE",
    "OVER",
    "FILTER",
    "LIKE",
];

/// Whatever is said of a text is said of a place within it.
fn never_panics(text: &str) {
    match parse(text) {
        Ok(statements) => {
            for statement in statements {
                assert!(text.contains(&statement.text), "{text:?}: {:?}", statement.text);
            }
        }
        Err(error) => {
            assert!(!error.message().is_empty());
            let end = text.chars().count() + 1;
            assert!(
                error.position().is_none_or(|p| (1..=end).contains(&p)),
                "{text:?}: {error} {:?}",
                error.position()
            );
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn parse_random_tokens_does_not_panic(words in prop::collection::vec(prop::sample::select(SOUP), 0..40)) {
        never_panics(&words.join(" "));
    }

    #[test]
    fn parse_random_statement_fragments_does_not_panic(start in 0usize..12, words in prop::collection::vec(prop::sample::select(SOUP), 0..15)) {
        const STARTS: [&str; 12] = [
            "SELECT * FROM", "SELECT", "CREATE SOURCE s (", "CREATE SOURCE s WITH (", "CREATE TABLE t (a",
            "CREATE STREAM s WITH WATERMARK", "INSERT INTO t", "COPY t FROM STDIN", "SELECT * FROM TUMBLE(",
            "SELECT window(", "SET", "EXPLAIN (",
        ];
        never_panics(&format!("{} {}", STARTS[start], words.join(" ")));
    }

    #[test]
    fn parse_random_text_does_not_panic(text in ".{0,60}") {
        never_panics(&text);
    }

    #[test]
    fn parse_random_bytes_does_not_panic(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
        never_panics(&String::from_utf8_lossy(&bytes));
    }
}

#[test]
fn parse_create_function_spellings() {
    check(
        "CREATE FUNCTION add_count(history BIGINT, new BIGINT) RETURNS BIGINT LANGUAGE SQL IMMUTABLE RETURN history + new",
        "function add_count replace=false (history BIGINT, new BIGINT) returns BIGINT as history + new",
    );
    check(
        "CREATE OR REPLACE FUNCTION public.f(double precision, b timestamp with time zone, \"C\" text[], struct<a int>) \
         RETURNS TEXT STRICT PARALLEL SAFE COST 10 LANGUAGE 'sql' AS $x$ SELECT $1 || b AS c $x$",
        "function public.f replace=true (_ DOUBLE PRECISION, b TIMESTAMP WITH TIME ZONE, C TEXT[], _ STRUCT<a INT>) \
         returns TEXT strict as $1 || b",
    );
    check(
        "CREATE FUNCTION one() RETURNS INT AS 'SELECT 1' RETURNS NULL ON NULL INPUT STABLE CALLED ON NULL INPUT",
        "function one replace=false () returns INT as 1",
    );
    check(
        "DROP FUNCTION IF EXISTS f(int, a text), s.g RESTRICT",
        "drop functions f[Int(None), Text], s.g aggregates=false if_exists=true",
    );
    let start = "CREATE FUNCTION f(a int) RETURNS int";
    for (rest, expected) in [
        ("", "42P13@37 function \"f\" has no body / Write AS 'SELECT expression', or RETURN expression."),
        (
            " LANGUAGE plpgsql AS $$ BEGIN RETURN 1; END $$",
            "0A000@38 LANGUAGE plpgsql is not supported / Write LANGUAGE SQL, with one expression: AS 'SELECT a + b'.",
        ),
        (
            " AS 'SELECT a FROM t'",
            "0A000@41 function \"f\" with a body that is not one expression is not supported / Write AS 'SELECT \
             expression', without FROM; a query under a name is a view.",
        ),
        (
            " AS 'SELECT 1; SELECT 2'",
            "0A000@41 function \"f\" with a body that is not one expression is not supported / Write AS 'SELECT \
             expression', without FROM; a query under a name is a view.",
        ),
        (
            " RETURN (SELECT 1)",
            "0A000@45 a subquery in function \"f\" is not supported / Give what it reads to the function as an argument.",
        ),
        (" AS $$ SELECT a + $$", "42601@54 syntax error at end of input"),
        (" RETURN a RETURN a", "42601@47 syntax error at or near \"RETURN\""),
        (" SECURITY DEFINER RETURN a", "0A000@38 SECURITY of a function is not supported / Leave it out."),
    ] {
        refuse(&format!("{start}{rest}"), expected);
    }
    refuse(
        "CREATE FUNCTION f(a int) RETURNS TABLE (b int) AS 'SELECT 1'",
        "0A000@34 RETURNS TABLE is not supported / A function of rows is a view: CREATE VIEW.",
    );
    refuse(
        "CREATE FUNCTION f(a anyelement) RETURNS int RETURN 1",
        "0A000@21 pseudo-type anyelement is not supported / Name the type; for others make a function each, under another name.",
    );
    refuse(
        "CREATE FUNCTION f(a int, a text) RETURNS int RETURN 1",
        "42P13@26 parameter name \"a\" used more than once",
    );
    refuse(
        "DROP FUNCTION f CASCADE",
        "0A000@17 CASCADE of functions is not supported / They go once nothing uses them.",
    );
}

#[test]
fn parse_create_aggregate_spellings() {
    check(
        "CREATE AGGREGATE running_count(BIGINT) (SFUNC = add_count, STYPE = BIGINT, INITCOND = '0')",
        "aggregate running_count replace=false (_ BIGINT) step add_count state BIGINT initial Some(\"0\")",
    );
    check(
        "CREATE OR REPLACE AGGREGATE a(x int, text) (stype = text[], sfunc = public.s, finalfunc = f, combinefunc = c, \
         parallel = safe)",
        "aggregate a replace=true (x INT, _ TEXT) step public.s state TEXT[] initial None finish f combine c",
    );
    check("DROP AGGREGATE a(int)", "drop functions a[Int(None)] aggregates=true if_exists=false");
    refuse(
        "CREATE AGGREGATE a(int) (SFUNC = f)",
        "42P13@18 aggregate stype must be specified / Write CREATE AGGREGATE name (type) (SFUNC = function, STYPE = type).",
    );
    refuse(
        "CREATE AGGREGATE a(int) (SFUNC = f, STYPE = int, MSFUNC = f)",
        "0A000@50 MSFUNC of an aggregate is not supported / It may have SFUNC, STYPE, INITCOND, FINALFUNC and COMBINEFUNC.",
    );
    refuse(
        "CREATE AGGREGATE a(*) (SFUNC = f, STYPE = int)",
        "0A000@19 an aggregate without arguments is not supported / Give it an argument that it does not heed, and call \
         it with 1.",
    );
    refuse("CREATE AGGREGATE a(int) (SFUNC = f, SFUNC = g)", "42601@37 sfunc specified more than once");
}

#[test]
fn expressions_outside_of_queries_are_spelled_as_those_within() {
    let body = |sql: &str| parse(sql).unwrap().remove(0).body;
    let Body::Execute { parameters, .. } = body(r"EXECUTE p('\x6122'::bytea, 'it''s')") else { panic!("no EXECUTE") };
    assert_eq!(parameters.iter().map(ToString::to_string).collect::<Vec<_>>(), ["X'6122'::BYTEA", "'it''s'"]);
    let Body::CreateTable(table) = body(r"CREATE TABLE t (b BYTEA DEFAULT '\x6122'::bytea)") else {
        panic!("no table")
    };
    assert_eq!(table.columns[0].default.as_ref().unwrap().to_string(), "X'6122'::BYTEA");
    assert_eq!(parse(r"EXECUTE p(1, '\xz'::bytea)").unwrap_err().position(), Some(14));
}
