//! The read position in a statement's tokens, and parsers for the small parts that all statements share.

use datafusion::sql::sqlparser::{
    ast::Expr,
    dialect::{Dialect, PostgreSqlDialect, Precedence},
    parser::{Parser, ParserError},
    tokenizer::{Location, Span, Token, TokenWithSpan, Word},
};

use super::{
    depth, syntax,
    text::StatementText,
    tokens::{closing, is_word, word},
};
use crate::{
    error::{Error, ErrorKind, Result},
    sql::{
        names,
        statement::{Emit, Name},
    },
};

/// Recursion limit of sqlparser.
const RECURSION_MAX: usize = 128;

/// Reads the tokens of one statement, with sqlparser's parser for queries and expressions.
pub(super) struct TokenCursor<'a> {
    parser: Parser<'a>,
    /// The statement's tokens, without whitespace: the same list that the parser has.
    tokens: Vec<TokenWithSpan>,
    /// The end of the statement, including the clauses that were cut off.
    end: Location,
    pub text: &'a StatementText<'a>,
    /// The statement's `EMIT` clause and its position, until a statement consumes it.
    pub emit: Option<(Emit, usize)>,
}

impl<'a> TokenCursor<'a> {
    pub fn new(
        tokens: Vec<TokenWithSpan>,
        end: Location,
        text: &'a StatementText<'a>,
        dialect: &'a dyn Dialect,
    ) -> Self {
        let parser =
            Parser::new(dialect).with_recursion_limit(RECURSION_MAX).with_tokens_with_locations(tokens.clone());
        TokenCursor { parser, tokens, end, text, emit: None }
    }

    /// Parses from here with another parser, for which the next token is the keyword `first`.
    ///
    /// That parser sees a `>>` that closes two brackets as two tokens.
    pub fn read_as<T>(
        &mut self,
        first: &str,
        dialect: &dyn Dialect,
        read: impl FnOnce(&mut Parser) -> Result<T, ParserError>,
    ) -> Result<T> {
        let (mut tokens, mut origins) = (vec![], vec![]);
        for (n, token) in self.tokens.get(self.parser.index()..).unwrap_or_default().iter().enumerate() {
            let parts = closing(&token.token).max(1);
            for _ in 0..parts {
                let part = match parts {
                    _ if n == 0 => Token::make_keyword(first),
                    1 => token.token.clone(),
                    _ => Token::Gt,
                };
                tokens.push(TokenWithSpan { token: part, span: token.span });
                origins.push(n);
            }
        }
        let mut parser = Parser::new(dialect).with_recursion_limit(RECURSION_MAX).with_tokens_with_locations(tokens);
        let value = read(&mut parser).map_err(|error| self.refused(error))?;
        let next = origins.get(parser.index()).copied();
        let half = next.is_some() && next == origins.get(parser.index().saturating_sub(1)).copied();
        self.skip(next.unwrap_or_else(|| origins.last().map_or(0, |last| last + 1)));
        if half { Err(self.unexpected("fewer closing brackets")) } else { Ok(value) }
    }

    pub fn skip(&mut self, tokens: usize) {
        (0..tokens).for_each(|_| self.parser.advance_token());
    }

    /// Reads with sqlparser.
    pub fn sql<T>(&mut self, read: impl FnOnce(&mut Parser<'a>) -> Result<T, ParserError>) -> Result<T> {
        read(&mut self.parser).map_err(|error| self.refused(error))
    }

    /// Parses an expression; if `precedence` is set, up to the first operator that does not bind tighter.
    pub fn expr(&mut self, precedence: Option<Precedence>) -> Result<Expr> {
        let position = self.here();
        let mut expr = self.sql(|p| match precedence {
            None => p.parse_expr(),
            Some(precedence) => p.parse_subexpr(PostgreSqlDialect {}.prec_value(precedence)),
        })?;
        depth::limit(&mut expr).map_err(|e| e.at(position))?;
        Ok(expr)
    }

    fn refused(&self, error: ParserError) -> Error {
        let error = syntax::refused(error, &self.tokens, self.parser.index(), self.text);
        error.at(self.here())
    }

    /// The position of the next token, in characters from 1; after the last one, the end of the statement.
    pub fn here(&self) -> usize {
        match self.tokens.get(self.parser.index()) {
            Some(token) => self.text.position(token.span.start),
            None => self.tokens.last().map_or(1, |t| self.text.position(t.span.end)),
        }
    }

    /// From the next token to the end.
    pub fn rest(&self) -> Span {
        match self.tokens.get(self.parser.index()) {
            Some(first) => Span::new(first.span.start, self.end),
            None => Span::empty(),
        }
    }

    pub fn peek(&self, n: usize) -> &Token {
        &self.parser.peek_nth_token_ref(n).token
    }

    /// The `n`th token from here in uppercase, if it is an unquoted word.
    pub fn word(&self, n: usize) -> Option<String> {
        word(self.peek(n))
    }

    pub fn at_end(&self) -> bool {
        *self.peek(0) == Token::EOF
    }

    pub fn is(&self, expected: &str) -> bool {
        is_word(self.peek(0), expected)
    }

    /// Whether these words, separated by spaces, come next.
    pub fn are(&self, expected: &str) -> bool {
        expected.split(' ').enumerate().all(|(n, w)| is_word(self.peek(n), w))
    }

    /// Consumes the words if they come next.
    pub fn eat(&mut self, expected: &str) -> bool {
        let found = self.are(expected);
        if found {
            self.skip(expected.split(' ').count());
        }
        found
    }

    pub fn expect(&mut self, expected: &str) -> Result<()> {
        expected.split(' ').try_for_each(|w| if self.eat(w) { Ok(()) } else { Err(self.unexpected(w)) })
    }

    pub fn eat_token(&mut self, expected: &Token) -> bool {
        self.parser.consume_token(expected)
    }

    pub fn expect_token(&mut self, expected: &Token) -> Result<()> {
        if self.eat_token(expected) { Ok(()) } else { Err(self.unexpected(&expected.to_string())) }
    }

    pub fn expect_end(&self) -> Result<()> {
        if self.at_end() { Ok(()) } else { Err(self.unexpected("the end of the statement")) }
    }

    /// A syntax error: the next token is not what was `expected`.
    pub fn unexpected(&self, expected: &str) -> Error {
        let expected = format!("Expected {expected}.");
        syntax::unexpected(&self.tokens, self.parser.index(), Some(&expected), self.text)
    }

    /// A refusal of the next token, or of the statement so far.
    pub fn unsupported(&self, what: impl std::fmt::Display) -> Error {
        Error::unsupported(what).at(self.here())
    }

    /// Consumes the next token and returns it.
    pub fn next(&mut self) -> Token {
        self.parser.next_token().token
    }

    /// An identifier that may be a name, and its position.
    pub fn ident(&mut self, what: &str) -> Result<(String, usize)> {
        let position = self.here();
        match self.peek(0) {
            Token::Word(w) if w.quote_style.is_none() && names::is_reserved(&w.value) => {
                Err(self.unexpected(what).hint(names::reserved_hint(&w.value)))
            }
            Token::Word(w) => {
                let name = fold(w);
                self.skip(1);
                match name.is_empty() {
                    true => Err(Error::new(ErrorKind::Syntax, "zero-length delimited identifier").at(position)),
                    false => Ok((name, position)),
                }
            }
            _ => Err(self.unexpected(what)),
        }
    }

    /// A name with or without its schema.
    pub fn name(&mut self) -> Result<Name> {
        let (first, position) = self.ident("a name")?;
        if !self.eat_token(&Token::Period) {
            return Ok(Name { schema: None, name: first, position });
        }
        let (second, _) = self.ident("a name")?;
        if *self.peek(0) == Token::Period {
            let what = format!("cross-database reference \"{first}.{second}.…\"");
            return Err(Error::unsupported(what).at(position));
        }
        Ok(Name { schema: Some(first), name: second, position })
    }

    /// One or more, with commas between.
    pub fn list<T>(&mut self, mut item: impl FnMut(&mut Self) -> Result<T>) -> Result<Vec<T>> {
        let mut items = vec![item(self)?];
        while self.eat_token(&Token::Comma) {
            items.push(item(self)?);
        }
        Ok(items)
    }

    /// `(a, b, …)`
    pub fn column_names(&mut self) -> Result<Vec<String>> {
        self.expect_token(&Token::LParen)?;
        let names = self.list(|c| Ok(c.ident("a column name")?.0))?;
        self.expect_token(&Token::RParen)?;
        Ok(names)
    }

    /// A string in quotes.
    pub fn string(&mut self, what: &str) -> Result<String> {
        match string(self.peek(0)) {
            Some(text) => {
                self.skip(1);
                Ok(text)
            }
            None => Err(self.unexpected(what)),
        }
    }
}

/// The text of a string literal, in any of Postgres' notations.
pub(super) fn string(token: &Token) -> Option<String> {
    match token {
        Token::SingleQuotedString(s) | Token::EscapedStringLiteral(s) | Token::UnicodeStringLiteral(s) => {
            Some(s.clone())
        }
        Token::DollarQuotedString(s) => Some(s.value.clone()),
        _ => None,
    }
}

/// Folds a name as Postgres does: lowercase unless quoted.
fn fold(word: &Word) -> String {
    match word.quote_style {
        None => word.value.to_ascii_lowercase(),
        Some(_) => word.value.clone(),
    }
}
