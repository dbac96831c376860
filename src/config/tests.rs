use super::*;

fn nothing() -> Environment {
    Environment::with(|_| None)
}

fn load(text: &str) -> Result<Config> {
    Config::load(&Document::new("f.yaml", text), &nothing())
}

fn message(text: &str) -> String {
    load(text).unwrap_err().message().to_string()
}

#[test]
fn shipped_config_file_equals_the_defaults() {
    let text = include_str!("../../config/tidemark.yaml");
    assert_eq!(load(text).unwrap(), Config::default());
}

#[test]
fn shipped_config_file_sets_every_key() {
    fn unset(path: &str, value: &serde_yaml::Value, found: &mut Vec<String>) {
        match value {
            serde_yaml::Value::Null => found.push(path.to_string()),
            serde_yaml::Value::Mapping(map) => {
                for (key, value) in map {
                    unset(&format!("{path}.{}", key.as_str().unwrap_or("?")), value, found);
                }
            }
            _ => {}
        }
    }
    let document = Document::new("f.yaml", include_str!("../../config/tidemark.yaml"));
    let raw: RawConfig = document.parse().unwrap().unwrap();
    let mut found = Vec::new();
    unset("", &serde_yaml::to_value(raw).unwrap(), &mut found);
    assert_eq!(found, Vec::<String>::new(), "keys that config/tidemark.yaml does not show");
}

#[test]
fn empty_config_file_gives_the_defaults() {
    for text in ["", "\n", "# only a comment\n", "---\n", "sessions:\n", "sessions: {}\n"] {
        assert_eq!(load(text).unwrap(), Config::default(), "{text:?}");
    }
}

#[test]
fn config_values_are_read_with_their_units() {
    let config = load(
        "listen: '[::1]:0'\nsessions: {max: 7, message_max: 128 kB}\nepoch:\n  max_rows: 10_000\n\
         checkpoint: {interval: 500 ms}\nlogging: {level: 'warn,tidemark::wire=debug', format: compact}\n",
    )
    .unwrap();
    assert_eq!(config.listen, "[::1]:0");
    assert_eq!((config.sessions.max, config.sessions.message_bytes_max), (7, 128 << 10));
    assert_eq!(config.epoch.max_rows, 10_000);
    assert_eq!(config.checkpoint.interval, Duration::from_millis(500));
    assert_eq!(config.logging.format, LogFormat::Compact);
}

#[test]
fn config_unknown_key_error_has_line_and_nearest_key() {
    let error = load("listen: 127.0.0.1:1\nsesions:\n  max: 1\n").unwrap_err();
    assert_eq!(error.message(), "f.yaml:2:1: unknown key \"sesions\"");
    assert_eq!(error.hint_text(), Some("Perhaps you meant \"sessions\"."));
    let error = load("sessions:\n  maximum_of_everything: 1\n").unwrap_err();
    assert_eq!(error.message(), "f.yaml:2:3: unknown key \"maximum_of_everything\" in \"sessions\"");
    let keys = "max, reserved, startup_timeout, starting_max, starting_per_address, message_max, memory_limit";
    assert_eq!(error.hint_text(), Some(format!("Known keys are: {keys}.").as_str()));
    let error = load("query:\n  memory: 1 GB\n").unwrap_err();
    assert_eq!(error.message(), "f.yaml:2:3: unknown key \"memory\" in \"query\"");
}

#[test]
fn config_bad_value_error_says_what_the_key_takes() {
    assert_eq!(message("sessions:\n  max: none\n"), "f.yaml:2:8: \"sessions.max\" takes a number from 1, not \"none\"");
    assert_eq!(message("sessions: {max: 0}"), "f.yaml:1:17: \"sessions.max\" takes a number from 1, not \"0\"");
    assert_eq!(message("listen: 6543"), "f.yaml:1:9: \"listen\" takes host:port, not \"6543\"");
    assert!(message("epoch: {max_bytes: 12}").contains("takes a size such as 64 MB"));
    assert!(message("checkpoint: {interval: soon}").contains("takes a duration"));
    assert!(message("logging: {level: 'loud=='}").contains("\"logging.level\" takes error, warn"));
    assert_eq!(message("sessions: [1]"), "f.yaml:1:11: sessions: invalid type: sequence, expected struct RawSessions");
}

#[test]
fn config_environment_variables_are_expanded_and_redacted_in_errors() {
    let environment = Environment::with(|name| (name == "PORT").then(|| "12ab34".to_string()));
    let load = |text: &str| Config::load(&Document::new("f.yaml", text), &environment);
    let bad = load("data_dir: /tmp\nlisten: localhost:${PORT}\n").unwrap_err();
    assert_eq!(bad.message(), "f.yaml:2:9: \"listen\" takes host:port, not \"localhost:${PORT}\"");
    let unset = load("\nlisten: localhost:${OTHER}\n").unwrap_err();
    assert_eq!(unset.message(), "f.yaml:2:9: environment variable \"OTHER\" is not set");
    assert_eq!(load("listen: localhost:${OTHER:-99}").unwrap().listen, "localhost:99");
    assert_eq!(load("# ${OTHER} in a comment is only a comment\n").unwrap(), Config::default());
}

#[test]
fn config_malformed_yaml_is_an_error() {
    let bombs = "a: &a [x,x,x,x,x,x,x,x,x]\n".to_string()
        + &(b'b'..b'k').fold(String::new(), |s, c| {
            let before = (c - 1) as char;
            let list = format!("*{before},").repeat(9);
            format!("{s}{0}: &{0} [{1}]\n", c as char, list.trim_end_matches(','))
        });
    let deep = "[".repeat(100_000);
    let cases = [
        "\0",
        "{",
        "]",
        "a: b: c",
        "- 1\n- 2",
        "\"",
        "'",
        "%YAML",
        "&a *a",
        "*a",
        "!!binary x",
        "? ? ?",
        "|",
        "a: |\n\tx",
        "--- 1\n--- 2",
        "listen: {a: 1}",
        "sessions: 5",
        "listen: 1\nlisten: 2",
        "\u{feff}{",
        "<<: *x",
        "listen: !x y",
        &bombs,
        &deep,
    ];
    for text in cases {
        let error = load(text).map(|_| ()).expect_err(&format!("{:.40}", text));
        assert!(error.message().starts_with("f.yaml:"), "{text:.40?}: {}", error.message());
    }
}

proptest::proptest! {
    #[test]
    fn config_load_of_any_text_does_not_panic(text in "[\\PC\\n\\t&*!|>{}\\[\\]:,'\"$-]{0,60}") {
        let _ = load(&text);
    }
}
