//! Every aggregate that DataFusion has, as a random call.

use std::collections::BTreeSet;

use datafusion::functions_aggregate::all_default_aggregate_functions;
use rand::{
    Rng,
    rngs::SmallRng,
    seq::{IndexedRandom, IteratorRandom},
};

use super::values::{Column, Type, column, expr, predicate};

/// What a function is fed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fed {
    Nothing,
    /// One argument of these types.
    One(&'static [Type]),
    /// Two floats.
    Two,
    /// One argument, its rows in order.
    Ordered,
    /// `WITHIN GROUP`
    Within,
    /// A text and a separator, in order.
    Joined,
}

/// What it gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Gives {
    Always(Type),
    /// What it was fed.
    Same,
    /// Something that no later step computes with.
    Other,
}

struct Function {
    name: &'static str,
    fed: Fed,
    gives: Gives,
    distinct: bool,
}

const ANY: &[Type] = &super::values::TYPES;
const NUMBERS: &[Type] = &[Type::Int, Type::Float, Type::Decimal];
/// A minimum of booleans is bool_and's business.
const SORTED: &[Type] = &[Type::Int, Type::Float, Type::Text, Type::Time, Type::Decimal];

const fn f(name: &'static str, fed: Fed, gives: Gives, distinct: bool) -> Function {
    Function { name, fed, gives, distinct }
}

const FUNCTIONS: &[Function] = &[
    f("count(*)", Fed::Nothing, Gives::Always(Type::Int), false),
    f("count", Fed::One(ANY), Gives::Always(Type::Int), true),
    f("sum", Fed::One(&[Type::Int]), Gives::Always(Type::Int), true),
    f("sum", Fed::One(&[Type::Float]), Gives::Always(Type::Float), true),
    f("sum", Fed::One(&[Type::Decimal]), Gives::Other, true),
    f("avg", Fed::One(&[Type::Int, Type::Float]), Gives::Always(Type::Float), true),
    f("avg", Fed::One(&[Type::Decimal]), Gives::Other, false),
    f("min", Fed::One(SORTED), Gives::Same, false),
    f("max", Fed::One(SORTED), Gives::Same, false),
    f("median", Fed::One(NUMBERS), Gives::Other, false),
    f("var_samp", Fed::One(&[Type::Int, Type::Float]), Gives::Other, false),
    f("var_pop", Fed::One(&[Type::Int, Type::Float]), Gives::Other, false),
    f("stddev", Fed::One(&[Type::Int, Type::Float]), Gives::Other, false),
    f("stddev_pop", Fed::One(&[Type::Int, Type::Float]), Gives::Other, false),
    f("bool_and", Fed::One(&[Type::Bool]), Gives::Always(Type::Bool), false),
    f("bool_or", Fed::One(&[Type::Bool]), Gives::Always(Type::Bool), false),
    f("bit_and", Fed::One(&[Type::Int]), Gives::Always(Type::Int), false),
    f("bit_or", Fed::One(&[Type::Int]), Gives::Always(Type::Int), false),
    f("bit_xor", Fed::One(&[Type::Int]), Gives::Always(Type::Int), false),
    f("approx_distinct", Fed::One(&[Type::Int, Type::Text]), Gives::Other, false),
    f("corr", Fed::Two, Gives::Other, false),
    f("covar_samp", Fed::Two, Gives::Other, false),
    f("covar_pop", Fed::Two, Gives::Other, false),
    f("regr_slope", Fed::Two, Gives::Other, false),
    f("regr_intercept", Fed::Two, Gives::Other, false),
    f("regr_count", Fed::Two, Gives::Other, false),
    f("regr_r2", Fed::Two, Gives::Other, false),
    f("regr_avgx", Fed::Two, Gives::Other, false),
    f("regr_avgy", Fed::Two, Gives::Other, false),
    f("regr_sxx", Fed::Two, Gives::Other, false),
    f("regr_syy", Fed::Two, Gives::Other, false),
    f("regr_sxy", Fed::Two, Gives::Other, false),
    f("array_agg", Fed::Ordered, Gives::Other, true),
    f("first_value", Fed::Ordered, Gives::Same, false),
    f("last_value", Fed::Ordered, Gives::Same, false),
    f("nth_value", Fed::Ordered, Gives::Same, false),
    f("string_agg", Fed::Joined, Gives::Always(Type::Text), false),
    f("percentile_cont", Fed::Within, Gives::Other, false),
];

/// Those that no random call is made of, and why.
const NOT_HERE: &[(&str, &str)] = &[
    ("any_value", "any answer is right"),
    ("approx_median", "its sketch depends on the order of the rows, in a batch too"),
    ("approx_percentile_cont", "its sketch depends on the order of the rows, in a batch too"),
    ("approx_percentile_cont_with_weight", "its sketch depends on the order of the rows, in a batch too"),
    ("grouping", "belongs to GROUPING SETS, which a standing query refuses by name"),
];

/// Those whose answer is that of one row.
const OF_ONE_ROW: [&str; 6] = ["min", "max", "bool_and", "bool_or", "first_value", "last_value"];

/// A call of a random function, perhaps of one whose answer is that of one row, and what it gives if that can be computed
/// with.
pub fn call(rng: &mut SmallRng, columns: &[Column], of_one_row: bool) -> (String, Option<Type>) {
    let wanted = |function: &&Function| !of_one_row || OF_ONE_ROW.contains(&function.name);
    let function = FUNCTIONS.iter().filter(wanted).choose(rng).unwrap();
    let distinct = if function.distinct && rng.random_bool(0.3) { "DISTINCT " } else { "" };
    let name = function.name;
    let mut fed = Type::Float;
    let mut text = match function.fed {
        Fed::Nothing => name.to_string(),
        Fed::One(types) => {
            fed = *types.choose(rng).unwrap();
            format!("{name}({distinct}{})", expr(rng, columns, fed, 1))
        }
        Fed::Two => format!("{name}({}, {})", expr(rng, columns, fed, 1), expr(rng, columns, fed, 1)),
        Fed::Ordered => {
            fed = *SORTED.choose(rng).unwrap();
            let value = sorted(rng, columns, fed);
            let direction = ["", " DESC", " NULLS FIRST"].choose(rng).unwrap();
            // Equal values are as good as one another, so that there is one right answer.
            let second = if name == "nth_value" { ", 2" } else { "" };
            format!("{name}({distinct}{value}{second} ORDER BY {value}{direction})")
        }
        Fed::Within => format!("{name}(0.5) WITHIN GROUP (ORDER BY {})", sorted(rng, columns, Type::Float)),
        Fed::Joined => {
            let value = sorted(rng, columns, Type::Text);
            format!("{name}({value}, ',' ORDER BY {value})")
        }
    };
    if rng.random_bool(0.25) {
        text += &format!(" FILTER (WHERE {})", predicate(rng, columns, 0));
    }
    let gives = match function.gives {
        Gives::Always(of) => Some(of),
        Gives::Same => Some(fed),
        Gives::Other => None,
    };
    (text, gives)
}

/// Something to sort by: a mere number would be the place of a column.
fn sorted(rng: &mut SmallRng, columns: &[Column], of: Type) -> String {
    column(rng, columns, of).unwrap_or_else(|| format!("nullif({}, {})", of.literal(rng), of.literal(rng)))
}

#[test]
fn random_queries_call_every_aggregate_of_datafusion() {
    let called: BTreeSet<&str> = FUNCTIONS.iter().map(|f| f.name.trim_end_matches("(*)")).collect();
    let left: Vec<String> = all_default_aggregate_functions()
        .iter()
        .filter(|f| !called.contains(f.name()) && !f.aliases().iter().any(|a| called.contains(a.as_str())))
        .map(|f| f.name().to_string())
        .filter(|name| !NOT_HERE.iter().any(|(other, _)| other == name))
        .collect();
    assert!(left.is_empty(), "no random query calls {left:?}");
}
