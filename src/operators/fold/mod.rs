//! User-defined aggregates (`CREATE AGGREGATE`): a function of state and row gives the next state, row after row.
//!
//! Two states can be merged only by a combine function. Without one, a partial state is the rows themselves, in order,
//! until they meet the state to fold into: the group's stored one, or the initial one if it is known that no row came
//! before.

mod accumulator;
mod spec;

use std::{
    any::Any,
    hash::{Hash, Hasher},
    sync::Arc,
};

use arrow::{
    array::ArrayRef,
    datatypes::{DataType, Field, FieldRef},
};
use datafusion::{
    common::ScalarValue,
    error::Result as DfResult,
    logical_expr::{
        Accumulator, AggregateUDFImpl, Signature, Volatility,
        function::{AccumulatorArgs, StateFieldsArgs},
        utils::AggregateOrderSensitivity,
    },
};

use accumulator::{Folding, Sliding};
pub use spec::{Call, FoldSpec, fitted};

use crate::error::{Error, ErrorKind, Result};

/// The aggregate as a DataFusion function.
#[derive(Debug)]
pub struct Fold {
    pub spec: Arc<FoldSpec>,
    aliases: Vec<String>,
    signature: Signature,
}

impl PartialEq for Fold {
    fn eq(&self, other: &Self) -> bool {
        self.spec.id == other.spec.id && self.spec.name == other.spec.name
    }
}

impl Eq for Fold {}

impl Hash for Fold {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.spec.id.hash(state);
    }
}

impl Fold {
    pub fn new(spec: FoldSpec, aliases: Vec<String>) -> Fold {
        Fold { spec: Arc::new(spec), aliases, signature: Signature::variadic_any(Volatility::Immutable) }
    }

    /// Downcasts an aggregate function to a fold.
    pub fn behind(function: &dyn AggregateUDFImpl) -> Option<&Fold> {
        (function as &dyn Any).downcast_ref()
    }

    /// The state of `groups` groups that are known to have no rows; `None` if states are combined and it need not be
    /// known.
    pub fn beginning(&self, groups: usize) -> Result<Option<Vec<ArrayRef>>> {
        if self.spec.combine.is_some() {
            return Ok(None);
        }
        let mut first = Folding::new(self.spec.clone(), Vec::new(), Vec::new());
        first.begin()?;
        let columns = first.state()?.into_iter().map(|value| value.to_array_of_size(groups));
        Ok(Some(columns.collect::<DfResult<_>>()?))
    }

    fn check_distinct(&self, is_distinct: bool) -> DfResult<()> {
        match is_distinct {
            false => Ok(()),
            true => Err(Error::unsupported(format!("{}(DISTINCT …)", self.spec.name))
                .hint("Aggregate over a subquery with SELECT DISTINCT.")
                .into()),
        }
    }
}

impl AggregateUDFImpl for Fold {
    fn name(&self) -> &str {
        &self.spec.name
    }

    fn aliases(&self) -> &[String] {
        &self.aliases
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, arguments: &[DataType]) -> DfResult<DataType> {
        check_arguments(&self.spec.name, &self.spec.arguments, arguments)?;
        Ok(self.spec.output.clone())
    }

    fn accumulator(&self, args: AccumulatorArgs) -> DfResult<Box<dyn Accumulator>> {
        self.check_distinct(args.is_distinct)?;
        let types = args.order_bys.iter().map(|by| by.expr.data_type(args.schema)).collect::<DfResult<_>>()?;
        let options = args.order_bys.iter().map(|by| by.options).collect();
        Ok(Box::new(Folding::new(self.spec.clone(), types, options)))
    }

    fn create_sliding_accumulator(&self, args: AccumulatorArgs) -> DfResult<Box<dyn Accumulator>> {
        self.check_distinct(args.is_distinct)?;
        Ok(Box::new(Sliding::new(self.spec.clone())))
    }

    fn state_fields(&self, args: StateFieldsArgs) -> DfResult<Vec<FieldRef>> {
        self.check_distinct(args.is_distinct)?;
        let order: Vec<DataType> = args.ordering_fields.iter().map(|field| field.data_type().clone()).collect();
        let name = |part: &str| format!("{}[{part}]", args.name);
        let mut fields = vec![
            Field::new(name("phase"), DataType::Int8, true),
            Field::new(name("state"), self.spec.state.clone(), true),
        ];
        if self.spec.is_put_off(&order) {
            fields.push(Field::new(name("rows"), self.spec.rows_type(&order), true));
        }
        Ok(fields.into_iter().map(Arc::new).collect())
    }

    /// It sorts rows itself, since those of several partitions meet in any order.
    fn order_sensitivity(&self) -> AggregateOrderSensitivity {
        AggregateOrderSensitivity::SoftRequirement
    }

    /// Rows that come sorted are sorted again.
    fn with_beneficial_ordering(self: Arc<Self>, _: bool) -> DfResult<Option<Arc<dyn AggregateUDFImpl>>> {
        Ok(Some(self))
    }

    fn default_value(&self, _: &DataType) -> DfResult<ScalarValue> {
        Folding::new(self.spec.clone(), Vec::new(), Vec::new()).evaluate()
    }
}

/// Fails unless the argument types can be cast implicitly to the declared ones: text literals to any type, numbers to
/// numbers.
pub fn check_arguments(name: &str, declared: &[DataType], given: &[DataType]) -> DfResult<()> {
    let fits =
        declared.len() == given.len() && declared.iter().zip(given).all(|(declared, given)| fits(declared, given));
    match fits {
        true => Ok(()),
        false => {
            let list = |types: &[DataType]| types.iter().map(spelled).collect::<Vec<_>>().join(", ");
            let message = format!("function {name}({}) does not exist", list(given));
            Err(Error::new(ErrorKind::UndefinedFunction, message)
                .detail(format!("There is {name}({}).", list(declared)))
                .hint("You might need to add explicit type casts.")
                .into())
        }
    }
}

/// Whether a type can be cast implicitly to a declared one.
pub fn fits(declared: &DataType, given: &DataType) -> bool {
    let time = |of: &DataType| matches!(of, DataType::Date32 | DataType::Date64 | DataType::Timestamp(..));
    declared == given
        || given.is_null()
        || (declared.is_numeric() && given.is_numeric())
        || (given.is_string() && !declared.is_nested())
        || (time(declared) && time(given))
        || (declared.is_nested() && given.is_nested() && arrow::compute::can_cast_types(given, declared))
}

/// The SQL name of a type, as far as known in this room.
fn spelled(of: &DataType) -> String {
    match of {
        DataType::Boolean => "boolean".to_string(),
        DataType::Int16 => "smallint".to_string(),
        DataType::Int32 => "integer".to_string(),
        DataType::Int64 => "bigint".to_string(),
        DataType::Float32 => "real".to_string(),
        DataType::Float64 => "double precision".to_string(),
        DataType::Decimal128(..) => "numeric".to_string(),
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => "text".to_string(),
        DataType::Binary => "bytea".to_string(),
        DataType::Date32 => "date".to_string(),
        DataType::Timestamp(_, None) => "timestamp".to_string(),
        DataType::Timestamp(..) => "timestamptz".to_string(),
        DataType::List(item) => format!("{}[]", spelled(item.data_type())),
        DataType::Null => "unknown".to_string(),
        other => other.to_string().to_lowercase(),
    }
}
