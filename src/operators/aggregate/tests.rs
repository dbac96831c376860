//! What is stored of a group whose functions fold: always its state, never its rows.

use arrow::array::{AsArray, ListArray};
use datafusion::{
    common::ScalarValue,
    logical_expr::{AggregateUDF, Operator as Sign},
    physical_expr::{
        aggregate::AggregateExprBuilder,
        expressions::{binary, col},
    },
};

use super::*;
use crate::{
    operators::{Call, Fold, FoldSpec},
    time::Epoch,
};

fn input() -> SchemaRef {
    Arc::new(Schema::new(vec![Field::new("k", DataType::Int64, true), Field::new("x", DataType::Int64, true)]))
}

/// `state * 10 + x`: another answer for each order. With `combine` states are added.
fn digits(initial: Option<i64>, strict: bool, combine: bool) -> AggregateCall {
    let both = [DataType::Int64, DataType::Int64];
    let schema = Call::schema(&both);
    let (state, x) = (col("$1", &schema).unwrap(), col("$2", &schema).unwrap());
    let ten = datafusion::physical_expr::expressions::lit(10i64);
    let shifted = binary(state.clone(), Sign::Multiply, ten, &schema).unwrap();
    let step = Call::new(binary(shifted, Sign::Plus, x.clone(), &schema).unwrap(), schema.clone(), strict);
    let sum = Call::new(binary(state, Sign::Plus, x, &schema).unwrap(), schema, true);
    let spec = FoldSpec {
        name: "digits".to_string(),
        id: 1,
        arguments: vec![DataType::Int64],
        state: DataType::Int64,
        initial: initial.map(ScalarValue::from),
        step,
        finish: None,
        combine: combine.then_some(sum),
        output: DataType::Int64,
    };
    let fold = Arc::new(AggregateUDF::from(Fold::new(spec, Vec::new())));
    let argument = col("x", &input()).unwrap();
    let aggregate = AggregateExprBuilder::new(fold, vec![argument]).schema(input()).alias("digits").build().unwrap();
    AggregateCall { aggregate: Arc::new(aggregate), filter: None, order_by: Vec::new() }
}

fn operator(function: AggregateCall) -> Aggregate {
    let key = Field::new("k", DataType::Int64, true);
    let output = Schema::new(vec![key.clone(), Field::new("digits", DataType::Int64, true)]);
    let grouping = Grouping {
        timed: Vec::new(),
        keys: vec![col("k", &input()).unwrap()],
        key_fields: Fields::from(vec![key]),
        close: None,
        derived: false,
        emission: Emission::OnUpdate,
        output: Arc::new(output),
    };
    Aggregate::new(grouping, vec![function].into(), None, &input()).unwrap()
}

/// One epoch over rows in several partitions.
fn epoch(operator: &mut Aggregate, number: u64, partitions: &[&[(i64, Option<i64>)]]) {
    let tick = Tick { epoch: Epoch(number), watermark: None, before: None, now: 0 };
    let collected = partitions.iter().map(|rows| {
        let keys: Int64Array = rows.iter().map(|(key, _)| Some(*key)).collect();
        let values: Int64Array = rows.iter().map(|(_, value)| *value).collect();
        let batch = RecordBatch::try_new(input(), vec![Arc::new(keys), Arc::new(values)]).unwrap();
        let mut collector = operator.collector(0, &tick).unwrap();
        let rows = collector.evaluate(batch).unwrap();
        collector.push(rows).unwrap();
        collector
    });
    let collected = collected.collect();
    operator.step(collected, &tick).unwrap();
}

/// The stored states: by key the phase, the value, and whether rows wait.
fn stored(operator: &mut Aggregate) -> Vec<String> {
    let none: ArrayRef = Arc::new(Int64Array::from(vec![0]));
    let (moment, _) = operator.groups.split(&[none]).unwrap().remove(0);
    let (keys, state) = operator.groups.window(moment).unwrap().all().unwrap();
    let tell = |row: usize| {
        let mut text = format!("{}", keys[0].as_primitive::<Int64Type>().value(row));
        for column in state.columns() {
            text += match column.as_any().downcast_ref::<ListArray>() {
                Some(rows) => {
                    if rows.is_null(row) {
                        " folded"
                    } else {
                        " waiting"
                    }
                }
                None => "",
            };
            if column.data_type() == &DataType::Int64 {
                text += &format!(" {:?}", ScalarValue::try_from_array(column, row).unwrap());
            }
        }
        text
    };
    (0..state.num_rows()).map(tell).collect()
}

#[test]
fn aggregate_ordered_rows_are_folded_and_not_stored() {
    let mut operator = operator(digits(Some(0), false, false));
    epoch(&mut operator, 1, &[&[(1, Some(1)), (2, Some(2))], &[(1, Some(3))]]);
    assert_eq!(stored(&mut operator), ["1 Int64(13) folded", "2 Int64(2) folded"]);
    epoch(&mut operator, 2, &[&[(1, Some(5))], &[(1, Some(6)), (3, Some(7))]]);
    assert_eq!(stored(&mut operator), ["1 Int64(1356) folded", "2 Int64(2) folded", "3 Int64(7) folded"]);
    epoch(&mut operator, 3, &[&[(2, None)]]);
    assert_eq!(stored(&mut operator), ["1 Int64(1356) folded", "2 Int64(NULL) folded", "3 Int64(7) folded"]);
}

#[test]
fn aggregate_strict_function_skips_nulls_and_starts_with_the_first_row() {
    let mut operator = operator(digits(None, true, false));
    epoch(&mut operator, 1, &[&[(1, None), (2, Some(2))]]);
    assert_eq!(stored(&mut operator), ["1 Int64(NULL) folded", "2 Int64(2) folded"]);
    epoch(&mut operator, 2, &[&[(1, Some(4)), (2, None)], &[(1, None), (1, Some(5))]]);
    assert_eq!(stored(&mut operator), ["1 Int64(45) folded", "2 Int64(2) folded"]);
}

#[test]
fn aggregate_states_are_combined_by_the_combine_function() {
    let mut operator = operator(digits(None, true, true));
    epoch(&mut operator, 1, &[&[(1, Some(1)), (1, Some(2))], &[(1, Some(3))]]);
    assert_eq!(stored(&mut operator), ["1 Int64(15)"]);
    epoch(&mut operator, 2, &[&[(1, Some(4)), (2, None)], &[(2, Some(5))]]);
    assert_eq!(stored(&mut operator), ["1 Int64(19)", "2 Int64(5)"]);
}
