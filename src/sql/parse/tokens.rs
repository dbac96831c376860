//! Rewrites and checks on a statement's tokens, before parsing.
//!
//! Some syntax of other databases cannot be parsed by a Postgres parser, and some texts would take it too much time
//! or stack: both are easier to detect in a flat list of tokens than in a tree.

use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan, Word};

use crate::{
    error::{Error, ErrorKind, Result},
    sql::{incremental::AS_OF_NOW, parse::text::StatementText, statement::Emit, windows},
};

/// Maximum length of a token sequence without a comma. A chain such as `1 + 1 + …` is a tree as deep as it is long, and
/// trees are walked and freed by recursion.
const CHAIN_TOKENS_MAX: usize = 4000;
/// Maximum nesting of parentheses and brackets: sqlparser's own limit does not cover all of its recursion.
const NESTING_MAX: usize = 64;
/// Maximum nesting of `STRUCT<STRUCT<…`.
const TYPES_MAX: usize = 32;
/// Types with type arguments in angle brackets.
const TYPES: [&str; 4] = ["STRUCT", "ROW", "ARRAY", "MAP"];

/// `EXPLAIN (…) CREATE OR REPLACE SINK`: how many tokens are searched for the keyword.
const SINK_WITHIN: usize = 32;

/// The word in uppercase, if the token is an unquoted one.
pub(super) fn word(token: &Token) -> Option<String> {
    match token {
        Token::Word(Word { value, quote_style: None, .. }) => Some(value.to_ascii_uppercase()),
        _ => None,
    }
}

pub(super) fn is_word(token: &Token, expected: &str) -> bool {
    matches!(token, Token::Word(w) if w.quote_style.is_none() && w.value.eq_ignore_ascii_case(expected))
}

/// Refuses texts that would take too much time or stack to parse.
pub(super) fn check(tokens: &[TokenWithSpan], text: &StatementText) -> Result<()> {
    // One entry for each open parenthesis: the length of the chain within it.
    let mut chains = vec![0];
    let mut types: usize = 0;
    for (n, token) in tokens.iter().enumerate() {
        match token.token {
            Token::LParen | Token::LBracket | Token::LBrace => chains.push(0),
            Token::RParen | Token::RBracket | Token::RBrace if chains.len() > 1 => {
                chains.pop();
            }
            Token::Comma => *chains.last_mut().expect("the statement's own chain is never closed") = 0,
            _ => {}
        }
        // The brackets of STRUCT<…>, which the parser's own limit does not cover.
        match &token.token {
            Token::Lt if n > 0 && TYPES.iter().any(|w| is_word(&tokens[n - 1].token, w)) => types += 1,
            token => types = types.saturating_sub(closing(token)),
        }
        let depth = chains.len();
        let chain = chains.last_mut().expect("the statement's own chain is never closed");
        *chain += 1;
        let complaint = if depth > NESTING_MAX || types > TYPES_MAX {
            Error::new(ErrorKind::LimitExceeded, "statement is nested too deeply")
                .detail(format!("At most {NESTING_MAX} levels of parentheses can be parsed."))
        } else if *chain > CHAIN_TOKENS_MAX {
            Error::new(ErrorKind::LimitExceeded, "expression is too long").detail(format!(
                "At most {CHAIN_TOKENS_MAX} words and signs can stand in one expression with no comma between them."
            ))
        } else {
            continue;
        };
        return Err(complaint
            .hint("Break it into several common table expressions.")
            .at(text.position(token.span.start)));
    }
    Ok(())
}

/// How many angle brackets a token closes.
pub(super) fn closing(token: &Token) -> usize {
    match token {
        Token::Gt => 1,
        Token::ShiftRight => 2,
        Token::CustomBinaryOperator(signs) if signs.bytes().all(|b| b == b'>') => signs.len(),
        _ => 0,
    }
}

/// Turns the keys in `SESSION(t PARTITION BY key, …)` into an argument: `SESSION(t, partition_by(key), …)`.
pub(super) fn spell_out_partitions(tokens: &mut Vec<TokenWithSpan>) {
    // One entry for each open parenthesis: whether it is that of SESSION.
    let mut sessions = vec![];
    let mut out: Vec<TokenWithSpan> = Vec::with_capacity(tokens.len());
    let mut rest = tokens.drain(..).peekable();
    while let Some(token) = rest.next() {
        let by = rest.peek().is_some_and(|next| is_word(&next.token, "BY"));
        if sessions.last() == Some(&true) && is_word(&token.token, "PARTITION") && by {
            let span = token.span;
            let put = |token: Token| TokenWithSpan { token, span };
            rest.next();
            out.extend([put(Token::Comma), put(Token::make_word(windows::PARTITION_BY, None))]);
            // Several keys have parentheses of their own.
            if rest.peek().is_none_or(|next| next.token != Token::LParen) {
                out.push(put(Token::LParen));
                let key = |next: &TokenWithSpan| !matches!(next.token, Token::Comma | Token::RParen);
                out.extend(std::iter::from_fn(|| rest.next_if(key)));
                out.push(put(Token::RParen));
            }
            continue;
        }
        match token.token {
            Token::LParen => sessions.push(out.last().is_some_and(|t| is_word(&t.token, "SESSION"))),
            Token::RParen => {
                sessions.pop();
            }
            _ => {}
        }
        out.push(token);
    }
    drop(rest);
    *tokens = out;
}

/// Turns a relation that is read at processing time into a subquery: `t FOR SYSTEM_TIME AS OF PROCTIME() [AS x]`.
pub(super) fn spell_out_system_time(tokens: &mut Vec<TokenWithSpan>, text: &StatementText) -> Result<()> {
    let is = |tokens: &[TokenWithSpan], at: usize, words: &[&str]| {
        words.iter().enumerate().all(|(n, word)| tokens.get(at + n).is_some_and(|t| is_word(&t.token, word)))
    };
    let mut at = 0;
    while at < tokens.len() {
        if at == 0 || !is(tokens, at, &["FOR", "SYSTEM_TIME", "AS", "OF"]) {
            at += 1;
            continue;
        }
        let now = is(tokens, at + 4, &["PROCTIME"]) || is(tokens, at + 4, &["NOW"]);
        let call =
            tokens.get(at + 5..at + 7).is_some_and(|t| t[0].token == Token::LParen && t[1].token == Token::RParen);
        if !(now && call) {
            return Err(Error::unsupported("FOR SYSTEM_TIME AS OF a time")
                .hint("FOR SYSTEM_TIME AS OF PROCTIME() reads what is there when a row comes.")
                .at(text.position(tokens[at].span.start)));
        }
        let mut first = at - 1;
        while first >= 2 && tokens[first - 1].token == Token::Period {
            first -= 2;
        }
        let out = as_of_now(&tokens[first..at], !has_alias(tokens.get(at + 7)));
        let length = out.len();
        tokens.splice(first..at + 7, out);
        at = first + length;
    }
    Ok(())
}

/// `(SELECT * FROM name AS __as_of_now)`, with the relation's name as alias if `named`.
fn as_of_now(name: &[TokenWithSpan], named: bool) -> Vec<TokenWithSpan> {
    let Some(last) = name.last() else { return Vec::new() };
    let put = |token: Token| TokenWithSpan { token, span: last.span };
    let word = |word: &str| put(Token::make_word(word, None));
    let mut out = vec![put(Token::LParen), word("SELECT"), put(Token::Mul), word("FROM")];
    out.extend(name.iter().cloned());
    out.extend([word("AS"), word(AS_OF_NOW), put(Token::RParen)]);
    if named {
        out.extend([word("AS"), last.clone()]);
    }
    out
}

/// Whether an alias follows a relation.
fn has_alias(next: Option<&TokenWithSpan>) -> bool {
    const OTHERS: [&str; 20] = [
        "ON",
        "USING",
        "WHERE",
        "GROUP",
        "HAVING",
        "ORDER",
        "LIMIT",
        "OFFSET",
        "FETCH",
        "UNION",
        "EXCEPT",
        "INTERSECT",
        "WINDOW",
        "JOIN",
        "LEFT",
        "RIGHT",
        "INNER",
        "FULL",
        "CROSS",
        "NATURAL",
    ];
    match next.map(|next| &next.token) {
        Some(token @ Token::Word(_)) => !OTHERS.iter().any(|word| is_word(token, word)),
        _ => false,
    }
}

/// Cuts `EMIT …` off the end of a statement; `FROM t EMIT …` would be read as an alias.
pub(super) fn cut_emit(tokens: &mut Vec<TokenWithSpan>) -> Option<(Emit, TokenWithSpan)> {
    const CLAUSES: &[(&[&str], Emit)] = &[
        (&["EMIT", "ON", "WINDOW", "CLOSE"], Emit::OnWindowClose),
        (&["EMIT", "AFTER", "WINDOW", "CLOSE"], Emit::OnWindowClose),
        (&["EMIT", "FINAL"], Emit::OnWindowClose),
        (&["EMIT", "ON", "UPDATE"], Emit::OnUpdate),
        (&["EMIT", "CHANGES"], Emit::OnUpdate),
        (&["EMIT", "COMPLETE"], Emit::Complete),
    ];
    let (words, emit) = CLAUSES.iter().find(|(words, _)| {
        tokens.len() > words.len()
            && tokens[tokens.len() - words.len()..].iter().zip(*words).all(|(t, w)| is_word(&t.token, w))
    })?;
    let at = tokens.len() - words.len();
    let first = tokens[at].clone();
    tokens.truncate(at);
    Some((*emit, first))
}

/// Rewrites `CREATE SINK` to the clause order of a view: options before the query, after which they would be parsed as
/// table hints. `FROM t` becomes `AS SELECT * FROM t`.
pub(super) fn order_sink(tokens: &mut Vec<TokenWithSpan>) {
    let is = |at: usize, word: &str| tokens.get(at).is_some_and(|t| is_word(&t.token, word));
    let made = |at: &usize| is(*at, "SINK") && *at > 0 && (is(at - 1, "CREATE") || is(at - 1, "REPLACE"));
    let Some(sink) = (0..tokens.len().min(SINK_WITHIN)).find(made) else { return };
    let (mut depth, mut query, mut with) = (0, None, None);
    for (at, token) in tokens.iter().enumerate().skip(sink) {
        match token.token {
            Token::LParen => depth += 1,
            Token::RParen => depth -= 1,
            _ if depth > 0 => {}
            _ if query.is_none() && (is(at, "FROM") || is(at, "AS")) => query = Some(at),
            _ if is(at, "WITH") && tokens.get(at + 1).is_some_and(|t| t.token == Token::LParen) => with = Some(at),
            _ => {}
        }
    }
    let Some(query) = query else { return };
    let with = with.filter(|with| *with > query);
    let from = is(query, "FROM");
    let tail = with.map(|with| tokens.split_off(with)).unwrap_or_default();
    let span = tokens[query].span;
    let select = [Token::make_keyword("AS"), Token::make_keyword("SELECT"), Token::Mul];
    let select = select.into_iter().filter(|_| from).map(|token| TokenWithSpan { token, span });
    tokens.splice(query..query, tail.into_iter().chain(select).collect::<Vec<_>>());
}

/// Rewrites `TABLE t` to what a Postgres parser accepts: the bare name as an argument of a window function, `SELECT *
/// FROM t` as a query.
pub(super) fn spell_out_table(tokens: &mut Vec<TokenWithSpan>) {
    let insert = tokens.first().is_some_and(|t| is_word(&t.token, "INSERT"));
    // One entry for each open parenthesis: whether it is that of a window function.
    let mut windows = vec![];
    let mut out: Vec<TokenWithSpan> = Vec::with_capacity(tokens.len());
    let mut rest = tokens.drain(..).peekable();
    while let Some(token) = rest.next() {
        match token.token {
            Token::LParen => windows.push(out.last().is_some_and(|t| is_window_function(&t.token))),
            Token::RParen => {
                windows.pop();
            }
            _ => {}
        }
        let names = matches!(rest.peek(), Some(TokenWithSpan { token: Token::Word(_), .. }));
        if !(is_word(&token.token, "TABLE") && names) {
            out.push(token);
            continue;
        }
        let previous = out.last().map(|t| &t.token);
        let argument = matches!(previous, Some(Token::LParen | Token::Comma | Token::RArrow));
        if windows.last() == Some(&true) && argument {
            continue;
        }
        let into = previous.is_some_and(|t| is_word(t, "INTO"));
        if (insert && !into) || previous.is_none_or(begins_query) {
            let span = token.span;
            let words = [Token::make_keyword("SELECT"), Token::Mul, Token::make_keyword("FROM")];
            out.extend(words.map(|token| TokenWithSpan { token, span }));
        } else {
            out.push(token);
        }
    }
    drop(rest);
    *tokens = out;
}

/// Leaves out the FROM of `TRIM(BOTH FROM s)`, which the parser does not know without characters to trim.
pub(super) fn spell_out_trim(tokens: &mut Vec<TokenWithSpan>) {
    const SIDES: [&str; 3] = ["BOTH", "LEADING", "TRAILING"];
    let is_bare = |three: &[TokenWithSpan]| {
        three[0].token == Token::LParen
            && SIDES.iter().any(|side| is_word(&three[1].token, side))
            && is_word(&three[2].token, "FROM")
    };
    let bare: Vec<usize> =
        tokens.windows(3).enumerate().filter(|(_, three)| is_bare(three)).map(|(n, _)| n + 2).collect();
    for from in bare.into_iter().rev() {
        tokens.remove(from);
    }
}

/// Whether a query can start after this token.
fn begins_query(token: &Token) -> bool {
    const WORDS: [&str; 9] = ["AS", "FOR", "UNION", "ALL", "EXCEPT", "INTERSECT", "DISTINCT", "EXPLAIN", "VERBOSE"];
    match token {
        Token::LParen | Token::RParen => true,
        token => WORDS.iter().chain(&["ANALYZE"]).any(|w| is_word(token, w)),
    }
}

pub(super) fn is_window_function(token: &Token) -> bool {
    ["TUMBLE", "HOP", "SESSION", "CUMULATE"].iter().any(|w| is_word(token, w))
}
