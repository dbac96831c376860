//! `tidemark check FILE`: validates a file without a server.
//!
//! A pipeline is planned as `run` would, against the data directory's catalog if there is one; sinks are not opened,
//! since that would claim outside systems.

use std::path::Path;

use tokio::runtime::Handle;

use super::{
    flags::ServerFlags,
    run::{self, carry_out},
    server::{rehearse, rehearse_alone},
};

use crate::{
    config::{Config, Environment, pipeline::is_pipeline, plan::plan, yaml::Document},
    engine::Engine,
    error::{Error, ErrorKind, Result},
    sql,
};

/// One line with the contents of a valid file; the first error as `file:line:column: message`.
pub async fn check(path: &Path, flags: &ServerFlags, environment: &Environment, epochs: Handle) -> Result<String> {
    let document = Document::read(path)?;
    let yaml = path.extension().is_some_and(|e| e.eq_ignore_ascii_case("yaml") || e.eq_ignore_ascii_case("yml"));
    if !yaml {
        return check_sql(&document);
    }
    if is_pipeline(&document)? {
        return check_pipeline(path, flags, environment, epochs).await;
    }
    Config::load(&document, environment)?;
    Ok(format!("{}: a valid server configuration", document.file))
}

fn check_sql(document: &Document) -> Result<String> {
    let statements = sql::parse(&document.text).map_err(|e| blame(document, e, 1))?;
    for statement in &statements {
        Engine::check(statement).map_err(|e| blame(document, e, statement.start.position))?;
    }
    Ok(format!("{}: {}", document.file, count(statements.len(), "statement")))
}

async fn check_pipeline(path: &Path, flags: &ServerFlags, environment: &Environment, epochs: Handle) -> Result<String> {
    let (config, pipeline) = run::load(path, flags.base(environment)?, flags, environment)?;
    let (engine, in_use) = match rehearse(&config, epochs.clone()).await {
        // A running server locks its data directory: planned without it.
        Err(error) if error.kind() == ErrorKind::ObjectInUse => (rehearse_alone(&config, epochs).await?, true),
        opened => (opened?, false),
    };
    let plan = plan(&pipeline, &engine.relations())?;
    carry_out(&engine, &pipeline, &plan).await.map_err(|error| match error.kind() {
        ErrorKind::UndefinedTable if in_use && error.hint_text().is_none() => {
            let folder = config.data_dir.display();
            error.hint(format!("A server runs on \"{folder}\": what exists there already was not looked at."))
        }
        _ => error,
    })?;
    Ok(format!("{}: {}", path.display(), count(pipeline.definitions.len(), "definition")))
}

/// An error about the statement that begins at `start`, with its position in the file.
fn blame(document: &Document, error: Error, start: usize) -> Error {
    let (line, column) = sql::line_column(&document.text, error.position().unwrap_or(start));
    error.context(format!("{}:{line}:{column}", document.file))
}

fn count(n: usize, what: &str) -> String {
    format!("{n} {what}{}, valid", if n == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    /// Checks a file as the command does, with a data directory that does not exist.
    fn checked(path: &Path) -> Result<String> {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let flags = ServerFlags { data_dir: Some("no-such-folder".into()), ..ServerFlags::default() };
        runtime.block_on(check(path, &flags, &Environment::with(|_| None), runtime.handle().clone()))
    }

    fn check_text(name: &str, text: &str) -> Result<String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        let outcome = checked(&path);
        let place = format!("{}/", folder.path().display());
        outcome.map(|t| t.replace(&place, "")).map_err(|e| {
            let error = Error::new(e.kind(), e.message().replace(&place, ""));
            e.detail_text().into_iter().fold(error, |error, detail| error.detail(detail))
        })
    }

    #[test]
    fn check_shipped_examples_and_configurations_are_valid() {
        let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
        for file in [
            "config/tidemark.yaml",
            "config/pipelines/datagen.yaml",
            "config/pipelines/words.yaml",
            "sql/examples/first_view.sql",
            "sql/examples/flights.sql",
        ] {
            let output = checked(&root.join(file)).unwrap_or_else(|e| panic!("{e}"));
            assert!(output.ends_with("valid") || output.ends_with("configuration"), "{output}");
        }
    }

    #[test]
    fn check_detects_configuration_pipeline_and_sql_files() {
        assert_eq!(check_text("a.yaml", "listen: 127.0.0.1:1\n").unwrap(), "a.yaml: a valid server configuration");
        assert_eq!(check_text("a.yml", "views: {v: {query: SELECT 1}}").unwrap(), "a.yml: 1 definition, valid");
        assert_eq!(check_text("a.sql", "SELECT 1; SELECT 2;\n").unwrap(), "a.sql: 2 statements, valid");
    }

    #[test]
    fn check_errors_have_file_line_and_column() {
        let message = |name, text| check_text(name, text).unwrap_err().message().to_string();
        assert!(message("a.sql", "SELECT 1;\n  SELEC 2;\n").starts_with("a.sql:2:3: "));
        let source = "SELECT 1;\nCREATE SOURCE s (a INT) WITH (connector = 'datagen', sed = 1);\n";
        assert_eq!(message("a.sql", source), "a.sql:2:1: source \"s\" has no option \"sed\"");
        let pipeline = "sources:\n  s:\n    connector: datagen\n    sed: 1\n    columns: {a: INT}\n";
        assert_eq!(message("a.yaml", pipeline), "a.yaml:4:5: source \"s\" has no option \"sed\"");
        assert_eq!(message("a.yaml", "\nlisten: x\n"), "a.yaml:2:9: \"listen\" takes host:port, not \"x\"");
        assert_eq!(
            message("a.yaml", "sql: SELECT 1\nserver: {lisen: x}\n"),
            "a.yaml:2:10: unknown key \"lisen\" in \"server\""
        );
        assert!(checked(Path::new("nowhere.sql")).unwrap_err().message().contains("nowhere.sql"));
    }

    #[test]
    fn check_pipeline_that_cannot_run_is_refused_with_its_line() {
        let message = |text: &str| check_text("a.yaml", text).unwrap_err().message().to_string();
        let table = "tables: {t: {columns: {a: INT}}}\n";
        for (text, line, expected) in [
            ("views: {v: {query: SELECT a FROM nowhere}}".to_string(), 1, "relation \"nowhere\" does not exist"),
            (format!("{table}views: {{v: {{query: SELECT b FROM t}}}}"), 2, "column \"b\" does not exist"),
            (format!("{table}views: {{v: {{query: SELECT a FROM t, emit: window close}}}}"), 2, ""),
            (
                "sources: {s: {connector: directory, path: /no/such, format: csv, columns: {a: INT}}}".to_string(),
                1,
                "directory \"/no/such\" does not exist",
            ),
            (
                "views:\n  v: {query: SELECT a FROM w}\n  w: {query: SELECT a FROM v}\n".to_string(),
                2,
                "relation \"w\" does not exist",
            ),
            (format!("{table}sinks: {{s: {{connector: console, type: upsert, query: SELECT a FROM t}}}}"), 2, "upsert"),
        ] {
            let reported = message(&text);
            assert!(
                reported.starts_with(&format!("a.yaml:{line}:")) && reported.contains(expected),
                "{text}: {reported}"
            );
        }
    }

    #[test]
    fn check_views_that_read_each_other_are_refused_as_a_circle() {
        let text = "views:\n  v: {query: SELECT a FROM w}\n  w: {query: SELECT a FROM v}\n";
        let error = check_text("a.yaml", text).unwrap_err();
        assert_eq!(error.message(), "a.yaml:2:3: relation \"w\" does not exist");
        let detail = "materialized view \"w\" is declared, but needs what is declared here itself: a circle.";
        assert_eq!(error.detail_text(), Some(detail));
    }

    #[test]
    fn check_malformed_yaml_error_has_line_and_column() {
        let message = |text: &str| check_text("a.yaml", text).unwrap_err().message().to_string();
        let views = "views:\n  v: {query: SELECT 1}\n";
        for (text, expected) in [
            (format!("{views}views: {{}}\n"), "a.yaml:3:1: key \"views\" is there twice"),
            (format!("{views}  w: {{query: [}}\n"), "a.yaml:3:15: "),
            (format!("{views}\tw: 1\n"), "a.yaml:3:1: "),
            (format!("{views}---\nviews: {{}}\n"), "a.yaml:3:1: "),
            (format!("{views}  w: {{query: 'SELECT 1\n"), "a.yaml:4:1: "),
        ] {
            assert!(message(&text).starts_with(expected), "{text}: {}", message(&text));
            assert!(!message(&text).contains("unknown key"), "{text}: {}", message(&text));
        }
    }

    #[test]
    fn check_unknown_key_hint_knows_pipeline_and_configuration_keys() {
        let refusal = |text: &str| {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("a.yaml");
            std::fs::write(&path, text).unwrap();
            let error = checked(&path).unwrap_err();
            let message = error.message().rsplit('/').next().unwrap_or_default().to_string();
            (message, error.hint_text().unwrap_or_default().to_string())
        };
        let (message, hint) = refusal("\nview: {v: {query: SELECT 1}}\n");
        assert_eq!(message, "a.yaml:2:1: unknown key \"view\"");
        assert_eq!(hint, "Perhaps you meant \"views\".");
        assert_eq!(refusal("lisen: x\n").1, "Perhaps you meant \"listen\".");
        let (message, hint) = refusal("something_else: 1\n");
        assert_eq!(message, "a.yaml:1:1: unknown key \"something_else\"");
        assert!(hint.contains("views") && hint.contains("listen"), "{hint}");
    }

    #[test]
    fn check_byte_order_mark_is_ignored() {
        assert_eq!(check_text("a.sql", "\u{feff}SELECT 1;\n").unwrap(), "a.sql: 1 statement, valid");
        assert!(check_text("a.yaml", "\u{feff}views: {v: {query: SELECT 1}}").is_ok());
        let message = check_text("a.sql", "\u{feff}SELEC 1;\n").unwrap_err().message().to_string();
        assert!(message.starts_with("a.sql:1:1: "), "{message}");
    }
}
