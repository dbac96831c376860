//! What is not compared with PostgreSQL, and why; and faults that wait.

/// A word of the query, what the error says, and why the two may differ.
const KNOWN: &[(&str, &str, &str)] = &[
    ("NUMERIC", "cannot convert NaN to numeric", "decimals have neither NaN nor infinity"),
    ("NUMERIC", "cannot convert inf to numeric", "as above"),
];

/// Faults that wait to be mended: what they say, and the smallest query known. None is silent; each is counted and told at
/// the end of a run.
const OPEN: &[(&str, &str)] = &[
    // An order that repeats an expression once the physical plan has made it simpler.
    ("assertion `left == right` failed", "SELECT DISTINCT ON (k) CASE WHEN … THEN x END FROM … ORDER BY k, x DESC, 1"),
    // The planner and the check that follows it know different columns to be constant or sorted.
    (
        "does not satisfy order requirements",
        "SELECT percent_rank() OVER (PARTITION BY -(id % 1000) ORDER BY id) FROM t",
    ),
    // The key of ROLLUP has another name once `||` is a function.
    ("to grouping function is not in grouping columns", "SELECT grouping(x || 'y') FROM t GROUP BY ROLLUP (x || 'y')"),
    // What an array of arrays may be at the least and at the most, which are told apart by their addresses.
    ("Interval's lower bound", "SELECT coalesce(ARRAY[], NULL::INT[][]) FROM t ORDER BY id, 1 OFFSET 1"),
    // A view says no more than that.
    (
        "conflicting ordering requirements",
        "SELECT string_agg(x, ',' ORDER BY a, x), string_agg(y, ',' ORDER BY b, y) …",
    ),
    // A function over a subquery beside grouping().
    ("column \"__grouping_id\" does not exist", "SELECT min((SELECT 1)), grouping(x) FROM t GROUP BY ROLLUP (x)"),
    // A constant partition of arrays in arrays.
    ("expects PARTITION BY expression to be ordered", "SELECT lead(1) OVER (PARTITION BY ARRAY[ARRAY[2]]) FROM t"),
    // IN under a CASE beside a function OVER, over many joins; the view takes it.
    (
        "window schema has wrong number of fields",
        "SELECT CASE WHEN a IN (SELECT NULL …) THEN 1 END, count(*) OVER (…) …",
    ),
    // A merged column that is grouped by.
    ("42702: column reference", "SELECT k FROM m1 JOIN m2 USING (k) GROUP BY GROUPING SETS ((o1, k), (o1), ())"),
    // An arm of EXCEPT ALL over UNION ALL, of which one column alone can be NULL.
    ("declared as non-nullable but contains null", "(SELECT 1 AS o UNION ALL SELECT (SELECT …)) EXCEPT ALL SELECT 2"),
    // Of a view, whose hint is missing.
    ("an expression or a clause of this kind is not supported", "SELECT CASE … ELSE (SELECT …) END FROM … LATERAL …"),
    // What is computed in nanoseconds ends in 2262.
    ("out of range", "SELECT date_trunc('month', CAST('9999-12-31' AS TIMESTAMP))"),
];

/// The fault that waits, by what is said.
pub fn open(told: &str) -> Option<&'static str> {
    OPEN.iter().find(|(says, _)| told.contains(says)).map(|(says, _)| *says)
}

/// Why a query need not be answered as PostgreSQL does.
pub fn known(query: &str, error: &str) -> Option<&'static str> {
    KNOWN.iter().find(|(word, says, _)| query.contains(word) && error.contains(says)).map(|(_, _, why)| *why)
}
