//! SQL functions: a call is replaced by the function's expression before planning goes on. So a call costs nothing, and
//! the rewrites of a plan see the actual expressions.

use std::hash::{Hash, Hasher};

use arrow::datatypes::DataType;
use datafusion::{
    common::{
        DFSchema, ScalarValue,
        config::ConfigOptions,
        tree_node::{Transformed, TreeNode, TreeNodeRecursion},
    },
    error::Result as DfResult,
    logical_expr::{
        ColumnarValue, Expr, ExprSchemable, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, TypeSignature,
        Volatility, expr_rewriter::FunctionRewrite, lit, when,
    },
    prelude::cast,
};

use crate::{
    error::Error,
    operators::{Call, check_arguments, fitted},
    sql::statement::Argument,
};

/// Maximum nodes of an expression that replaces a call: if an argument occurs twice in a body, nested calls double it
/// at each level.
const PARTS_MAX: usize = 2_000;

/// A function and its expression.
#[derive(Debug)]
pub struct Inline {
    pub name: String,
    /// Distinguishes it from earlier functions of the same name.
    pub id: u64,
    pub aliases: Vec<String>,
    pub signature: Signature,
    pub arguments: Vec<DataType>,
    pub returns: DataType,
    pub strict: bool,
    /// Arguments are the columns `$1`, `$2`, …
    pub body: Expr,
    /// For calls that are not inlined; `None` if the body depends on the time of the query.
    pub call: Option<Call>,
}

impl PartialEq for Inline {
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id && self.name == other.name
    }
}

impl Eq for Inline {}

impl Hash for Inline {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.id.hash(state);
    }
}

/// The signature of a function with these arguments, which can be passed by name if all have names; their types are
/// checked when the return type is computed.
pub fn signature(arguments: &[Argument], volatility: Volatility) -> DfResult<Signature> {
    let taken = match arguments.len() {
        0 => TypeSignature::Nullary,
        n => TypeSignature::Any(n),
    };
    let names: Option<Vec<String>> = arguments.iter().map(|argument| argument.name.clone()).collect();
    let signature = Signature::new(taken, volatility);
    match names.filter(|names| !names.is_empty()) {
        Some(names) => signature.with_parameter_names(names),
        None => Ok(signature),
    }
}

/// The column name of an argument in a body, by its index from 0.
pub fn parameter(n: usize) -> String {
    format!("${}", n + 1)
}

/// The index, from 0, of the argument that a column refers to.
fn parameter_of(expr: &Expr) -> Option<usize> {
    let Expr::Column(column) = expr else { return None };
    let number = column.name.strip_prefix('$').filter(|_| column.relation.is_none())?;
    number.parse::<usize>().ok()?.checked_sub(1)
}

fn parts(expr: &Expr) -> usize {
    let mut count = 0;
    let _ = expr.apply(|_| {
        count += 1;
        Ok(TreeNodeRecursion::Continue)
    });
    count
}

impl Inline {
    /// The body with a call's arguments put in.
    pub fn expand(&self, arguments: &[Expr], schema: &DFSchema) -> DfResult<Expr> {
        let typed = |(argument, declared): (&Expr, &DataType)| match argument.get_type(schema) {
            Ok(of) if of == *declared => argument.clone(),
            _ => cast(argument.clone(), declared.clone()),
        };
        let arguments: Vec<Expr> = arguments.iter().zip(&self.arguments).map(typed).collect();
        let body = self.body.clone().transform_up(|expr| {
            Ok(match parameter_of(&expr).and_then(|n| arguments.get(n)) {
                Some(argument) => Transformed::yes(argument.clone()),
                None => Transformed::no(expr),
            })
        })?;
        let body = match body.data.get_type(schema) {
            Ok(of) if of == self.returns => body.data,
            _ => cast(body.data, self.returns.clone()),
        };
        let lacking = arguments.into_iter().map(Expr::is_null).reduce(Expr::or);
        match lacking.filter(|_| self.strict) {
            Some(lacking) => when(lacking, lit(ScalarValue::try_from(&self.returns)?)).otherwise(body),
            None => Ok(body),
        }
    }

    /// Whether a call is not inlined: a volatile argument would be evaluated several times, or the expression would be
    /// too large.
    fn stays(&self, arguments: &[Expr]) -> bool {
        if self.call.is_none() {
            return false;
        }
        let mut uses = vec![usize::from(self.strict); arguments.len()];
        let _ = self.body.apply(|expr| {
            if let Some(used) = parameter_of(expr).and_then(|n| uses.get_mut(n)) {
                *used += 1;
            }
            Ok(TreeNodeRecursion::Continue)
        });
        let size: usize = arguments.iter().zip(&uses).map(|(argument, uses)| uses * parts(argument)).sum();
        let changes = |(argument, uses): (&Expr, &usize)| *uses != 1 && argument.is_volatile();
        size + parts(&self.body) > PARTS_MAX || arguments.iter().zip(&uses).any(changes)
    }
}

impl ScalarUDFImpl for Inline {
    fn name(&self) -> &str {
        &self.name
    }

    fn aliases(&self) -> &[String] {
        &self.aliases
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, arguments: &[DataType]) -> DfResult<DataType> {
        check_arguments(&self.name, &self.arguments, arguments)?;
        Ok(self.returns.clone())
    }

    fn is_strict(&self) -> bool {
        self.strict
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> DfResult<ColumnarValue> {
        let Some(call) = &self.call else {
            return Err(Error::unsupported(format!("function {} in this place", self.name))
                .detail("It depends on the time of the query.")
                .into());
        };
        let rows = args.number_rows;
        let columns = args.args.iter().zip(&self.arguments);
        let columns = columns.map(|(value, declared)| fitted(&value.to_array(rows)?, declared));
        Ok(ColumnarValue::Array(call.of(columns.collect::<DfResult<_>>()?, rows)?))
    }
}

/// Replaces calls by their expressions.
#[derive(Debug)]
pub struct Inliner;

impl FunctionRewrite for Inliner {
    fn name(&self) -> &str {
        "inline_functions"
    }

    fn rewrite(&self, expr: Expr, schema: &DFSchema, _: &ConfigOptions) -> DfResult<Transformed<Expr>> {
        let Expr::ScalarFunction(call) = &expr else { return Ok(Transformed::no(expr)) };
        let Some(function) = call.func.inner().downcast_ref::<Inline>() else { return Ok(Transformed::no(expr)) };
        match function.stays(&call.args) {
            true => Ok(Transformed::no(expr)),
            false => Ok(Transformed::yes(function.expand(&call.args, schema)?)),
        }
    }
}

/// The volatility of an expression: that of its most volatile function.
pub fn volatility(expr: &Expr) -> Volatility {
    let mut least = Volatility::Immutable;
    let _ = expr.apply(|part| {
        if let Expr::ScalarFunction(call) = part {
            match call.func.signature().volatility {
                Volatility::Volatile => least = Volatility::Volatile,
                Volatility::Stable if least == Volatility::Immutable => least = Volatility::Stable,
                _ => {}
            }
        }
        Ok(TreeNodeRecursion::Continue)
    });
    least
}

/// The call of a function over the columns of a schema.
pub fn over_columns(function: &ScalarUDF, schema: &DFSchema) -> Expr {
    function.call(schema.columns().into_iter().map(Expr::Column).collect())
}
