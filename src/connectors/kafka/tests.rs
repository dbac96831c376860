use super::*;
use crate::{connectors, options::Options};

fn check(more: &[(&str, &str)]) -> Result<()> {
    let mut options = Options::default();
    let all = [("connector", "kafka"), ("bootstrap_servers", "127.0.0.1:1"), ("topic", "t"), ("format", "json")];
    for (key, value) in all.iter().chain(more) {
        if value.is_empty() {
            options.0.remove(*key);
        } else {
            options.insert(*key, *value);
        }
    }
    connectors::check("s", &options)
}

#[test]
fn kafka_options_are_checked_without_io() {
    check(&[]).unwrap();
    check(&[("topic", "a, b-1,c_2.d"), ("max_rows_per_trigger", "5"), ("on_data_loss", "skip")]).unwrap();
    check(&[("topic", ""), ("topic_pattern", "flights-.*")]).unwrap();
    check(&[("properties.security.protocol", "SASL_SSL"), ("properties.sasl.mechanism", "SCRAM-SHA-256")]).unwrap();
    check(&[("bootstrap_servers", ""), ("properties.bootstrap.server", "a:1,b:2")]).unwrap();
    check(&[("include.offset", "o"), ("include.key text", "k")]).unwrap();
    check(&[("isolation.level", "read_uncommitted"), ("group_id", "g"), ("include", "key TEXT, offset AS at")])
        .unwrap();
    for (key, value) in [
        ("topic", " "),
        ("topic", "a b"),
        ("topic_pattern", "x"),
        ("start_offset", "soon"),
        ("on_data_loss", "weep"),
        ("isolation.level", "serializable"),
        ("properties.isolation.levle", "read_committed"),
        ("properties.fetch.wait.max.ms", "long"),
        ("properties.enable.auto.commit", "true"),
        ("properties.auto.offset.reset", "latest"),
        ("brokers", "elsewhere:1"),
        ("discovery_interval", "1 ms"),
        ("include", "value"),
        ("include.value", "v"),
        ("include.header 'x'", "v"),
        ("format", "parquet"),
        ("max_files_per_tigger", "1"),
    ] {
        let error = check(&[(key, value)]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidParameterValue, "{key}: {error}");
    }
    let error = check(&[("topic", ""), ("topic_pattern", "(")]).unwrap_err();
    assert!(error.message().contains("no regular expression"), "{error}");
    assert!(check(&[("bootstrap_servers", "")]).unwrap_err().message().contains("\"bootstrap_servers\""));
}

#[test]
fn kafka_secrets_are_in_no_error_or_debug_output() {
    let error =
        check(&[("properties.sasl.password", "hunter2"), ("properties.fetch.wait.max.ms", "long")]).unwrap_err();
    assert!(!format!("{error:?}").contains("hunter2"), "{error:?}");
    let error = check(&[("properties.ssl.key.password", "hunter2"), ("properties.no.such", "x")]).unwrap_err();
    assert!(!format!("{error:?}").contains("hunter2"), "{error:?}");
    let mut options = Options::default();
    let all = [
        ("bootstrap_servers", "127.0.0.1:1"),
        ("topic", "t"),
        ("format", "json"),
        ("properties.sasl.password", "hunter2"),
    ];
    all.iter().for_each(|(key, value)| drop(options.insert(*key, *value)));
    let taken = KafkaOptions::from_options(&mut options.taker("source \"s\"")).unwrap();
    assert!(!format!("{taken:?}").contains("hunter2"), "{taken:?}");
}
