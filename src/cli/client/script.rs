//! Splits lines into statements: a statement ends at a semicolon outside of literals, quoted names and comments.

/// Lines read so far, and the position of the scanner.
#[derive(Debug, Default)]
pub(super) struct Script {
    text: String,
    /// Everything before this position has no end of a statement.
    scanned: usize,
    within: ScriptState,
}

/// The token that the position is within.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
enum ScriptState {
    #[default]
    Nothing,
    /// `'…'`, or `E'…'` where a backslash keeps the quote from ending it.
    Literal {
        escapes: bool,
    },
    Name,
    /// `$tag$ … $tag$`
    Dollars(String),
    /// `/* … */`, with its nesting depth.
    Comment(usize),
}

impl Script {
    pub fn line(&mut self, line: &str) {
        self.text.push_str(line);
        self.text.push('\n');
    }

    /// Whether no incomplete statement is left.
    pub fn is_empty(&self) -> bool {
        self.text.trim().is_empty()
    }

    /// The next whole statement, without its semicolon.
    pub fn next(&mut self) -> Option<String> {
        loop {
            let end = self.end()?;
            let rest = self.text.split_off(end + 1);
            let mut statement = std::mem::replace(&mut self.text, rest);
            self.scanned = 0;
            statement.pop();
            if has_words(&statement) {
                return Some(statement.trim().to_string());
            }
        }
    }

    /// The rest without a semicolon, if it is more than comments.
    pub fn rest(self) -> Option<String> {
        has_words(&self.text).then(|| self.text.trim().to_string())
    }

    fn end(&mut self) -> Option<usize> {
        let text = self.text.as_str();
        let mut at = self.scanned;
        while let Some(c) = text[at..].chars().next() {
            let here = &text[at..];
            let mut step = c.len_utf8();
            match &mut self.within {
                ScriptState::Nothing => match c {
                    ';' => {
                        self.scanned = at;
                        return Some(at);
                    }
                    '\'' => {
                        let mut before = text[..at].chars().rev();
                        let escapes = before.next().is_some_and(|c| matches!(c, 'e' | 'E'))
                            && !before.next().is_some_and(|c| c.is_alphanumeric() || c == '_');
                        self.within = ScriptState::Literal { escapes };
                    }
                    '"' => self.within = ScriptState::Name,
                    '-' if here.starts_with("--") => step = here.find('\n').unwrap_or(here.len()),
                    '/' if here.starts_with("/*") => {
                        self.within = ScriptState::Comment(1);
                        step = 2;
                    }
                    '$' => {
                        if let Some(tag) = dollar_tag(text, at) {
                            step = tag.len();
                            self.within = ScriptState::Dollars(tag);
                        }
                    }
                    _ => {}
                },
                ScriptState::Literal { escapes: true } if c == '\\' => {
                    step += here[step..].chars().next().map_or(0, char::len_utf8);
                }
                // A doubled quote ends a literal and begins another: same result.
                ScriptState::Literal { .. } if c == '\'' => self.within = ScriptState::Nothing,
                ScriptState::Name if c == '"' => self.within = ScriptState::Nothing,
                ScriptState::Dollars(tag) if here.starts_with(tag.as_str()) => {
                    step = tag.len();
                    self.within = ScriptState::Nothing;
                }
                ScriptState::Comment(depth) if here.starts_with("/*") => {
                    *depth += 1;
                    step = 2;
                }
                ScriptState::Comment(depth) if here.starts_with("*/") => {
                    step = 2;
                    *depth -= 1;
                    if *depth == 0 {
                        self.within = ScriptState::Nothing;
                    }
                }
                _ => {}
            }
            at += step;
        }
        self.scanned = at;
        None
    }
}

/// `$$` or `$tag$` at a position; `$1` and a dollar within a name are not tags.
fn dollar_tag(text: &str, at: usize) -> Option<String> {
    if text[..at].chars().next_back().is_some_and(|c| c.is_alphanumeric() || c == '_') {
        return None;
    }
    let inner = &text[at + 1..];
    let end = inner.find('$')?;
    let tag = &inner[..end];
    let sound = tag.chars().all(|c| c.is_alphanumeric() || c == '_') && !tag.starts_with(|c: char| c.is_ascii_digit());
    sound.then(|| text[at..=at + 1 + end].to_string())
}

/// Whether there is more than spaces and comments.
fn has_words(text: &str) -> bool {
    let mut rest = text;
    loop {
        rest = rest.trim_start();
        if let Some(comment) = rest.strip_prefix("--") {
            rest = comment.find('\n').map_or("", |end| &comment[end..]);
        } else if rest.starts_with("/*") {
            let Some(end) = rest.find("*/") else { return true };
            rest = &rest[end + 2..];
        } else {
            return !rest.is_empty();
        }
    }
}

/// A copy from or to the client itself.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Copy {
    In,
    Out,
}

pub(super) fn copy(statement: &str) -> Option<Copy> {
    let words: Vec<String> = statement.split_whitespace().map(str::to_uppercase).collect();
    if words.first().map(String::as_str) != Some("COPY") {
        return None;
    }
    let pair = |a: &str, b: &str| words.windows(2).any(|w| w[0] == a && w[1].trim_end_matches(';') == b);
    match () {
        () if pair("FROM", "STDIN") => Some(Copy::In),
        () if pair("TO", "STDOUT") => Some(Copy::Out),
        () => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn statements(text: &str) -> Vec<String> {
        let mut script = Script::default();
        let mut all = Vec::new();
        for line in text.lines() {
            script.line(line);
            while let Some(statement) = script.next() {
                all.push(statement);
            }
        }
        all.extend(script.rest());
        all
    }

    #[test]
    fn semicolon_in_quotes_or_comments_does_not_end_a_statement() {
        assert_eq!(statements("select 1; select 2;\nselect\n3"), ["select 1", "select 2", "select\n3"]);
        assert_eq!(statements("select 'a;''b;'; x"), ["select 'a;''b;'", "x"]);
        assert_eq!(statements("select E'a\\';' ; x"), ["select E'a\\';'", "x"]);
        assert_eq!(statements("select 'a\\';x"), ["select 'a\\'", "x"]);
        assert_eq!(statements("select \"a;b\"; x"), ["select \"a;b\"", "x"]);
        assert_eq!(statements("select 1 -- no; end\n; x"), ["select 1 -- no; end", "x"]);
        assert_eq!(statements("/* a; /* b; */ c; */ select 1; x"), ["/* a; /* b; */ c; */ select 1", "x"]);
        assert_eq!(statements("select $$a;b$$, $t$;$$;$t$, $1; x"), ["select $$a;b$$, $t$;$$;$t$, $1", "x"]);
        assert_eq!(statements(";; -- nothing\n; /* here */ ;"), Vec::<String>::new());
    }

    #[test]
    fn copy_from_stdin_and_to_stdout_are_recognized() {
        assert_eq!(copy("copy t from stdin with (format csv)"), Some(Copy::In));
        assert_eq!(copy("COPY (SELECT 1) TO STDOUT"), Some(Copy::Out));
        assert_eq!(copy("SELECT 'copy from stdin'"), None);
    }
}
