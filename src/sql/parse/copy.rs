//! `COPY … FROM STDIN` and `COPY … TO STDOUT`.

use datafusion::sql::sqlparser::{
    ast::{Expr, ObjectName, Query, SelectItem},
    tokenizer::Token,
};

use super::{
    cursor::{TokenCursor, string},
    subscribe,
};
use crate::{
    error::{Error, ErrorKind, Result},
    sql::{
        nodes::{self, query_of, quoted, select, wildcard},
        statement::{Body, CopyFormat, CopyIn, CopyKind, CopyOut, Name, Reads},
    },
};

const HINT: &str = "COPY goes to and from the client: psql's \\copy reads its files; CREATE SOURCE reads the server's.";

pub(super) fn copy(c: &mut TokenCursor) -> Result<Body> {
    c.expect("COPY")?;
    if c.eat_token(&Token::LParen) {
        let reads = subscribe::reads(c)?;
        c.expect_token(&Token::RParen)?;
        c.expect("TO")?;
        client(c, "STDOUT")?;
        return Ok(Body::CopyOut(CopyOut { reads, format: options(c)? }));
    }
    let table = c.name()?;
    let columns = if *c.peek(0) == Token::LParen { c.column_names()? } else { vec![] };
    if c.eat("FROM") {
        client(c, "STDIN")?;
        let format = options(c)?;
        if c.is("WHERE") {
            return Err(c.unsupported("COPY … WHERE"));
        }
        return Ok(Body::CopyIn(CopyIn { table, columns, format }));
    }
    if !c.eat("TO") {
        return Err(c.unexpected("FROM or TO"));
    }
    client(c, "STDOUT")?;
    let reads = Reads::Query(Box::new(all_of(&table, &columns)));
    Ok(Body::CopyOut(CopyOut { reads, format: options(c)? }))
}

fn client(c: &mut TokenCursor, stream: &str) -> Result<()> {
    if string(c.peek(0)).is_some() {
        return Err(c.unsupported("COPY with a file of the server").hint(HINT));
    }
    if c.is("PROGRAM") {
        return Err(c.unsupported("COPY with a program").hint(HINT));
    }
    c.expect(stream)
}

/// `SELECT columns FROM table`
fn all_of(table: &Name, columns: &[String]) -> Query {
    let item = |name: &String| SelectItem::UnnamedExpr(Expr::Identifier(quoted(name)));
    let items = if columns.is_empty() { vec![wildcard()] } else { columns.iter().map(item).collect() };
    let name = table.schema.iter().chain([&table.name]).map(|part| quoted(part)).collect::<Vec<_>>();
    query_of(select(items, Some(nodes::table(ObjectName::from(name)))))
}

/// The format options of the statement; missing ones have defaults, which depend on the format.
#[derive(Default)]
struct Given {
    kind: Option<CopyKind>,
    delimiter: Option<u8>,
    null: Option<String>,
    header: Option<bool>,
    quote: Option<u8>,
    escape: Option<u8>,
}

fn options(c: &mut TokenCursor) -> Result<CopyFormat> {
    let position = c.here();
    let mut given = Given::default();
    c.eat("WITH");
    if c.eat_token(&Token::LParen) {
        c.list(|c| option(c, &mut given))?;
        c.expect_token(&Token::RParen)?;
    } else {
        while !c.at_end() && !c.is("WHERE") {
            old_option(c, &mut given)?;
        }
    }
    given.into_format().map_err(|e| e.at(position))
}

/// `FORMAT csv`, `HEADER true`, …
fn option(c: &mut TokenCursor, given: &mut Given) -> Result<()> {
    let position = c.here();
    let Token::Word(word) = c.peek(0).clone() else { return Err(c.unexpected("an option of COPY")) };
    let name = word.value.to_lowercase();
    c.skip(1);
    match name.as_str() {
        "format" => {
            let format = match string(c.peek(0)) {
                Some(text) => text.to_lowercase(),
                None => c.word(0).ok_or_else(|| c.unexpected("text, csv or binary"))?.to_lowercase(),
            };
            c.skip(1);
            given.kind = Some(match format.as_str() {
                "text" => CopyKind::Text,
                "csv" => CopyKind::Csv,
                "binary" => CopyKind::Binary,
                _ => {
                    let message = format!("COPY format \"{format}\" not recognized");
                    return Err(Error::new(ErrorKind::InvalidParameterValue, message).at(position));
                }
            });
        }
        "delimiter" => given.delimiter = Some(byte(c, "delimiter")?),
        "null" => given.null = Some(c.string("a string")?),
        "quote" => given.quote = Some(byte(c, "quote")?),
        "escape" => given.escape = Some(byte(c, "escape")?),
        "header" => given.header = Some(header(c)?),
        "encoding" => encoding(c)?,
        "freeze" => {
            while !matches!(c.peek(0), Token::Comma | Token::RParen | Token::EOF) {
                c.skip(1);
            }
        }
        "force_quote" | "force_not_null" | "force_null" | "default" | "on_error" | "log_verbosity" | "reject_limit" => {
            return Err(Error::unsupported(format!("COPY option {}", name.to_uppercase())).at(position));
        }
        _ => return Err(Error::new(ErrorKind::Syntax, format!("option \"{name}\" not recognized")).at(position)),
    }
    Ok(())
}

/// The options of Postgres before version 9: `CSV HEADER DELIMITER AS ','`.
fn old_option(c: &mut TokenCursor, given: &mut Given) -> Result<()> {
    if c.eat("BINARY") {
        given.kind = Some(CopyKind::Binary);
    } else if c.eat("CSV") {
        given.kind = Some(CopyKind::Csv);
    } else if c.eat("HEADER") {
        given.header = Some(true);
    } else if c.eat("DELIMITER") || c.eat("DELIMITERS") {
        c.eat("AS");
        given.delimiter = Some(byte(c, "delimiter")?);
    } else if c.eat("NULL") {
        c.eat("AS");
        given.null = Some(c.string("a string")?);
    } else if c.eat("QUOTE") {
        c.eat("AS");
        given.quote = Some(byte(c, "quote")?);
    } else if c.eat("ESCAPE") {
        c.eat("AS");
        given.escape = Some(byte(c, "escape")?);
    } else if c.eat("ENCODING") {
        encoding(c)?;
    } else if c.is("FORCE") {
        return Err(c.unsupported("COPY option FORCE"));
    } else {
        return Err(c.unexpected("an option of COPY"));
    }
    Ok(())
}

fn header(c: &mut TokenCursor) -> Result<bool> {
    let value = match c.peek(0) {
        Token::Comma | Token::RParen => return Ok(true),
        Token::Number(number, _) => number.clone(),
        token => string(token).or_else(|| c.word(0)).ok_or_else(|| c.unexpected("true or false"))?,
    };
    let answer = match value.to_lowercase().as_str() {
        "true" | "on" | "1" | "match" => true,
        "false" | "off" | "0" => false,
        _ => return Err(c.unexpected("true or false")),
    };
    c.skip(1);
    Ok(answer)
}

fn encoding(c: &mut TokenCursor) -> Result<()> {
    let position = c.here();
    let name = c.string("an encoding in quotes")?;
    match name.to_lowercase().replace(['-', '_'], "").as_str() {
        "utf8" | "unicode" | "sqlascii" => Ok(()),
        _ => Err(Error::unsupported(format!("encoding \"{name}\"")).hint("Rows are in UTF-8.").at(position)),
    }
}

fn byte(c: &mut TokenCursor, what: &str) -> Result<u8> {
    let position = c.here();
    match c.string("a character in quotes")?.as_bytes() {
        [byte] if byte.is_ascii() => Ok(*byte),
        _ => {
            let message = format!("COPY {what} must be a single one-byte character");
            Err(Error::new(ErrorKind::Unsupported, message).at(position))
        }
    }
}

impl Given {
    fn into_format(self) -> Result<CopyFormat> {
        let kind = self.kind.unwrap_or(CopyKind::Text);
        let csv = kind == CopyKind::Csv;
        let only_csv = if self.quote.is_some() { Some("QUOTE") } else { self.escape.map(|_| "ESCAPE") };
        if let (false, Some(what)) = (csv, only_csv) {
            let message = format!("COPY {what} requires CSV mode");
            return Err(Error::new(ErrorKind::Unsupported, message));
        }
        if kind == CopyKind::Binary && (self.delimiter.is_some() || self.null.is_some() || self.header.is_some()) {
            return Err(Error::new(ErrorKind::Syntax, "cannot specify DELIMITER, NULL or HEADER in BINARY mode"));
        }
        let quote = self.quote.unwrap_or(b'"');
        let format = CopyFormat {
            kind,
            delimiter: self.delimiter.unwrap_or(if csv { b',' } else { b'\t' }),
            null: self.null.unwrap_or_else(|| if csv { String::new() } else { "\\N".to_string() }),
            header: self.header.unwrap_or(false),
            quote,
            escape: self.escape.unwrap_or(quote),
        };
        let ends_line = |b: u8| b == b'\n' || b == b'\r';
        let clash = if ends_line(format.delimiter) || format.null.bytes().any(ends_line) {
            "COPY delimiter and null string cannot contain newline or carriage return"
        } else if csv && (format.delimiter == quote || format.null.as_bytes().contains(&quote)) {
            "COPY quote character must not appear in the delimiter or the null string"
        } else if kind != CopyKind::Binary && format.null.as_bytes().contains(&format.delimiter) {
            "COPY delimiter character must not appear in the null string"
        } else {
            return Ok(format);
        };
        Err(Error::new(ErrorKind::InvalidParameterValue, clash))
    }
}
