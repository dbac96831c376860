//! Rows that an expression fails on: a view over a source is the batch answer over the others, and each is counted.

use std::fmt::Write;

use rand::{Rng, SeedableRng, rngs::SmallRng, seq::IndexedRandom};

use super::{
    Failure,
    round::{Story, options},
    values::pick,
};

/// An expression, the same where it does not fail, and where it does.
const EXPRESSIONS: [(&str, &str, &str); 3] = [
    ("12 / n", "12 / nullif(n, 0)", "n = 0"),
    ("CAST(t AS BIGINT)", "CAST(CASE WHEN t <> 'x' THEN t END AS BIGINT)", "t = 'x'"),
    (
        "12 / n + CAST(t AS BIGINT)",
        "12 / nullif(n, 0) + CAST(CASE WHEN t <> 'x' THEN t END AS BIGINT)",
        "n = 0 OR t = 'x'",
    ),
];

/// Queries over rows with an expression `$e` in the places where a standing query evaluates some.
const QUERIES: [&str; 9] = [
    "SELECT id, $e AS e FROM $s",
    "SELECT id FROM $s WHERE $e > 3",
    "SELECT n, count(*) AS c, sum($e) AS e FROM $s GROUP BY n",
    "SELECT $e AS e, count(*) AS c, min(t) AS t FROM $s GROUP BY $e",
    "SELECT sum($e) AS e, count(*) AS c FROM $s",
    "SELECT count(*) FILTER (WHERE $e > 2) AS c FROM $s",
    "SELECT n, array_agg(id ORDER BY $e, id) AS ids FROM $s GROUP BY n",
    "SELECT id, word FROM $s LEFT JOIN (VALUES (1, 'one'), (4, 'four'), (6, 'six')) AS v (number, word) ON number = $e",
    "SELECT id, $e AS e FROM $s UNION ALL SELECT id, n AS e FROM s",
];

struct View {
    name: String,
    batch: String,
    fails: &'static str,
}

/// The number of views compared.
pub async fn round(seed: u64) -> Result<usize, Failure> {
    let rng = &mut SmallRng::seed_from_u64(seed);
    let mut story = Story::new(options(rng)).await;
    let folder = tempfile::tempdir().unwrap();
    let files_max = rng.random_range(1..3);
    story
        .sql(&format!(
            "CREATE SOURCE s (id BIGINT, n BIGINT, t TEXT) WITH (connector = 'directory', path = '{}', format = 'json',
             max_files_per_trigger = {files_max})",
            folder.path().display()
        ))
        .await?;
    let mut views: Vec<View> = Vec::new();
    let mut rows = 0;
    for file in 0..rng.random_range(3..8) {
        if views.len() < 5 {
            views.push(view(rng, &mut story, views.len()).await?);
        }
        let mut text = String::new();
        for _ in 0..*[1, 5, 40].choose(rng).unwrap() {
            rows += 1;
            let (n, t) =
                (pick(rng, &["0", "1", "2", "3", "-4", "null"]), pick(rng, &["\"1\"", "\"7\"", "\"x\"", "null"]));
            let _ = writeln!(text, "{{\"id\": {rows}, \"n\": {n}, \"t\": {t}}}");
        }
        story.tell(format!("-- {file}.json:\n{text}"));
        let draft = folder.path().join(".draft");
        std::fs::write(&draft, text).unwrap();
        std::fs::rename(&draft, folder.path().join(format!("{file}.json"))).unwrap();
        match rng.random_range(0..4) {
            0 => story.crash_or_restart(rng).await,
            1 => drop(story.sql("FLUSH").await?),
            _ => {}
        }
    }
    story.sql("FLUSH").await?;
    if rng.random_bool(0.3) {
        story.crash_or_restart(rng).await;
    }
    for View { name, batch, fails } in &views {
        story.same(name, batch).await?;
        let counted = format!("SELECT dead_letters FROM tidemark.queries WHERE name = '{name}'");
        story.same(&counted, &format!("SELECT count(*) AS dead_letters FROM s WHERE {fails}")).await?;
        let listed = format!("SELECT count(*) AS dead_letters FROM tidemark.dead_letters WHERE query = '{name}'");
        story.same(&listed, &counted).await?;
    }
    Ok(views.len())
}

async fn view(rng: &mut SmallRng, story: &mut Story, number: usize) -> Result<View, Failure> {
    let (expression, safe, fails) = *EXPRESSIONS.choose(rng).unwrap();
    let query = QUERIES.choose(rng).unwrap();
    let name = format!("v{number}");
    let standing = query.replace("$s", "s").replace("$e", expression);
    story.sql(&format!("CREATE MATERIALIZED VIEW {name} AS {standing}")).await?;
    let others = format!("(SELECT * FROM s WHERE coalesce(NOT ({fails}), true)) AS others");
    Ok(View { name, batch: query.replace("$s", &others).replace("$e", safe), fails })
}
