//! A source whose records set and remove rows by key: a view over it is the answer over the rows that are left.

use std::collections::BTreeMap;

use rand::{Rng, SeedableRng, rngs::SmallRng, seq::IndexedRandom};

use super::{
    Failure,
    queries::{Relation, query},
    round::{Story, json, options},
    values::{Column, Type},
};

const COLUMNS: [(&str, Type); 6] = [
    ("id", Type::Int),
    ("a", Type::Int),
    ("b", Type::Text),
    ("c", Type::Bool),
    ("d", Type::Time),
    ("e", Type::Decimal),
];

/// What is left, by key, and what was said of it.
#[derive(Default)]
struct Database {
    rows: BTreeMap<u64, Vec<String>>,
    lines: Vec<String>,
}

impl Database {
    /// One event: a change, or one that comes again, comes late or makes no sense.
    fn event(&mut self, rng: &mut SmallRng) {
        let id = rng.random_range(0..12);
        let old = self.rows.get(&id).cloned();
        let shown = |row: &Option<Vec<String>>| row.as_ref().map_or("null".to_string(), |row| object(row));
        let line = match rng.random_range(0..10) {
            0 => ["{\"op\":\"c\"", "{}", "{\"op\":\"x\",\"after\":{\"id\":1}}", "{\"op\":\"u\",\"after\":{\"a\":1}}"]
                .choose(rng)
                .unwrap()
                .to_string(),
            1 => match self.lines.last() {
                Some(again) => again.clone(),
                None => return,
            },
            2 | 3 => {
                self.rows.remove(&id);
                // Most databases tell the key only.
                let before = if rng.random_bool(0.5) { format!("{{\"id\":{id}}}") } else { shown(&old) };
                let before = if before == "null" { format!("{{\"id\":{id}}}") } else { before };
                format!("{{\"before\":{before},\"after\":null,\"op\":\"d\",\"ts_ms\":1}}")
            }
            _ => {
                let mut row = vec![id.to_string()];
                row.extend(COLUMNS[1..].iter().map(|(_, of)| of.value(rng)));
                let before = if rng.random_bool(0.5) { "null".to_string() } else { shown(&old) };
                let kind = ["c", "u", "r"].choose(rng).unwrap();
                let line = format!("{{\"op\":\"{kind}\",\"before\":{before},\"after\":{}}}", object(&row));
                self.rows.insert(id, row);
                line
            }
        };
        let wrapped = rng.random_bool(0.3) && line.ends_with('}');
        self.lines.push(if wrapped { format!("{{\"schema\":{{\"a\":[1]}},\"payload\":{line}}}") } else { line });
    }
}

fn object(row: &[String]) -> String {
    let members = COLUMNS.iter().zip(row).map(|((name, of), value)| format!("\"{name}\":{}", json(value, *of)));
    format!("{{{}}}", members.collect::<Vec<_>>().join(","))
}

/// The number of views compared.
pub async fn round(seed: u64) -> Result<usize, Failure> {
    let rng = &mut SmallRng::seed_from_u64(seed);
    let mut story = Story::new(options(rng)).await;
    let folder = tempfile::tempdir().unwrap();
    let list: Vec<String> = COLUMNS.iter().map(|(name, of)| format!("{name} {}", of.sql())).collect();
    let list = format!("{}, PRIMARY KEY (id)", list.join(", "));
    let files = rng.random_range(1..4);
    let with =
        format!("connector = 'directory', path = '{}', max_files_per_trigger = {files}", folder.path().display());
    story.sql(&format!("CREATE SOURCE changing ({list}) WITH ({with}) FORMAT DEBEZIUM ENCODE JSON")).await?;
    story.sql(&format!("CREATE TABLE remaining ({list})")).await?;
    let columns = COLUMNS.iter().map(|(name, of)| Column { name: name.to_string(), of: *of }).collect();
    let changing = [Relation { name: "changing".to_string(), columns }];

    let mut database = Database::default();
    let (mut views, mut landed) = (Vec::new(), 0);
    for step in 0..rng.random_range(8..20) {
        if views.len() < 6 && (step < 2 || rng.random_bool(0.4)) {
            let text = query(rng, &changing).text;
            story.sql(&format!("CREATE MATERIALIZED VIEW v{} AS {text}", views.len())).await?;
            views.push(text);
        }
        match rng.random_range(0..8) {
            0 => story.crash_or_restart(rng).await,
            1 => {
                story.sql("FLUSH").await?;
            }
            _ => {
                let from = database.lines.len();
                (0..rng.random_range(1..12)).for_each(|_| database.event(rng));
                let text: String = database.lines[from..].iter().map(|line| format!("{line}\n")).collect();
                let name = format!("{landed:04}.json");
                landed += 1;
                story.tell(format!("-- {name}:\n{text}"));
                let draft = folder.path().join(".draft");
                std::fs::write(&draft, text).and_then(|()| std::fs::rename(&draft, folder.path().join(name))).unwrap();
            }
        }
    }
    story.sql("FLUSH").await?;
    for row in database.rows.values() {
        story.sql(&format!("INSERT INTO remaining VALUES ({})", row.join(", "))).await?;
    }
    story.same("changing", "remaining").await?;
    for (n, text) in views.iter().enumerate() {
        story.same(&format!("v{n}"), &text.replace("changing", "remaining")).await?;
    }
    Ok(views.len())
}
