//! Clauses of other databases that sqlparser parses and planners ignore: refused by name.

use datafusion::sql::sqlparser::ast::{Query, Select, TableFactor};

use crate::error::Error;

/// The first such clause of a query, outside of its SELECTs.
pub(super) fn of_query(query: &Query) -> Option<Error> {
    let pipes = !query.pipe_operators.is_empty();
    first([(pipes, "|>", "Write SELECT … FROM … WHERE … GROUP BY … ORDER BY ….")])
}

/// The first such clause of a SELECT.
pub(super) fn of_select(select: &Select) -> Option<Error> {
    first([
        (select.top.is_some(), "SELECT TOP", "Write LIMIT n at the end."),
        (select.select_modifiers.is_some(), "SELECT with a modifier of MySQL", "Leave it out."),
        (select.exclude.is_some(), "SELECT * EXCLUDE", "Name the columns."),
        (!select.lateral_views.is_empty(), "LATERAL VIEW", "Write unnest(…) among the columns."),
        (select.prewhere.is_some(), "PREWHERE", "Write WHERE."),
        (!select.connect_by.is_empty(), "CONNECT BY", "Write WITH RECURSIVE."),
        (!select.cluster_by.is_empty(), "CLUSTER BY", "Write ORDER BY at the end."),
        (!select.distribute_by.is_empty(), "DISTRIBUTE BY", "Leave it out: rows are spread over all cores."),
        (!select.sort_by.is_empty(), "SORT BY", "Write ORDER BY at the end."),
        (select.value_table_mode.is_some(), "SELECT AS", "Write row(…) or named_struct(…)."),
    ])
}

/// The first such clause of a FROM item.
pub(super) fn of_factor(factor: &TableFactor) -> Option<Error> {
    let sampled = |sampled: bool| (sampled, "TABLESAMPLE", "Write WHERE random() < 0.1 in a query that is read once.");
    match factor {
        TableFactor::Table {
            with_hints, version, with_ordinality, partitions, json_path, sample, index_hints, ..
        } => first([
            sampled(sample.is_some()),
            (!with_hints.is_empty() || !index_hints.is_empty(), "a hint behind a table", "Leave it out."),
            (version.is_some(), "a version of a table", "A query reads what is there now."),
            (*with_ordinality, "WITH ORDINALITY", "Write row_number() OVER () among the columns."),
            (!partitions.is_empty(), "PARTITION behind a table", "Write WHERE."),
            (json_path.is_some(), "a path behind a table", "Write column -> 'field' among the columns."),
        ]),
        TableFactor::Derived { sample, .. } => first([sampled(sample.is_some())]),
        _ => None,
    }
}

fn first<const N: usize>(clauses: [(bool, &str, &str); N]) -> Option<Error> {
    let (_, name, hint) = clauses.into_iter().find(|(is_there, ..)| *is_there)?;
    Some(Error::unsupported(name).hint(hint))
}
