//! What a statement cannot reach, whoever sends it and whatever way it takes.

use std::{fs, os::unix::fs::symlink};

use super::harness::{Home, Server, checkout, eventually, fails, finished, rows, run};

fn configured(text: &str) -> Home {
    let home = Home::new();
    fs::write(home.path("tidemark.yaml"), text).unwrap();
    home
}

#[tokio::test(flavor = "multi_thread")]
async fn listen_beyond_localhost_without_insecure_is_refused() {
    let home = Home::new();
    for listen in ["0.0.0.0:0", "[::]:0"] {
        let mut command = home.command();
        command.args(["serve", "--data-dir", "tidemark-data", "--listen", listen]);
        let (status, _, stderr) = finished(&mut command).await;
        assert!(!status.success());
        assert!(stderr.contains(&format!("listening on {listen} needs \"insecure: true\"")), "{stderr}");
        assert!(!home.path("tidemark-data").exists(), "nothing was made");
    }
    let mut command = home.command();
    command.args(["serve", "--data-dir", "tidemark-data", "--listen", "0.0.0.0:0"]).env("TIDEMARK_INSECURE", "true");
    let server = Server::ready(&home, command);
    run(&server.connect().await, "CREATE TABLE t (a INT)").await;
    assert!(home.log().contains("insecure: listening beyond this machine without passwords"), "{}", home.log());
    drop(server);

    let home = configured("listen: 0.0.0.0:0\ninsecure: true\n");
    let mut command = home.command();
    command.args(["serve", "--data-dir", "tidemark-data", "--config", "tidemark.yaml"]);
    // Files are then read below where it was started only.
    let server = Server::ready(&home, command);
    let client = server.connect().await;
    let outside = "CREATE SOURCE s (a INT) WITH (connector = 'directory', path = '/usr', format = 'csv')";
    assert_eq!(fails(&client, outside).await.code().code(), "42501");
    home.put("in/a.csv", "1\n");
    run(&client, "CREATE SOURCE s (a INT) WITH (connector = 'directory', path = 'in', format = 'csv')").await;

    let image = fs::read_to_string(checkout("Dockerfile")).unwrap();
    assert!(image.contains("TIDEMARK_LISTEN=0.0.0.0:6543") && image.contains("TIDEMARK_INSECURE=true"), "{image}");
}

#[tokio::test(flavor = "multi_thread")]
async fn statement_naming_the_data_directory_by_any_path_is_refused() {
    let home = Home::new();
    let server = home.start();
    let client = server.connect().await;
    run(&client, "CREATE TABLE t (a INT); INSERT INTO t VALUES (1)").await;
    symlink("tidemark-data", home.path("link")).unwrap();
    symlink(".", home.folder("deep").join("up")).unwrap();
    let here = home.path("");
    let here = here.display();
    for path in [
        "tidemark-data",
        "./tidemark-data/log",
        "in/../tidemark-data",
        "link",
        "link/log",
        "deep/up/../tidemark-data",
        ".",
        "/",
        "deep/..",
        "tidemark-data/new",
    ] {
        // In a URL `..` takes back what stands before it, links or not.
        let url = (path != "deep/up/../tidemark-data").then(|| format!("file://{here}{path}"));
        for path in [path.to_string(), format!("{here}{path}")].into_iter().chain(url) {
            for statement in [
                format!("CREATE SOURCE s (line TEXT) WITH (connector = 'directory', path = '{path}', format = 'text')"),
                format!(
                    "CREATE SOURCE s (line TEXT)
                     WITH (connector = 'directory', path = '{path}', format = 'text', clean_source = 'delete')"
                ),
                format!("CREATE EXTERNAL TABLE s (line TEXT) STORED AS text LOCATION '{path}'"),
                format!(
                    "CREATE SINK s FROM t WITH (connector = 'directory', path = '{path}', format = 'csv', type = 'complete')"
                ),
            ] {
                // What is no place here at all is refused as that.
                let code = fails(&client, &statement).await;
                assert_eq!(code.code().code(), "42501", "{statement}: {code}");
                assert!(code.message().contains("the data directory"), "{statement}: {code}");
            }
        }
    }
    let nowhere = format!(
        "CREATE SOURCE s (line TEXT) WITH (connector = 'directory', format = 'text',
         path = 'file://{here}deep/up/../tidemark-data')"
    );
    let error = fails(&client, &nowhere).await;
    assert!(error.message().ends_with("deep/up/../tidemark-data\" does not exist"), "{error}");
    let archive = "CREATE SOURCE s (line TEXT) WITH (connector = 'directory', path = 'deep', format = 'text', \
                   clean_source = 'archive', archive_dir = 'deep/up/../tidemark-data/state')";
    assert_eq!(fails(&client, archive).await.code().code(), "42501");
    let schema = "CREATE SOURCE s WITH (connector = 'directory', path = 'deep', format = 'avro', \
                  \"avro.schema_file\" = 'link/identity')";
    assert_eq!(fails(&client, schema).await.code().code(), "42501");
    for (key, value) in [
        ("ssl.ca.location", "tidemark-data/identity"),
        ("plugin.library.paths", "/tmp/x.so"),
        ("sasl.kerberos.kinit.cmd", "id"),
    ] {
        let kafka = format!(
            "(connector = 'kafka', bootstrap_servers = '127.0.0.1:1', topic = 't', format = 'json', properties.{key} = '{value}')"
        );
        for statement in [format!("CREATE SOURCE s (a INT) WITH {kafka}"), format!("CREATE SINK s FROM t WITH {kafka}")]
        {
            let error = fails(&client, &statement).await;
            assert!(["42501", "22023"].contains(&error.code().code()) && error.message().contains(key), "{error}");
        }
    }
    let (server, client) = {
        server.kill();
        let server = home.start();
        let client = server.connect().await;
        (server, client)
    };
    assert_eq!(rows(&client, "SELECT a FROM t").await, ["1"]);
    drop(server);
}

#[tokio::test(flavor = "multi_thread")]
async fn symlink_into_the_data_directory_is_a_dead_letter() {
    let home = Home::new();
    let server = home.start();
    let client = server.connect().await;
    run(&client, "CREATE TABLE t (a TEXT); INSERT INTO t VALUES ('treasure')").await;
    home.put("in/good.txt", "good\n");
    // The log itself would do, but that it grows: a file is read once it has come to rest.
    home.put("tidemark-data/treasure.txt", "treasure\n");
    symlink(home.path("tidemark-data/treasure.txt"), home.path("in/stolen.txt")).unwrap();
    run(
        &client,
        "CREATE SOURCE s (line TEXT) WITH (connector = 'directory', path = 'in', format = 'text');
         CREATE MATERIALIZED VIEW v AS SELECT line FROM s; FLUSH",
    )
    .await;
    assert_eq!(rows(&client, "SELECT line FROM v").await, ["good"]);
    let reason = rows(&client, "SELECT reason FROM tidemark.dead_letters").await;
    assert!(reason.len() == 1 && reason[0].contains("it is in the data directory"), "{reason:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn connectors_write_and_read_only_in_allowed_folders() {
    let elsewhere = tempfile::tempdir().unwrap();
    let (out, there) = (elsewhere.path().join("out"), elsewhere.path().display());
    let home = Home::new();
    let server = home.start();
    let client = server.connect().await;
    run(&client, "CREATE TABLE t (a INT) APPEND ONLY").await;
    let sink =
        format!("CREATE SINK s FROM t WITH (connector = 'directory', path = '{}', format = 'csv')", out.display());
    let error = fails(&client, &sink).await;
    assert_eq!(
        (error.code().code(), error.hint()),
        ("42501", Some("The configuration of the server says where: connectors.allow.write."))
    );
    assert!(!out.exists());
    let clean = format!(
        "CREATE SOURCE c (a INT) WITH (connector = 'directory', path = '{there}', format = 'csv', clean_source = 'delete')"
    );
    assert_eq!(fails(&client, &clean).await.code().code(), "42501");
    // While it listens here only, files are read anywhere.
    run(&client, &format!("CREATE SOURCE r (a INT) WITH (connector = 'directory', path = '{there}', format = 'csv')"))
        .await;
    drop(server);

    let home = configured(&format!("connectors: {{allow: {{write: ['{there}'], read: [in], environment: [ONE]}}}}\n"));
    let server = Server::ready(&home, {
        let mut command = home.serve();
        command.env("ONE", "in").env("TIDEMARK_SECRET_TWO", "in");
        command
    });
    let client = server.connect().await;
    home.put("in/a.csv", "1\n");
    run(&client, "CREATE TABLE t (a INT) APPEND ONLY").await;
    run(&client, &sink).await;
    assert!(out.exists());
    let here = sink.replace(&out.display().to_string(), "out").replace("SINK s", "SINK here");
    assert_eq!(fails(&client, &here).await.code().code(), "42501");
    let read =
        |path: &str| format!("CREATE SOURCE r (a INT) WITH (connector = 'directory', path = {path}, format = 'csv')");
    assert_eq!(fails(&client, &read(&format!("'{there}'"))).await.code().code(), "42501");
    assert_eq!(fails(&client, "CREATE SECRET two WITH (env = 'TIDEMARK_SECRET_TWO')").await.code().code(), "42501");
    run(&client, &format!("CREATE SECRET one WITH (env = 'ONE'); {}", read("SECRET one"))).await;
    assert_eq!(rows(&client, "SELECT a FROM r").await, ["1"]);
    server.kill();

    // A pipeline is bound like everybody.
    fs::write(home.path("p.yaml"), "tables: {u: {columns: {a: INT}, append_only: true}}\nsinks: {x: {connector: directory, path: out, format: csv, from: u}}\n").unwrap();
    let mut command = home.command();
    command.args([
        "run",
        "p.yaml",
        "--data-dir",
        "tidemark-data",
        "--config",
        "tidemark.yaml",
        "--listen",
        "127.0.0.1:0",
    ]);
    let (status, _, stderr) = finished(&mut command).await;
    assert!(!status.success() && stderr.contains("it is not where connectors may write"), "{stderr}");

    // What was there before the configuration was narrowed is shut, and says so.
    fs::write(home.path("tidemark.yaml"), "connectors: {allow: {write: [in]}}\n").unwrap();
    let server = home.start();
    let client = server.connect().await;
    let error = rows(&client, "SELECT last_error FROM tidemark.queries WHERE name = 's'").await;
    assert!(error.is_empty() || error[0].contains("may write"), "{error:?}");
    run(&client, "INSERT INTO t VALUES (1)").await;
    assert!(home.log().contains("it is not where connectors may write"), "{}", home.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn log_shows_no_secret_of_a_connector() {
    let home = configured("logging: {level: debug}\n");
    let server = home.start();
    let client = server.connect().await;
    run(
        &client,
        "CREATE SECRET h AS 'hush.invalid';
         CREATE SOURCE s (line TEXT) WITH (connector = 'socket', host = SECRET h, port = 7, format = 'text')",
    )
    .await;
    eventually("it is told that there is no connection", async || home.log().contains("***:7").then_some(())).await;
    let state = rows(&client, "SELECT state FROM tidemark.inputs").await;
    server.kill();
    let server = home.start();
    eventually("and again", async || (home.log().matches("***:7").count() > 1).then_some(())).await;
    assert!(!home.log().contains("hush"), "{}", home.log());
    assert!(!state.concat().contains("hush"), "{state:?}");
    drop(server);
}
