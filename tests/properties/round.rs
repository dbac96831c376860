//! One round: tables, views over them, changes, restarts, and the comparison.

use std::{fmt::Write, panic::AssertUnwindSafe, sync::Arc, time::Duration};

use datafusion::{datasource::MemTable, prelude::SessionContext};
use futures::FutureExt;
use rand::{Rng, SeedableRng, rngs::SmallRng, seq::IndexedRandom};
use tempfile::TempDir;
use tidemark::{engine::EngineOptions, query::Thresholds, state::Compaction};

use super::{
    Failure,
    queries::{Query, Relation, query},
    values::{Column, TYPES, Type, expr, odd_float, pick, predicate},
};
use crate::harness::{Rig, Rows};

/// What a round is made of, told when it fails.
pub struct Story {
    pub rig: Rig,
    script: String,
}

impl Story {
    pub async fn new(options: EngineOptions) -> Story {
        Story { rig: Rig::new(options).await, script: String::new() }
    }

    pub fn tell(&mut self, what: impl std::fmt::Display) {
        let _ = writeln!(self.script, "{what};");
    }

    pub fn fails(&self, why: impl std::fmt::Display) -> Failure {
        format!("{why}\n\n{}", self.script)
    }

    /// A statement that must be taken.
    pub async fn sql(&mut self, text: &str) -> Result<Rows, Failure> {
        self.tell(text);
        let done = tokio::time::timeout(Duration::from_secs(30), self.rig.sql(text)).await;
        done.map_err(|_| self.fails("it hangs"))?.map_err(|e| self.fails(format!("{e} {:?}", e.detail_text())))
    }

    /// Whether two queries, or relations, have the same rows.
    pub async fn same(&mut self, view: &str, batch: &str) -> Result<(), Failure> {
        let (kept, asked) = (self.ask(view).await?, self.ask(batch).await?);
        match kept.same(&asked) {
            true => Ok(()),
            false => Err(self.fails(differ(view, &kept, batch, &asked))),
        }
    }

    async fn ask(&self, what: &str) -> Result<Rows, Failure> {
        self.rig.contents(what).await.map_err(|e| self.fails(format!("{e}\n  in {what}")))
    }

    pub async fn crash_or_restart(&mut self, rng: &mut SmallRng) {
        if rng.random_bool(0.6) {
            self.tell("-- crash");
            self.rig.crash().await;
        } else {
            self.tell("-- restart");
            self.rig.restart().await;
        }
    }
}

fn differ(view: &str, kept: &Rows, batch: &str, asked: &Rows) -> String {
    format!("{view} holds\n{kept}but the batch answer is\n{asked}of {batch}")
}

/// What few rows cross.
const SMALL: Thresholds = Thresholds {
    batch_rows: 2,
    checkpoint_chain_max: 2,
    plan_runs_max: 2,
    unsaved_rows_min: 2,
    compaction: Compaction { chunk_rows_max: 2, dead_rows_max: 2, dead_bytes_max: 2 },
};

/// Few checkpoints or many, small log files or large ones, one partition or two; thresholds that no row or each one
/// crosses.
pub fn options(rng: &mut SmallRng) -> EngineOptions {
    let mut options = EngineOptions {
        checkpoint_interval: Duration::from_millis(if rng.random_bool(0.5) { 0 } else { 3_600_000 }),
        log_file_bytes: if rng.random_bool(0.5) { 4000 } else { 1 << 30 },
        partitions: rng.random_range(1..3),
        ..EngineOptions::default()
    };
    if options.partitions == 2 {
        options.thresholds = SMALL;
        // Batches of two rows are slow.
        if options.log_file_bytes > 4000 {
            options.thresholds.batch_rows = Thresholds::default().batch_rows;
        }
    }
    options
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Keyed,
    Rows,
    AppendOnly,
    Files,
}

struct Input {
    relation: Relation,
    /// Whether its floats are often such as DataFusion takes for others than they are.
    odd: bool,
    kind: Kind,
    folder: Option<TempDir>,
    files: usize,
}

struct View {
    name: String,
    query: Query,
}

/// Each of so many rounds has odd floats.
const ODD_ROUNDS: u64 = 4;

/// How many views were compared.
pub struct Compared {
    pub views: usize,
    /// Of them, with DataFusion's own answer too.
    pub with_datafusion: usize,
}

pub async fn round(seed: u64) -> Result<Compared, Failure> {
    let rng = &mut SmallRng::seed_from_u64(seed);
    let mut story = Story::new(options(rng)).await;
    let mut inputs = Vec::new();
    let odd = seed % ODD_ROUNDS == ODD_ROUNDS - 1;
    for n in 0..rng.random_range(1..4) {
        inputs.push(Input { odd, ..input(rng, &mut story, n).await? });
    }
    let mut relations: Vec<Relation> = inputs.iter().map(|i| i.relation.clone()).collect();
    let mut views: Vec<View> = Vec::new();
    let (views_max, steps) = (rng.random_range(4..9), rng.random_range(10..26));
    for step in 0..steps {
        if views.len() < views_max && (step < 2 || rng.random_bool(0.3)) {
            for _ in 0..rng.random_range(1..4) {
                views.push(view(rng, &mut story, &mut relations, views.len()).await?);
            }
        }
        match rng.random_range(0..12) {
            0 => story.crash_or_restart(rng).await,
            1 | 2 => {
                story.sql("FLUSH").await?;
                if let Some(view) = views.choose(rng) {
                    story.same(&view.name, &view.query.text).await?;
                }
            }
            3 => {
                story.tell("-- the log is shortened");
                let shortened = story.rig.engine().shorten_log().await;
                shortened.map_err(|e| story.fails(e))?;
            }
            _ => {
                let input = rng.random_range(0..inputs.len());
                change(rng, &mut story, &mut inputs[input]).await?;
            }
        }
    }
    if rng.random_bool(0.3) {
        story.crash_or_restart(rng).await;
    }
    story.sql("FLUSH").await?;
    for view in &views {
        story.same(&view.name, &view.query.text).await?;
    }
    let plain: Vec<&View> = views.iter().filter(|view| view.query.plain && !odd).collect();
    let with_datafusion = compare_with_datafusion(&story, &plain, &relations).await?;
    Ok(Compared { views: views.len(), with_datafusion })
}

async fn input(rng: &mut SmallRng, story: &mut Story, n: usize) -> Result<Input, Failure> {
    let kind = *[Kind::Keyed, Kind::Keyed, Kind::Rows, Kind::AppendOnly, Kind::Files].choose(rng).unwrap();
    let mut columns = vec![Column { name: "id".to_string(), of: Type::Int }];
    for c in 0..rng.random_range(2..6) {
        columns.push(Column { name: format!("c{c}"), of: *TYPES.choose(rng).unwrap() });
    }
    let name = format!("t{n}");
    let mut list: Vec<String> = columns.iter().map(|c| format!("{} {}", c.name, c.of.sql())).collect();
    if kind == Kind::Keyed {
        list.push("PRIMARY KEY (id)".to_string());
    }
    let list = list.join(", ");
    let mut folder = None;
    match kind {
        Kind::Keyed | Kind::Rows => story.sql(&format!("CREATE TABLE {name} ({list})")).await?,
        Kind::AppendOnly => story.sql(&format!("CREATE TABLE {name} ({list}) APPEND ONLY")).await?,
        Kind::Files => {
            let (dir, files) = (tempfile::tempdir().unwrap(), rng.random_range(1..3));
            let options = format!(
                "connector = 'directory', path = '{}', format = 'json', max_files_per_trigger = {files}",
                dir.path().display()
            );
            folder = Some(dir);
            story.sql(&format!("CREATE SOURCE {name} ({list}) WITH ({options})")).await?
        }
    };
    Ok(Input { relation: Relation { name, columns }, odd: false, kind, folder, files: 0 })
}

async fn view(rng: &mut SmallRng, story: &mut Story, relations: &mut Vec<Relation>, n: usize) -> Result<View, Failure> {
    let query = query(rng, relations);
    let name = format!("v{n}");
    let emit = pick(rng, &["", "", " EMIT ON UPDATE", " EMIT COMPLETE"]);
    story.sql(&format!("CREATE MATERIALIZED VIEW {name} AS {}{emit}", query.text)).await?;
    if !query.columns.is_empty() {
        relations.push(Relation { name: name.clone(), columns: query.columns.clone() });
    }
    Ok(View { name, query })
}

fn row(rng: &mut SmallRng, columns: &[Column], odd: bool) -> Vec<String> {
    let mut row = vec![rng.random_range(0..15).to_string()];
    row.extend(columns[1..].iter().map(|c| match odd && c.of == Type::Float && rng.random_bool(0.6) {
        true => odd_float(rng),
        false => c.of.value(rng),
    }));
    row
}

async fn change(rng: &mut SmallRng, story: &mut Story, input: &mut Input) -> Result<(), Failure> {
    let (name, columns) = (input.relation.name.clone(), input.relation.columns.clone());
    let column = columns[1..].choose(rng).unwrap().clone();
    let count = rng.random_range(1..6);
    let rows: Vec<Vec<String>> = (0..count).map(|_| row(rng, &columns, input.odd)).collect();
    if input.kind == Kind::Files {
        return land(story, input, &rows);
    }
    let condition = predicate(rng, &columns, 1);
    let changeable = matches!(input.kind, Kind::Keyed | Kind::Rows);
    let text = match rng.random_range(0..5) {
        0 if changeable => {
            let value = expr(rng, &columns, column.of, 1);
            format!("UPDATE {name} SET {} = {value} WHERE {condition}", column.name)
        }
        1 if changeable => format!("DELETE FROM {name} WHERE {condition}"),
        _ => {
            let rows: Vec<String> = rows.iter().map(|row| format!("({})", row.join(", "))).collect();
            let conflict = match input.kind {
                Kind::Keyed if count == 1 && rng.random_bool(0.5) => {
                    format!(" ON CONFLICT (id) DO UPDATE SET {0} = excluded.{0}", column.name)
                }
                Kind::Keyed => " ON CONFLICT DO NOTHING".to_string(),
                _ => String::new(),
            };
            format!("INSERT INTO {name} VALUES {}{conflict}", rows.join(", "))
        }
    };
    story.sql(&text).await.map(|_| ())
}

/// A value of SQL as JSON writes it.
pub fn json(value: &str, of: Type) -> String {
    match value.strip_prefix("TIMESTAMP ").unwrap_or(value) {
        "NULL" => "null".to_string(),
        quoted if quoted.starts_with('\'') => {
            let text = quoted.trim_matches('\'').replace("''", "'");
            format!("\"{}\"", text.replace(' ', if of == Type::Time { "T" } else { " " }))
        }
        cast => match cast.strip_prefix("CAST(").and_then(|cast| cast.split_once(" AS ")) {
            // JSON has no others.
            Some((text, _)) if text.starts_with('\'') => if text == "'-0'" { "-0.0" } else { "null" }.to_string(),
            Some((number, _)) => number.to_string(),
            None if cast.starts_with('(') => "null".to_string(),
            None => cast.to_string(),
        },
    }
}

/// Rows as a file of JSON that appears whole.
fn land(story: &mut Story, input: &mut Input, rows: &[Vec<String>]) -> Result<(), Failure> {
    let folder = input.folder.as_ref().unwrap().path();
    let mut text = String::new();
    for row in rows {
        let fields = input.relation.columns.iter().zip(row);
        let fields = fields.map(|(column, value)| format!("\"{}\": {}", column.name, json(value, column.of)));
        let _ = writeln!(text, "{{{}}}", fields.collect::<Vec<_>>().join(", "));
    }
    let name = format!("{:04}.json", input.files);
    input.files += 1;
    story.tell(format!("-- {} of {}:\n{text}", name, input.relation.name));
    let draft = folder.join(".draft");
    std::fs::write(&draft, text).and_then(|()| std::fs::rename(&draft, folder.join(name))).map_err(|e| story.fails(e))
}

/// Each view by DataFusion, over what the relations hold: how many it answers, where all of them are the same.
async fn compare_with_datafusion(story: &Story, views: &[&View], relations: &[Relation]) -> Result<usize, Failure> {
    let mut config = datafusion::prelude::SessionConfig::new();
    config.options_mut().sql_parser.default_null_ordering = "nulls_max".into();
    config.options_mut().sql_parser.parse_float_as_decimal = true;
    let context = SessionContext::new_with_config(config);
    // What a function of one row gives is PostgreSQL's to say.
    for function in tidemark::sql::builtins::functions() {
        context.register_udf(Arc::unwrap_or_clone(function));
    }
    for Relation { name, .. } in relations {
        let (schema, batches) = story.rig.answer(&format!("SELECT * FROM {name}")).await.map_err(|e| story.fails(e))?;
        let table = MemTable::try_new(schema, vec![batches]).map_err(|e| story.fails(e))?;
        context.register_table(name.as_str(), Arc::new(table)).map_err(|e| story.fails(e))?;
    }
    let mut compared = 0;
    for View { name, query } in views {
        let asked = async { context.sql(&query.text).await?.collect().await };
        // Some it does not answer, or panics of.
        let Ok(Ok(asked)) = AssertUnwindSafe(asked).catch_unwind().await else { continue };
        let asked = Rows::new(&asked).map_err(|e| story.fails(e))?;
        let kept = story.ask(name).await?;
        if !kept.same(&asked) {
            return Err(story.fails(differ(name, &kept, &query.text, &asked)));
        }
        compared += 1;
    }
    Ok(compared)
}
