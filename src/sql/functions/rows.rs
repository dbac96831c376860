//! A placeholder for `count(t.*)`, of which DataFusion's planner would make `count(*)` at once.

use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::{
    common::{ScalarValue, TableReference},
    error::Result as DfResult,
    logical_expr::{
        ColumnarValue, Expr, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
        expr::ScalarFunction,
        lit,
        planner::{ExprPlanner, PlannerResult, RawAggregateExpr, RawWindowExpr},
    },
};

use crate::error::Error;

/// Refers to the rows of the relation that its argument names.
#[derive(Debug, PartialEq, Eq, Hash)]
struct RowsOf {
    signature: Signature,
}

impl ScalarUDFImpl for RowsOf {
    fn name(&self) -> &str {
        "rows_of"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> DfResult<DataType> {
        Ok(DataType::Boolean)
    }

    fn invoke_with_args(&self, _: ScalarFunctionArgs) -> DfResult<ColumnarValue> {
        Err(Error::internal("the rows of a relation were left in a plan").into())
    }
}

/// The name of the relation that the placeholder refers to, if the expression is one.
pub fn relation_of_rows(expr: &Expr) -> Option<&str> {
    match expr {
        Expr::ScalarFunction(call) if call.func.name() == "rows_of" => match call.args.first()? {
            Expr::Literal(ScalarValue::Utf8(Some(name)), _) => Some(name),
            _ => None,
        },
        _ => None,
    }
}

/// Plans `count(t.*)`. Must be registered before DataFusion's planner of aggregates.
#[derive(Debug)]
pub struct RowCounts;

impl RowCounts {
    fn counted(&self, function: &str, args: &mut [Expr], distinct: bool) -> DfResult<()> {
        let [arg] = args else { return Ok(()) };
        let Some(relation) = wildcard(arg).filter(|_| function == "count") else { return Ok(()) };
        if distinct {
            return Err(Error::unsupported(format!("count(DISTINCT {}.*)", relation.table()))
                .hint("Count the rows of a subquery: SELECT count(*) FROM (SELECT DISTINCT * FROM t) AS t.")
                .into());
        }
        let function = ScalarUDF::from(RowsOf { signature: Signature::any(1, Volatility::Immutable) });
        let call = ScalarFunction::new_udf(Arc::new(function), vec![lit(relation.table())]);
        *arg = Expr::ScalarFunction(call);
        Ok(())
    }
}

#[expect(deprecated)]
fn wildcard(expr: &Expr) -> Option<&TableReference> {
    match expr {
        Expr::Wildcard { qualifier, .. } => qualifier.as_ref(),
        _ => None,
    }
}

impl ExprPlanner for RowCounts {
    fn plan_aggregate(&self, mut raw: RawAggregateExpr) -> DfResult<PlannerResult<RawAggregateExpr>> {
        self.counted(raw.func.name(), &mut raw.args, raw.distinct)?;
        Ok(PlannerResult::Original(raw))
    }

    fn plan_window(&self, mut raw: RawWindowExpr) -> DfResult<PlannerResult<RawWindowExpr>> {
        self.counted(raw.func_def.name(), &mut raw.args, raw.distinct)?;
        Ok(PlannerResult::Original(raw))
    }
}
