//! The pipelines of `config/pipelines` that read and write Kafka, each as a user runs it: `tidemark run`, with where the
//! broker and its topics are in the environment.

use std::{
    collections::{BTreeMap, BTreeSet},
    process::Command,
};

use chrono::{NaiveDate, NaiveDateTime, TimeDelta};
use rand::{Rng, SeedableRng, rngs::SmallRng};
use serde_json::json;
use tokio_postgres::Client;

use super::{
    broker::{Broker, Record},
    exactly_once::{caught_up, no_transaction_is_open},
};
use crate::server::harness::{Home, Server, eventually, rows, run, seed};

/// `tidemark run` of a pipeline on a broker, with more of the environment.
fn pipeline(home: &Home, name: &str, broker: &Broker, more: &[(&str, &str)]) -> Command {
    let mut command = home.pipeline(&format!("config/pipelines/{name}"));
    command.env("KAFKA", broker.bootstrap()).envs(more.iter().copied());
    command
}

/// How many rows came too late, over all queries.
async fn late(client: &Client) -> Vec<String> {
    rows(client, "SELECT sum(late) FROM tidemark.queries").await
}

#[tokio::test(flavor = "multi_thread")]
async fn flights_kafka_yaml_pipeline_gives_its_answers() {
    let broker = Broker::shared().await;
    let topic = broker.topic("flights", 2).await;
    let home = Home::new();
    let start =
        || Server::ready(&home, pipeline(&home, "flights_kafka.yaml", broker, &[("FLIGHTS_TOPIC", topic.as_str())]));
    let landed = |flight: &str, dest: Option<&str>, at: &str, passengers: u32| {
        let at = format!("2026-01-01T{at}:00");
        json!({"flight": flight, "origin": "BER", "dest": dest, "landed_at": at, "passengers": passengers}).to_string()
    };
    // All of it is there before the server, so that no partition is ahead of what it has seen of the other.
    let first = [landed("TM1", Some("HEL"), "10:01", 120), landed("TM2", Some("OSL"), "10:16", 99)];
    broker.produce(&topic, 0, first).await;
    let second = [
        landed("TM3", Some("HEL"), "10:09", 80),
        "no flight at all".to_string(),
        landed("TM4", None, "10:09", 70),
        landed("TM5", Some("OSL"), "10:17", 50),
    ];
    broker.produce(&topic, 1, second).await;
    let server = start();
    let client = server.connect().await;
    run(&client, "FLUSH").await;
    let landings = "SELECT window_start, dest, landed, passengers FROM landings ORDER BY window_start, dest";
    let now = "SELECT window_start, dest, landed, passengers FROM landings_now ORDER BY window_start, dest";
    // The partition that is behind has come to 10:16, and five minutes before that no window of 10:10 is over.
    let (ten, ten_past) = ("2026-01-01 10:00:00|HEL|2|200", "2026-01-01 10:10:00|OSL|2|149");
    assert_eq!(rows(&client, landings).await, [ten]);
    assert_eq!(rows(&client, now).await, [ten, ten_past]);
    let letters = "SELECT file, line, CAST(raw AS TEXT) FROM tidemark.dead_letters";
    assert_eq!(rows(&client, letters).await, [format!("{topic}/1|1|no flight at all")]);
    server.kill();

    // Its windows are final: a flight of 10:02 is late for both views, and the next ones close the window of 10:10.
    let third = [
        landed("TM6", Some("HEL"), "10:02", 1),
        landed("TM7", Some("OSL"), "10:19", 1),
        landed("TM8", None, "11:00", 1),
    ];
    broker.produce(&topic, 0, third).await;
    broker.produce(&topic, 1, [landed("TM9", Some("HEL"), "10:26", 10)]).await;
    let server = start();
    let client = server.connect().await;
    run(&client, "FLUSH").await;
    let ten_past = "2026-01-01 10:10:00|OSL|3|150";
    assert_eq!(rows(&client, now).await, [ten, ten_past, "2026-01-01 10:20:00|HEL|1|10"]);
    assert_eq!(late(&client).await, ["2"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn trending_yaml_pipeline_gives_its_answers() {
    let broker = Broker::shared().await;
    let topic = broker.topic("messages", 2).await;
    let home = Home::new();
    let start =
        || Server::ready(&home, pipeline(&home, "trending.yaml", broker, &[("MESSAGES_TOPIC", topic.as_str())]));
    let said = async |partition: i32, at: &str, text: Option<&str>| {
        let message = json!({"text": text, "at": format!("2026-01-01T{at}")});
        broker.produce(&topic, partition, [message.to_string()]).await;
    };
    let server = start();
    let client = server.connect().await;
    said(0, "10:00:10", Some("Good morning, #Helsinki!")).await;
    said(1, "10:00:20", Some("#helsinki\t#Helsinki is cold")).await;
    said(0, "10:01:30", Some("#rust 1.90 is out;#release")).await;
    // Ten seconds before these, the windows up to 10:05 are over.
    said(0, "10:05:12", Some("a hush")).await;
    said(1, "10:05:12", Some("a hush")).await;
    run(&client, "FLUSH").await;
    let trending = "SELECT * FROM trending";
    let expected =
        ["2026-01-01 10:05:00|#helsinki|2|2", "2026-01-01 10:05:00|#release|1|1", "2026-01-01 10:05:00|#rust|1|1"];
    assert_eq!(rows(&client, trending).await, expected);
    server.kill();

    said(0, "10:06:05", Some("#rust, #Rust and more #rust")).await;
    said(1, "10:06:30", Some("We like #rust. A # is no topic, and a#b is none")).await;
    said(1, "10:07:00", None).await;
    said(0, "10:07:00", Some("#helsinki")).await;
    let server = start();
    let client = server.connect().await;
    said(1, "10:08:59", Some("#rust!")).await;
    said(0, "10:10:10", Some("a hush")).await;
    said(1, "10:10:10", Some("a hush")).await;
    run(&client, "FLUSH").await;
    let expected = ["2026-01-01 10:10:00|#rust|3|2", "2026-01-01 10:10:00|#helsinki|1|-1"];
    assert_eq!(rows(&client, trending).await, expected);
    let counts = "SELECT window_end, hashtag, messages FROM hashtag_counts ORDER BY window_end, hashtag";
    let expected: Vec<String> = [
        ("10:01", "#helsinki|2"),
        ("10:02", "#helsinki|2 #release|1 #rust|1"),
        ("10:03", "#helsinki|2 #release|1 #rust|1"),
        ("10:04", "#helsinki|2 #release|1 #rust|1"),
        ("10:05", "#helsinki|2 #release|1 #rust|1"),
        ("10:06", "#release|1 #rust|1"),
        ("10:07", "#rust|2"),
        ("10:08", "#helsinki|1 #rust|2"),
        ("10:09", "#helsinki|1 #rust|3"),
        ("10:10", "#helsinki|1 #rust|3"),
    ]
    .into_iter()
    .flat_map(|(end, all)| all.split(' ').map(move |one| format!("2026-01-01 {end}:00|{one}")))
    .collect();
    assert_eq!(rows(&client, counts).await, expected);
    assert_eq!(late(&client).await, ["0"]);
}

/// A payment; its time is in seconds after [`evening`].
#[derive(Debug, Clone)]
struct Payment {
    card: String,
    cents: u64,
    merchant: &'static str,
    country: &'static str,
    second: i64,
}

fn payment(card: &str, cents: u64, merchant: &'static str, country: &'static str, second: i64) -> Payment {
    Payment { card: card.to_string(), cents, merchant, country, second }
}

/// Two hours before midnight.
fn evening() -> NaiveDateTime {
    NaiveDate::from_ymd_opt(2026, 1, 1).unwrap().and_hms_opt(22, 0, 0).unwrap()
}

impl Payment {
    fn at(&self) -> NaiveDateTime {
        evening() + TimeDelta::seconds(self.second)
    }

    fn amount(&self) -> String {
        format!("{}.{:02}", self.cents / 100, self.cents % 100)
    }

    fn message(&self, partition: i32) -> Record {
        let (card, amount, merchant, country) = (&self.card, self.amount(), self.merchant, self.country);
        let at = self.at().format("%Y-%m-%dT%H:%M:%S");
        let text = format!(
            r#"{{"card":"{card}","amount":{amount},"merchant":"{merchant}","country":"{country}","at":"{at}"}}"#
        );
        Record::new(partition, text)
    }

    /// When the windows begin that it counts in, in seconds as its own.
    fn windows(&self, slide: i64, size: i64) -> impl Iterator<Item = i64> {
        let last = self.second / slide * slide;
        (0..size / slide).map(move |n| last - n * slide)
    }
}

/// The rules of the pipeline, said once more: each alert as `rule|card|day|what`.
fn alerts_of(payments: &[Payment]) -> BTreeSet<String> {
    let mut alerts = BTreeSet::new();
    let (mut bursts, mut countries) = (BTreeMap::new(), BTreeMap::new());
    for p in payments {
        let limit = match p.merchant {
            "groceries" => 300,
            "fuel" => 200,
            "jeweller" => 5000,
            _ => 1000,
        };
        if p.cents > limit * 100 {
            let (amount, merchant, at) = (p.amount(), p.merchant, p.at());
            let what = format!("{amount} at {merchant} at {}, limit {limit}", at.time());
            alerts.insert(format!("over limit|{}|{}|{what}", p.card, at.date()));
        }
        for start in p.windows(60, 300) {
            *bursts.entry((&p.card, start)).or_insert(0) += 1;
        }
        for start in p.windows(600, 3600) {
            countries.entry((&p.card, start)).or_insert_with(BTreeSet::new).insert(p.country);
        }
    }
    let mut found = |rule: &str, card: &str, start: i64, what: &str| {
        let day = (evening() + TimeDelta::seconds(start)).date();
        alerts.insert(format!("{rule}|{card}|{day}|{what}"));
    };
    for ((card, start), payments) in bursts {
        if payments > 5 {
            found("many payments", card, start, "more than 5 in 5 minutes");
        }
    }
    for ((card, start), countries) in countries {
        if countries.len() > 1 {
            found("many countries", card, start, "more than 1 in an hour");
        }
    }
    alerts
}

/// `rule|card|day|what` of a message, the key of which is all of it.
fn alert(record: &Record) -> String {
    assert_eq!(record.key, record.value, "an alert is its own key, and is never withdrawn");
    let message: BTreeMap<String, String> = serde_json::from_slice(record.value.as_deref().unwrap()).unwrap();
    ["rule", "card", "day", "what"].map(|name| message[name].clone()).join("|")
}

/// What the topic has, each as often as it is there.
async fn written(broker: &Broker, topic: &str) -> Vec<String> {
    let mut alerts: Vec<String> = broker.read(topic).await.iter().map(alert).collect();
    alerts.sort();
    alerts
}

/// What the view has.
async fn shown(client: &Client) -> Vec<String> {
    let mut alerts = rows(client, "SELECT rule, card, day, what FROM alerts").await;
    alerts.sort();
    alerts
}

#[tokio::test(flavor = "multi_thread")]
async fn fraud_yaml_alerts_at_once_by_each_rule() {
    let broker = Broker::shared().await;
    if !broker.is_real_for("fraud.yaml, rule by rule") {
        return;
    }
    let (from, to) = (broker.topic("payments", 1).await, broker.topic("alerts", 2).await);
    let home = Home::new();
    let environment = [("PAYMENTS_TOPIC", from.as_str()), ("ALERTS_TOPIC", to.as_str())];
    let server = Server::ready(&home, pipeline(&home, "fraud.yaml", broker, &environment));
    let client = server.connect().await;
    let mut payments = Vec::new();
    let mut expected: Vec<String> = Vec::new();
    let mut pay = async |paid: Vec<Payment>, alerts: &[&str]| {
        broker.send(&from, paid.iter().map(|payment| payment.message(0)).collect()).await;
        run(&client, "FLUSH").await;
        payments.extend(paid);
        expected.extend(alerts.iter().map(ToString::to_string));
        expected.sort();
        assert_eq!(written(broker, &to).await, expected);
        assert_eq!(shown(&client).await, expected);
        let all: Vec<String> = alerts_of(&payments).into_iter().collect();
        assert_eq!(all, expected, "the rules are not said twice alike");
    };

    // A limit itself is not over it.
    let usual = [("groceries", 300), ("fuel", 200), ("jeweller", 5000), ("books", 1000)];
    let usual =
        (0i64..).zip(usual).map(|(n, (merchant, most))| payment(&format!("usual {n}"), most * 100, merchant, "DE", n));
    pay(usual.collect(), &[]).await;
    let much = vec![
        payment("ada", 30_001, "groceries", "DE", 10),
        payment("ada", 30_000, "fuel", "DE", 11),
        payment("ada", 499_999, "jeweller", "DE", 12),
        payment("bob", 100_001, "books", "DE", 13),
    ];
    let alerts = [
        "over limit|ada|2026-01-01|300.01 at groceries at 22:00:10, limit 300",
        "over limit|ada|2026-01-01|300.00 at fuel at 22:00:11, limit 200",
        "over limit|bob|2026-01-01|1000.01 at books at 22:00:13, limit 1000",
    ];
    pay(much, &alerts).await;

    // Five are as many as may be; the sixth is one too many, and a seventh says nothing new.
    let cheap = |card: &str, second: i64| payment(card, 100, "books", "DE", second);
    pay((0..5).map(|n| cheap("eve", 60 + 50 * n)).collect(), &[]).await;
    pay(vec![cheap("eve", 290)], &["many payments|eve|2026-01-01|more than 5 in 5 minutes"]).await;
    pay(vec![cheap("eve", 295)], &[]).await;

    // Another country fifty minutes later is strange; an hour later it is not.
    pay(vec![payment("kim", 100, "books", "DE", 600), payment("lea", 100, "books", "DE", 600)], &[]).await;
    pay(vec![payment("kim", 100, "books", "FI", 3_599)], &["many countries|kim|2026-01-01|more than 1 in an hour"])
        .await;
    pay(vec![payment("lea", 100, "books", "FI", 4_201)], &[]).await;

    // What is no payment is put aside, and what names no card is no payment.
    broker.produce(&from, 0, ["{", r#"{"card":null,"amount":9999,"at":"2026-01-01T22:00:00"}"#]).await;
    pay(vec![], &[]).await;
    assert_eq!(late(&client).await, ["0"]);
}

const CARDS: u64 = 1_000;
const PAYMENTS: usize = 8_000;
const CHUNK: usize = 1_000;
/// What is sent at once: less than the minute that the watermark waits, as one partition may show before the other.
const PIECE: usize = 80;

/// An hour and a half around midnight, most of it at home and within limits, in order of time.
fn payments(rng: &mut SmallRng) -> Vec<Payment> {
    let mut all = Vec::new();
    while all.len() < PAYMENTS {
        let card = rng.random_range(0..CARDS);
        let home = ["DE", "FI", "FR"][card as usize % 3];
        // Now and then somebody tries a card again and again.
        let times = if rng.random_ratio(1, 500) { 8 } else { 1 };
        for _ in 0..times {
            let most = if rng.random_ratio(1, 100) { 600_000 } else { 20_000 };
            let cents = rng.random_range(1..=most);
            let merchant = ["books", "fuel", "groceries", "jeweller"][rng.random_range(0..4)];
            let country = if rng.random_ratio(1, 400) { "NO" } else { home };
            let second = (75 * 60 + all.len() * 90 * 60 / PAYMENTS) as i64;
            all.push(payment(&format!("card {card}"), cents, merchant, country, second));
        }
    }
    all.truncate(PAYMENTS);
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn fraud_yaml_under_kill_9_gives_each_alert_once() {
    let broker = Broker::shared().await;
    if !broker.is_real_for("fraud.yaml under kill -9") {
        return;
    }
    let (from, to) = (broker.topic("payments", 2).await, broker.topic("alerts", 3).await);
    let home = Home::new();
    let environment = [("PAYMENTS_TOPIC", from.as_str()), ("ALERTS_TOPIC", to.as_str())];
    let start = || Server::ready(&home, pipeline(&home, "fraud.yaml", broker, &environment));
    let all = payments(&mut SmallRng::seed_from_u64(seed()));
    let mut server = start();
    for (n, chunk) in all.chunks(CHUNK).enumerate() {
        let before = broker.read(&to).await.len();
        for piece in chunk.chunks(PIECE) {
            let partitions = [0, 1].into_iter().cycle();
            broker
                .send(&from, piece.iter().zip(partitions).map(|(paid, partition)| paid.message(partition)).collect())
                .await;
        }
        match n % 3 {
            // In the middle of what it does with them.
            0 => {}
            // Once some alerts of them are out.
            1 => eventually("alerts come", async || (broker.read(&to).await.len() > before).then_some(())).await,
            _ => continue,
        }
        server.kill();
        server = start();
    }
    let client = server.connect().await;
    caught_up(&client).await;
    let mut found: Vec<String> = no_transaction_is_open(broker, &to).await.iter().map(alert).collect();
    found.sort();
    let expected: Vec<String> = alerts_of(&all).into_iter().collect();
    for rule in ["over limit", "many payments", "many countries"] {
        assert!(expected.iter().filter(|alert| alert.starts_with(rule)).count() > 5, "nothing is strange");
    }
    assert_eq!(found, expected);
    assert_eq!(shown(&client).await, expected);
    assert_eq!(late(&client).await, ["0"]);
}
