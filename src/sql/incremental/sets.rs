//! Rewrites GROUPING SETS, CUBE and ROLLUP: each row is joined with the number of each set, and grouped by the keys of
//! that set.
//!
//! ```text
//! GROUP BY GROUPING SETS ((a, b), (a))   ─▶   GROUP BY a, CASE WHEN set IN (0) THEN b END, set
//!                                             FROM input × (VALUES (0), (1)) AS sets (set)
//! ```
//!
//! The empty set has a row even on empty input: an additional row that no function counts.

use std::{collections::HashMap, sync::Arc};

use arrow::datatypes::{DataType, Field};
use datafusion::{
    common::{
        Column, DFSchema, ScalarValue,
        tree_node::{Transformed, TreeNode, TreeNodeRecursion},
    },
    logical_expr::{
        Aggregate, Expr, GroupingSet, LogicalPlan, LogicalPlanBuilder, Projection, Union, lit,
        utils::grouping_set_to_exprlist, when,
    },
    prelude::cast,
};

use crate::error::{Error, ErrorKind, Result};

/// The column with the number of the set that a row is grouped by.
const SET: &str = "__set";

/// The same aggregate without grouping sets; `None` where it has none.
pub(super) fn without_sets(aggregate: &Aggregate) -> Result<Option<LogicalPlan>> {
    let [Expr::GroupingSet(sets)] = aggregate.group_expr.as_slice() else { return Ok(None) };
    let keys: Vec<Expr> = grouping_set_to_exprlist(&aggregate.group_expr)?.into_iter().cloned().collect();
    let sets = members(sets, &keys)?;
    let numbers = numbers(&sets)?;
    let id = aggregate.schema.field(keys.len()).data_type().clone();

    let rows = numbers.iter().map(|number| vec![lit(ScalarValue::UInt64(Some(*number)))]).collect();
    let values = LogicalPlanBuilder::values(rows)?;
    let column = values.schema().columns().into_iter().next().ok_or_else(|| Error::internal("VALUES has no column"))?;
    let values = values.project(vec![Expr::Column(column).alias(SET)])?.build()?;
    let input = LogicalPlanBuilder::from(aggregate.input.as_ref().clone()).cross_join(values)?.build()?;
    let bare: Vec<u64> =
        sets.iter().zip(&numbers).filter(|(set, _)| !set.contains(&true)).map(|(_, number)| *number).collect();
    let (input, functions) = match bare.is_empty() {
        true => (input, aggregate.aggr_expr.clone()),
        false => (with_bare_rows(input, &bare)?, counting(&aggregate.aggr_expr)?),
    };

    let set = Expr::Column(Column::from_name(SET));
    let mut group = Vec::new();
    for (n, key) in keys.iter().enumerate() {
        let with: Vec<Expr> = (sets.iter().zip(&numbers))
            .filter(|(set, _)| set[n])
            .map(|(_, number)| lit(ScalarValue::UInt64(Some(*number))))
            .collect();
        group.push(match with.len() == sets.len() {
            true => key.clone(),
            false => when(set.clone().in_list(with, false), key.clone()).end()?,
        });
    }
    group.push(cast(set, id));
    let plan = LogicalPlan::Aggregate(Aggregate::try_new(Arc::new(input), group, functions)?);
    let mut exprs = Vec::new();
    let mut fields = Vec::new();
    for (column, (qualifier, field)) in plan.schema().columns().into_iter().zip(aggregate.schema.iter()) {
        exprs.push(Expr::Column(column).alias_qualified(qualifier.cloned(), field.name()));
        fields.push((qualifier.cloned(), Arc::new(field.as_ref().clone().with_nullable(true))));
    }
    let schema = Arc::new(DFSchema::new_with_metadata(fields, HashMap::new())?);
    Ok(Some(LogicalPlan::Projection(Projection::try_new_with_schema(exprs, Arc::new(plan), schema)?)))
}

/// The column that is false in the additional rows of empty sets.
const ROW: &str = "__row";

/// Rows with their sets, and a row of NULLs for each set without keys.
fn with_bare_rows(input: LogicalPlan, bare: &[u64]) -> Result<LogicalPlan> {
    let columns = input.schema().columns();
    let mut fields: Vec<_> = input.schema().iter().map(|(q, f)| (q.cloned(), f.clone())).collect();
    let nulls = |number: &u64| -> Result<Vec<Expr>> {
        let last = fields.len() - 1;
        let null = |(n, (_, field)): (usize, &(_, Arc<Field>))| match n == last {
            true => Ok(lit(ScalarValue::UInt64(Some(*number)))),
            false => Ok(lit(ScalarValue::try_new_null(field.data_type())?)),
        };
        fields.iter().enumerate().map(null).chain([Ok(lit(false))]).collect()
    };
    let rows = bare.iter().map(nulls).collect::<Result<_>>()?;
    let bare = LogicalPlanBuilder::values(rows)?.build()?;
    fields.iter_mut().for_each(|(_, f)| *f = Arc::new(f.as_ref().clone().with_nullable(true)));
    fields.push((None, Arc::new(Field::new(ROW, DataType::Boolean, true))));
    let schema = Arc::new(DFSchema::new_with_metadata(fields, HashMap::new())?);
    let mut exprs: Vec<Expr> = columns.into_iter().map(Expr::Column).collect();
    exprs.push(lit(true).alias(ROW));
    let rows = LogicalPlan::Projection(Projection::try_new(exprs, Arc::new(input))?);
    Ok(LogicalPlan::Union(Union { inputs: vec![Arc::new(rows), Arc::new(bare)], schema }))
}

/// Functions that ignore the additional rows.
fn counting(functions: &[Expr]) -> Result<Vec<Expr>> {
    let one = |expr: &Expr| {
        let name = expr.schema_name().to_string();
        let counted = expr.clone().transform(|expr| match expr {
            Expr::AggregateFunction(mut call) => {
                let row = Expr::Column(Column::from_name(ROW));
                let filter = call.params.filter.take();
                call.params.filter = Some(Box::new(filter.map_or(row.clone(), |filter| row.and(*filter))));
                Ok(Transformed::new(Expr::AggregateFunction(call), true, TreeNodeRecursion::Jump))
            }
            other => Ok(Transformed::no(other)),
        })?;
        Ok(counted.data.unalias().alias(name))
    };
    functions.iter().map(one).collect()
}

/// For each set, which of the keys it contains.
fn members(sets: &GroupingSet, keys: &[Expr]) -> Result<Vec<Vec<bool>>> {
    let of = |set: &[Expr]| keys.iter().map(|key| set.contains(key)).collect::<Vec<_>>();
    Ok(match sets {
        GroupingSet::GroupingSets(sets) => sets.iter().map(|set| of(set)).collect(),
        GroupingSet::Rollup(exprs) => (0..=exprs.len()).rev().map(|n| of(&exprs[..n])).collect(),
        GroupingSet::Cube(exprs) => {
            if exprs.len() > CUBE_MAX {
                let message = format!("CUBE of {} columns has too many sets", exprs.len());
                return Err(
                    Error::new(ErrorKind::LimitExceeded, message).hint("Write the sets: GROUPING SETS ((a), (b)).")
                );
            }
            let chosen = |sets: u32| exprs.iter().enumerate().filter(move |(n, _)| sets >> n & 1 == 1);
            (0..1u32 << exprs.len()).map(|set| of(&chosen(set).map(|(_, e)| e.clone()).collect::<Vec<_>>())).collect()
        }
    })
}

/// Maximum columns of a CUBE: DataFusion's limit on grouping sets is 65,535.
const CUBE_MAX: usize = 15;

/// The grouping ids of the sets as in DataFusion: a bit for each key that is not in the set, the last key's the lowest;
/// the bits above count earlier equal sets.
fn numbers(sets: &[Vec<bool>]) -> Result<Vec<u64>> {
    let mut seen: HashMap<u64, u64> = HashMap::new();
    let number = |set: &Vec<bool>| {
        if set.len() > 32 {
            let message = format!("grouping sets of {} columns are not supported in a standing query", set.len());
            return Err(Error::new(ErrorKind::LimitExceeded, message).hint("Group by at most 32 columns."));
        }
        let mask = set.iter().fold(0, |mask, there| mask << 1 | u64::from(!there));
        let before = seen.entry(mask).and_modify(|n| *n += 1).or_default();
        Ok(mask | *before << set.len())
    };
    sets.iter().map(number).collect()
}
