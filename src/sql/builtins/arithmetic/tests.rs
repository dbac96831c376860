//! Columns of operands give what constants do, which the tests beside a real PostgreSQL compare; and names stay.

use arrow::array::{Array, ArrayRef, AsArray, Float64Array, Int8Array, Int32Array, Int64Array, UInt32Array};
use arrow::datatypes::{Field, FieldRef};
use datafusion::{
    config::ConfigOptions,
    logical_expr::{BinaryExpr, col},
};

use super::*;

const OPERATORS: [Operator; 5] =
    [Operator::Plus, Operator::Minus, Operator::Multiply, Operator::Divide, Operator::Modulo];

fn evaluate(function: &ScalarUDF, args: Vec<ColumnarValue>, rows: usize, of: &DataType) -> Result<ColumnarValue> {
    let field: FieldRef = Arc::new(Field::new("", of.clone(), true));
    function.invoke_with_args(ScalarFunctionArgs {
        arg_fields: args.iter().map(|_| field.clone()).collect(),
        args,
        number_rows: rows,
        return_field: field,
        config_options: Arc::new(ConfigOptions::default()),
    })
}

/// Every pair of some values, as columns and as a column beside a constant, against constants.
fn check(values: &ArrayRef) {
    let of = values.data_type();
    let constant = |n: usize| ColumnarValue::Scalar(ScalarValue::try_from_array(values, n).unwrap());
    for operator in OPERATORS.into_iter().filter(|operator| is_checked(*operator, of)) {
        let Expr::ScalarFunction(call) = binary(col("a"), operator, col("b")) else { panic!("no call") };
        for right in 0..values.len() {
            let singly = |left: usize| evaluate(&call.func, vec![constant(left), constant(right)], 1, of);
            let expected: Vec<_> = (0..values.len()).map(singly).collect();
            let indices = arrow::array::UInt64Array::from(vec![right as u64; values.len()]);
            let column = arrow::compute::take(values, &indices, None).unwrap();
            for other in [ColumnarValue::Array(column), constant(right)] {
                let all = vec![ColumnarValue::Array(values.clone()), other.clone()];
                let failed = evaluate(&call.func, all, values.len(), of).is_err();
                assert_eq!(failed, expected.iter().any(Result::is_err), "{operator} {other}");
                let good: Vec<usize> = (0..values.len()).filter(|n| expected[*n].is_ok()).collect();
                let keep = arrow::array::BooleanArray::from_iter((0..values.len()).map(|n| Some(good.contains(&n))));
                let filtered = |side: &ColumnarValue| match side {
                    ColumnarValue::Array(side) => ColumnarValue::Array(arrow::compute::filter(side, &keep).unwrap()),
                    constant => constant.clone(),
                };
                let all = [ColumnarValue::Array(values.clone()), other].iter().map(filtered).collect();
                let made = evaluate(&call.func, all, good.len(), of).unwrap().to_array(good.len()).unwrap();
                for (row, n) in good.iter().enumerate() {
                    let right = expected[*n].as_ref().unwrap().to_array(1).unwrap();
                    assert_eq!(made.slice(row, 1).as_ref(), right.as_ref(), "{operator} of row {n}");
                }
            }
        }
    }
}

#[test]
fn columns_of_edge_values_give_what_constants_do() {
    check(&(Arc::new(Int8Array::from(vec![None, Some(0), Some(1), Some(-1), Some(7), Some(127), Some(-128)])) as _));
    let values = vec![None, Some(0), Some(1), Some(-1), Some(46341), Some(i32::MAX), Some(i32::MIN)];
    check(&(Arc::new(Int32Array::from(values)) as _));
    let values = vec![None, Some(0), Some(1), Some(-1), Some(3_037_000_500), Some(i64::MAX), Some(i64::MIN)];
    check(&(Arc::new(Int64Array::from(values)) as _));
    check(&(Arc::new(UInt32Array::from(vec![None, Some(0), Some(1), Some(2), Some(u32::MAX)])) as _));
    let floats = [0.0, -0.0, 1.0, -2.5, 1e308, -1e308, 5e-324, f64::INFINITY, f64::NEG_INFINITY, f64::NAN];
    check(&(Arc::new(Float64Array::from_iter(floats.into_iter().map(Some).chain([None]))) as _));
}

#[test]
fn values_under_nulls_do_not_fail() {
    let nulls = arrow::buffer::NullBuffer::from(vec![false, true]);
    let values = Int32Array::new(vec![i32::MAX, 1].into(), Some(nulls));
    let Expr::ScalarFunction(call) = binary(col("a"), Operator::Plus, col("b")) else { panic!("no call") };
    let args = vec![ColumnarValue::Array(Arc::new(values)), ColumnarValue::Scalar(ScalarValue::Int32(Some(1)))];
    let sums = evaluate(&call.func, args, 2, &DataType::Int32).unwrap().to_array(2).unwrap();
    assert_eq!(sums.as_primitive::<Int32Type>(), &Int32Array::from(vec![None, Some(2)]));
}

#[test]
fn unsigned_results_below_zero_fail() {
    let Expr::ScalarFunction(call) = binary(col("a"), Operator::Minus, col("b")) else { panic!("no call") };
    let args = [1u8, 2].map(|value| ColumnarValue::Scalar(ScalarValue::UInt8(Some(value)))).to_vec();
    let error = crate::error::Error::from(evaluate(&call.func, args, 1, &DataType::UInt8).unwrap_err());
    assert_eq!(error.message(), "tinyint unsigned out of range");
}

/// Columns without an alias, and the uids of operators, have these names in checkpoints.
#[test]
fn column_names_of_operations_are_those_of_datafusion() {
    type Make = fn(Expr, Operator, Expr) -> Expr;
    let theirs: Make = |a, op, b| Expr::BinaryExpr(BinaryExpr::new(Box::new(a), op, Box::new(b)));
    let of = |make: Make| {
        let sum = make(col("a"), Operator::Plus, col("t.b"));
        let product = make(sum.clone(), Operator::Multiply, make(col("c"), Operator::Minus, sum.clone()));
        [
            sum.clone(),
            product.clone(),
            make(product.clone(), Operator::Modulo, sum),
            theirs(product, Operator::Lt, col("d")),
        ]
    };
    for (ours, theirs) in of(binary).iter().zip(of(theirs)) {
        assert_eq!(ours.schema_name().to_string(), theirs.schema_name().to_string());
    }
    let theirs = Expr::Negative(Box::new(col("a")));
    assert_eq!(negative(col("a")).schema_name().to_string(), theirs.schema_name().to_string());
}
