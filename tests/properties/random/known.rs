//! What is not compared with PostgreSQL, and why.

/// A word of the query, what the error says, and why the two may differ.
const KNOWN: &[(&str, &str, &str)] = &[
    ("NUMERIC", "cannot convert NaN to numeric", "decimals have neither NaN nor infinity"),
    ("NUMERIC", "cannot convert inf to numeric", "as above"),
];

/// Before 18 PostgreSQL takes `k` for constant behind GROUPING SETS, too, where WHERE says `k = 1`, and then sorts by less.
/// It has to sort at the end, by keys of sets that are there, for a LIMIT.
pub fn is_sorted_by_sets(query: &str) -> bool {
    let sets = ["ROLLUP", "CUBE", "GROUPING SETS"].iter().filter_map(|word| query.rfind(word)).max();
    let conditions = query.find("WHERE").or(query.find(" ON ("));
    let (Some(sets), Some(conditions)) = (sets, conditions) else { return false };
    let order = query[sets..].find("ORDER BY").map(|at| &query[sets + at..]);
    query[conditions..].contains(" = ")
        && order.is_some_and(|order| order.contains("LIMIT") || order.contains("OFFSET"))
}

/// Why a query need not be answered as PostgreSQL does.
pub fn known(query: &str, error: &str) -> Option<&'static str> {
    KNOWN.iter().find(|(word, says, _)| query.contains(word) && error.contains(says)).map(|(_, _, why)| *why)
}

/// PostgreSQL takes `x > ANY ('{}') IS NOT NULL` for one that no row without `x` passes, and makes of the outer join around
/// it one without such rows; alone it answers that it is true of them.
pub fn is_taken_for_strict(query: &str) -> bool {
    let words: String = query.split_whitespace().collect();
    let outer = ["LEFTJOIN", "RIGHTJOIN", "FULLJOIN"].iter().any(|join| words.contains(join));
    outer && words.contains("ANY(CAST(ARRAY[]") && words.contains("ISNOTNULL")
}
