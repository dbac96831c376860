//! Which columns group recompute stores, and for which functions.
//!
//! If each function depends on the first row in some order, rows are stored in that order, once per distinct order.
//! Otherwise all functions share the rows.

use std::sync::Arc;

use arrow::{
    compute::SortOptions,
    datatypes::{DataType, Field, Fields},
};
use datafusion::physical_expr::PhysicalExpr;

use crate::{
    operators::{AggregateCall, grouping::is_of_one_row},
    state::{RankKind, TopN},
};

/// Functions that share stored rows.
#[derive(Debug)]
pub(super) struct TimePart {
    /// Positions of the functions.
    pub functions: Vec<usize>,
    /// The stored columns; ORDER BY columns first.
    pub columns: Vec<usize>,
    pub order: Vec<SortOptions>,
}

/// The input columns of all functions, one after the other: arguments, ORDER BY, filter of each.
#[derive(Debug, Clone)]
pub(super) struct ArgumentColumns {
    types: Vec<DataType>,
    /// Per function: its first column, and number of columns without the filter.
    at: Vec<(usize, usize)>,
}

/// An ORDER BY column: position, expression, direction.
type By = (usize, Arc<dyn PhysicalExpr>, SortOptions);

impl TimePart {
    /// Which rows of a group the functions read; `None` is all.
    pub fn first(&self) -> Option<TopN> {
        (!self.order.is_empty()).then_some(TopN { most: 1, counted: RankKind::RowNumber })
    }

    pub fn fields(&self, fed: &ArgumentColumns) -> Fields {
        let field = |column: &usize| Field::new(column.to_string(), fed.types[*column].clone(), true);
        self.columns.iter().map(field).collect()
    }

    /// The stored position of a column.
    pub fn place(&self, column: usize) -> Option<usize> {
        self.columns.iter().position(|kept| *kept == column)
    }
}

impl ArgumentColumns {
    pub fn new() -> Self {
        ArgumentColumns { types: Vec::new(), at: Vec::new() }
    }

    /// Adds a function with the types of its columns, of which `width` precede the filter.
    pub fn push(&mut self, types: Vec<DataType>, width: usize) {
        self.at.push((self.types.len(), width));
        self.types.extend(types);
    }

    /// The columns of a function, without its filter.
    pub fn columns(&self, function: usize) -> std::ops::Range<usize> {
        let (first, width) = self.at[function];
        first..first + width
    }
}

/// Distributes functions to parts: at least one, since a part determines which groups have rows; exactly one if some
/// function reads all rows.
pub(super) fn parts(functions: &[AggregateCall], fed: &ArgumentColumns) -> Vec<TimePart> {
    let columns = |n: usize| fed.columns(n).chain(functions[n].filter.as_ref().map(|_| fed.columns(n).end));
    let firsts: Option<Vec<Vec<By>>> = (0..functions.len()).map(|n| first_row(&functions[n], fed, n)).collect();
    let Some(firsts) = firsts.filter(|firsts| !firsts.is_empty()) else {
        let all = (0..functions.len()).collect::<Vec<_>>();
        return vec![TimePart {
            columns: all.iter().copied().flat_map(columns).collect(),
            functions: all,
            order: Vec::new(),
        }];
    };
    let mut parts: Vec<(Vec<By>, TimePart)> = Vec::new();
    for (n, by) in firsts.into_iter().enumerate() {
        let same = |(other, _): &&mut (Vec<By>, TimePart)| {
            other.len() == by.len() && other.iter().zip(&by).all(|(a, b)| (&a.1, a.2) == (&b.1, b.2))
        };
        if let Some((_, part)) = parts.iter_mut().find(same) {
            part.functions.push(n);
            part.columns.extend(columns(n));
            continue;
        }
        let first: Vec<usize> = by.iter().map(|(column, ..)| *column).collect();
        let others = columns(n).filter(|column| !first.contains(column));
        let columns = first.iter().copied().chain(others).collect();
        let order = by.iter().map(|(.., options)| *options).collect();
        parts.push((by, TimePart { functions: vec![n], columns, order }));
    }
    parts.into_iter().map(|(_, part)| part).collect()
}

/// The order in which a function reads only the first row; `None` if it reads more.
fn first_row(function: &AggregateCall, fed: &ArgumentColumns, n: usize) -> Option<Vec<By>> {
    let aggregate = &function.aggregate;
    if !is_of_one_row(aggregate.fun()) || aggregate.ignore_nulls() {
        return None;
    }
    let (arguments, columns) = (aggregate.expressions(), fed.columns(n));
    let least = |descending| match arguments.as_slice() {
        [of] if is_ordered_alike(&fed.types[columns.start]) => {
            Some(vec![(columns.start, of.clone(), SortOptions::new(descending, false))])
        }
        _ => None,
    };
    let of_order = |reversed: bool| {
        let by = function.order_by.iter().enumerate().map(|(place, by)| {
            let SortOptions { descending, nulls_first } = by.options;
            let options = SortOptions::new(descending != reversed, nulls_first != reversed);
            (columns.start + arguments.len() + place, by.expr.clone(), options)
        });
        Some(by.collect::<Vec<_>>()).filter(|by| !by.is_empty())
    };
    let mut by = match aggregate.fun().name() {
        "min" | "bool_and" => least(false)?,
        "max" | "bool_or" => least(true)?,
        "first_value" => of_order(false)?,
        "last_value" => of_order(true)?,
        _ => return None,
    };
    // Rows excluded by the filter sort last.
    let kept_first = SortOptions::new(true, false);
    let filter = function.filter.as_ref().map(|filter| (columns.end, filter.clone(), kept_first));
    by.splice(..0, filter);
    Some(by)
}

/// Whether a type has the same order as `arrow-row` bytes and in the functions.
fn is_ordered_alike(data_type: &DataType) -> bool {
    let text = matches!(data_type, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View);
    let binary = matches!(data_type, DataType::Binary | DataType::LargeBinary | DataType::BinaryView);
    let interval = matches!(data_type, DataType::Interval(_));
    (data_type.is_primitive() && !interval) || text || binary || *data_type == DataType::Boolean
}
