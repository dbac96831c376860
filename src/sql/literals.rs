//! Values that clients write into a table, converted to literals of its column types: `DEFAULT`, timestamps without
//! seconds, bytes as text, and VALUES with subqueries.

use std::{collections::HashMap, ops::ControlFlow};

use arrow::datatypes::{DataType, Schema};
use datafusion::sql::sqlparser::ast::{
    self, AssignmentTarget, Expr, ObjectName, SetExpr, SetOperator, SetQuantifier, Value, VisitMut, VisitorMut,
};

use super::{
    as_bytes, names,
    nodes::{named, null, quoted, select},
};
use crate::{
    error::{Error, Result},
    time::with_seconds,
};

/// The table of an INSERT or UPDATE.
#[derive(Debug, Clone, Copy)]
pub struct WriteTarget<'a> {
    pub columns: &'a Schema,
    /// Column defaults, as declared.
    pub defaults: &'a HashMap<String, Expr>,
}

/// Coerces the values of `INSERT … VALUES`.
pub fn coerce_insert(insert: &mut ast::Insert, table: WriteTarget) -> Result<()> {
    let Some(source) = insert.source.as_mut() else { return Ok(()) };
    let SetExpr::Values(values) = source.body.as_mut() else { return Ok(()) };
    let width = values.rows.first().map_or(0, |row| row.content.len());
    if insert.columns.is_empty() && width < table.columns.fields().len() {
        // As in Postgres, columns omitted at the end get their defaults.
        let columns = table.columns.fields().iter().take(width);
        insert.columns = columns.map(|field| ObjectName::from(quoted(field.name()))).collect();
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
                coerce_value(value, &column, table)?;
            }
            asks |= matches!(value, Expr::Subquery(_));
        }
    }
    if asks {
        source.body = selects(&values.rows)?;
    }
    Ok(())
}

/// Coerces the values of `UPDATE … SET`.
pub fn coerce_update(update: &mut ast::Update, table: WriteTarget) -> Result<()> {
    for assignment in &mut update.assignments {
        if let AssignmentTarget::ColumnName(name) = &assignment.target
            && let Some(column) = name.0.last().and_then(|part| part.as_ident())
        {
            coerce_value(&mut assignment.value, &names::fold(column), table)?;
        }
    }
    Ok(())
}

/// One value for one column.
fn coerce_value(value: &mut Expr, column: &str, table: WriteTarget) -> Result<()> {
    if matches!(value, Expr::Identifier(word) if word.quote_style.is_none() && word.value.eq_ignore_ascii_case("default"))
    {
        *value = table.defaults.get(column).cloned().unwrap_or_else(null);
    }
    match table.columns.field_with_name(column) {
        Ok(field) => spell(value, field.data_type()),
        Err(_) => Ok(()),
    }
}

/// Rewrites a literal as a type accepts it.
pub fn spell(value: &mut Expr, data_type: &DataType) -> Result<()> {
    let Expr::Value(literal) = value else { return Ok(()) };
    match (&mut literal.value, data_type) {
        (Value::SingleQuotedString(text), DataType::Timestamp(..)) => *text = with_seconds(text).into_owned(),
        (text @ Value::SingleQuotedString(_), DataType::Binary) => as_bytes(text)?,
        _ => {}
    }
    Ok(())
}

/// Rows of values as queries, which DataFusion does not coerce to the columns of the target table: a balanced tree of
/// `UNION ALL`, so that a long list is not a deep tree.
fn selects(rows: &[ast::Parens<Vec<Expr>>]) -> Result<Box<SetExpr>> {
    let row = match rows {
        [] => return Err(Error::internal("values of no row")),
        [row] => row,
        rows => {
            let (left, right) = rows.split_at(rows.len() / 2);
            return Ok(Box::new(SetExpr::SetOperation {
                op: SetOperator::Union,
                set_quantifier: SetQuantifier::All,
                left: selects(left)?,
                right: selects(right)?,
            }));
        }
    };
    // The column names that PostgreSQL gives to VALUES.
    let column = |(n, expr): (usize, &Expr)| named(expr.clone(), &format!("column{}", n + 1));
    let columns = row.content.iter().enumerate().map(column).collect();
    Ok(Box::new(SetExpr::Select(Box::new(select(columns, None)))))
}

/// Replaces nested VALUES in the source of an INSERT: DataFusion would coerce all of them to the target table's types,
/// and expect as many columns.
pub fn without_values(source: &mut ast::Query) -> Result<()> {
    let top = matches!(source.body.as_ref(), SetExpr::Values(_));
    match source.visit(&mut WithoutValues { top }) {
        ControlFlow::Break(error) => Err(error),
        ControlFlow::Continue(()) => Ok(()),
    }
}

struct WithoutValues {
    /// Whether the next query keeps its VALUES.
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
        SetExpr::Values(values) => *body = *selects(&values.rows)?,
        SetExpr::SetOperation { left, right, .. } => {
            replace_values(left)?;
            replace_values(right)?;
        }
        _ => {}
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::{Field, TimeUnit};

    use super::*;
    use crate::sql::{parse, statement::Body};

    #[test]
    fn insert_into_columns_that_need_quotes_names_them_and_takes_their_defaults() {
        let at = DataType::Timestamp(TimeUnit::Microsecond, None);
        let columns = Schema::new(vec![
            Field::new("select", DataType::Utf8, true),
            Field::new("a \"b\"", at, true),
            Field::new("Left Out", DataType::Utf8, true),
        ]);
        let text = Expr::Value(Value::SingleQuotedString("it's".to_string()).with_empty_span());
        let defaults = HashMap::from([("select".to_string(), text)]);
        let sql = "INSERT INTO t VALUES (DEFAULT, '2000-01-01 00:00'), ((SELECT 1), DEFAULT)";
        let Body::Insert(mut insert) = parse(sql).unwrap().remove(0).body else { panic!("no INSERT") };
        coerce_insert(&mut insert, WriteTarget { columns: &columns, defaults: &defaults }).unwrap();
        let expected = "INSERT INTO t (\"select\", \"a \"\"b\"\"\") SELECT 'it''s' AS column1, '2000-01-01 00:00:00' AS \
                        column2 UNION ALL SELECT (SELECT 1) AS column1, NULL AS column2";
        assert_eq!(insert.to_string(), expected);
    }
}
