//! Translates a pipeline's objects to SQL text, and positions in that SQL back to positions in the YAML.

use std::{path::Path, time::Duration};

use super::raw::{NamedDefinition, RawColumns, RawObject, RawPipeline, RawSql, RawValue, RawWatermark};
use crate::{
    config::{
        Environment,
        yaml::{Document, PathPart, PathStep, Scalar, TextPosition},
    },
    error::{Error, ErrorKind, Result},
    options::{nearest, parse_duration},
    sql::{
        self,
        names::{is_reserved, quote},
    },
};

/// SQL text of one object of a pipeline, or that a pipeline contains or refers to.
#[derive(Debug, Clone)]
pub struct Lowered {
    pub sql: String,
    /// The file named in errors: the pipeline, or the SQL file that it refers to.
    pub file: String,
    /// The position where the object begins.
    pub origin: TextPosition,
    /// The options with their positions: an error that names an option points there.
    options: Vec<(String, TextPosition)>,
    /// Text copied unchanged: the position of its first character in `sql`, and the file position of each of its lines,
    /// if lines of the SQL are lines of the file.
    verbatim: Option<(usize, Vec<Option<TextPosition>>)>,
}

impl Lowered {
    /// The file position of a character of `sql`, counted from 1.
    pub fn place(&self, position: usize) -> TextPosition {
        let Some((start, lines)) = &self.verbatim else { return self.origin };
        if position <= *start {
            return self.origin;
        }
        let text: String = self.sql.chars().skip(*start).collect();
        let inside = TextPosition::from(sql::line_column(&text, position - start));
        match lines.get(inside.line - 1) {
            Some(Some(line)) => TextPosition { line: line.line, column: line.column + inside.column - 1 },
            _ => self.origin,
        }
    }

    /// Prefixes `file:line:column: ` to an error about the statement that begins at character `start` of `sql`, from 1.
    pub fn blame(&self, error: Error, start: usize) -> Error {
        let named = |(key, _): &&(String, TextPosition)| error.message().contains(&format!("option \"{key}\""));
        let place = match (error.position(), self.options.iter().find(named)) {
            (Some(position), _) => self.place(position),
            (None, Some((_, place))) => *place,
            (None, None) => self.place(start),
        };
        error.context(format!("{}:{}:{}", self.file, place.line, place.column))
    }
}

/// The statements of a pipeline, in the order sources, tables, streams, views, sinks, SQL; each in the order of the file.
pub fn lower(raw: &RawPipeline, document: &Document, folder: &Path, environment: &Environment) -> Result<Vec<Lowered>> {
    let mut all = Vec::new();
    let sections = [
        (&SOURCE, &raw.sources),
        (&TABLE, &raw.tables),
        (&STREAM, &raw.streams),
        (&VIEW, &raw.views),
        (&SINK, &raw.sinks),
    ];
    for (shape, section) in sections {
        for (step, object) in section.iter().flat_map(|NamedDefinition(objects)| objects) {
            let path = vec![PathStep::Key(shape.section.to_string()), step.clone()];
            all.push(StatementWriter { shape, document, environment, path, options: Vec::new() }.write(object)?);
        }
    }
    if let Some(sql) = &raw.sql {
        lower_sql(sql, vec![PathStep::Key("sql".to_string())], document, folder, environment, &mut all)?;
    }
    Ok(all)
}

/// The SQL of a section's objects: their kind, and which keys have a clause.
struct ObjectShape {
    section: &'static str,
    word: &'static str,
    keys: &'static [&'static str],
}

const SOURCE: ObjectShape = ObjectShape { section: "sources", word: "SOURCE", keys: &["columns", "watermark"] };
const TABLE: ObjectShape =
    ObjectShape { section: "tables", word: "TABLE", keys: &["columns", "primary_key", "append_only", "watermark"] };
const STREAM: ObjectShape = ObjectShape { section: "streams", word: "STREAM", keys: &["watermark", "query", "emit"] };
const VIEW: ObjectShape =
    ObjectShape { section: "views", word: "MATERIALIZED VIEW", keys: &["watermark", "query", "emit"] };
const SINK: ObjectShape =
    ObjectShape { section: "sinks", word: "SINK", keys: &["from", "query", "emit", "primary_key"] };

/// Writes the statement of one object.
struct StatementWriter<'a> {
    shape: &'a ObjectShape,
    document: &'a Document,
    environment: &'a Environment,
    path: Vec<PathStep>,
    options: Vec<(String, TextPosition)>,
}

impl StatementWriter<'_> {
    fn write(mut self, object: &RawObject) -> Result<Lowered> {
        let name = match &object.name {
            Some(name) => identifier(&self.expand(name, "name")?),
            None => return Err(self.error("", format!("a {} needs a name", self.shape.word.to_lowercase()))),
        };
        self.refuse_strange_keys(object)?;
        let mut sql = format!("CREATE {} {name}", self.shape.word);
        let takes_query = self.shape.keys.contains(&"query");
        match (&object.watermark, takes_query) {
            (Some(watermark), true) => sql.push_str(&format!(" WITH {}", self.watermark(watermark)?)),
            (None, true) => {}
            (_, false) => sql.push_str(&self.columns(object)?),
        }
        if self.flag("append_only", &object.append_only)? {
            sql.push_str(" APPEND ONLY");
        }
        sql.push_str(&self.with_options(object)?);
        let verbatim = match &object.from {
            Some(from) if object.query.is_none() => {
                sql.push_str(&format!(" FROM {}", identifier(&self.expand(from, "from")?)));
                None
            }
            Some(_) => return Err(self.error("from", format!("sink {name} has both \"from\" and \"query\""))),
            None if takes_query => Some(self.query(object, &name, &mut sql)?),
            None => None,
        };
        let origin = self.document.place(&self.path, PathPart::Key);
        Ok(Lowered { sql, file: self.document.file.clone(), origin, options: self.options, verbatim })
    }

    /// ` AS` and the query, copied unchanged, then ` EMIT …`.
    fn query(&self, object: &RawObject, name: &str, sql: &mut String) -> Result<(usize, Vec<Option<TextPosition>>)> {
        let Some(written) = &object.query else {
            let keys: Vec<String> = object.options.iter().map(|(key, _)| key.clone()).collect();
            let error = self.error("", format!("{} {name} has no \"query\"", self.shape.word.to_lowercase()));
            return Err(match nearest("query", &keys) {
                Some(near) => error.hint(format!("Perhaps \"{near}\" is meant to be \"query\".")),
                None if self.shape.keys.contains(&"from") => error.hint("Give from: relation, or query: SELECT …"),
                None => error.hint("Give the SELECT that it keeps: query: SELECT …"),
            });
        };
        let query = self.expand(written, "query")?;
        let query = query.trim_end().trim_end_matches(';').trim_end();
        if query.is_empty() {
            return Err(self.error("query", format!("the query of {name} is empty")));
        }
        sql.push_str(" AS\n");
        let start = sql.chars().count();
        sql.push_str(query);
        if let Some(emit) = &object.emit {
            let written = self.expand(emit, "emit")?;
            let clause = match written.to_lowercase().replace(['_', '-'], " ").as_str() {
                "on window close" | "window close" | "append" | "final" => "ON WINDOW CLOSE",
                "on update" | "update" | "changes" => "ON UPDATE",
                "complete" => "COMPLETE",
                _ => {
                    let message = format!("\"emit\" takes window close, update or complete, not \"{}\"", emit.0);
                    return Err(self.error("emit", message));
                }
            };
            sql.push_str(&format!("\nEMIT {clause}"));
        }
        let path = self.inside("query");
        Ok((start, line_places(self.document, &path, query)))
    }

    /// ` (column TYPE, …, PRIMARY KEY (…), WATERMARK FOR …)`, or nothing if there are none.
    fn columns(&self, object: &RawObject) -> Result<String> {
        let mut items = Vec::new();
        match &object.columns {
            None => {}
            Some(RawColumns::Map(columns)) => {
                for (name, data_type) in columns {
                    let data_type = self.expand(data_type, "columns")?;
                    items.push(format!("{} {data_type}", identifier(name)));
                }
            }
            Some(RawColumns::List(columns)) => {
                for column in columns {
                    let name = identifier(&self.expand(&column.name, "columns")?);
                    let mut item = format!("{name} {}", self.expand(&column.data_type, "columns")?);
                    if column.not_null == Some(true) {
                        item.push_str(" NOT NULL");
                    }
                    if let Some(default) = &column.default {
                        item.push_str(&format!(" DEFAULT {}", self.expand(default, "columns")?));
                    }
                    items.push(item);
                }
            }
        }
        if let Some(key) = &object.primary_key {
            let names = key.0.iter().map(|k| Ok(identifier(&self.expand(k, "primary_key")?)));
            items.push(format!("PRIMARY KEY ({})", names.collect::<Result<Vec<_>>>()?.join(", ")));
        }
        if let Some(watermark) = &object.watermark {
            items.push(self.watermark(watermark)?);
        }
        Ok(if items.is_empty() { String::new() } else { format!(" ({})", items.join(", ")) })
    }

    /// `WATERMARK FOR column AS column - INTERVAL '…'`
    fn watermark(&self, watermark: &RawWatermark) -> Result<String> {
        let column = identifier(&self.expand(&watermark.column, "watermark")?);
        let Some(delay) = &watermark.delay else { return Ok(format!("WATERMARK FOR {column} AS {column}")) };
        let text = self.expand(delay, "watermark")?;
        let Some(duration) = parse_duration(&text) else {
            let message = format!("\"watermark.delay\" takes a duration such as 10 minutes, not \"{}\"", delay.0);
            return Err(self.error("watermark.delay", message));
        };
        Ok(format!("WATERMARK FOR {column} AS {column} - INTERVAL '{}'", interval(duration)))
    }

    /// ` WITH (key = 'value', …)`, or nothing.
    fn with_options(&mut self, object: &RawObject) -> Result<String> {
        let mut flat = Vec::new();
        self.flatten("", &object.options, &self.path.clone(), &mut flat)?;
        if let Some(key) = object.primary_key.as_ref().filter(|_| self.shape.keys.contains(&"query")) {
            let names = key.0.iter().map(|name| self.expand(name, "primary_key")).collect::<Result<Vec<_>>>()?;
            let place = self.document.place(&self.inside("primary_key"), PathPart::Key);
            flat.push(("primary_key".to_string(), names.join(", "), place));
        }
        if let Some(w) = &object.watermark {
            let more = [("policy", &w.policy), ("idle_timeout", &w.idle_timeout), ("max_ahead", &w.max_ahead)];
            for (key, value) in more.into_iter().filter_map(|(key, value)| Some((key, value.as_ref()?))) {
                let place = self.document.place(&self.inside(&format!("watermark.{key}")), PathPart::Key);
                let value = self.expand(value, &format!("watermark.{key}"))?;
                flat.push((format!("watermark.{key}"), value, place));
            }
        }
        if flat.is_empty() {
            return Ok(String::new());
        }
        let items: Vec<_> = flat.iter().map(|(k, v, _)| format!("{} = {}", option_key(k), literal(v))).collect();
        self.options = flat.into_iter().map(|(key, _, place)| (key.to_lowercase(), place)).collect();
        Ok(format!(" WITH ({})", items.join(", ")))
    }

    fn flatten(
        &self,
        prefix: &str,
        values: &[(String, RawValue)],
        path: &[PathStep],
        flat: &mut Vec<(String, String, TextPosition)>,
    ) -> Result<()> {
        for (key, value) in values {
            let path: Vec<PathStep> = path.iter().cloned().chain([PathStep::Key(key.clone())]).collect();
            let dotted = format!("{prefix}{key}");
            match value {
                RawValue::Scalar(Scalar(text)) => {
                    let value = self.environment.expand(text).map_err(|m| self.document.error_at(&path, m))?;
                    flat.push((dotted, value, self.document.place(&path, PathPart::Key)));
                }
                RawValue::Map(inner) => self.flatten(&format!("{dotted}."), inner, &path, flat)?,
                RawValue::Other(what) => {
                    return Err(self
                        .document
                        .error_at(&path, format!("option \"{dotted}\" takes a value, not {what}")));
                }
            }
        }
        Ok(())
    }

    /// Refuses a key that has a clause in other sections, but not in this one.
    fn refuse_strange_keys(&self, object: &RawObject) -> Result<()> {
        let given = [
            ("columns", object.columns.is_some()),
            ("primary_key", object.primary_key.is_some()),
            ("append_only", object.append_only.is_some()),
            ("watermark", object.watermark.is_some()),
            ("query", object.query.is_some()),
            ("from", object.from.is_some()),
            ("emit", object.emit.is_some()),
        ];
        match given.iter().find(|(key, given)| *given && !self.shape.keys.contains(key)) {
            None => Ok(()),
            Some((key, _)) => {
                let message = format!("unknown key \"{key}\" in a {}", self.shape.word.to_lowercase());
                let place = self.document.place(&self.inside(key), PathPart::Key);
                Err(self.document.error(place, message).hint(format!("It has {}.", self.shape.keys.join(", "))))
            }
        }
    }

    fn flag(&self, key: &str, value: &Option<Scalar>) -> Result<bool> {
        let Some(written) = value else { return Ok(false) };
        match self.expand(written, key)?.as_str() {
            "true" => Ok(true),
            "false" => Ok(false),
            _ => Err(self.error(key, format!("\"{key}\" takes true or false, not \"{}\"", written.0))),
        }
    }

    fn expand(&self, text: &Scalar, key: &str) -> Result<String> {
        self.environment.expand(&text.0).map_err(|message| self.error(key, message))
    }

    fn error(&self, key: &str, message: String) -> Error {
        self.document.error_at(&self.inside(key), message)
    }

    fn inside(&self, dotted: &str) -> Vec<PathStep> {
        let keys = dotted.split('.').filter(|key| !key.is_empty()).map(|key| PathStep::Key(key.to_string()));
        self.path.iter().cloned().chain(keys).collect()
    }
}

/// `sql:` as text, as `file: path`, or as a list of both.
fn lower_sql(
    sql: &RawSql,
    path: Vec<PathStep>,
    document: &Document,
    folder: &Path,
    environment: &Environment,
    all: &mut Vec<Lowered>,
) -> Result<()> {
    match sql {
        RawSql::Text(Scalar(text)) => {
            let sql = environment.expand(text).map_err(|m| document.error_at(&path, m))?;
            let lines = line_places(document, &path, &sql);
            let origin = document.place(&path, PathPart::Value);
            let file = document.file.clone();
            all.push(Lowered { sql, file, origin, options: Vec::new(), verbatim: Some((0, lines)) });
        }
        RawSql::File(Scalar(name)) => {
            let path: Vec<PathStep> = path.into_iter().chain([PathStep::Key("file".to_string())]).collect();
            let name = environment.expand(name).map_err(|m| document.error_at(&path, m))?;
            let file = Document::read(&folder.join(name))
                .map_err(|e| document.error_at(&path, e.message()).with_kind(ErrorKind::UndefinedFile))?;
            let lines = (1..=file.text.lines().count()).map(|line| Some(TextPosition { line, column: 1 })).collect();
            let origin = TextPosition { line: 1, column: 1 };
            let (sql, file) = (file.text, file.file);
            all.push(Lowered { sql, file, origin, options: Vec::new(), verbatim: Some((0, lines)) });
        }
        RawSql::List(parts) => {
            for (index, part) in parts.iter().enumerate() {
                let path = path.iter().cloned().chain([PathStep::Index(index)]).collect();
                lower_sql(part, path, document, folder, environment, all)?;
            }
        }
    }
    Ok(())
}

/// The file position of each line of a scalar; `None` for a line that YAML folded or that was expanded.
fn line_places(document: &Document, path: &[PathStep], text: &str) -> Vec<Option<TextPosition>> {
    let start = document.place(path, PathPart::Value);
    let written: Vec<&str> = document.text.lines().collect();
    let opening = written.get(start.line - 1).copied().unwrap_or_default();
    let from: String = opening.chars().skip(start.column - 1).collect();
    let block = from.starts_with(['|', '>']);
    let place = |(index, line): (usize, &str)| {
        let number = start.line + index + usize::from(block);
        let there = written.get(number - 1)?;
        let skipped = if number == start.line { start.column - 1 } else { 0 };
        let tail: String = there.chars().skip(skipped).collect();
        let found = tail.find(line.trim_end())?;
        Some(TextPosition { line: number, column: skipped + tail[..found].chars().count() + 1 })
    };
    text.lines().enumerate().map(place).collect()
}

/// A name as SQL: a plain one is folded to lowercase, others are quoted. `"Like This"`, with the quotes, is kept
/// exactly.
fn identifier(name: &str) -> String {
    let inner = name.strip_prefix('"').and_then(|n| n.strip_suffix('"')).filter(|n| !n.is_empty());
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let name = match inner {
        Some(exact) => exact.replace("\"\"", "\""),
        None if name.chars().all(word) => name.to_lowercase(),
        None => name.to_string(),
    };
    quote(&name)
}

fn option_key(key: &str) -> String {
    let plain = key.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
    if plain && !is_reserved(key) { key.to_string() } else { literal(key) }
}

fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// An interval in the largest unit in which it is a whole number.
fn interval(duration: Duration) -> String {
    let micros = duration.as_micros();
    let units = [("day", 86_400_000_000), ("hour", 3_600_000_000), ("minute", 60_000_000), ("second", 1_000_000)];
    let whole = units.into_iter().find(|(_, size)| micros >= *size && micros.is_multiple_of(*size));
    let (unit, count) = match whole {
        Some((unit, size)) => (unit, micros / size),
        None if micros.is_multiple_of(1000) => ("millisecond", micros / 1000),
        None => ("microsecond", micros),
    };
    format!("{count} {unit}{}", if count == 1 { "" } else { "s" })
}
