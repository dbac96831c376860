//! The real psql on a real server: what it describes, copies and reads from files. Where there is no psql, that is
//! printed and nothing is tested.

use std::{
    io::Write,
    process::{Command, Stdio},
};

use super::harness::{Home, Server, run};

/// What psql prints; `None` where there is none. An error of any statement fails.
fn psql(server: &Server, input: &str) -> Option<String> {
    let mut command = Command::new("psql");
    command.args(["-X", "-q", "-v", "ON_ERROR_STOP=1", "-h", "127.0.0.1", "-U", "tidemark", "-d", "tidemark", "-p"]);
    command.arg(server.port.to_string()).current_dir(server.home.path(""));
    let mut child = match command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn() {
        Ok(child) => child,
        Err(error) => {
            eprintln!("not tested: there is no psql here ({error})");
            return None;
        }
    };
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{input}:\n{}{}", text(&output.stdout), text(&output.stderr));
    Some(text(&output.stdout))
}

async fn setting() -> Server {
    let home = Home::new();
    home.folder("in");
    let server = home.start();
    let client = server.connect().await;
    run(
        &client,
        "CREATE TABLE orders (id BIGINT PRIMARY KEY, customer TEXT NOT NULL, amount NUMERIC(10, 2), at TIMESTAMP);
         CREATE SOURCE raw (id INT, at TIMESTAMP) WITH (connector = 'directory', path = 'in', format = 'csv');
         CREATE STREAM flow WITH WATERMARK FOR at AS at - INTERVAL '1 minute' AS SELECT id, at FROM raw;
         CREATE MATERIALIZED VIEW spending AS SELECT customer, sum(amount) AS spent FROM orders GROUP BY customer;
         CREATE VIEW plain AS SELECT id FROM orders;
         CREATE SINK outward FROM spending WITH (connector = 'blackhole')",
    )
    .await;
    server
}

#[tokio::test(flavor = "multi_thread")]
async fn psql_d_lists_each_kind_of_object() {
    let server = setting().await;
    let Some(all) = psql(&server, "\\d") else { return };
    let line = |name: &str| all.lines().find(|l| l.contains(&format!(" {name} "))).unwrap_or("").to_string();
    let kinds = [
        ("orders", "table"),
        ("raw", "source"),
        ("flow", "stream"),
        ("spending", "materialized view"),
        ("plain", "view"),
        ("outward", "sink"),
    ];
    for (name, kind) in kinds {
        let cells: Vec<String> = line(name).split('|').map(|cell| cell.trim().to_string()).collect();
        assert_eq!(cells.get(2).map(String::as_str), Some(kind), "{all}");
    }
    for (command, only) in [("\\dt", "orders"), ("\\dm", "spending"), ("\\dv", "plain")] {
        let printed = psql(&server, command).unwrap();
        for (name, _) in kinds {
            // A stream may stand beside the views: to psql it is one.
            let there = printed.contains(&format!("| {name} "));
            assert!(there == (name == only) || name == "flow", "{command}:\n{printed}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn psql_d_describes_each_object_with_its_columns() {
    let server = setting().await;
    let Some(orders) = psql(&server, "\\d orders") else { return };
    for piece in ["public.orders", "bigint", "not null", "numeric(10,2)", "timestamp without time zone", "PRIMARY KEY"]
    {
        assert!(orders.contains(piece), "{piece}:\n{orders}");
    }
    for (name, column, kind) in [
        ("raw", "at", "timestamp without time zone"),
        ("flow", "id", "integer"),
        ("spending", "spent", "numeric"),
        ("plain", "id", "bigint"),
        ("outward", "spent", "numeric"),
        ("tidemark.queries", "last_error", "text"),
    ] {
        let printed = psql(&server, &format!("\\d {name}")).unwrap();
        let row = printed.lines().find(|line| line.trim_start().starts_with(&format!("{column} ")));
        assert!(row.is_some_and(|row| row.contains(kind)), "{name}:\n{printed}");
    }
    let plus = psql(&server, "\\d+ spending").unwrap();
    assert!(plus.contains("sum(amount)"), "{plus}");
}

#[tokio::test(flavor = "multi_thread")]
async fn psql_copy_reads_and_writes_files() {
    let server = setting().await;
    server.home.put("orders.csv", "id,customer,amount,at\n1,ada,10.50,2026-01-01 00:00:00\n2,bob,,\n");
    let script = "\\copy orders from 'orders.csv' with (format csv, header)\n\
                  FLUSH;\n\\copy (select * from spending order by customer) to 'out.csv' csv\n";
    if psql(&server, script).is_none() {
        return;
    }
    assert_eq!(std::fs::read_to_string(server.home.path("out.csv")).unwrap(), "ada,10.50\nbob,\n");
    let piped =
        psql(&server, "copy orders (id, customer) from stdin;\n7\teve\n\\.\nselect count(*) from orders;").unwrap();
    assert!(piped.contains(" 3\n"), "{piped}");
}

#[tokio::test(flavor = "multi_thread")]
async fn psql_i_runs_the_example_scripts() {
    let home = Home::new();
    home.folder("data/flights");
    let server = home.start();
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/sql/examples");
    let Some(printed) = psql(&server, &format!("\\i {folder}/first_view.sql\n\\i {folder}/flights.sql\n")) else {
        return;
    };
    assert!(printed.contains(" ada      |      1 |  7.50\n bob      |      1 |  6.00\n"), "{printed}");
    let views = psql(&server, "\\dm").unwrap();
    for name in ["spending", "landings", "landings_now"] {
        assert!(views.contains(&format!(" {name} ")), "{views}");
    }
    // A cursor in pieces, as FETCH_COUNT makes psql use.
    let pieces = "\\set FETCH_COUNT 10\nselect i from generate_series(1, 25) as s(i);";
    assert!(psql(&server, pieces).unwrap().contains("(25 rows)"));
}

#[tokio::test(flavor = "multi_thread")]
async fn psql_df_and_da_list_functions_and_aggregates() {
    let server = Home::new().start();
    let client = server.connect().await;
    run(
        &client,
        "CREATE FUNCTION add_count(history BIGINT, new BIGINT) RETURNS BIGINT RETURN history + new;
         CREATE AGGREGATE running_count(BIGINT) (SFUNC = add_count, STYPE = BIGINT, INITCOND = '0')",
    )
    .await;
    let Some(listed) = psql(&server, "\\df add_count") else { return };
    let squeezed = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let line = "public | add_count | bigint | history bigint, new bigint | func";
    assert!(squeezed(&listed).contains(line), "{listed}");
    let listed = psql(&server, "\\da").unwrap();
    assert!(squeezed(&listed).contains("public | running_count | bigint | bigint |"), "{listed}");
    assert!(!listed.contains("add_count |"), "{listed}");
}
