//! The real psql, where it is installed.

use std::process::{Command, Stdio};

use super::*;

/// The output of psql, including errors; `None` if psql is not installed.
fn psql(server: &Server, input: &str) -> Option<String> {
    let mut command = Command::new("psql");
    command.args(["-X", "-q", "-h", "127.0.0.1", "-U", "ann", "-d", "flights", "-p"]);
    command.arg(server.address.port().to_string());
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = match command.spawn() {
        Ok(child) => child,
        Err(e) => {
            println!("skipped: psql cannot be run here: {e}");
            return None;
        }
    };
    std::io::Write::write_all(&mut child.stdin.take().expect("piped"), input.as_bytes()).expect("written");
    let output = child.wait_with_output().expect("ended");
    Some(String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr))
}

async fn check(server: &Server, input: &'static str, expected: &str) {
    let printed = tokio::task::block_in_place(|| psql(server, input));
    if let Some(printed) = printed {
        assert_eq!(printed.trim_end(), expected.trim_end(), "{input}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn psql_prints_rows_tags_and_errors() {
    let server = Server::start().await;
    check(&server, "select 1 as a, 'x' as b;", " a | b \n---+---\n 1 | x\n(1 row)\n").await;
    check(
        &server,
        "copy nowhere from stdin;",
        "ERROR:  table \"nowhere\" does not exist\nLINE 1: copy nowhere from stdin;\n             ^\nHINT:  CREATE TABLE makes one.",
    )
    .await;
    check(&server, "insert into t values (1);", "NOTICE:  nothing is kept here").await;
    check(&server, "\\set FETCH_COUNT 400\nselect count(*) from numbers;", " count \n-------\n  1000\n(1 row)").await;
    check(&server, "\\copy (select n from numbers where n < 3) to stdout", "1\n2").await;
    check(&server, "\\encoding\nshow timezone;", "UTF8\n TimeZone \n----------\n UTC\n(1 row)").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn psql_lists_each_kind_by_its_name() {
    let server = Server::start().await;
    check(
        &server,
        "\\d",
        "              List of relations
 Schema |  Name  |       Type        | Owner 
--------+--------+-------------------+-------
 public | Recent | view              | ann
 public | flow   | stream            | ann
 public | orders | table             | ann
 public | raw    | source            | ann
 public | totals | materialized view | ann
(5 rows)",
    )
    .await;
    for (command, name) in [("\\dt", "orders"), ("\\dE", "raw"), ("\\dv", "Recent")] {
        let printed = tokio::task::block_in_place(|| psql(&server, command));
        let Some(printed) = printed else { return };
        assert!(printed.contains(&format!(" public | {name} ")) && printed.contains("(1 row)"), "{command}: {printed}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn psql_describes_a_table_with_its_key() {
    let server = Server::start().await;
    check(
        &server,
        "\\d orders",
        "                         Table \"public.orders\"
 Column |            Type             | Collation | Nullable | Default 
--------+-----------------------------+-----------+----------+---------
 id     | bigint                      |           | not null | 
 name   | text                        |           | not null | 
 price  | numeric(10,2)               |           |          | 
 at     | timestamp without time zone |           |          | 
 tags   | text[]                      |           |          | 
Indexes:
    \"orders_pkey\" PRIMARY KEY, btree (id, name)",
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn psql_describes_everything_without_an_error() {
    let server = Server::start().await;
    let mut failed = Vec::new();
    for (command, expected) in [
        ("\\d raw", "Foreign table \"public.raw\""),
        ("\\d raw", "Server: tidemark"),
        ("\\d flow", "Materialized view \"public.flow\""),
        ("\\d totals", "Materialized view \"public.totals\""),
        ("\\d \"Recent\"", "View \"public.Recent\""),
        ("\\d tidemark.queries", "Table \"tidemark.queries\""),
        ("\\d+ \"Recent\"", "View definition:\n SELECT * FROM Recent;"),
        ("\\d+ orders", "numeric(10,2)"),
        ("\\d nowhere", ""),
        ("\\dm", "totals"),
        ("\\dn", "tidemark"),
        ("\\l", "flights"),
        ("\\df", "(0 rows)"),
        ("\\di", "orders_pkey"),
        ("\\ds", ""),
        ("\\det", "raw"),
        ("\\des", "tidemark"),
        ("\\du", "ann"),
        ("\\dT", "(0 rows)"),
        ("\\dp", "orders"),
        ("\\db", "pg_default"),
        ("\\dx", "List of installed extensions"),
        ("\\dt+", "orders"),
        ("\\dt tidemark.*", "queries"),
        ("\\conninfo", "You are connected to database \"flights\" as user \"ann\""),
        ("select version();", "PostgreSQL 16.6 (Tidemark "),
        ("select current_user, current_database(), current_schema;", "ann          | flights          | public"),
        ("select current_setting('timezone'), set_config('a.b', 'c', false), current_setting('a.b');", "c"),
        ("select 'orders'::regclass::oid, 'orders'::regclass, 'public.raw'::regclass::text;", "16385"),
        ("select pg_typeof(1.5::float8), format_type(23, null);", "double precision | integer"),
        ("select table_name from information_schema.columns where column_name = 'price' limit 1;", "(1 row)"),
        ("select relname from pg_class where oid = 'orders'::regclass;", "orders"),
        ("select count(*) from pg_type;", "(1 row)"),
        ("select n.nspname, c.* from pg_class c join pg_namespace n on n.oid = c.relnamespace limit 1;", "(1 row)"),
        ("select pg_backend_pid() > 0;", "t"),
    ] {
        let Some(printed) = tokio::task::block_in_place(|| psql(&server, command)) else { return };
        if !printed.contains(expected) || printed.contains("ERROR") {
            failed.push(format!("{command}\n{printed}"));
        }
    }
    assert!(failed.is_empty(), "{}", failed.join("\n"));
    check(&server, "select 'nowhere'::regclass;", "ERROR:  relation \"nowhere\" does not exist").await;
}

/// All list commands of psql, each in its short and long form.
const LISTS: &str = "\\d \\dS \\da \\dA \\dAc \\dAf \\dAo \\dAp \\db \\dc \\dC \\dconfig \\dd \\dD \\ddp \\dE \\des \\det \\deu \
                     \\dew \\df \\dfS \\dF \\dFd \\dFp \\dFt \\dg \\di \\dl \\dL \\dm \\dn \\do \\dO \\dp \\dP \\dPtn \\drds \\dRp \
                     \\dRs \\ds \\dt \\dT \\dTS \\du \\dv \\dx \\dX \\dy \\l \\lo_list \\z";
const LISTS_OF_ONE: [&str; 8] = [
    "\\sf now",
    "\\sv \"Recent\"",
    "\\d orders_pkey",
    "\\d+ orders_pkey",
    "\\d pg_class",
    "\\dT int4",
    "\\do =",
    "\\dfS+ now",
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn psql_lists_everything_without_an_error() {
    let server = Server::start().await;
    let mut failed = Vec::new();
    let lists = LISTS.split(' ').flat_map(|list| {
        // Commands without a `+` form.
        let longer = !["\\da", "\\lo_list", "\\z"].contains(&list);
        std::iter::once(list.to_string()).chain(longer.then(|| format!("{list}+")))
    });
    for command in lists.chain(LISTS_OF_ONE.map(str::to_string)) {
        let Some(printed) = tokio::task::block_in_place(|| psql(&server, &command)) else { return };
        // Function names in a list may contain these words too, but after a space.
        if printed.lines().any(|line| line.starts_with("ERROR") || line.starts_with("invalid command")) {
            failed.push(format!("{command}\n{printed}"));
        }
    }
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn psql_catalog_functions_give_their_results() {
    let server = Server::start().await;
    for (sql, expected) in [
        ("select format('%I has %s', 'My table', 3);", "\"My table\" has 3"),
        ("select json_build_object('a', 1, 'b', null);", "{\"a\" : 1, \"b\" : null}"),
        ("select 'pg/x' like 'pg//%' escape '/' as a, 'pg_x' like 'pg/_%' escape '/' as b;", " t | t"),
        ("select 'pgax' like 'pg/_%' escape '/' as a, 'a\\b' like 'a\\/%' escape '/' as b;", " f | f"),
        ("select row(1, null), array[null];", "(1,) | {NULL}"),
        ("select indexname from pg_indexes;", "orders_pkey"),
        ("select count(*) from pg_stat_activity where query_start is null;", "1"),
        ("select pg_cancel_backend(123456);", "f"),
        ("select 'now'::regproc::oid;", "1299"),
        ("select count(*) from pg_enum e left join pg_attrdef d on d.adrelid = e.enumtypid;", "0"),
    ] {
        let Some(printed) = tokio::task::block_in_place(|| psql(&server, sql)) else { return };
        assert!(printed.contains(expected), "{sql}\n{printed}");
    }
}
