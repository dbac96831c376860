//! Everything that is shown to people is run: the examples, the pipelines, the configuration, and README from top to
//! bottom.

use std::{fs, path::PathBuf, process::Command};

use super::harness::{Home, Server, checkout, eventually, finished, rows, run, tidemark, try_rows};

/// `tidemark sql` on a server, in its folder.
fn sql(server: &Server) -> Command {
    let mut command = tidemark();
    command.current_dir(server.home.path("")).arg("sql").env("PGPORT", server.port.to_string());
    for name in ["PGHOST", "PGUSER", "PGDATABASE"] {
        command.env_remove(name);
    }
    command
}

const FLIGHTS: &str = "flight,origin,dest,landed_at,passengers
TM1,BER,HEL,2026-01-01 10:01:00,120
TM2,BER,OSL,2026-01-01 10:16:00,99
TM3,OSL,HEL,2026-01-01 10:09:00,80
TM4,OSL,,2026-01-01 10:09:00,80
";

const LANDINGS: [&str; 1] = ["2026-01-01 10:00:00|HEL|2|200"];

#[tokio::test(flavor = "multi_thread")]
async fn first_view_sql_example_gives_its_answers() {
    let server = Home::new().start();
    let (status, stdout, stderr) = finished(sql(&server).arg("-f").arg(checkout("sql/examples/first_view.sql"))).await;
    assert!(status.success(), "{stderr}");
    let table: Vec<Vec<&str>> = stdout.lines().filter(|l| l.contains('|')).map(cells).collect();
    assert_eq!(table, [["customer", "orders", "spent"], ["ada", "1", "7.50"], ["bob", "1", "6.00"]], "{stdout}");
}

/// A statement that is an argument has its rows on stdin; without them it takes none, and says nothing wrong.
#[tokio::test(flavor = "multi_thread")]
async fn sql_command_copy_reads_rows_from_stdin() {
    let server = Home::new().start();
    let client = server.connect().await;
    run(&client, "CREATE TABLE t (id BIGINT PRIMARY KEY, name TEXT)").await;
    server.home.put("rows", "1\tada\n2\tbob\n");
    let mut command = sql(&server);
    command.args(["-c", "COPY t FROM STDIN", "-c", "SELECT count(*) FROM t"]);
    command.stdin(fs::File::open(server.home.path("rows")).unwrap());
    let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(rows(&client, "SELECT id, name FROM t ORDER BY id").await, ["1|ada", "2|bob"]);
}

fn cells(line: &str) -> Vec<&str> {
    line.split('|').map(str::trim).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn flights_sql_example_gives_its_answers() {
    let home = Home::new();
    home.folder("data/flights");
    let server = home.start();
    let (status, _, stderr) = finished(sql(&server).arg("-f").arg(checkout("sql/examples/flights.sql"))).await;
    assert!(status.success(), "{stderr}");
    home.put("data/flights/1.csv", FLIGHTS);
    let client = server.connect().await;
    run(&client, "FLUSH").await;
    assert_eq!(rows(&client, "SELECT * FROM landings").await, LANDINGS);
    let now = rows(&client, "SELECT * FROM landings_now ORDER BY window_start").await;
    assert_eq!(now, [LANDINGS[0], "2026-01-01 10:10:00|OSL|1|99"]);
    assert_eq!(rows(&client, "SELECT count(*) FROM flights").await, ["3"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn clicks_sql_example_gives_its_answers() {
    let server = Home::new().start();
    let (status, _, stderr) = finished(sql(&server).arg("-f").arg(checkout("sql/examples/clicks.sql"))).await;
    assert!(status.success(), "{stderr}");
    // A join without a bound says so.
    assert!(stderr.contains("\"never_clicked\" remembers without an end"), "{stderr}");
    let client = server.connect().await;
    let day = |times: &str| times.replace("@", "2026-01-01 ");
    run(&client, &day("INSERT INTO ads VALUES (1, '@10:00:00'), (2, '@10:01:00'), (3, '@10:30:00')")).await;
    let clicks = "INSERT INTO clicks VALUES (1, '@10:02:00'), (1, '@10:03:30'), (1, '@10:09:00'), (9, '@10:30:00')";
    run(&client, &day(clicks)).await;
    run(&client, "FLUSH").await;
    let clicked = rows(&client, "SELECT ad, shown::TIME, at::TIME FROM clicked ORDER BY ad, at").await;
    assert_eq!(clicked, ["1|10:00:00|10:02:00", "1|10:00:00|10:03:30", "2|10:01:00|NULL"]);
    let visits = "SELECT ad, window_start::TIME, window_end::TIME, clicks FROM visits ORDER BY ad, window_start";
    let visits = rows(&client, visits).await;
    assert_eq!(visits, ["1|10:02:00|10:05:30|2", "1|10:09:00|10:11:00|1", "9|10:30:00|10:32:00|1"]);
    let last = rows(&client, "SELECT ad, at::TIME FROM last_two ORDER BY ad, at").await;
    assert_eq!(last, ["1|10:03:30", "1|10:09:00", "9|10:30:00"]);
    assert_eq!(rows(&client, "SELECT ad FROM never_clicked ORDER BY ad").await, ["2", "3"]);
}

/// Arbitrary state: the count of each word goes on from chunk to chunk, and through a crash.
#[tokio::test(flavor = "multi_thread")]
async fn word_count_sql_example_counts_through_a_kill() {
    let home = Home::new();
    let server = home.start();
    let (status, _, stderr) = finished(sql(&server).arg("-f").arg(checkout("sql/examples/word_count.sql"))).await;
    assert!(status.success(), "{stderr}");
    let client = server.connect().await;
    run(&client, "INSERT INTO chunks VALUES (1, 'to be or not to be'), (2, 'that is the question'); FLUSH").await;
    let often = "SELECT word, seen FROM word_count WHERE seen > 1 ORDER BY word";
    assert_eq!(rows(&client, often).await, ["be|2", "to|2"]);
    server.kill();
    let server = home.start();
    let client = server.connect().await;
    run(&client, "INSERT INTO chunks VALUES (3, 'To die, to sleep'); FLUSH").await;
    assert_eq!(rows(&client, often).await, ["be|2", "to|4"]);
    assert_eq!(rows(&client, "SELECT sum(seen) FROM word_count").await, ["14"]);
}

/// The queries of the Nexmark benchmark, and how many rows each has over the first 5000 events.
const NEXMARK: [(&str, &str); 23] = [
    ("q0.sql", "4600"),
    ("q1.sql", "4600"),
    ("q2.sql", "16"),
    ("q3.sql", "42"),
    ("q4.sql", "5"),
    ("q5.sql", "5"),
    ("q6.sql", "270"),
    ("q7.sql", "1"),
    ("q8.sql", "47"),
    ("q9.sql", "270"),
    ("q10.sql", "4600"),
    ("q11.sql", "102"),
    ("q12.sql", "102"),
    ("q13.sql", "4600"),
    ("q14.sql", "1320"),
    ("q15.sql", "1"),
    ("q16.sql", "2104"),
    ("q17.sql", "295"),
    ("q18.sql", "994"),
    ("q19.sql", "2021"),
    ("q20.sql", "1107"),
    ("q21.sql", "4383"),
    ("q22.sql", "4600"),
];

/// Each query as an ordinary `SELECT`.
#[tokio::test(flavor = "multi_thread")]
async fn nexmark_sql_examples_run_as_batch_queries() {
    let server = Home::new().start();
    let client = server.connect().await;
    let text = |name: &str| fs::read_to_string(checkout("sql/examples/nexmark").join(name)).unwrap();
    run(&client, &text("sources.sql").replace("events = 1000000", "events = 5000")).await;
    for (name, count) in NEXMARK {
        let statement = text(name);
        let (create, select) = statement.split_once(" AS\n").unwrap();
        assert!(create.ends_with(&format!("CREATE MATERIALIZED VIEW {}", name.trim_end_matches(".sql"))), "{name}");
        let select = select.trim_end().trim_end_matches(';');
        let found = try_rows(&client, &format!("SELECT count(*) FROM ({select}) AS q")).await;
        assert_eq!(found.unwrap_or_else(|e| panic!("{name}: {e:?}")), [count], "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn flights_yaml_pipeline_gives_its_answers() {
    let home = Home::new();
    home.put("elsewhere/1.csv", FLIGHTS);
    let start = || {
        let mut command = home.pipeline("config/pipelines/flights.yaml");
        command.env("FLIGHTS", "elsewhere");
        command
    };
    let (status, stdout, stderr) = finished(start().arg("--dry-run")).await;
    assert!(status.success(), "{stderr}");
    for name in ["flights_raw", "flights", "landings", "busiest"] {
        assert!(stdout.contains(name), "a dry run does not name {name}: {stdout}");
    }
    let server = Server::ready(&home, start());
    let client = server.connect().await;
    run(&client, "FLUSH").await;
    assert_eq!(rows(&client, "SELECT * FROM landings").await, LANDINGS);
    assert_eq!(rows(&client, "SELECT * FROM busiest").await, ["HEL|2"]);
    assert!(server.terminate().await.success());

    // Applied twice it changes nothing: the views go on where they were.
    let (status, stdout, stderr) = finished(start().arg("--dry-run")).await;
    assert!(status.success(), "{stderr}");
    for word in ["create", "replace", "CREATE", "REPLACE"] {
        assert!(!stdout.contains(word), "{stdout}");
    }
    let server = Server::ready(&home, start());
    let client = server.connect().await;
    assert_eq!(rows(&client, "SELECT * FROM busiest").await, ["HEL|2"]);
    home.put("elsewhere/2.csv", "flight,origin,dest,landed_at,passengers\nTM9,BER,HEL,2026-01-01 10:59:00,1\n");
    run(&client, "FLUSH").await;
    assert_eq!(rows(&client, "SELECT * FROM busiest ORDER BY dest").await, ["HEL|2", "OSL|1"]);
    server.kill();

    // Changed, it says what it will change.
    let text = fs::read_to_string(checkout("config/pipelines/flights.yaml")).unwrap();
    fs::write(home.path("changed.yaml"), text.replace("count(*) AS landed,", "count(*) + 0 AS landed,")).unwrap();
    let mut command = home.command();
    command.args(["run", "changed.yaml", "--data-dir", "tidemark-data", "--dry-run"]).env("FLIGHTS", "elsewhere");
    let (_, stdout, stderr) = finished(&mut command).await;
    assert!(format!("{stdout}{stderr}").contains("landings"), "{stdout}{stderr}");
}

#[tokio::test(flavor = "multi_thread")]
async fn datagen_yaml_pipeline_gives_its_answers() {
    let home = Home::new();
    let server = Server::ready(&home, home.pipeline("config/pipelines/datagen.yaml"));
    let client = server.connect().await;
    let sum = "SELECT coalesce(sum(readings), 0) FROM by_sensor";
    eventually("readings come", async || (rows(&client, sum).await != ["0"]).then_some(())).await;
    let strange =
        "SELECT count(*) FROM by_sensor WHERE sensor NOT BETWEEN 1 AND 1000 OR degrees NOT BETWEEN -10 AND 35";
    assert_eq!(rows(&client, strange).await, ["0"]);
    run(&client, "INSERT INTO places SELECT i, 'roof' FROM generate_series(1, 1000) AS s(i)").await;
    let joined = "SELECT DISTINCT place FROM by_sensor JOIN places ON by_sensor.sensor = places.sensor";
    assert_eq!(rows(&client, joined).await, ["roof"]);
    assert!(server.terminate().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn etl_yaml_pipeline_writes_its_lake_through_a_kill() {
    let home = Home::new();
    let start = || {
        let mut command = home.pipeline("config/pipelines/etl.yaml");
        command.env("ORDERS", "in").env("LAKE", "out/orders");
        command
    };
    let header = "id,customer,amount,ordered_at";
    home.put("in/1.csv", format!("{header}\n1, Ada ,7.50,2026-01-01 10:00:00\n2,Bob,0,2026-01-01 11:00:00\n"));
    let server = Server::ready(&home, start());
    run(&server.connect().await, "FLUSH").await;
    server.kill();
    home.put("in/2.csv", format!("{header}\n3,Bob,1.25,2026-01-02 10:00:00\n4,ada,2,\n"));
    let server = Server::ready(&home, start());
    let client = server.connect().await;
    run(&client, "FLUSH").await;
    run(&client, "CREATE SOURCE lake WITH (connector = 'directory', path = 'out/orders', format = 'parquet')").await;
    let all = "SELECT id, customer, amount, ordered_at, day FROM lake ORDER BY id";
    let expected = [
        "1|ada|7.50|2026-01-01 10:00:00|2026-01-01",
        "3|bob|1.25|2026-01-02 10:00:00|2026-01-02",
        "4|ada|2.00|NULL|NULL",
    ];
    assert_eq!(rows(&client, all).await, expected);
    for day in ["2026-01-01", "2026-01-02", "__HIVE_DEFAULT_PARTITION__"] {
        assert!(home.path(&format!("out/orders/day={day}")).is_dir(), "{day}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn shipped_configuration_with_every_key_serves() {
    let home = Home::new();
    fs::copy(checkout("config/tidemark.yaml"), home.path("tidemark.yaml")).unwrap();
    let server = home.start();
    assert_eq!(rows(&server.connect().await, "SELECT 1").await, ["1"]);
}

/// One block of a Markdown text: the word behind the fence, and what is in it.
struct Block {
    language: String,
    text: String,
}

fn blocks(markdown: &str) -> Vec<Block> {
    let mut blocks: Vec<Block> = Vec::new();
    let mut inside = false;
    for line in markdown.lines() {
        match line.strip_prefix("```") {
            Some(_) if inside => inside = false,
            Some(language) => {
                inside = true;
                blocks.push(Block { language: language.to_string(), text: String::new() });
            }
            None if inside => {
                let block = blocks.last_mut().unwrap();
                block.text += line;
                block.text.push('\n');
            }
            None => {}
        }
    }
    blocks
}

/// What a reader is told to type and this test does not: it builds, or serves, which is done already.
const ELSEWHERE: [&str; 4] = ["cargo run --release -- demo", "cargo test", "cargo build --release", "tidemark serve"];

/// Each block in its order, by a reader in an empty folder; where the output is shown, it is what comes out.
#[tokio::test(flavor = "multi_thread")]
async fn readme_blocks_run_in_order_with_the_shown_output() {
    let home = Home::new();
    let server = home.start();
    let binary = PathBuf::from(env!("CARGO_BIN_EXE_tidemark"));
    let path = format!("{}:{}", binary.parent().unwrap().display(), std::env::var("PATH").unwrap());
    let (mut said, mut ran, mut shown) = (String::new(), 0, 0);
    for Block { language, text } in blocks(&fs::read_to_string(checkout("README.md")).unwrap()) {
        let mut command = match language.as_str() {
            "sql" => {
                fs::write(home.path("block.sql"), &text).unwrap();
                let mut command = sql(&server);
                command.args(["-f", "block.sql"]);
                command
            }
            "sh" => {
                let here = |line: &&str| !ELSEWHERE.iter().any(|other| line.starts_with(other));
                let script: Vec<&str> = text.lines().filter(here).collect();
                let mut command = Command::new("sh");
                command.args(["-e", "-c", &script.join("\n")]).current_dir(home.path(""));
                command.env("PATH", &path).env("PGPORT", server.port.to_string());
                command
            }
            "yaml" => {
                let file = home.path("block.yaml");
                fs::write(&file, &text).unwrap();
                let mut command = tidemark();
                // As by whoever reads on: the folder of the block before is there.
                command.arg("check").arg(file).current_dir(home.path(""));
                command
            }
            "" => {
                for line in text.lines().filter(|line| line.contains('|')) {
                    let there = said.lines().any(|other| cells(other) == cells(line));
                    assert!(there, "README shows\n{text}but this comes out:\n{said}");
                    shown += 1;
                }
                continue;
            }
            other => panic!("README has a block of {other}, which nobody runs"),
        };
        let (status, stdout, stderr) = finished(&mut command).await;
        assert!(status.success(), "README's\n{text}ends with\n{stdout}{stderr}");
        said = stdout;
        ran += 1;
    }
    assert!(ran >= 6 && shown >= 5, "README's blocks were not found: {ran} ran, {shown} lines shown");
}
