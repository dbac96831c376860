//! `sum` and `avg` of floats and decimals, exact until they are rounded once at the end: independent of row order,
//! threads, and earlier insertions and retractions. 1e300 + 1 - 1e300 is 1.
//!
//! For other types they are DataFusion's own.

mod distinct;
mod exact;
mod spec;
mod totals;

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::{
    error::Result,
    functions_aggregate::{average::Avg, sum::Sum},
    logical_expr::{
        Accumulator, AggregateUDF, AggregateUDFImpl, GroupsAccumulator, ReversedUDAF, Signature, Volatility,
        function::{AccumulatorArgs, StateFieldsArgs},
        utils::AggregateOrderSensitivity,
    },
};

use self::{
    distinct::Distinct,
    exact::ExactSum,
    spec::Spec,
    totals::{One, Totals, Wide},
};

/// `sum` and `avg`, which replace DataFusion's.
pub(super) fn all() -> Vec<Arc<AggregateUDF>> {
    let of = |function| Arc::new(AggregateUDF::from(ExactFunction { function, changes: None }));
    vec![of(SumKind::Sum(Sum::new())), of(SumKind::Avg(Avg::new()))]
}

/// The same over changes: their second argument is the diff of each row.
pub fn by_diff(is_avg: bool) -> Arc<AggregateUDF> {
    let function = if is_avg { SumKind::Avg(Avg::new()) } else { SumKind::Sum(Sum::new()) };
    Arc::new(AggregateUDF::from(ExactFunction { function, changes: Some(Signature::any(2, Volatility::Immutable)) }))
}

/// Whether sums of a type are exact.
pub fn is_exact(of: &DataType) -> bool {
    matches!(of, DataType::Float64 | DataType::Decimal128(..))
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct ExactFunction {
    function: SumKind,
    /// The signature over changes, with the diff.
    changes: Option<Signature>,
}

/// DataFusion's function of the same name.
#[derive(Debug, PartialEq, Eq, Hash)]
enum SumKind {
    Sum(Sum),
    Avg(Avg),
}

impl ExactFunction {
    fn inner(&self) -> &dyn AggregateUDFImpl {
        match &self.function {
            SumKind::Sum(sum) => sum,
            SumKind::Avg(avg) => avg,
        }
    }

    /// The types of an exact sum; `None` for types left to DataFusion.
    fn spec(&self, arguments: &[FieldRef], output: &DataType) -> Option<Spec> {
        let argument = arguments.first()?.data_type().clone();
        is_exact(&argument).then(|| Spec {
            is_avg: matches!(self.function, SumKind::Avg(_)),
            by_diff: self.changes.is_some(),
            argument,
            output: output.clone(),
        })
    }

    fn exact(spec: Spec, is_distinct: bool) -> Box<dyn Accumulator> {
        match (&spec.argument, is_distinct) {
            (DataType::Float64, false) => Box::new(One::<ExactSum>::new(spec)),
            (DataType::Float64, true) => Box::new(Distinct::<ExactSum>::new(spec)),
            (_, false) => Box::new(One::<Wide>::new(spec)),
            (_, true) => Box::new(Distinct::<Wide>::new(spec)),
        }
    }
}

impl AggregateUDFImpl for ExactFunction {
    fn name(&self) -> &str {
        self.inner().name()
    }

    fn aliases(&self) -> &[String] {
        self.inner().aliases()
    }

    fn signature(&self) -> &Signature {
        self.changes.as_ref().unwrap_or(self.inner().signature())
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        self.inner().return_type(&types[..1])
    }

    fn state_fields(&self, args: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        let Some(spec) = self.spec(args.input_fields, args.return_field.data_type()) else {
            return self.inner().state_fields(args);
        };
        let field = |part: &str, of| Arc::new(Field::new(format!("{}[{part}]", args.name), of, true));
        Ok(match args.is_distinct {
            true => vec![field("distinct", DataType::new_list(spec.argument, true))],
            false => vec![field("total", DataType::Binary), field("rows", DataType::Int64)],
        })
    }

    fn accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        match self.spec(args.expr_fields, args.return_field.data_type()) {
            Some(spec) => Ok(Self::exact(spec, args.is_distinct)),
            None => self.inner().accumulator(args),
        }
    }

    fn create_sliding_accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        match self.spec(args.expr_fields, args.return_field.data_type()) {
            Some(spec) => Ok(Self::exact(spec, args.is_distinct)),
            None => self.inner().create_sliding_accumulator(args),
        }
    }

    fn groups_accumulator_supported(&self, args: AccumulatorArgs) -> bool {
        match self.spec(args.expr_fields, args.return_field.data_type()) {
            Some(_) => !args.is_distinct,
            None => self.inner().groups_accumulator_supported(args),
        }
    }

    fn create_groups_accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn GroupsAccumulator>> {
        match self.spec(args.expr_fields, args.return_field.data_type()) {
            Some(spec) if spec.argument == DataType::Float64 => Ok(Box::new(Totals::<ExactSum>::new(spec))),
            Some(spec) => Ok(Box::new(Totals::<Wide>::new(spec))),
            None => self.inner().create_groups_accumulator(args),
        }
    }

    fn reverse_expr(&self) -> ReversedUDAF {
        ReversedUDAF::Identical
    }

    fn order_sensitivity(&self) -> AggregateOrderSensitivity {
        AggregateOrderSensitivity::Insensitive
    }
}
