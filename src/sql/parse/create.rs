//! `CREATE SOURCE | STREAM | TABLE | VIEW | SINK | SECRET`; functions are in `functions.rs`.

use datafusion::sql::sqlparser::tokenizer::Token;

use super::{
    columns, columns::ColumnList, cursor::TokenCursor, functions, options, other_objects::is_other_object, query,
    watermark,
};
use crate::{
    catalog,
    error::{Error, ErrorKind, Result},
    formats,
    options::{Options, nearest},
    sql::statement::{
        Body, ColumnDef, CreateSecret, CreateSource, CreateTable, CreateView, IfExists, Name, Statement, WatermarkDef,
    },
};

/// A `CREATE`; `parse` reads the text of a function's body.
pub(super) fn create(c: &mut TokenCursor, parse: fn(&str) -> Result<Vec<Statement>>) -> Result<Body> {
    c.expect("CREATE")?;
    let replace = c.eat("OR REPLACE");
    let position = c.here();
    if c.eat("SOURCE") {
        source(c, replace)
    } else if c.eat("TABLE") || c.eat("UNLOGGED TABLE") {
        table(c, replace, false)
    } else if c.eat("EXTERNAL TABLE") {
        table(c, replace, true)
    } else if c.eat("STREAM") {
        view(c, catalog::ObjectKind::Stream, replace)
    } else if c.eat("MATERIALIZED VIEW") {
        view(c, catalog::ObjectKind::MaterializedView, replace)
    } else if c.eat("VIEW") {
        view(c, catalog::ObjectKind::View, replace)
    } else if c.eat("SINK") {
        sink(c, replace)
    } else if c.eat("SECRET") {
        secret(c, replace)
    } else if c.eat("FUNCTION") {
        functions::function(c, replace, parse)
    } else if c.eat("AGGREGATE") {
        functions::aggregate(c, replace)
    } else {
        Err(other(c).at(position))
    }
}

/// Kinds of objects that other databases create: refused by name.
fn other(c: &TokenCursor) -> Error {
    const HINTS: &[(&str, &str)] = &[
        ("TEMPORARY", "Create a table and drop it after use."),
        ("TEMP", "Create a table and drop it after use."),
        ("LOCAL", "Create a table and drop it after use."),
        ("GLOBAL", "Create a table and drop it after use."),
        ("UNBOUNDED", "CREATE SOURCE makes an input that is followed as it grows."),
        ("SCHEMA", "All relations are in schema \"public\"."),
    ];
    const MORE: &[&str] = &["CATALOG", "FLOW", "MACRO", "RECURSIVE", "STAGE", "STREAMING", "UNIQUE"];
    let Some(word) = c.word(0) else { return c.unexpected("SOURCE, STREAM, TABLE, MATERIALIZED VIEW or SINK") };
    if let Some((_, hint)) = HINTS.iter().find(|(w, _)| *w == word) {
        return c.unsupported(format!("CREATE {word}")).hint(*hint);
    }
    if is_other_object(&word, MORE) {
        return c.unsupported(format!("CREATE {word}"));
    }
    let ours = ["SOURCE", "STREAM", "TABLE", "VIEW", "MATERIALIZED", "EXTERNAL", "SINK"].map(str::to_string);
    let error = c.unexpected("SOURCE, STREAM, TABLE, MATERIALIZED VIEW or SINK");
    match nearest(&word, &ours) {
        Some(near) => error.hint(format!("Perhaps you meant CREATE {near}.")),
        None => error,
    }
}

/// `CREATE SECRET name AS 'value'`, `CREATE SECRET name WITH (env = 'VARIABLE')`
fn secret(c: &mut TokenCursor, replace: bool) -> Result<Body> {
    let exists = exists(c, replace)?;
    let (name, _) = c.ident("the name of a secret")?;
    let position = c.here();
    let secret = if c.eat("WITH") {
        let mut options = Options::default();
        options::options(c, &mut options)?;
        let mut taker = options.taker(format!("secret \"{name}\""));
        let variable = taker.required("env").map_err(|e| e.at(position))?;
        taker.finish().map_err(|e| e.at(position))?;
        catalog::Secret::Environment(variable)
    } else {
        c.expect("AS")?;
        catalog::Secret::Value(c.string("the value in quotes")?)
    };
    Ok(Body::CreateSecret(CreateSecret { name, exists, secret }))
}

fn exists(c: &mut TokenCursor, replace: bool) -> Result<IfExists> {
    match (replace, c.are("IF NOT EXISTS")) {
        (true, true) => Err(c.unexpected("a name").hint("OR REPLACE and IF NOT EXISTS exclude each other.")),
        (true, false) => Ok(IfExists::Replace { discard_rows: false }),
        (false, true) => c.expect("IF NOT EXISTS").map(|()| IfExists::Skip),
        (false, false) => Ok(IfExists::Fail),
    }
}

/// Removes `discard_rows` from the options: it applies to this statement only, not to the definition.
fn discards(exists: IfExists, options: &mut Options, name: &Name) -> Result<IfExists> {
    let Some(given) = options.0.remove("discard_rows") else { return Ok(exists) };
    let only = Options([("discard_rows".to_string(), given)].into());
    let discard_rows = only.taker(format!("\"{}\"", name.name)).boolean("discard_rows", false)?;
    match exists {
        IfExists::Replace { .. } => Ok(IfExists::Replace { discard_rows }),
        IfExists::Fail | IfExists::Skip => {
            let message = "option \"discard_rows\" is for CREATE OR REPLACE";
            Err(Error::new(ErrorKind::InvalidParameterValue, message).at(name.position))
        }
    }
}

/// The clauses after the name and the columns, in any order, each at most once.
#[derive(Default)]
struct Clauses {
    options: Option<Options>,
    watermark: Option<WatermarkDef>,
    append_only: bool,
}

impl Clauses {
    fn read(c: &mut TokenCursor, mut watermark: Option<WatermarkDef>, external: bool) -> Result<Clauses> {
        let (mut with, mut others, mut append_only) = (None, Options::default(), false);
        loop {
            let position = c.here();
            let twice =
                |what: &str| Error::new(ErrorKind::Syntax, format!("{what} specified more than once")).at(position);
            let marked = c.is("WITH") && c.word(1).as_deref() == Some("WATERMARK");
            if marked || watermark::is_next(c) {
                c.eat("WITH");
                if watermark.replace(watermark::watermark(c)?).is_some() {
                    return Err(twice("watermark"));
                }
            } else if c.is("WITH") && *c.peek(1) == Token::LParen {
                c.skip(1);
                let mut options = Options::default();
                options::options(c, &mut options)?;
                if with.replace(options).is_some() {
                    return Err(twice("WITH"));
                }
            } else if c.are("APPEND ONLY") {
                c.expect("APPEND ONLY")?;
                if std::mem::replace(&mut append_only, true) {
                    return Err(twice("APPEND ONLY"));
                }
            } else if c.is("FORMAT") {
                options::format(c, &mut others)?;
            } else if c.is("INCLUDE") {
                options::include(c, &mut others)?;
            } else if !(external && options::external(c, &mut others)?) {
                let options = merge(with, others)?;
                return Ok(Clauses { options, watermark, append_only });
            }
        }
    }
}

fn merge(with: Option<Options>, others: Options) -> Result<Option<Options>> {
    let Some(mut with) = with else { return Ok((!others.0.is_empty()).then_some(others)) };
    for (key, value) in others.0 {
        if with.insert(&key, value).is_some() {
            return Err(Error::new(ErrorKind::Syntax, format!("option \"{key}\" specified more than once")));
        }
    }
    Ok(Some(with))
}

fn source(c: &mut TokenCursor, replace: bool) -> Result<Body> {
    let exists = exists(c, replace)?;
    let name = c.name()?;
    let columns = if *c.peek(0) == Token::LParen { columns::columns(c)? } else { ColumnList::default() };
    let mut clauses = Clauses::read(c, None, false)?;
    if c.is("AS") {
        let hint = "CREATE STREAM and CREATE MATERIALIZED VIEW name a query.";
        return Err(c.unexpected("WITH").hint(hint));
    }
    if clauses.append_only {
        return Err(Error::unsupported("APPEND ONLY of a source").hint("A source is append only.").at(name.position));
    }
    let Some(mut options) = clauses.options.take() else {
        return Err(c.unexpected("WITH").hint("A source needs WITH (connector = '…')."));
    };
    let exists = discards(exists, &mut options, &name)?;
    as_source(name, exists, columns, clauses.watermark, options, false)
}

/// A source, from `CREATE SOURCE` or `CREATE TABLE`.
fn as_source(
    name: Name,
    exists: IfExists,
    columns: ColumnList,
    watermark: Option<WatermarkDef>,
    options: Options,
    fixed: bool,
) -> Result<Body> {
    let upserts = formats::upserts(&options);
    if let Some(key) = columns.key.as_ref().filter(|k| k.enforced && !upserts) {
        return Err(Error::unsupported("PRIMARY KEY of a source")
            .detail("Nothing keeps the rows of a source unique.")
            .hint("Write PRIMARY KEY (…) NOT ENFORCED, or make it a table.")
            .at(key.position));
    }
    if let Some(column) = columns.columns.iter().find(|c| c.default.is_some()) {
        return Err(Error::unsupported(format!("DEFAULT of source column \"{}\"", column.name)).at(column.position));
    }
    let key = columns.key.map(|key| key.columns).filter(|_| upserts).unwrap_or_default();
    if upserts && key.is_empty() {
        let message = format!("source \"{}\" needs a PRIMARY KEY", name.name);
        return Err(Error::new(ErrorKind::InvalidTableDefinition, message)
            .detail("Its format sets and removes rows by their key.")
            .hint("Write CREATE SOURCE s (id BIGINT PRIMARY KEY, …).")
            .at(name.position));
    }
    // Included columns are known only to the connector, which checks the watermark column.
    let known = if options.get("include").is_some() { &[][..] } else { &columns.columns };
    let watermark = one_watermark(columns.watermark, watermark, known)?;
    Ok(Body::CreateSource(CreateSource { name, exists, columns: columns.columns, watermark, fixed, key, options }))
}

/// The watermark of the column list or of the separate clause; both are an error.
fn one_watermark(
    inside: Option<WatermarkDef>,
    after: Option<WatermarkDef>,
    columns: &[ColumnDef],
) -> Result<Option<WatermarkDef>> {
    match (inside, after) {
        (Some(_), Some(after)) => {
            Err(Error::new(ErrorKind::Syntax, "watermark specified more than once").at(after.position))
        }
        (None, None) => Ok(None),
        (Some(one), None) | (None, Some(one)) => columns::check_watermark(&one, columns).map(|()| Some(one)),
    }
}

fn table(c: &mut TokenCursor, replace: bool, external: bool) -> Result<Body> {
    let exists = exists(c, replace)?;
    let name = c.name()?;
    let columns = if *c.peek(0) == Token::LParen { columns::columns(c)? } else { ColumnList::default() };
    let clauses = Clauses::read(c, None, external)?;
    let mut options = clauses.options.unwrap_or_default();
    let exists = discards(exists, &mut options, &name)?;
    if external {
        for (key, wanted) in [("format", "STORED AS"), ("path", "LOCATION")] {
            if options.get(key).is_none() {
                return Err(c.unexpected(wanted).hint("Write CREATE EXTERNAL TABLE t STORED AS CSV LOCATION 'path'."));
            }
        }
        if options.get("connector").is_none() {
            options.insert("connector", "directory");
        }
    }
    let sourced = options.get("connector").is_some();
    if sourced && clauses.append_only {
        return Err(Error::unsupported("APPEND ONLY of a source").hint("A source is append only.").at(name.position));
    }
    let query = if c.is("AS") { Some(as_query(c)?) } else { None };
    match query {
        Some(_) if sourced => Err(Error::unsupported("CREATE TABLE … AS with a connector").at(name.position)),
        None if sourced => as_source(name, exists, columns, clauses.watermark, options, external),
        Some(_) if !columns.columns.is_empty() => {
            let hint = "A table created AS a query has the query's columns: cast them there.";
            Err(Error::unsupported("a list of columns in CREATE TABLE … AS").hint(hint).at(name.position))
        }
        query => {
            if query.is_none() && columns.columns.is_empty() {
                let error =
                    Error::new(ErrorKind::InvalidTableDefinition, format!("table \"{}\" has no columns", name.name));
                return Err(error.hint("Write CREATE TABLE t (a INTEGER, b TEXT).").at(name.position));
            }
            let watermark = one_watermark(columns.watermark, clauses.watermark, &columns.columns)?;
            Ok(Body::CreateTable(CreateTable {
                name,
                exists,
                columns: columns.columns,
                primary_key: columns.key.map(|k| k.columns).unwrap_or_default(),
                append_only: clauses.append_only,
                watermark,
                options,
                query,
            }))
        }
    }
}

fn as_query(c: &mut TokenCursor) -> Result<Box<datafusion::sql::sqlparser::ast::Query>> {
    c.expect("AS")?;
    let query = query::query(c)?;
    if c.are("WITH NO DATA") {
        return Err(c.unsupported("WITH NO DATA"));
    }
    c.eat("WITH DATA");
    Ok(query)
}

fn view(c: &mut TokenCursor, kind: catalog::ObjectKind, replace: bool) -> Result<Body> {
    let exists = exists(c, replace)?;
    let name = c.name()?;
    let (mut columns, mut watermark) = (vec![], None);
    if *c.peek(0) == Token::LParen {
        if kind == catalog::ObjectKind::Stream && has_types(c) {
            let hint = "CREATE SOURCE describes an outside input.";
            return Err(c.unsupported("CREATE STREAM with column types").hint(hint));
        }
        (columns, watermark) = columns::view_columns(c)?;
    }
    let clauses = Clauses::read(c, watermark, false)?;
    if clauses.append_only {
        return Err(Error::unsupported(format!("APPEND ONLY of a {kind}"))
            .hint("EMIT ON WINDOW CLOSE only ever appends.")
            .at(name.position));
    }
    if !c.is("AS") && kind == catalog::ObjectKind::Stream {
        return Err(c.unexpected("AS").hint("CREATE STREAM names a query; CREATE SOURCE describes an outside input."));
    }
    let query = as_query(c)?;
    let emit = c.emit.take();
    if kind == catalog::ObjectKind::View {
        if let Some((_, position)) = emit {
            return Err(Error::unsupported("EMIT of a view").hint("Create a materialized view.").at(position));
        }
        if let Some(watermark) = &clauses.watermark {
            let error = Error::unsupported("WATERMARK of a view").hint("Create a stream.");
            return Err(error.at(watermark.position));
        }
    }
    let mut options = clauses.options.unwrap_or_default();
    let exists = discards(exists, &mut options, &name)?;
    Ok(Body::CreateView(CreateView {
        kind,
        name,
        exists,
        columns,
        watermark: clauses.watermark,
        options,
        query,
        emit: emit.map(|(emit, _)| emit),
    }))
}

/// `CREATE SINK s WITH (…) AS SELECT …`: `FROM relation` and options after the query were rewritten to this form.
fn sink(c: &mut TokenCursor, replace: bool) -> Result<Body> {
    let exists = exists(c, replace)?;
    let name = c.name()?;
    if *c.peek(0) == Token::LParen {
        let hint = "A sink has the columns of its query: name them there with AS.";
        return Err(c.unsupported("a list of columns in CREATE SINK").hint(hint));
    }
    let clauses = Clauses::read(c, None, false)?;
    if clauses.append_only || clauses.watermark.is_some() {
        let what = if clauses.append_only { "APPEND ONLY" } else { "WATERMARK" };
        return Err(Error::unsupported(format!("{what} of a sink"))
            .hint("It has that of what it reads.")
            .at(name.position));
    }
    if !c.is("AS") {
        return Err(c.unexpected("FROM or AS").hint("A sink takes the rows of a relation or of a query."));
    }
    let query = as_query(c)?;
    let Some(options) = clauses.options else {
        return Err(c.unexpected("WITH").hint("A sink needs WITH (connector = '…')."));
    };
    let emit = c.emit.take().map(|(emit, _)| emit);
    let (kind, columns, watermark) = (catalog::ObjectKind::Sink, Vec::new(), None);
    Ok(Body::CreateView(CreateView { kind, name, exists, columns, watermark, options, query, emit }))
}

/// Whether the next column list is `(name type …` and not `(name, …`.
fn has_types(c: &TokenCursor) -> bool {
    matches!(c.peek(1), Token::Word(_))
        && matches!(c.peek(2), Token::Word(_))
        && c.word(1).as_deref() != Some("WATERMARK")
}
