//! Expressions as calls of functions: `s IS NFC NORMALIZED`, `normalize(s, NFC)` with its form as a text, and operators
//! before a number, whose functions are named by their signs.

use datafusion::sql::sqlparser::ast::{
    Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments, NormalizationForm, UnaryOperator, Value,
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
