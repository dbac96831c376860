//! `get_field` that is NULL where its struct is: DataFusion's returns the child value as stored, even under a NULL. So
//! does its `unnest` of a struct, whose argument is masked here.

use std::sync::Arc;

use datafusion::{
    arrow::datatypes::{DataType, Field, FieldRef, Fields},
    common::{
        Column, DFSchema,
        config::ConfigOptions,
        tree_node::{Transformed, TreeNode},
    },
    error::Result,
    functions::core::getfield::GetFieldFunc,
    logical_expr::{
        ColumnarValue, Expr, ExpressionPlacement, LogicalPlan, LogicalPlanBuilder, ReturnFieldArgs, ScalarFunctionArgs,
        ScalarUDF, ScalarUDFImpl, Signature, Unnest, Volatility,
        expr::ScalarFunction,
        expr_rewriter::FunctionRewrite,
        simplify::{ExprSimplifyResult, SimplifyContext},
    },
    optimizer::AnalyzerRule,
};

use crate::formats::{field_of, nulls_below};

/// DataFusion's function, for one level of nesting.
#[derive(Debug, PartialEq, Eq, Hash)]
struct GetField(GetFieldFunc);

impl ScalarUDFImpl for GetField {
    fn name(&self) -> &str {
        self.0.name()
    }

    fn schema_name(&self, args: &[Expr]) -> Result<String> {
        self.0.schema_name(args)
    }

    fn signature(&self) -> &Signature {
        self.0.signature()
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        self.0.return_type(types)
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        self.0.return_field_from_args(args)
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        self.0.coerce_types(types)
    }

    fn placement(&self, args: &[ExpressionPlacement]) -> ExpressionPlacement {
        self.0.placement(args)
    }

    fn simplify(&self, args: Vec<Expr>, info: &SimplifyContext) -> Result<ExprSimplifyResult> {
        Ok(match self.0.simplify(args, info)? {
            ExprSimplifyResult::Simplified(expr) => ExprSimplifyResult::Simplified(masked(expr)?.data),
            original => original,
        })
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let [base, path @ ..] = args.args.as_slice() else { return self.0.invoke_with_args(args) };
        let mut value = base.clone();
        for name in path {
            let parent = value.to_array(args.number_rows)?;
            let step = vec![ColumnarValue::Array(parent.clone()), name.clone()];
            value = match self.0.invoke_with_args(ScalarFunctionArgs { args: step, ..args.clone() })? {
                ColumnarValue::Array(field) if matches!(parent.data_type(), DataType::Struct(_)) => {
                    ColumnarValue::Array(field_of(&parent, &field)?)
                }
                other => other,
            };
        }
        Ok(value)
    }
}

/// Replaces DataFusion's calls in an expression by ours.
fn masked(expr: Expr) -> Result<Transformed<Expr>> {
    expr.transform_up(|expr| match expr {
        Expr::ScalarFunction(call) if call.func.inner().is::<GetFieldFunc>() => {
            let function = Arc::new(ScalarUDF::from(GetField(GetFieldFunc::new())));
            Ok(Transformed::yes(Expr::ScalarFunction(ScalarFunction::new_udf(function, call.args))))
        }
        expr => Ok(Transformed::no(expr)),
    })
}

/// Replaces DataFusion's `get_field` in all plans by ours.
#[derive(Debug)]
pub struct FieldsOfNull;

impl FunctionRewrite for FieldsOfNull {
    fn name(&self) -> &str {
        "fields_of_null"
    }

    fn rewrite(&self, expr: Expr, _: &DFSchema, _: &ConfigOptions) -> Result<Transformed<Expr>> {
        masked(expr)
    }
}

/// A struct whose fields are nullable, and NULL where it is NULL.
#[derive(Debug, PartialEq, Eq, Hash)]
struct NullsBelow {
    signature: Signature,
}

impl NullsBelow {
    fn call(column: &Column) -> Expr {
        let function = NullsBelow { signature: Signature::any(1, Volatility::Immutable) };
        Arc::new(ScalarUDF::from(function)).call(vec![Expr::Column(column.clone())])
    }
}

/// The type of a struct with all fields nullable.
fn loose(data_type: &DataType) -> DataType {
    match data_type {
        DataType::Struct(fields) => {
            let field = |field: &FieldRef| field.as_ref().clone().with_nullable(true);
            DataType::Struct(fields.iter().map(field).collect::<Fields>())
        }
        other => other.clone(),
    }
}

impl ScalarUDFImpl for NullsBelow {
    fn name(&self) -> &str {
        "nulls_below"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        Ok(types.first().map_or(DataType::Null, loose))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let [value] = args.args.as_slice() else {
            return Ok(ColumnarValue::Array(Arc::new(arrow::array::NullArray::new(0))));
        };
        let array = nulls_below(&value.to_array(args.number_rows)?)?;
        Ok(ColumnarValue::Array(arrow::compute::cast(&array, &loose(array.data_type()))?))
    }
}

/// Masks the structs that an `unnest` expands.
#[derive(Debug)]
pub struct UnnestOfNull;

impl AnalyzerRule for UnnestOfNull {
    fn name(&self) -> &str {
        "unnest_of_null"
    }

    fn analyze(&self, plan: LogicalPlan, _: &ConfigOptions) -> Result<LogicalPlan> {
        let masked = plan.transform_up_with_subqueries(|plan| match plan {
            LogicalPlan::Unnest(unnest) => unnest_masked(unnest),
            plan => Ok(Transformed::no(plan)),
        });
        Ok(masked?.data)
    }
}

fn unnest_masked(unnest: Unnest) -> Result<Transformed<LogicalPlan>> {
    let schema = unnest.input.schema().clone();
    let strict = |n: &usize| {
        let field: &Field = schema.field(*n);
        matches!(field.data_type(), DataType::Struct(_)) && !already(&unnest.input, *n)
    };
    if !unnest.struct_type_columns.iter().any(strict) {
        return Ok(Transformed::no(LogicalPlan::Unnest(unnest)));
    }
    let column = |(n, (qualifier, field)): (usize, (Option<&_>, &FieldRef))| {
        let column = Column::new(qualifier.cloned(), field.name());
        match unnest.struct_type_columns.contains(&n) {
            true => NullsBelow::call(&column).alias_qualified(qualifier.cloned(), field.name()),
            false => Expr::Column(column),
        }
    };
    let columns: Vec<_> = schema.iter().enumerate().map(column).collect();
    let input = LogicalPlanBuilder::from(unnest.input.clone()).project(columns)?.build()?;
    let plan = Unnest::try_new(Arc::new(input), unnest.exec_columns, unnest.options)?;
    Ok(Transformed::yes(LogicalPlan::Unnest(plan)))
}

/// Whether a column is masked already: the analyzer may run twice.
fn already(input: &LogicalPlan, column: usize) -> bool {
    let LogicalPlan::Projection(projection) = input else { return false };
    let Some(Expr::Alias(alias)) = projection.expr.get(column) else { return false };
    matches!(alias.expr.as_ref(), Expr::ScalarFunction(call) if call.func.inner().is::<NullsBelow>())
}

#[cfg(test)]
mod tests {
    use datafusion::{
        arrow::{
            array::{
                Array, ArrayRef, AsArray, BooleanArray, Int64Array, ListArray, RecordBatch, StringArray, StructArray,
            },
            buffer::{NullBuffer, OffsetBuffer},
            util::pretty::pretty_format_batches,
        },
        catalog::{CatalogProvider, MemoryCatalogProvider, MemorySchemaProvider},
        prelude::SessionContext,
    };

    use super::*;
    use crate::sql::{
        functions::Functions,
        plan::{DATABASE, Planner},
    };

    /// Structs as a decoder may return them: with values under a NULL.
    fn structs() -> RecordBatch {
        let leaves: Vec<(&str, ArrayRef)> = vec![
            ("n", Arc::new(Int64Array::from(vec![1, 0, 3, 0]))),
            ("t", Arc::new(StringArray::from(vec!["a", "", "c", ""]))),
            ("b", Arc::new(BooleanArray::from(vec![true, false, true, false]))),
        ];
        let fields: Fields = leaves.iter().map(|(name, a)| Field::new(*name, a.data_type().clone(), false)).collect();
        let leaves: Vec<_> = leaves.into_iter().map(|(_, array)| array).collect();
        let nulls = |valid: [bool; 4]| Some(NullBuffer::from(valid.to_vec()));
        let s: ArrayRef = Arc::new(StructArray::new(fields.clone(), leaves.clone(), nulls([true, false, true, false])));
        let whole: ArrayRef = Arc::new(StructArray::new(fields, leaves, None));
        let inner = Fields::from(vec![Field::new("s", whole.data_type().clone(), false)]);
        let o: ArrayRef = Arc::new(StructArray::new(inner, vec![whole], nulls([true, false, true, false])));
        let item = Arc::new(Field::new("item", s.data_type().clone(), true));
        let l: ArrayRef = Arc::new(ListArray::new(item, OffsetBuffer::from_lengths([1; 4]), s.clone(), None));
        let id: ArrayRef = Arc::new(Int64Array::from_iter_values(1..=4));
        RecordBatch::try_from_iter_with_nullable([("id", id, false), ("s", s, true), ("o", o, true), ("l", l, true)])
            .unwrap()
    }

    async fn answer(query: &str) -> String {
        let planner = Planner::new(2, Arc::default(), usize::MAX);
        let context = SessionContext::new_with_state(planner.with(&Functions::default()));
        let catalog = MemoryCatalogProvider::new();
        catalog.register_schema("public", Arc::new(MemorySchemaProvider::new())).unwrap();
        context.register_catalog(DATABASE, Arc::new(catalog));
        context.register_batch("t", structs()).unwrap();
        let batches = context.sql(query).await.unwrap().collect().await.unwrap();
        let shown = pretty_format_batches(&batches).unwrap().to_string();
        let lines = shown.lines().skip(3).filter(|line| !line.starts_with('+'));
        let row = |line: &str| line.trim_matches('|').split('|').map(str::trim).collect::<Vec<_>>().join("|");
        lines.map(row).collect::<Vec<_>>().join("\n")
    }

    #[tokio::test]
    async fn fields_of_a_null_struct_are_null_in_every_notation() {
        for field in [
            "s -> 'n'",
            "s['n']",
            "get_field(s, 'n')",
            "o -> 's' -> 'n'",
            "get_field(o, 's', 'n')",
            "(o -> 's')['n']",
            "l[1] -> 'n'",
            "(l -> 0) -> 'n'",
            "l[-1]['n']",
        ] {
            let got = answer(&format!("SELECT {field} AS n, id FROM t ORDER BY id")).await;
            assert_eq!(got, "1|1\n|2\n3|3\n|4", "{field}");
            let got = answer(&format!("SELECT count({field}), avg({field}), min({field}) FROM t")).await;
            assert_eq!(got, "2|2.0|1", "{field}");
            assert_eq!(answer(&format!("SELECT count(*) FROM t WHERE ({field}) = 0")).await, "0", "{field}");
            assert_eq!(answer(&format!("SELECT count(*) FROM t WHERE ({field}) IS NULL")).await, "2", "{field}");
        }
        assert_eq!(answer("SELECT s ->> 't', o -> 's' ->> 'b' FROM t WHERE id < 3 ORDER BY id").await, "a|true\n|");
        let got = answer("SELECT coalesce(s -> 't', 'none') FROM t GROUP BY 1 ORDER BY 1").await;
        assert_eq!(got, "a\nc\nnone");
    }

    #[tokio::test]
    async fn unnest_of_a_null_struct_is_nulls() {
        assert_eq!(answer("SELECT unnest(s), id FROM t ORDER BY id").await, "1|a|true|1\n|||2\n3|c|true|3\n|||4");
    }

    #[tokio::test]
    async fn field_of_a_named_struct_is_its_argument() {
        assert_eq!(answer("SELECT named_struct('a', id, 'b', s)['b']['n'] FROM t ORDER BY id").await, "1\n\n3\n");
        let batch = structs();
        assert!(batch.column(1).as_struct().column(0).is_valid(1), "the test needs values below a NULL");
    }
}
