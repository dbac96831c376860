//! Expressions as calls of functions: `s IS NFC NORMALIZED`, `normalize(s, NFC)` with its form as a text, LIKE and SIMILAR TO with an escape,
//! and operators before a number, whose functions are named by their signs.

use datafusion::sql::sqlparser::ast::{
    BinaryOperator, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments, NormalizationForm, UnaryOperator,
    Value, ValueWithSpan,
};

use crate::sql::quantified::calls;

const FORMS: [&str; 4] = ["NFC", "NFD", "NFKC", "NFKD"];

/// Rewrites one such expression.
pub(super) fn as_calls(expr: &mut Expr) {
    match expr {
        Expr::IsNormalized { expr: text, form, negated } => {
            let form = form.unwrap_or(NormalizationForm::NFC).to_string();
            let call = calls("is_normalized", vec![text.as_ref().clone(), quoted(&form)]);
            *expr = match *negated {
                true => Expr::UnaryOp { op: UnaryOperator::Not, expr: Box::new(call) },
                false => call,
            };
        }
        Expr::Like { negated, expr: text, pattern, escape_char: Some(escape), any: false } => {
            let op = if *negated { BinaryOperator::PGNotLikeMatch } else { BinaryOperator::PGLikeMatch };
            *expr = escaped(text, op, "like_escape", pattern, Some(escape));
        }
        Expr::ILike { negated, expr: text, pattern, escape_char: Some(escape), any: false } => {
            let op = if *negated { BinaryOperator::PGNotILikeMatch } else { BinaryOperator::PGILikeMatch };
            *expr = escaped(text, op, "like_escape", pattern, Some(escape));
        }
        Expr::SimilarTo { negated, expr: text, pattern, escape_char } => {
            let op = if *negated { BinaryOperator::PGRegexNotMatch } else { BinaryOperator::PGRegexMatch };
            *expr = escaped(text, op, "similar_to_escape", pattern, escape_char.as_ref());
        }
        // `substr` has fewer signatures than `substring`.
        Expr::Substring { expr: text, substring_from: Some(from), substring_for, shorthand: true, .. } => {
            let mut args = vec![text.as_ref().clone(), from.as_ref().clone()];
            args.extend(substring_for.as_ref().map(|count| count.as_ref().clone()));
            *expr = calls("substr", args);
        }
        Expr::UnaryOp { op, expr: of } => {
            let sign = match op {
                UnaryOperator::PGAbs => "@",
                UnaryOperator::PGSquareRoot => "|/",
                UnaryOperator::PGCubeRoot => "||/",
                UnaryOperator::BitwiseNot => "~",
                _ => return,
            };
            *expr = calls(sign, vec![of.as_ref().clone()]);
        }
        Expr::Function(function) if function.name.to_string().eq_ignore_ascii_case("normalize") => named(function),
        _ => {}
    }
}

/// A comparison with the pattern that a function makes of one with an escape.
fn escaped(text: &Expr, op: BinaryOperator, of: &str, pattern: &Expr, escape: Option<&ValueWithSpan>) -> Expr {
    let mut args = vec![pattern.clone()];
    args.extend(escape.map(|escape| Expr::Value(escape.clone())));
    let left = Box::new(Expr::Nested(Box::new(text.clone())));
    Expr::Nested(Box::new(Expr::BinaryOp { left, op, right: Box::new(calls(of, args)) }))
}

fn named(function: &mut Function) {
    let FunctionArguments::List(list) = &mut function.args else { return };
    if let [_, FunctionArg::Unnamed(FunctionArgExpr::Expr(form))] = list.args.as_mut_slice()
        && let Expr::Identifier(word) = form
        && word.quote_style.is_none()
        && let Some(name) = FORMS.iter().find(|name| word.value.eq_ignore_ascii_case(name))
    {
        *form = quoted(name);
    }
}

fn quoted(text: &str) -> Expr {
    Expr::value(Value::SingleQuotedString(text.to_string()))
}
