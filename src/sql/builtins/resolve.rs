//! Which signature of a function a call means: PostgreSQL's rules ("Type Conversion, Functions" in its manual).

use arrow::datatypes::DataType;

use super::{
    overload::Overload,
    pg_type::{Category, Pg},
};
use crate::error::{Error, ErrorKind, Result};
use crate::sql::types::sql_type;

/// What is known of the type of an argument.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ArgumentType {
    Known(Pg),
    /// A literal in quotes, NULL or a parameter: of any type.
    Unknown,
    /// A type that no function here takes.
    Other(DataType),
}

impl ArgumentType {
    /// That of a column, or of any other expression whose type is settled.
    pub fn of(data_type: &DataType) -> ArgumentType {
        match Pg::of(data_type) {
            _ if *data_type == DataType::Null => ArgumentType::Unknown,
            Some(known) => ArgumentType::Known(known),
            None => ArgumentType::Other(data_type.clone()),
        }
    }

    fn name(&self) -> String {
        match self {
            ArgumentType::Known(known) => known.name().to_string(),
            ArgumentType::Unknown => "unknown".to_string(),
            ArgumentType::Other(other) => sql_type(other),
        }
    }
}

/// The signature that a call of these arguments means. 42883 if there is none, 42725 if several are as good.
pub fn resolve<'o>(name: &str, overloads: &'o [Overload], args: &[ArgumentType]) -> Result<&'o Overload> {
    let fitting: Vec<&Overload> = overloads.iter().filter(|overload| takes(overload, args)).collect();
    match best(fitting, args).as_slice() {
        [only] => Ok(only),
        [] => Err(undefined(name, args)),
        _ => Err(ambiguous(name, args)),
    }
}

/// The candidates that are left after each of PostgreSQL's rules in turn.
fn best<'o>(mut fitting: Vec<&'o Overload>, args: &[ArgumentType]) -> Vec<&'o Overload> {
    let exact = |of: &ArgumentType, to: Pg| *of == ArgumentType::Known(to);
    keep_most(&mut fitting, args, exact);
    keep_most(&mut fitting, args, |of, to| {
        exact(of, to) || (matches!(of, ArgumentType::Known(_)) && to.is_preferred())
    });
    if fitting.len() < 2 || !args.contains(&ArgumentType::Unknown) {
        return fitting;
    }
    for n in (0..args.len()).filter(|n| args[*n] == ArgumentType::Unknown) {
        let Some(category) = category_of_literal(&fitting, n) else { return of_one_type(fitting, args) };
        let of_category = |overload: &&Overload| overload.param(n).is_some_and(|to| to.category() == category);
        fitting.retain(of_category);
        let preferred = |overload: &&Overload| overload.param(n).is_some_and(Pg::is_preferred);
        if fitting.iter().any(preferred) {
            fitting.retain(preferred);
        }
    }
    match fitting.len() {
        1 => fitting,
        _ => of_one_type(fitting, args),
    }
}

/// Keeps the candidates with the most arguments of which `counts` says so.
fn keep_most(fitting: &mut Vec<&Overload>, args: &[ArgumentType], counts: impl Fn(&ArgumentType, Pg) -> bool) {
    let count = |overload: &&Overload| {
        args.iter().enumerate().filter(|(n, of)| overload.param(*n).is_some_and(|to| counts(of, to))).count()
    };
    if let Some(most) = fitting.iter().map(count).max() {
        fitting.retain(|overload| count(overload) == most);
    }
}

/// The category that a literal is taken for: text if any candidate takes it, else that of all candidates.
fn category_of_literal(fitting: &[&Overload], n: usize) -> Option<Category> {
    let mut categories = fitting.iter().filter_map(|overload| overload.param(n)).map(Pg::category);
    let first = categories.clone().next()?;
    if categories.clone().any(|category| category == Category::String) {
        return Some(Category::String);
    }
    categories.all(|category| category == first).then_some(first)
}

/// The candidate whose parameters are all of the one type that the known arguments have.
fn of_one_type<'o>(fitting: Vec<&'o Overload>, args: &[ArgumentType]) -> Vec<&'o Overload> {
    let mut known = args.iter().filter(|of| **of != ArgumentType::Unknown);
    let Some(ArgumentType::Known(first)) = known.next() else { return fitting };
    if known.any(|of| *of != ArgumentType::Known(*first)) {
        return fitting;
    }
    let all = |overload: &&&Overload| (0..args.len()).all(|n| overload.param(n).is_some_and(|to| to.accepts(*first)));
    let kept: Vec<&Overload> = fitting.iter().filter(all).copied().collect();
    match kept.len() {
        1 => kept,
        _ => fitting,
    }
}

fn takes(overload: &Overload, args: &[ArgumentType]) -> bool {
    let count = match overload.is_variadic {
        true => args.len() >= overload.params.len(),
        false => args.len() == overload.params.len(),
    };
    let fits = |(n, of): (usize, &ArgumentType)| match (overload.param(n), of) {
        (Some(Pg::Any), _) | (Some(_), ArgumentType::Unknown) => true,
        (Some(to), ArgumentType::Known(from)) => to.accepts(*from),
        _ => false,
    };
    count && args.iter().enumerate().all(fits)
}

/// Whether a function is an operator, which is named by its sign.
fn is_operator(name: &str) -> bool {
    !name.contains(char::is_alphabetic)
}

/// A call as messages have it: `function lpad(integer)`, `operator does not exist: integer & text`.
fn complaint(name: &str, args: &[ArgumentType], what_is_wrong: &str) -> String {
    let types: Vec<String> = args.iter().map(ArgumentType::name).collect();
    match types.as_slice() {
        [of] if is_operator(name) => format!("operator {what_is_wrong}: {name} {of}"),
        [left, right] if is_operator(name) => format!("operator {what_is_wrong}: {left} {name} {right}"),
        types => format!("function {name}({}) {what_is_wrong}", types.join(", ")),
    }
}

fn undefined(name: &str, args: &[ArgumentType]) -> Error {
    let what = if is_operator(name) { "operator" } else { "function" };
    let types = if args.len() == 1 && is_operator(name) { "type" } else { "types" };
    Error::new(ErrorKind::UndefinedFunction, complaint(name, args, "does not exist")).hint(format!(
        "No {what} matches the given name and argument {types}. You might need to add explicit type casts."
    ))
}

fn ambiguous(name: &str, args: &[ArgumentType]) -> Error {
    let what = if is_operator(name) { "operator" } else { "function" };
    Error::new(ErrorKind::AmbiguousFunction, complaint(name, args, "is not unique"))
        .hint(format!("Could not choose a best candidate {what}. You might need to add explicit type casts."))
}
