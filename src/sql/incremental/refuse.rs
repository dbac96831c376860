//! Constructs that a standing query does not support, found before the rewrite and refused by name.

use datafusion::{
    common::tree_node::{TreeNode, TreeNodeRecursion},
    logical_expr::{Expr, LogicalPlan, Volatility},
};

use crate::{
    changes::check_column_name,
    error::{Error, ErrorKind, Result},
    operators::Fold,
};

/// Fails on the first expression in a plan that cannot be maintained incrementally.
pub fn refuse(plan: &LogicalPlan) -> Result<()> {
    plan.apply_with_subqueries(|node| {
        if matches!(node, LogicalPlan::RecursiveQuery(_)) {
            return Err(refused("WITH RECURSIVE")
                .hint("Keep the rows in a view and put WITH RECURSIVE into the query that reads it.")
                .into());
        }
        node.schema().fields().iter().try_for_each(|field| check_column_name(field.name()))?;
        node.apply_expressions(|expr| {
            expr.apply(|e| refuse_expr(e).map(|()| TreeNodeRecursion::Continue).map_err(Into::into))
        })
    })?;
    Ok(())
}

fn refuse_expr(expr: &Expr) -> Result<()> {
    match expr {
        Expr::ScalarFunction(call) => {
            let name = call.func.name();
            if name == "version" {
                return Err(refused("version()").hint("Ask for it in the query that reads the view."));
            }
            if matches!(name, "now" | "current_date" | "current_time") {
                return Err(refused(&format!("{name}()"))
                    .detail("Its answer would change without any change of the input.")
                    .hint(
                        "Compare with it in WHERE: ts > now() - INTERVAL '1 hour'; or ask for it in the query that \
                         reads the view.",
                    ));
            }
            if call.func.signature().volatility == Volatility::Volatile {
                return Err(refused(&format!("{name}()"))
                    .detail("It gives another answer each time, so a row could not be withdrawn again."));
            }
            Ok(())
        }
        Expr::AggregateFunction(call) if call.params.distinct && call.func.name() == "bit_xor" => {
            Err(refused("bit_xor(DISTINCT …)")
                .detail("DataFusion's own answer to it does not heed DISTINCT where rows are grouped.")
                .hint("Make a view of the DISTINCT rows and one with bit_xor over it."))
        }
        Expr::AggregateFunction(call) if call.params.distinct && Fold::behind(call.func.inner().as_ref()).is_some() => {
            Err(refused(&format!("{}(DISTINCT …)", call.func.name()))
                .hint("Make a view of the DISTINCT rows and one with the aggregate over it."))
        }
        Expr::Placeholder(p) => {
            Err(Error::new(ErrorKind::UndefinedParameter, format!("there is no parameter {}", p.id))
                .hint("A standing query has no parameters: write the value."))
        }
        _ => Ok(()),
    }
}

/// An error that names a construct.
pub fn refused(construct: &str) -> Error {
    Error::new(ErrorKind::Unsupported, format!("{construct} is not supported in a standing query"))
}
