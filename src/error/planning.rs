//! What DataFusion's planner says, as an error of ours.

use super::{Error, ErrorKind, lower};

/// DataFusion's planner says most things as one string; the class is in its words.
pub(super) fn planning(message: &str) -> Error {
    let text = lower(message);
    let has = |s: &str| text.contains(s);
    if let Some(name) = text.strip_prefix("table '").and_then(|rest| rest.strip_suffix("' not found")) {
        // The planner says the whole path; people know the last part, and the schema where it is not theirs.
        let name = name.strip_prefix("tidemark.").unwrap_or(name);
        let name = name.strip_prefix("public.").unwrap_or(name);
        return Error::new(ErrorKind::UndefinedTable, format!("relation \"{name}\" does not exist"));
    }
    if let Some((_, rest)) = text.split_once("require unique expression names but the expression \"")
        && let Some((expr, _)) = rest.split_once("\" at position")
    {
        let name = expr.rsplit('.').next().unwrap_or(expr);
        return Error::new(ErrorKind::DuplicateColumn, format!("column \"{name}\" specified more than once"))
            .hint("Give one of them another name with AS.");
    }
    let ours = function(&text).or_else(|| position_or_count(&text)).or_else(|| subquery(&text));
    if let Some(error) = ours.or_else(|| misplaced(&text)) {
        return error;
    }
    let kind = if has("table") && has("not found") {
        ErrorKind::UndefinedTable
    } else if has("invalid function") || (has("function") && has("not found")) {
        ErrorKind::UndefinedFunction
    } else if has("group by") || has("aggregate") {
        ErrorKind::GroupingError
    } else if has("coerc") || has("cannot cast") || has("type mismatch") || has("unsupported cast") {
        ErrorKind::DatatypeMismatch
    } else {
        ErrorKind::Syntax
    };
    Error::new(kind, text)
}

/// A function that nobody knows, or not for these arguments. What comes before is the planner's own search for one.
fn function(text: &str) -> Option<Error> {
    if let Some(rest) = text.strip_prefix("invalid function '") {
        let (name, guess) = rest.split_once('\'')?;
        let error = Error::new(ErrorKind::UndefinedFunction, format!("function \"{name}\" does not exist"));
        let guess = guess.split_once("Did you mean '").and_then(|(_, guess)| guess.split_once('\''));
        return Some(match guess {
            Some((guess, _)) => error.hint(format!("Perhaps you meant \"{guess}\".")),
            None => error,
        });
    }
    let (_, rest) = text.split_once("No function matches the given name and argument types '")?;
    let (call, rest) = rest.split_once("'. ")?;
    let error = Error::new(ErrorKind::UndefinedFunction, format!("function {call} does not exist"))
        .hint("No function matches the given name and argument types. You might need to add explicit type casts.");
    Some(match rest.split_once("Candidate functions:") {
        Some((_, all)) if !all.contains("UserDefined") => {
            let all: Vec<&str> = all.split_whitespace().collect();
            error.detail(format!("Candidates are: {}.", all.join(" ").replace(") ", "), ")))
        }
        _ => error,
    })
}

/// What DataFusion has no plan for. Of a part of a statement it shows its own tree, which says nothing to anybody.
pub(super) fn unsupported(message: &str) -> Error {
    let text = lower(message);
    if let Some(error) = misplaced(&text) {
        return error;
    }
    let tree = text.to_ascii_lowercase();
    if tree.contains("conflicting ordering requirements") {
        let several = "several orders among the aggregates of one query over constants";
        return Error::unsupported(several).hint("Write each in a subquery of its own, and join these.");
    }
    match tree.contains("ast node") || tree.contains("physical plan does not support") || text.contains('{') {
        true => Error::unsupported("an expression or a clause of this kind"),
        false => Error::new(ErrorKind::Unsupported, text),
    }
}

/// A subquery that has too many columns, or that DataFusion cannot make a join of.
fn subquery(text: &str) -> Option<Error> {
    let has = |s: &str| text.contains(s);
    let several = "a correlated scalar subquery that may have several rows";
    let around =
        "Join with a subquery in FROM that reads no column of the query around it, on what the two have in common.";
    if has("calar subquery should only return one column") {
        return Some(Error::new(ErrorKind::Syntax, "subquery must return only one column"));
    }
    if has("ubquery should only return one column:")
        || has("nSubquery should only return one column")
        || has("et comparison subquery should only return one column")
    {
        return Some(Error::new(ErrorKind::Syntax, "subquery has too many columns"));
    }
    if has("orrelated scalar subquery must be aggregated") || has("GROUP BY clause in a scalar correlated subquery") {
        return Some(Error::unsupported(several).hint("Give it an aggregate such as max(…), or ORDER BY … LIMIT 1."));
    }
    if has("orrelated scalar subquery can only be used in") || has("orrelated scalar subquery in the GROUP BY clause") {
        return Some(Error::unsupported("a correlated scalar subquery in this place").hint(around));
    }
    if has("SetComparison subquery can only be used in") {
        return Some(Error::unsupported("EXISTS, IN, ANY or ALL (subquery) in this place").hint(around));
    }
    let outer = has("ccessing outer reference columns is not allowed");
    outer.then(|| Error::unsupported("a correlated subquery of this kind").hint(around))
}

/// Numbers that stand for columns and for counts of rows.
fn position_or_count(text: &str) -> Option<Error> {
    if let Some(rest) = text.strip_prefix("order by column out of bounds, specified: ") {
        let (position, _) = rest.split_once(',')?;
        let message = format!("ORDER BY position {position} is not in select list");
        return Some(Error::new(ErrorKind::InvalidColumnReference, message));
    }
    if text.starts_with("LIMIT must be >=") {
        return Some(Error::new(ErrorKind::InvalidLimit, "LIMIT must not be negative"));
    }
    let offset = text.starts_with("OFFSET must be >=");
    offset.then(|| Error::new(ErrorKind::InvalidOffset, "OFFSET must not be negative"))
}

/// What stands where it has no meaning, or none yet.
fn misplaced(text: &str) -> Option<Error> {
    if text.contains("unnest should be rewritten") {
        return Some(Error::unsupported("unnest outside of the columns of a SELECT").hint(
            "Write it among the columns of a subquery: SELECT … FROM (SELECT id, unnest(items) AS item FROM t) AS u.",
        ));
    }
    if text.contains("must be an INTEGER or NULL, got") {
        return Some(
            Error::unsupported("a series over columns of another relation")
                .hint("Write it among the columns: SELECT id, unnest(range(1, n + 1)) AS i FROM t."),
        );
    }
    let (nested, _) = text.split_once(": '")?;
    let is_nested = nested.starts_with("aggregate function calls cannot contain");
    is_nested.then(|| Error::new(ErrorKind::GroupingError, nested))
}
