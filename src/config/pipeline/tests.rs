use super::*;
use crate::config::{
    plan::{PlannedChange, plan},
    yaml::TextPosition,
};
use crate::{catalog::RelationDef, error::Error};

fn environment() -> Environment {
    Environment::with(|name| match name {
        "SECRET" => Some("pass'word".to_string()),
        _ => None,
    })
}

fn lowered(text: &str) -> Result<Vec<Lowered>> {
    let document = Document::new("p.yaml", text);
    let raw = document.parse::<RawPipeline>()?.unwrap_or_default();
    lower(&raw, &document, Path::new("."), &environment())
}

/// The statements, a line each.
fn sql(text: &str) -> Vec<String> {
    lowered(text).unwrap().into_iter().map(|l| l.sql.split_whitespace().collect::<Vec<_>>().join(" ")).collect()
}

fn message(text: &str) -> String {
    lowered(text).unwrap_err().message().to_string()
}

fn load(text: &str) -> Result<Pipeline> {
    Pipeline::load(&Document::new("p.yaml", text), &environment()).map(|(_, pipeline)| pipeline)
}

#[test]
fn pipeline_source_lowers_to_create_source() {
    let text = "
sources:
  Flights:
    connector: directory
    path: data/o'hare
    header: true
    'null': NA
    properties: {bootstrap: {servers: 'k:9092'}}
    columns: {origin: TEXT, order: INT NOT NULL, \"Größe\": 'NUMERIC(10, 2)'}
    watermark: {column: at, delay: 90 s, idle_timeout: 5 s}
";
    assert_eq!(
        sql(text),
        ["CREATE SOURCE flights (origin TEXT, \"order\" INT NOT NULL, \"Größe\" NUMERIC(10, 2), \
          WATERMARK FOR at AS at - INTERVAL '90 seconds') WITH (connector = 'directory', path = 'data/o''hare', \
          header = 'true', 'null' = 'NA', 'properties.bootstrap.servers' = 'k:9092', \
          'watermark.idle_timeout' = '5 s')"]
    );
}

#[test]
fn pipeline_sinks_lower_to_create_sink() {
    let text = "
sinks:
  alerts: {from: suspicious, connector: kafka, topic: alerts, type: upsert, primary_key: [card, at]}
  Shown:
    connector: console
    query: SELECT 1 AS one
    emit: complete
";
    assert_eq!(
        sql(text),
        [
            "CREATE SINK alerts WITH (connector = 'kafka', topic = 'alerts', type = 'upsert', primary_key = 'card, at') \
             FROM suspicious",
            "CREATE SINK shown WITH (connector = 'console') AS SELECT 1 AS one EMIT COMPLETE",
        ]
    );
    assert_eq!(
        message("sinks: {s: {from: a, query: SELECT 1}}"),
        "p.yaml:1:19: sink s has both \"from\" and \"query\""
    );
    assert_eq!(message("sinks: {s: {connector: console}}"), "p.yaml:1:12: sink s has no \"query\"");
    assert_eq!(message("views: {v: {from: a}}"), "p.yaml:1:13: unknown key \"from\" in a materialized view");
    let text = "sinks: {s: {from: v, connector: console}}\nviews: {v: {query: SELECT 1}}\n";
    let names: Vec<String> = load(text).unwrap().definitions.into_iter().map(|d| d.name).collect();
    assert_eq!(names, ["v", "s"], "what is read comes first");
}

#[test]
fn pipeline_tables_streams_and_views_lower_to_create_statements() {
    let text = "
tables:
  - name: t
    columns: [{name: id, type: BIGINT, not_null: true}, {name: n, type: INT, default: 5}]
    primary_key: [id, n]
    append_only: true
streams:
  s: {watermark: {column: ts, delay: 2 hours}, query: SELECT 1;}
views:
  v: {query: SELECT 2, emit: window_close, trigger: once}
sql: [SELECT 3, SELECT 4]
";
    assert_eq!(
        sql(text),
        [
            "CREATE TABLE t (id BIGINT NOT NULL, n INT DEFAULT 5, PRIMARY KEY (id, n)) APPEND ONLY",
            "CREATE STREAM s WITH WATERMARK FOR ts AS ts - INTERVAL '2 hours' AS SELECT 1",
            "CREATE MATERIALIZED VIEW v WITH (trigger = 'once') AS SELECT 2 EMIT ON WINDOW CLOSE",
            "SELECT 3",
            "SELECT 4",
        ]
    );
}

#[test]
fn pipeline_error_has_file_line_and_column() {
    let cases = [
        ("sorces: {}", "p.yaml:1:1: unknown key \"sorces\""),
        ("views:\n  v:\n    emit: update\n", "p.yaml:3:5: materialized view v has no \"query\""),
        ("views:\n  v:\n    qurey: SELECT 1\n", "p.yaml:3:5: materialized view v has no \"query\""),
        (
            "views:\n  v: {query: SELECT 1, emit: sometimes}",
            "p.yaml:2:30: \"emit\" takes window close, update or complete, not \"sometimes\"",
        ),
        ("sources:\n  s:\n    query: SELECT 1\n", "p.yaml:3:5: unknown key \"query\" in a source"),
        ("sources:\n  s:\n    glob: [a, b]\n", "p.yaml:3:11: option \"glob\" takes a value, not a list"),
        ("sources:\n  s:\n    path: a/${NOT_SET}\n", "p.yaml:3:11: environment variable \"NOT_SET\" is not set"),
        (
            "sources:\n  s:\n    watermark:\n      column: ts\n      dely: 1\n",
            "p.yaml:5:7: unknown key \"dely\" in \"sources.s.watermark\"",
        ),
        (
            "streams:\n  s:\n    watermark: {column: ts, delay: soon}\n",
            "p.yaml:3:36: \"watermark.delay\" takes a duration such as 10 minutes, not \"soon\"",
        ),
        ("sources: [{path: x}]", "p.yaml:1:11: a source needs a name"),
        ("tables: {t: {append_only: perhaps}}", "p.yaml:1:27: \"append_only\" takes true or false, not \"perhaps\""),
        ("sql: {fiel: x}", "p.yaml:1:6: unknown key \"fiel\" in \"sql\""),
    ];
    for (text, expected) in cases {
        assert_eq!(message(text), expected, "{text}");
    }
    let hint = lowered("views:\n  v:\n    qurey: SELECT 1\n").unwrap_err();
    assert_eq!(hint.hint_text(), Some("Perhaps \"qurey\" is meant to be \"query\"."));
    assert!(message("sql: {file: nowhere.sql}").starts_with("p.yaml:1:13: ./nowhere.sql: "));
    assert!(message("views:\n  a: {query: x}\n  a: {query: y}\n").contains("\"a\" is there twice"));
}

#[test]
fn pipeline_sql_position_maps_back_to_the_yaml_position() {
    let text =
        "views:\n  v:\n    query: |\n      SELECT a,\n        b FROM t\n    emit: update\n  w:\n    query: SELECT c\n";
    let lowered = lowered(text).unwrap();
    let place = |l: &Lowered, of: &str| {
        let position = l.sql[..l.sql.find(of).unwrap()].chars().count() + 1;
        l.place(position)
    };
    assert_eq!(place(&lowered[0], "b FROM"), TextPosition { line: 5, column: 9 });
    assert_eq!(place(&lowered[0], "SELECT"), TextPosition { line: 4, column: 7 });
    assert_eq!(place(&lowered[0], "CREATE"), TextPosition { line: 2, column: 3 });
    assert_eq!(place(&lowered[0], "EMIT"), TextPosition { line: 2, column: 3 });
    assert_eq!(place(&lowered[1], "SELECT c"), TextPosition { line: 8, column: 12 });
}

#[test]
fn pipeline_error_naming_an_option_points_to_its_key() {
    let all = lowered("sources:\n  s:\n    connector: directory\n    heder: true\n").unwrap();
    let error = Error::new(ErrorKind::InvalidParameterValue, "source \"s\" has no option \"heder\"");
    assert_eq!(all[0].blame(error, 1).message(), "p.yaml:4:5: source \"s\" has no option \"heder\"");
}

#[test]
fn pipeline_definitions_are_ordered_after_their_inputs() {
    let text = "
streams:
  b: {query: SELECT * FROM d}
views:
  a: {query: SELECT * FROM b}
sql: |
  CREATE SOURCE d (x INT) WITH (connector = 'datagen');
  CREATE MATERIALIZED VIEW c AS SELECT 1 FROM a;
";
    let pipeline = load(text).unwrap();
    let names: Vec<_> = pipeline.definitions.iter().map(|d| d.name.as_str()).collect();
    assert_eq!(names, ["d", "b", "a", "c"]);
}

#[test]
fn pipeline_other_statements_and_duplicates_are_refused() {
    let error = load("sql: |\n  CREATE TABLE t (a INT);\n  INSERT INTO t VALUES (1);\n").unwrap_err();
    assert!(error.message().starts_with("p.yaml:3:3: a pipeline declares sources"), "{error}");
    let error = load("sql: CREATE TABLE IF NOT EXISTS t (a INT)").unwrap_err();
    assert!(error.message().starts_with("p.yaml:1:6: IF NOT EXISTS of table \"t\""), "{error}");
    let error = load("views: {v: {query: SELECT 1}}\ntables: {v: {columns: {a: INT}}}").unwrap_err();
    assert!(error.message().ends_with("\"v\" is declared twice, first as a table"), "{error}");
}

#[test]
fn pipeline_syntax_error_in_sql_has_its_yaml_line() {
    let error = load("views:\n  v:\n    query: |\n      SELECT a\n      FRM t WHERE\n").unwrap_err();
    assert!(error.message().starts_with("p.yaml:5:"), "{error}");
}

fn relation(kind: ObjectKind, name: &str, definition: &str) -> RelationDef {
    RelationDef {
        id: 1,
        schema: "public".to_string(),
        name: name.to_string(),
        kind,
        columns: std::sync::Arc::new(arrow::datatypes::Schema::empty()),
        primary_key: Vec::new(),
        definition: definition.to_string(),
    }
}

#[test]
fn pipeline_plan_lists_create_replace_and_unchanged() {
    let text = "tables: {t: {columns: {a: INT}}}\nviews: {v: {query: SELECT a FROM t}, w: {query: SELECT 1}}";
    let pipeline = load(text).unwrap();
    let plan_text = |relations: &[RelationDef]| plan(&pipeline, relations).map(|plan| plan.to_string());
    let same: Vec<_> =
        pipeline.definitions.iter().map(|d| relation(d.kind, &d.name, &d.statement.text.to_uppercase())).collect();
    assert_eq!(
        plan_text(&same).unwrap(),
        "unchanged  table \"t\"\nunchanged  materialized view \"v\"\nunchanged  materialized view \"w\"\nnothing to do\n"
    );
    let some = [
        relation(ObjectKind::Table, "t", "create table t (a int)"),
        relation(ObjectKind::MaterializedView, "v", "create materialized view v as select a + 1 from t"),
        relation(ObjectKind::Stream, "x", "create stream x as select 1"),
        relation(ObjectKind::System, "queries", ""),
    ];
    assert_eq!(
        plan_text(&some).unwrap(),
        "unchanged  table \"t\"\nreplace    materialized view \"v\"\ncreate     materialized view \"w\"\n\
         other      stream \"x\" (not in the file, left alone)\n"
    );
    assert!(!plan(&pipeline, &some).unwrap().is_empty());
    assert_eq!(plan(&pipeline, &[]).unwrap().steps.iter().filter(|(c, _)| *c == PlannedChange::Create).count(), 3);
}

#[test]
fn pipeline_plan_that_would_lose_rows_or_change_the_kind_is_refused() {
    let pipeline = load("tables: {t: {columns: {a: INT}}}").unwrap();
    let refused = |existing| plan(&pipeline, &[existing]).unwrap_err().message().to_string();
    assert_eq!(
        refused(relation(ObjectKind::Table, "t", "create table t (a bigint)")),
        "p.yaml:1:10: table \"t\" is defined differently, and replacing it would lose its rows"
    );
    let asked = load("sql: CREATE OR REPLACE TABLE t (a INT) WITH (discard_rows = true)").unwrap();
    let old = [relation(ObjectKind::Table, "t", "create table t (a bigint)")];
    assert_eq!(plan(&asked, &old).unwrap().steps[0].0, PlannedChange::Replace);
    assert_eq!(
        refused(relation(ObjectKind::View, "t", "create view t as select 1")),
        "p.yaml:1:10: \"t\" is a table in the file and a view in the server"
    );
}

#[test]
fn normalised_statement_ignores_layout_case_and_comments_but_not_literals() {
    let same = "create or replace stream  S -- why\n as SELECT 'A',  \"b\" ;";
    assert_eq!(normalised(same), normalised("CREATE STREAM IF NOT EXISTS s AS select 'A', b"));
    let plain = normalised("create table t (a int) with (b = 1)");
    for with in ["discard_rows = true, b = 1", "b = 1, 'discard_rows' = true"] {
        assert_eq!(normalised(&format!("create or replace table t (a int) with ({with})")), plain);
    }
    let alone = "create or replace table t with (discard_rows = 'on') as select (discard_rows = true) from u";
    assert_eq!(normalised(alone), normalised("create table t as select (discard_rows = true) from u"));
    assert_ne!(normalised("select 'A'"), normalised("select 'a'"));
    assert_ne!(normalised("select \"A\""), normalised("select a"));
}

#[test]
fn pipeline_shipped_files_load() {
    for text in
        [include_str!("../../../config/pipelines/flights.yaml"), include_str!("../../../config/pipelines/datagen.yaml")]
    {
        let document = Document::new("p.yaml", text);
        assert!(is_pipeline(&document).unwrap());
        let (raw, pipeline) = Pipeline::load(&document, &environment()).unwrap();
        apply_server(&mut Config::default(), &raw, &document, &environment()).unwrap();
        assert!(pipeline.definitions.len() >= 3);
    }
}

#[test]
fn pipeline_secret_is_in_the_statement_but_not_in_the_plan() {
    let text = "sources: {s: {connector: datagen, password: '${SECRET}'}}";
    assert_eq!(sql(text), ["CREATE SOURCE s WITH (connector = 'datagen', password = 'pass''word')"]);
    let pipeline = load(text).unwrap();
    assert!(!plan(&pipeline, &[]).unwrap().to_string().contains("word"));
}

proptest::proptest! {
    #[test]
    fn pipeline_load_of_any_text_does_not_panic(text in "(sources|views|sql|tables|server)?:?[\\PC\\n&*|>{}\\[\\]:,'\"$-]{0,60}") {
        let _ = load(&text);
    }
}
