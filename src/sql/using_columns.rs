//! Plans a query on its own to get its output column names.

use std::ops::ControlFlow;

use datafusion::{
    execution::SessionState,
    sql::{
        parser::Statement as DfStatement,
        sqlparser::ast::{
            self, Expr, GroupByExpr, Ident, Query, Select, SelectItem, SetExpr, Value, VisitMut, VisitorMut,
        },
    },
};

/// `None` if it cannot be planned.
pub(super) async fn columns_of(state: &SessionState, query: &Query) -> Option<Vec<String>> {
    match planned(state, query.clone()).await {
        Some(columns) => Some(columns),
        // It may have outer references, which fail without the outer query.
        None => {
            let mut query = query.clone();
            let _ = query.visit(&mut NamesAlone);
            planned(state, query).await
        }
    }
}

async fn planned(state: &SessionState, query: Query) -> Option<Vec<String>> {
    let statement = ast::Statement::Query(Box::new(query));
    let plan = state.statement_to_plan(DfStatement::Statement(Box::new(statement))).await.ok()?;
    Some(plan.schema().fields().iter().map(|field| field.name().clone()).collect())
}

/// Removes clauses of a query that do not affect its column names.
struct NamesAlone;

impl VisitorMut for NamesAlone {
    type Break = ();

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<()> {
        (query.order_by, query.limit_clause) = (None, None);
        names_alone(&mut query.body);
        ControlFlow::Continue(())
    }
}

fn names_alone(body: &mut SetExpr) {
    match body {
        SetExpr::Select(select) => of_select(select),
        // The names come from the first arm.
        SetExpr::SetOperation { left, .. } => {
            let mut first = left.as_ref().clone();
            names_alone(&mut first);
            *body = first;
        }
        _ => {}
    }
}

fn of_select(select: &mut Select) {
    (select.distinct, select.selection, select.having) = (None, None, None);
    select.group_by = GroupByExpr::Expressions(Vec::new(), Vec::new());
    for item in &mut select.projection {
        let name: Option<Ident> = match &*item {
            SelectItem::ExprWithAlias { alias, .. } => Some(alias.clone()),
            SelectItem::UnnamedExpr(Expr::Identifier(name)) => Some(name.clone()),
            SelectItem::UnnamedExpr(Expr::CompoundIdentifier(parts)) => parts.last().cloned(),
            _ => None,
        };
        if let Some(alias) = name {
            *item = SelectItem::ExprWithAlias { expr: Expr::value(Value::Null), alias };
        }
    }
}
