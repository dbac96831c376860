//! Functions that put rows in an order, over rows that tie in it: what a view has told is withdrawn as it was told, and
//! ties are broken alike in a view and in a SELECT.

use rand::{
    Rng, SeedableRng,
    rngs::SmallRng,
    seq::{IndexedRandom, IteratorRandom},
};

use super::{
    Failure,
    round::{Story, options},
    values::pick,
};

/// Functions over rows of `u`, of which many tie in `o`.
const FUNCTIONS: [&str; 13] = [
    "array_agg(u.y ORDER BY u.o)",
    "array_agg(u.y ORDER BY u.o DESC) FILTER (WHERE u.z > 1)",
    "array_agg(u.f ORDER BY u.o, u.z)",
    "array_agg(DISTINCT u.y)",
    "array_agg(DISTINCT u.z ORDER BY u.z DESC)",
    "array_has_all(array_agg(u.z ORDER BY u.o), ARRAY[1, 2])",
    "array_prepend(0, array_agg(u.z ORDER BY u.o))",
    "string_agg(u.y, '-' ORDER BY u.o)",
    "string_agg(DISTINCT u.y, '-')",
    "first_value(u.y ORDER BY u.o)",
    "last_value(u.f ORDER BY u.o DESC)",
    "nth_value(u.y, 2 ORDER BY u.o)",
    "folded(u.y ORDER BY u.o)",
];

/// What the functions are called over.
const RELATIONS: [(&str, &str); 3] = [
    ("t JOIN u ON t.k = u.k", "t.k, t.x"),
    ("u", "u.k"),
    ("(SELECT k % 2 AS k, o, y, z, f FROM u WHERE z < 4) AS u", "u.k"),
];

/// One whose values cannot be sorted: a SELECT may give them in another order, a view withdraws what it has told.
const UNSORTED: &str = "SELECT k, array_agg(DISTINCT ARRAY[z, o]) AS a0 FROM u GROUP BY k";

fn query(rng: &mut SmallRng) -> String {
    let (from, keys) = *RELATIONS.choose(rng).unwrap();
    let functions: Vec<String> = FUNCTIONS
        .iter()
        .choose_multiple(rng, 3)
        .into_iter()
        .enumerate()
        .map(|(n, function)| format!("{function} AS a{n}"))
        .collect();
    match rng.random_bool(0.2) {
        true => format!("SELECT {} FROM {from}", functions.join(", ")),
        false => format!("SELECT {keys}, {} FROM {from} GROUP BY {keys}", functions.join(", ")),
    }
}

fn row(rng: &mut SmallRng) -> String {
    let (k, o, z) = (rng.random_range(0..3), rng.random_range(0..2), rng.random_range(0..5));
    let y = pick(rng, &["'a'", "'b'", "'c'", "'d'", "NULL"]);
    let f = pick(rng, &["0.1", "0.2", "0.3", "1e10", "NULL"]);
    format!("({k}, {o}, {y}, {z}, {f})")
}

/// The number of views compared.
pub async fn round(seed: u64) -> Result<usize, Failure> {
    let rng = &mut SmallRng::seed_from_u64(seed);
    let mut story = Story::new(options(rng)).await;
    let appends = rng.random_bool(0.3);
    let only = if appends { " APPEND ONLY" } else { "" };
    story.sql(&format!("CREATE TABLE t (k INT, x INT){only}")).await?;
    story.sql(&format!("CREATE TABLE u (k INT, o INT, y TEXT, z INT, f DOUBLE PRECISION){only}")).await?;
    story.sql("CREATE FUNCTION step(s TEXT, y TEXT) RETURNS TEXT RETURN s || coalesce(y, '?')").await?;
    story.sql("CREATE AGGREGATE folded(TEXT) (SFUNC = step, STYPE = TEXT, INITCOND = '>')").await?;
    story.sql(&format!("CREATE MATERIALIZED VIEW unsorted AS {UNSORTED}")).await?;
    let counts = |name: &str| format!("SELECT a0, count(*) AS n FROM {name} GROUP BY a0");
    story.sql(&format!("CREATE MATERIALIZED VIEW counted AS {}", counts("unsorted"))).await?;
    let mut views = vec![("counted".to_string(), counts("unsorted"))];
    for step in 0..rng.random_range(10..25) {
        if views.len() < 7 && (step < 2 || rng.random_bool(0.3)) {
            let (name, query) = (format!("v{}", views.len()), query(rng));
            story.sql(&format!("CREATE MATERIALIZED VIEW {name} AS {query}")).await?;
            // What is withdrawn of the first must be there in the second.
            let above = counts(&name);
            story.sql(&format!("CREATE MATERIALIZED VIEW of_{name} AS {above}")).await?;
            views.push((format!("of_{name}"), above));
            views.push((name, query));
        }
        let rows: Vec<String> = (0..rng.random_range(1..20)).map(|_| row(rng)).collect();
        let z = rng.random_range(0..5);
        match rng.random_range(0..8) {
            0 | 1 if !appends => story.sql(&format!("DELETE FROM u WHERE z = {z} AND o = 0")).await?,
            2 if !appends => story.sql(&format!("UPDATE u SET o = 1 - o WHERE z = {z}")).await?,
            3 => story.sql(&format!("INSERT INTO t VALUES ({}, {})", z % 3, z)).await?,
            _ => story.sql(&format!("INSERT INTO u VALUES {}", rows.join(", "))).await?,
        };
        match rng.random_range(0..6) {
            0 => story.crash_or_restart(rng).await,
            1 | 2 => drop(story.sql("FLUSH").await?),
            _ => {}
        }
    }
    story.sql("FLUSH").await?;
    for (name, query) in &views {
        story.same(name, query).await?;
    }
    Ok(views.len())
}
