//! Limits the size of function results: it is computed, and reserved, before the function is called.
//!
//! A few bytes of a statement can ask for gigabytes: `repeat('x', 1000000000)`, `array_repeat(1, 2000000000)`, nested
//! `a || a`. For each function whose result may be larger than its arguments, [`Growth`] gives its size. A value over
//! the limit is refused (54000), and so is a batch of values that the memory pool has no room for (53200). Small
//! results are neither measured exactly nor reserved.

mod growth;
mod textcat;

use std::{
    fmt,
    hash::{Hash, Hasher},
    sync::Arc,
};

use arrow::{array::Array, compute::concat, datatypes::DataType};
use datafusion::{
    common::{
        DFSchema,
        config::ConfigOptions,
        tree_node::{Transformed, TransformedResult, TreeNode},
    },
    error::Result as DfResult,
    execution::memory_pool::{MemoryConsumer, MemoryPool, MemoryReservation},
    logical_expr::{
        BinaryExpr, ColumnarValue, Documentation, Expr, ExprSchemable, Operator, ReturnFieldArgs, ScalarFunctionArgs,
        ScalarUDF, ScalarUDFImpl, Signature,
        expr::ScalarFunction,
        expr_rewriter::FunctionRewrite,
        simplify::{ExprSimplifyResult, SimplifyContext},
    },
};

use self::{
    growth::{Growth, ResultSizes},
    textcat::TextCat,
};
use crate::{
    changes::bytes_of_array,
    error::{Error, ErrorKind, Result},
};

/// Results of up to this many bytes in all are not reserved.
const SMALL_BYTES: usize = 1 << 20;

/// Results whose size can only be estimated are computed in parts of about this many bytes, each reserved afterwards.
const PART_BYTES: usize = 16 << 20;

/// Arrow's offsets have 32 bits.
const BATCH_BYTES_MAX: usize = i32::MAX as usize;

/// The maximum size of a value, and the memory pool for results.
pub struct ResultLimit {
    pool: Arc<dyn MemoryPool>,
    value_bytes_max: usize,
}

impl ResultLimit {
    pub fn new(pool: Arc<dyn MemoryPool>, value_bytes_max: usize) -> Arc<Self> {
        Arc::new(ResultLimit { pool, value_bytes_max })
    }

    fn check(&self, function: &str, bytes: usize) -> Result<()> {
        if bytes <= self.value_bytes_max {
            return Ok(());
        }
        let message = format!("requested length too large: a value of {function}() would hold {bytes} bytes");
        Err(Error::new(ErrorKind::LimitExceeded, message)
            .detail(format!("One value may hold {} bytes.", self.value_bytes_max))
            .hint("Ask for less, or raise query.value_limit."))
    }

    /// Reserves memory until the reservation is dropped.
    fn ask(&self, function: &str, bytes: usize) -> Result<MemoryReservation> {
        if bytes > BATCH_BYTES_MAX {
            let message = format!("requested length too large: the values of {function}() would hold {bytes} bytes");
            return Err(Error::new(ErrorKind::LimitExceeded, message)
                .detail(format!("The values of one batch of rows may hold {BATCH_BYTES_MAX} bytes together."))
                .hint("Ask for less in each row."));
        }
        let room = MemoryConsumer::new("the result of a function").register(&self.pool);
        room.try_grow(bytes).map_err(|_| no_room(function, bytes))?;
        Ok(room)
    }
}

fn no_room(function: &str, bytes: usize) -> Error {
    Error::new(ErrorKind::OutOfMemory, "out of memory")
        .detail(format!("The values of {function}() would hold {bytes} bytes, for which there is no room."))
        .hint("Ask for less, or raise query.memory_limit.")
}

impl fmt::Debug for ResultLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResultLimit").field("value_bytes_max", &self.value_bytes_max).finish_non_exhaustive()
    }
}

/// Wraps each function that needs the check, also those that DataFusion's planner and optimizer insert. `||` of texts
/// becomes Postgres' function for it.
#[derive(Debug)]
pub struct CheckSizes(pub Arc<ResultLimit>);

impl FunctionRewrite for CheckSizes {
    fn name(&self) -> &str {
        "check_sizes"
    }

    fn rewrite(&self, expr: Expr, schema: &DFSchema, _: &ConfigOptions) -> DfResult<Transformed<Expr>> {
        Ok(match expr {
            Expr::BinaryExpr(BinaryExpr { left, op: Operator::StringConcat, right })
                if textcat::joins(&left.get_type(schema)?, &right.get_type(schema)?) =>
            {
                let function = Arc::new(ScalarUDF::from(TextCat::default()));
                Transformed::yes(checked(ScalarFunction { func: function, args: vec![*left, *right] }, &self.0))
            }
            Expr::ScalarFunction(call) if needs_check(&call.func) => Transformed::yes(checked(call, &self.0)),
            expr => Transformed::no(expr),
        })
    }
}

fn needs_check(function: &ScalarUDF) -> bool {
    !function.inner().is::<SizeChecked>() && Growth::of(function.name()).is_some()
}

/// The function that is checked, or the function itself.
pub fn unchecked(function: &Arc<ScalarUDF>) -> &Arc<ScalarUDF> {
    function.inner().downcast_ref::<SizeChecked>().map_or(function, |checked| &checked.inner)
}

/// Another function in the place of one that may be checked, and is so as well.
pub fn rechecked(function: &ScalarUDF, other: &Arc<ScalarUDF>) -> Arc<ScalarUDF> {
    match function.inner().downcast_ref::<SizeChecked>() {
        Some(SizeChecked { growth, limit, .. }) => {
            let checked = SizeChecked { inner: other.clone(), growth: *growth, limit: limit.clone() };
            Arc::new(ScalarUDF::from(checked))
        }
        None => other.clone(),
    }
}

fn checked(call: ScalarFunction, limit: &Arc<ResultLimit>) -> Expr {
    let function = match Growth::of(call.func.name()) {
        Some(growth) => Arc::new(ScalarUDF::from(SizeChecked { inner: call.func, growth, limit: limit.clone() })),
        None => call.func,
    };
    Expr::ScalarFunction(ScalarFunction { func: function, args: call.args })
}

/// A function whose result size is checked before it is called.
#[derive(Debug)]
struct SizeChecked {
    inner: Arc<ScalarUDF>,
    growth: Growth,
    limit: Arc<ResultLimit>,
}

impl PartialEq for SizeChecked {
    fn eq(&self, other: &Self) -> bool {
        self.inner == other.inner
    }
}

impl Eq for SizeChecked {}

impl Hash for SizeChecked {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.inner.hash(state);
    }
}

impl SizeChecked {
    fn checked(&self, args: ScalarFunctionArgs) -> DfResult<ColumnarValue> {
        let constant = args.args.iter().all(|arg| matches!(arg, ColumnarValue::Scalar(_)));
        let rows = if constant { 1 } else { args.number_rows };
        let name = self.inner.name();
        let bound = self.growth.at_most(&args.args, rows)?;
        if bound <= SMALL_BYTES {
            return self.inner.invoke_with_args(args);
        }
        if bound <= PART_BYTES.min(self.limit.value_bytes_max)
            && let Ok(_room) = self.limit.ask(name, bound)
        {
            return self.inner.invoke_with_args(args);
        }
        let sizes = ResultSizes::of(self.growth, &args.args)?;
        let mut total = 0_usize;
        for row in 0..rows {
            let bytes = sizes.row(row);
            self.limit.check(name, bytes)?;
            total = total.saturating_add(bytes);
        }
        if total > PART_BYTES && rows > 1 && !self.growth.is_exact() {
            return self.in_parts(&args, &sizes);
        }
        let _room = self.limit.ask(name, total)?;
        self.inner.invoke_with_args(args)
    }

    /// Computes the result part by part.
    fn in_parts(&self, args: &ScalarFunctionArgs, sizes: &ResultSizes) -> DfResult<ColumnarValue> {
        let name = self.inner.name();
        let room = self.limit.ask(name, 0)?;
        let mut parts = Vec::new();
        let (mut start, mut bytes) = (0, 0_usize);
        for row in 0..args.number_rows {
            bytes = bytes.saturating_add(sizes.row(row));
            if bytes < PART_BYTES && row + 1 < args.number_rows {
                continue;
            }
            let _part = self.limit.ask(name, bytes)?;
            let array = self.inner.invoke_with_args(part(args, start, row + 1 - start))?.into_array(row + 1 - start)?;
            // Twice: in the part, and in the concatenated result.
            let held = 2 * bytes_of_array(array.as_ref());
            room.try_grow(held).map_err(|_| no_room(name, room.size() + held))?;
            parts.push(array);
            (start, bytes) = (row + 1, 0);
        }
        let parts: Vec<&dyn Array> = parts.iter().map(AsRef::as_ref).collect();
        Ok(ColumnarValue::Array(concat(&parts)?))
    }
}

/// A range of rows of a call's arguments.
fn part(args: &ScalarFunctionArgs, start: usize, rows: usize) -> ScalarFunctionArgs {
    let of = |arg: &ColumnarValue| match arg {
        ColumnarValue::Array(array) => ColumnarValue::Array(array.slice(start, rows)),
        constant => constant.clone(),
    };
    ScalarFunctionArgs { args: args.args.iter().map(of).collect(), number_rows: rows, ..args.clone() }
}

impl ScalarUDFImpl for SizeChecked {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn aliases(&self) -> &[String] {
        self.inner.aliases()
    }

    fn display_name(&self, args: &[Expr]) -> DfResult<String> {
        #[expect(deprecated)]
        self.inner.display_name(args)
    }

    fn schema_name(&self, args: &[Expr]) -> DfResult<String> {
        self.inner.schema_name(args)
    }

    fn signature(&self) -> &Signature {
        self.inner.signature()
    }

    fn return_type(&self, types: &[DataType]) -> DfResult<DataType> {
        self.inner.return_type(types)
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> DfResult<arrow::datatypes::FieldRef> {
        self.inner.return_field_from_args(args)
    }

    fn is_strict(&self) -> bool {
        self.inner.is_strict()
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> DfResult<ColumnarValue> {
        self.checked(args)
    }

    fn simplify(&self, args: Vec<Expr>, context: &SimplifyContext) -> DfResult<ExprSimplifyResult> {
        Ok(match self.inner.simplify(args, context)? {
            // The simplified call may be of another function.
            ExprSimplifyResult::Simplified(expr) => ExprSimplifyResult::Simplified(
                expr.transform(|expr| match expr {
                    Expr::ScalarFunction(call) if needs_check(&call.func) => {
                        Ok(Transformed::yes(checked(call, &self.limit)))
                    }
                    expr => Ok(Transformed::no(expr)),
                })
                .data()?,
            ),
            original => original,
        })
    }

    fn conditional_arguments<'a>(&self, args: &'a [Expr]) -> Option<(Vec<&'a Expr>, Vec<&'a Expr>)> {
        self.inner.conditional_arguments(args)
    }

    fn short_circuits(&self) -> bool {
        self.inner.short_circuits()
    }

    fn coerce_types(&self, types: &[DataType]) -> DfResult<Vec<DataType>> {
        self.inner.coerce_types(types)
    }

    fn documentation(&self) -> Option<&Documentation> {
        self.inner.documentation()
    }
}

#[cfg(test)]
mod tests {
    use datafusion::{
        execution::{FunctionRegistry, SessionStateBuilder, memory_pool::GreedyMemoryPool},
        prelude::SessionContext,
    };

    use super::*;

    const VALUE_MAX: usize = 4 << 20;

    fn context() -> SessionContext {
        let pool: Arc<dyn MemoryPool> = Arc::new(GreedyMemoryPool::new(64 << 20));
        let mut state = SessionStateBuilder::new().with_default_features().build();
        let check = CheckSizes(ResultLimit::new(pool, VALUE_MAX));
        FunctionRegistry::register_function_rewrite(&mut state, Arc::new(check)).unwrap();
        SessionContext::new_with_state(state)
    }

    async fn run(sql: &str) -> Result<usize> {
        let batches = context().sql(sql).await?.collect().await?;
        Ok(batches.iter().map(|batch| batch.num_rows()).sum())
    }

    /// Each DataFusion function whose result can exceed its arguments, with constants and with columns.
    #[tokio::test]
    async fn sized_function_result_beyond_the_limit_is_refused_before_evaluation() {
        let large = [
            "repeat('x', {n})",
            "repeat(repeat('x', 1000000), {n})",
            "lpad('x', {n})",
            "rpad('x', {n}, 'ab')",
            "array_repeat(1, {n})",
            "array_repeat('x', {n})",
            "array_repeat([1, 2], {n})",
            "range(0, {n})",
            "generate_series(1, {n})",
            "generate_series(1, {n}, 2)",
            "generate_series({n}, 1, -1)",
            "generate_series(timestamp '1970-01-01', timestamp '2200-01-01', interval '1 second')",
            "range(date '0001-01-01', date '9999-01-01', interval '1 day')",
            "array_resize([1], {n}, 5)",
            "replace(repeat('x', 1000000), 'x', repeat('y', 1000))",
            "regexp_replace(repeat('x', 1000000), 'x', repeat('y', 1000), 'g')",
            "concat(repeat('x', 3000000), repeat('x', 3000000))",
            "concat_ws(repeat(',', 3000000), 'a', 'b', 'c')",
            "repeat('x', 3000000) || repeat('x', 3000000)",
            "repeat('x', 3000000) || 1 || repeat('x', 3000000)",
            "array_concat(range(0, 300000), range(0, 300000))",
            "range(0, 300000) || range(0, 300000)",
            "[repeat('x', 3000000), repeat('x', 3000000)]",
            "array_append([repeat('x', 3000000)], repeat('x', 3000000))",
            "array_prepend(repeat('x', 3000000), [repeat('x', 3000000)])",
            "array_replace_all(array_repeat(1::text, 10000), '1', repeat('x', 3000000))",
            "array_to_string(array_repeat('x', 10000), repeat('x', 3000000))",
            "encode(repeat('x', 3000000)::bytea, 'hex')",
            "overlay(repeat('x', 3000000) placing repeat('x', 3000000) from 2)",
            "string_to_array(repeat('x,', 2000000), ',')",
        ];
        for call in large {
            for (n, from) in [("2000000000", ""), ("value + 1999999999", " FROM generate_series(1, 3)")] {
                if from.is_empty() || call.contains("{n}") {
                    let sql = format!("SELECT length(({})::text){from}", call.replace("{n}", n));
                    let error = run(&sql).await.expect_err(&sql);
                    assert!(["54000", "53200"].contains(&error.kind().sqlstate()), "{sql}: {error}");
                }
            }
        }
    }

    #[tokio::test]
    async fn sized_function_result_within_the_limit_is_computed() {
        for (sql, rows) in [
            ("SELECT repeat('x', 3000000), lpad('x', 1000000), repeat(NULL, 2000000000), repeat('x', -5)", 1),
            ("SELECT array_repeat(1, 100000), generate_series(1, 100000), 'a' || 1 || NULL, ARRAY[1] || 2", 1),
            ("SELECT regexp_replace(repeat('x', 30000), '(x)', '\\1\\1', 'g') FROM generate_series(1, 2000)", 2000),
            ("SELECT repeat('x', value % 1000) || 'y' FROM generate_series(1, 20000)", 20000),
            ("SELECT concat('a', 'b', value), generate_series(5, 1), range(1, 10, 3) FROM generate_series(1, 9)", 9),
        ] {
            assert_eq!(run(sql).await.unwrap_or_else(|error| panic!("{sql}: {error}")), rows, "{sql}");
        }
    }

    /// The sum over a batch counts, even if no single value is large.
    #[tokio::test]
    async fn sized_function_batch_beyond_the_memory_pool_is_refused() {
        for call in ["repeat('x', 100000)", "repeat('x', value * 0 + 100000)"] {
            let sql = format!("SELECT count(*) FROM generate_series(1, 8192) WHERE length({call} || value) > 5");
            let error = run(&sql).await.expect_err(&sql);
            assert_eq!(error.kind().sqlstate(), "53200", "{error}");
        }
    }

    /// Fails when an upgrade adds a function, or we do: does its result exceed its arguments?
    #[test]
    fn growth_of_every_function_is_declared() {
        let state = SessionStateBuilder::new().with_default_features().build();
        let all = state.scalar_functions().values().cloned().chain(crate::sql::builtins::functions());
        let undecided: Vec<String> = all
            .map(|function| function.name().to_string())
            .filter(|name| Growth::of(name).is_none() && !growth::does_not_grow(name))
            .collect();
        assert!(undecided.is_empty(), "{undecided:?}");
    }
}
