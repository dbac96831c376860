//! The column list of a `CREATE` statement, with its constraints, keys and watermarks.

use datafusion::sql::sqlparser::{
    ast::{ArrayElemTypeDef, DataType, Ident, StructBracketKind, StructField},
    dialect::{GenericDialect, Precedence},
    tokenizer::Token,
};

use super::{cursor::TokenCursor, query, watermark};
use crate::{
    error::{Error, ErrorKind, Result},
    sql::{
        statement::{ColumnDef, WatermarkDef},
        types,
    },
};

/// As many as Postgres allows.
const COLUMNS_MAX: usize = 1600;

/// Nesting of row types, which are read recursively.
const ROW_DEPTH_MAX: usize = 50;

/// The parsed contents of the parentheses.
#[derive(Debug, Default)]
pub(super) struct ColumnList {
    pub columns: Vec<ColumnDef>,
    pub watermark: Option<WatermarkDef>,
    pub key: Option<KeyColumns>,
}

#[derive(Debug)]
pub(super) struct KeyColumns {
    pub columns: Vec<String>,
    /// False for `NOT ENFORCED`: the client guarantees uniqueness.
    pub enforced: bool,
    pub position: usize,
}

/// `(name type [constraints], WATERMARK FOR …, PRIMARY KEY (…), …)`
pub(super) fn columns(c: &mut TokenCursor) -> Result<ColumnList> {
    let mut all = ColumnList::default();
    c.expect_token(&Token::LParen)?;
    if !c.eat_token(&Token::RParen) {
        c.list(|c| item(c, &mut all))?;
        c.expect_token(&Token::RParen)?;
    }
    finish(&mut all)?;
    Ok(all)
}

fn item(c: &mut TokenCursor, all: &mut ColumnList) -> Result<()> {
    if watermark::is_next(c) {
        let position = c.here();
        let watermark = watermark::watermark(c)?;
        return match all.watermark.replace(watermark) {
            None => Ok(()),
            Some(_) => Err(Error::new(ErrorKind::Syntax, "watermark specified more than once").at(position)),
        };
    }
    if c.eat("CONSTRAINT") {
        c.ident("the name of a constraint")?;
        if !c.are("PRIMARY KEY") {
            return Err(other_constraint(c));
        }
    }
    if c.are("PRIMARY KEY") {
        let position = c.here();
        c.expect("PRIMARY KEY")?;
        let columns = c.column_names()?;
        return set_key(c, all, columns, position);
    }
    if ["UNIQUE", "CHECK", "FOREIGN", "EXCLUDE", "LIKE"].iter().any(|w| c.is(w)) {
        return Err(other_constraint(c));
    }
    column(c, all)
}

fn other_constraint(c: &TokenCursor) -> Error {
    match c.word(0).as_deref() {
        Some(w @ ("UNIQUE" | "CHECK" | "FOREIGN" | "EXCLUDE" | "LIKE" | "REFERENCES" | "GENERATED" | "COLLATE")) => {
            c.unsupported(w)
        }
        _ => c.unexpected("a constraint"),
    }
}

fn set_key(c: &mut TokenCursor, all: &mut ColumnList, columns: Vec<String>, position: usize) -> Result<()> {
    let enforced = !c.eat("NOT ENFORCED");
    match all.key.replace(KeyColumns { columns, enforced, position }) {
        None => Ok(()),
        Some(_) => {
            Err(Error::new(ErrorKind::InvalidTableDefinition, "multiple primary keys are not allowed").at(position))
        }
    }
}

fn column(c: &mut TokenCursor, all: &mut ColumnList) -> Result<()> {
    let (name, position) = c.ident("a column name")?;
    if all.columns.len() >= COLUMNS_MAX {
        return Err(Error::new(ErrorKind::LimitExceeded, format!("tables can have at most {COLUMNS_MAX} columns")));
    }
    if all.columns.iter().any(|other| other.name == name) {
        let message = format!("column \"{name}\" specified more than once");
        return Err(Error::new(ErrorKind::DuplicateColumn, message).at(position));
    }
    if c.is("AS") {
        return Err(c
            .unsupported(format!("computed column \"{name}\""))
            .hint("Compute it in a stream over the source."));
    }
    let at = c.here();
    let data_type = data_type(c)?;
    types::column_type(&data_type).map_err(|e| e.at(at))?;
    let mut column = ColumnDef { name, data_type, not_null: false, default: None, position };
    loop {
        if c.eat("NOT NULL") {
            column.not_null = true;
        } else if c.eat("NULL") {
        } else if c.eat("DEFAULT") {
            // Stops before NOT NULL, which would otherwise be parsed as part of the default expression.
            column.default = Some(query::expression(c, Some(Precedence::Is))?);
        } else if c.are("PRIMARY KEY") {
            let position = c.here();
            c.expect("PRIMARY KEY")?;
            set_key(c, all, vec![column.name.clone()], position)?;
        } else if c.eat("CONSTRAINT") {
            c.ident("the name of a constraint")?;
        } else if c.is("AS") || c.is("METADATA") {
            let what = format!("computed column \"{}\"", column.name);
            return Err(c.unsupported(what).hint("Compute it in a stream over the source."));
        } else if matches!(c.peek(0), Token::Comma | Token::RParen) {
            break;
        } else {
            return Err(other_constraint(c));
        }
    }
    all.columns.push(column);
    Ok(())
}

/// A column type. `STRUCT<…>` and `ROW<…>` are not Postgres syntax, so another dialect parses them.
pub(super) fn data_type(c: &mut TokenCursor) -> Result<DataType> {
    nested_type(c, 0)
}

/// A type nested in `depth` row types.
fn nested_type(c: &mut TokenCursor, depth: usize) -> Result<DataType> {
    if !(c.is("STRUCT") || c.is("ROW")) {
        return c.sql(|p| p.parse_data_type());
    }
    if *c.peek(1) == Token::LParen && c.is("ROW") {
        return row(c, depth);
    }
    if *c.peek(1) != Token::Lt {
        c.skip(1);
        return Err(c.unexpected("<").hint("Write STRUCT<a INTEGER, b TEXT>."));
    }
    c.read_as("STRUCT", &GenericDialect {}, |p| p.parse_data_type())
}

/// `ROW(a INTEGER, b TEXT)`, and arrays of it.
fn row(c: &mut TokenCursor, depth: usize) -> Result<DataType> {
    if depth >= ROW_DEPTH_MAX {
        return Err(Error::new(ErrorKind::LimitExceeded, "type is nested too deeply").at(c.here()));
    }
    c.skip(2);
    let fields = c.list(|c| {
        let (name, _) = c.ident("the name of a field")?;
        let field_name = Some(Ident::with_quote('"', name));
        Ok(StructField { field_name, field_type: nested_type(c, depth + 1)?, options: None })
    })?;
    c.expect_token(&Token::RParen)?;
    let mut row = DataType::Struct(fields, StructBracketKind::AngleBrackets);
    while c.eat_token(&Token::LBracket) {
        c.expect_token(&Token::RBracket)?;
        row = DataType::Array(ArrayElemTypeDef::SquareBracket(Box::new(row), None));
    }
    Ok(row)
}

/// Checks that key columns exist, and makes them NOT NULL.
fn finish(all: &mut ColumnList) -> Result<()> {
    if let Some(key) = &all.key {
        for (n, name) in key.columns.iter().enumerate() {
            if key.columns[..n].contains(name) {
                let message = format!("column \"{name}\" appears twice in primary key constraint");
                return Err(Error::new(ErrorKind::DuplicateColumn, message).at(key.position));
            }
            match all.columns.iter_mut().find(|c| c.name == *name) {
                Some(column) => column.not_null |= key.enforced,
                None => {
                    let message = format!("column \"{name}\" named in key does not exist");
                    return Err(Error::new(ErrorKind::UndefinedColumn, message).at(key.position));
                }
            }
        }
    }
    Ok(())
}

/// Refuses a watermark on an unknown column; an empty list means that columns are still to be inferred.
pub(super) fn check_watermark(watermark: &WatermarkDef, columns: &[ColumnDef]) -> Result<()> {
    if columns.is_empty() || columns.iter().any(|c| c.name == watermark.column) {
        return Ok(());
    }
    let message = format!("column \"{}\" of the watermark does not exist", watermark.column);
    Err(Error::new(ErrorKind::UndefinedColumn, message).at(watermark.position))
}

/// `(name, …)`: the column names of a view, and an optional watermark.
pub(super) fn view_columns(c: &mut TokenCursor) -> Result<(Vec<String>, Option<WatermarkDef>)> {
    let (mut names, mut mark) = (vec![], None);
    c.expect_token(&Token::LParen)?;
    c.list(|c| {
        if watermark::is_next(c) {
            let position = c.here();
            return match mark.replace(watermark::watermark(c)?) {
                None => Ok(()),
                Some(_) => Err(Error::new(ErrorKind::Syntax, "watermark specified more than once").at(position)),
            };
        }
        let (name, position) = c.ident("a column name")?;
        if names.contains(&name) {
            let message = format!("column \"{name}\" specified more than once");
            return Err(Error::new(ErrorKind::DuplicateColumn, message).at(position));
        }
        names.push(name);
        Ok(())
    })?;
    c.expect_token(&Token::RParen)?;
    Ok((names, mark))
}
