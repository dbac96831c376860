//! What clients write into a table, in the spelling that its columns take: `DEFAULT`, timestamps without seconds,
//! bytes as text, queries among values.

use std::ops::ControlFlow;

use arrow::datatypes::DataType;
use datafusion::sql::sqlparser::ast::{
    self, AssignmentTarget, Expr, Ident, ObjectName, SelectItem, SetExpr, SetOperator, SetQuantifier, Value, VisitMut,
    VisitorMut,
};

use super::tables::WritableTable;
use crate::{
    error::{Error, Result},
    sql::{self, names, statement::Body},
    time::with_seconds,
};

/// `INSERT … VALUES`
pub fn settle_insert(insert: &mut ast::Insert, table: &WritableTable) -> Result<()> {
    let Some(source) = insert.source.as_mut() else { return Ok(()) };
    let SetExpr::Values(values) = source.body.as_mut() else { return Ok(()) };
    let width = values.rows.first().map_or(0, |row| row.content.len());
    if insert.columns.is_empty() && width < table.columns.fields().len() {
        // As in Postgres, the columns that are left out at the end have their defaults.
        let name = |field: &std::sync::Arc<arrow::datatypes::Field>| {
            ObjectName::from(vec![Ident::with_quote('"', field.name().clone())])
        };
        insert.columns = table.columns.fields().iter().take(width).map(name).collect();
    }
    let column = |n: usize| match insert.columns.get(n) {
        Some(name) => name.0.last().and_then(|part| part.as_ident()).map(names::fold),
        None if insert.columns.is_empty() => table.columns.fields().get(n).map(|field| field.name().clone()),
        None => None,
    };
    let mut asks = false;
    for row in &mut values.rows {
        for (n, value) in row.content.iter_mut().enumerate() {
            if let Some(column) = column(n) {
                settle(value, &column, table)?;
            }
            asks |= matches!(value, Expr::Subquery(_));
        }
    }
    if asks {
        source.body = selects(values)?;
    }
    Ok(())
}

/// `UPDATE … SET`
pub fn settle_update(update: &mut ast::Update, table: &WritableTable) -> Result<()> {
    for assignment in &mut update.assignments {
        if let AssignmentTarget::ColumnName(name) = &assignment.target
            && let Some(column) = name.0.last().and_then(|part| part.as_ident())
        {
            settle(&mut assignment.value, &names::fold(column), table)?;
        }
    }
    Ok(())
}

/// One value for one column.
fn settle(value: &mut Expr, column: &str, table: &WritableTable) -> Result<()> {
    if matches!(value, Expr::Identifier(word) if word.quote_style.is_none() && word.value.eq_ignore_ascii_case("default"))
    {
        let null = || Expr::Value(Value::Null.with_empty_span());
        *value = table.written_defaults.get(column).cloned().unwrap_or_else(null);
    }
    match table.columns.field_with_name(column) {
        Ok(field) => spell(value, field.data_type()),
        Err(_) => Ok(()),
    }
}

/// A literal as a type takes it.
pub fn spell(value: &mut Expr, data_type: &DataType) -> Result<()> {
    let Expr::Value(literal) = value else { return Ok(()) };
    match (&mut literal.value, data_type) {
        (Value::SingleQuotedString(text), DataType::Timestamp(..)) => *text = with_seconds(text).into_owned(),
        (text @ Value::SingleQuotedString(_), DataType::Binary) => sql::as_bytes(text)?,
        _ => {}
    }
    Ok(())
}

/// Rows of values as queries, which DataFusion does not take for rows of the table that is written: `UNION ALL` of two
/// halves, so that a long list is no deep tree.
fn selects(values: &ast::Values) -> Result<Box<SetExpr>> {
    let template = match sql::parse("SELECT 1")?.pop().map(|statement| statement.body) {
        Some(Body::Query(query)) => query.body,
        _ => return Err(Error::internal("values make no query")),
    };
    union_of(&values.rows, template.as_ref())
}

fn union_of(rows: &[ast::Parens<Vec<Expr>>], template: &SetExpr) -> Result<Box<SetExpr>> {
    let row = match rows {
        [] => return Err(Error::internal("values of no row")),
        [row] => row,
        rows => {
            let (left, right) = rows.split_at(rows.len() / 2);
            return Ok(Box::new(SetExpr::SetOperation {
                op: SetOperator::Union,
                set_quantifier: SetQuantifier::All,
                left: union_of(left, template)?,
                right: union_of(right, template)?,
            }));
        }
    };
    let mut select = template.clone();
    let SetExpr::Select(body) = &mut select else { return Err(Error::internal("a query of no SELECT")) };
    // As PostgreSQL calls the columns of VALUES.
    let column = |(n, expr): (usize, &Expr)| SelectItem::ExprWithAlias {
        expr: expr.clone(),
        alias: Ident::new(format!("column{}", n + 1)),
    };
    body.projection = row.content.iter().enumerate().map(column).collect();
    Ok(Box::new(select))
}

/// The query of an INSERT with no VALUES but those that it is made of: DataFusion would give the columns of
/// all of them the types of the table, and want as many.
pub fn without_values(source: &mut ast::Query) -> Result<()> {
    let top = matches!(source.body.as_ref(), SetExpr::Values(_));
    match source.visit(&mut WithoutValues { top }) {
        ControlFlow::Break(error) => Err(error),
        ControlFlow::Continue(()) => Ok(()),
    }
}

struct WithoutValues {
    /// Whether the query that comes next is to keep its VALUES.
    top: bool,
}

impl VisitorMut for WithoutValues {
    type Break = Error;

    fn pre_visit_query(&mut self, query: &mut ast::Query) -> ControlFlow<Error> {
        if std::mem::take(&mut self.top) {
            return ControlFlow::Continue(());
        }
        match replace_values(query.body.as_mut()) {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => ControlFlow::Break(error),
        }
    }
}

fn replace_values(body: &mut SetExpr) -> Result<()> {
    match body {
        SetExpr::Values(values) => *body = *selects(values)?,
        SetExpr::SetOperation { left, right, .. } => {
            replace_values(left)?;
            replace_values(right)?;
        }
        _ => {}
    }
    Ok(())
}
