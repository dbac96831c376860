//! What is not compared with PostgreSQL, and why; and faults that wait.

/// A word of the query, what the error says, and why the two may differ.
const KNOWN: &[(&str, &str, &str)] = &[
    ("NUMERIC", "cannot convert NaN to numeric", "decimals have neither NaN nor infinity"),
    ("NUMERIC", "cannot convert inf to numeric", "as above"),
];

/// Faults that wait to be mended: what they say, and the smallest query known. None is silent; each is counted and told at
/// the end of a run.
const OPEN: &[(&str, &str)] = &[
    // What an array of arrays may be at the least and at the most, which DataFusion does not compare.
    ("Interval's lower bound", "SELECT ARRAY[] UNION (SELECT nullif(ARRAY[], ARRAY[ARRAY[1]]) ORDER BY 1 OFFSET 1)"),
    // A LATERAL of which nothing is asked, below a FULL JOIN: the optimizer loses columns of the other side. A view takes it.
    (
        "a query of this shape is not supported",
        "SELECT c.x FROM a LEFT JOIN LATERAL (SELECT avg(1) FROM b WHERE b.k = a.k) l ON true FULL JOIN c ON …",
    ),
    // An arm of EXCEPT ALL over UNION ALL, of which one column alone can be NULL.
    ("declared as non-nullable but contains null", "(SELECT 1 AS o UNION ALL SELECT (SELECT …)) EXCEPT ALL SELECT 2"),
    // Of a view, whose hint is missing.
    ("an expression or a clause of this kind is not supported", "SELECT CASE … ELSE (SELECT …) END FROM … LATERAL …"),
];

/// The fault that waits, by what is said.
pub fn open(told: &str) -> Option<&'static str> {
    OPEN.iter().find(|(says, _)| told.contains(says)).map(|(says, _)| *says)
}

/// Before 18 PostgreSQL takes `k` for constant behind GROUPING SETS, too, where WHERE says `k = 1`, and then sorts by less.
pub fn is_sorted_by_sets(query: &str) -> bool {
    let has = |words: &[&str]| words.iter().any(|word| query.contains(word));
    has(&["ROLLUP", "CUBE", "GROUPING SETS"]) && has(&["LIMIT", "OFFSET"])
}

/// Why a query need not be answered as PostgreSQL does.
pub fn known(query: &str, error: &str) -> Option<&'static str> {
    KNOWN.iter().find(|(word, says, _)| query.contains(word) && error.contains(says)).map(|(_, _, why)| *why)
}
