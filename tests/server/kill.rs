//! `kill -9`, again and again, under load: what was acknowledged is there, what was read once is never taken back, and
//! every view ends as the batch answer.
//!
//! Views differ in how often they save themselves, so that one run goes on from checkpoints, from epochs run again, and
//! from both.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use rand::{Rng, SeedableRng, rngs::SmallRng};
use tokio::{sync::watch, time::sleep};
use tokio_postgres::Client;

use super::harness::{Home, Server, connect, error_text, eventually, rows, run, seed, try_rows};

const KILLS: usize = 36;
const CLIENTS: u64 = 3;

const SETUP: &str = "
CREATE TABLE orders (id BIGINT PRIMARY KEY, customer TEXT, amount BIGINT);
CREATE TABLE events (client INT, n BIGINT, at TIMESTAMP, kind TEXT) APPEND ONLY;
CREATE SOURCE landed (id BIGINT, origin TEXT, dest TEXT, landed_at TIMESTAMP, passengers INT)
  WITH (connector = 'directory', path = 'landed', format = 'csv', header = true, max_files_per_trigger = 3);
CREATE SOURCE drained (id BIGINT, n INT)
  WITH (connector = 'directory', path = 'drained', format = 'csv', clean_source = 'delete');
CREATE STREAM flights WITH WATERMARK FOR landed_at AS landed_at - INTERVAL '5 minutes'
  AS SELECT origin, dest, landed_at, passengers FROM landed WHERE dest <> 'NIL';
";

/// A view, how it is to run, and its SELECT; `over` is what the SELECT is over where that is another view.
struct View {
    name: &'static str,
    with: &'static str,
    select: &'static str,
    over: Option<&'static str>,
    emit: &'static str,
}

const VIEWS: &[View] = &[
    View {
        name: "spending",
        with: "WITH (checkpoint_interval = '150 ms')",
        select: "SELECT customer, count(*) AS orders, sum(amount) AS spent FROM orders GROUP BY customer",
        over: None,
        emit: "",
    },
    View {
        name: "classes",
        with: "WITH (checkpoint_interval = '400 ms')",
        select: "SELECT orders % 7 AS class, count(*) AS customers, max(spent) AS most FROM spending GROUP BY orders % 7",
        over: Some("spending"),
        emit: "",
    },
    View {
        name: "minutes",
        with: "",
        select: "SELECT window_start, kind, count(*) AS events, sum(n) AS total
                 FROM TUMBLE(events, at, INTERVAL '1 minute') GROUP BY window_start, kind",
        over: None,
        emit: "",
    },
    View {
        name: "routes",
        with: "WITH (checkpoint_interval = '300 ms')",
        select: "SELECT origin, dest, count(*) AS flights, sum(passengers) AS passengers, min(id) AS first,
                 count(DISTINCT passengers) AS sizes FROM landed GROUP BY origin, dest",
        over: None,
        emit: "",
    },
    View { name: "landings", with: "", select: LANDINGS, over: None, emit: "" },
    View {
        name: "closed",
        with: "WITH (checkpoint_interval = '200 ms')",
        select: LANDINGS,
        over: None,
        emit: "EMIT ON WINDOW CLOSE",
    },
    View {
        name: "busiest",
        with: "",
        select: "SELECT dest, sum(landed) AS landed, count(*) AS windows FROM closed GROUP BY dest",
        over: Some("closed"),
        emit: "",
    },
    View {
        name: "everything",
        with: "WITH (checkpoint_interval = '100 ms')",
        select: "SELECT 'order' AS what, amount AS n FROM orders WHERE amount > 50
                 UNION ALL SELECT kind AS what, n FROM events",
        over: None,
        emit: "",
    },
    View {
        name: "drain",
        with: "WITH (checkpoint_interval = '100 ms')",
        select: "SELECT n, count(*) AS rows, sum(id) AS ids FROM drained GROUP BY n",
        over: None,
        emit: "",
    },
];

const LANDINGS: &str = "SELECT window_start, dest, count(*) AS landed, sum(passengers) AS passengers
    FROM TUMBLE(flights, landed_at, INTERVAL '10 minutes') GROUP BY window_start, dest";

/// Where clients find the server now, if there is one.
type Door = watch::Receiver<Option<u16>>;

/// What all tasks share.
#[derive(Clone)]
struct Load {
    home: Home,
    door: Door,
    stop: Arc<AtomicBool>,
    acknowledged: Arc<AtomicU64>,
}

#[tokio::test(flavor = "multi_thread")]
async fn server_under_repeated_kill_9_ends_with_the_exact_answers() {
    let seed = seed();
    let mut rng = SmallRng::seed_from_u64(seed);
    let home = Home::new();
    std::fs::write(home.path("tidemark.yaml"), "journal: { segment_size: 256 kB }\n").unwrap();
    home.folder("landed");
    home.folder("drained");
    let mut server = home.start();
    let client = server.connect().await;
    run(&client, SETUP).await;
    for View { name, with, select, emit, .. } in VIEWS {
        run(&client, &format!("CREATE MATERIALIZED VIEW {name} {with} AS {select} {emit}")).await;
    }
    let (open, door) = watch::channel(Some(server.port));
    let (stop, acknowledged) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let load = Load { home: home.clone(), door, stop: stop.clone(), acknowledged: acknowledged.clone() };
    let writers: Vec<_> = (0..CLIENTS).map(|n| tokio::spawn(write(load.clone(), n, seed + n))).collect();
    let files = tokio::spawn(drop_files(load.clone(), seed + 100));
    let reader = tokio::spawn(read(load.clone()));

    for _ in 0..KILLS {
        server = kill(server, &load, &open, &mut rng).await;
    }

    let calm = acknowledged.load(Ordering::Relaxed);
    eventually("work goes on", async || (acknowledged.load(Ordering::Relaxed) > calm + 10).then_some(())).await;
    stop.store(true, Ordering::Relaxed);
    let mut model = Model::default();
    for writer in writers {
        let (orders, events) = writer.await.unwrap();
        model.orders.extend(orders);
        model.events.extend(events);
    }
    (model.flights, model.drained) = files.await.unwrap();
    let looks = reader.await.unwrap();
    assert!(looks > 10, "the reader hardly saw anything");

    let client = server.connect().await;
    run(&client, "FLUSH").await;
    compare(&client, &model).await;
    eprintln!(
        "{} orders, {} events, {} flights and {} drained rows through {KILLS} kills; {looks} looks",
        model.orders.len(),
        model.events.len(),
        model.flights.len(),
        model.drained.len()
    );
    // The same once more after an orderly stop.
    assert!(server.terminate().await.success());
    let server = home.start();
    let client = server.connect().await;
    run(&client, "FLUSH").await;
    compare(&client, &model).await;
    let folder = home.path("drained");
    eventually("what was read is deleted", async || {
        let left = std::fs::read_dir(&folder).unwrap().count();
        (left == 0).then_some(())
    })
    .await;
}

/// Kills the server at some moment, and starts it again.
async fn kill(server: Server, load: &Load, open: &watch::Sender<Option<u16>>, rng: &mut SmallRng) -> Server {
    let before = load.acknowledged.load(Ordering::Relaxed);
    if rng.random_range(0..4) == 0 {
        // Before it is ready: in the middle of its recovery, most likely.
        open.send(None).unwrap();
        server.kill();
        let mut child = load.home.serve().spawn().unwrap();
        sleep(Duration::from_millis(rng.random_range(1..300))).await;
        child.kill().unwrap();
        child.wait().unwrap();
    } else {
        // Some work was done since the last kill, and then at any moment.
        eventually("something is acknowledged", async || {
            (load.acknowledged.load(Ordering::Relaxed) > before).then_some(())
        })
        .await;
        sleep(Duration::from_millis(rng.random_range(0..700))).await;
        open.send(None).unwrap();
        server.kill();
    }
    let server = load.home.start();
    open.send(Some(server.port)).unwrap();
    server
}

/// Every table against what was acknowledged, every view against the batch answer and against the model.
async fn compare(client: &Client, model: &Model) {
    let failed = rows(client, "SELECT name, last_error FROM tidemark.queries WHERE state <> 'running'").await;
    assert!(failed.is_empty(), "{failed:?}");
    assert_eq!(rows(client, "SELECT sum(late), sum(dead_letters) FROM tidemark.queries").await, ["0|0"]);
    same("orders", rows(client, "SELECT id, customer, amount FROM orders").await, model.orders());
    same("events", rows(client, "SELECT client, n, kind FROM events").await, model.events());
    for view in VIEWS {
        let kept = rows(client, &format!("SELECT * FROM {}", view.name)).await;
        if view.name != "drain" {
            let mut select = view.select.to_string();
            if let Some(over) = view.over {
                let below = VIEWS.iter().find(|v| v.name == over).unwrap();
                let below = match below.emit {
                    "" => below.select.to_string(),
                    _ => format!("{} HAVING window_start < {}", below.select, model.close()),
                };
                select = select.replace(&format!("FROM {over}"), &format!("FROM ({below}) AS {over}"));
            }
            if !view.emit.is_empty() {
                select = format!("{select} HAVING window_start < {}", model.close());
            }
            same(&format!("{} and its batch answer", view.name), kept.clone(), rows(client, &select).await);
        }
        same(&format!("{} and the model", view.name), kept, model.view(view.name));
    }
}

#[track_caller]
fn same(what: &str, mut left: Vec<String>, mut right: Vec<String>) {
    left.sort();
    right.sort();
    if left != right {
        let only =
            |a: &[String], b: &[String]| a.iter().filter(|r| !b.contains(r)).take(5).cloned().collect::<Vec<_>>();
        panic!(
            "{what}: {} rows and {} rows; only left: {:?}; only right: {:?}",
            left.len(),
            right.len(),
            only(&left, &right),
            only(&right, &left)
        );
    }
}

impl Load {
    fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// A connection to whatever server is there, as soon as there is one.
    fn client(&self) -> impl Future<Output = Client> + Send + use<> {
        let mut door = self.door.clone();
        eventually("a server lets a client in", async move || {
            let port = *door.wait_for(Option::is_some).await.unwrap();
            connect(port?).await.ok()
        })
    }
}

/// Whether an error is only that the server was killed; every other one is a failure.
fn lost(error: &tokio_postgres::Error) -> bool {
    error.as_db_error().is_none() || panic!("{}", error_text(error))
}

type Orders = BTreeMap<u64, (String, i64)>;
type Events = BTreeSet<(u64, u64)>;

/// One client: each statement again and again until it is acknowledged, none of them twice in effect.
async fn write(load: Load, me: u64, seed: u64) -> (Orders, Events) {
    let mut rng = SmallRng::seed_from_u64(seed);
    let (mut orders, mut events) = (Orders::new(), Events::new());
    let (mut next, mut event) = (me * 1_000_000, 0);
    let mut client = load.client().await;
    while !load.stopped() {
        let mut after = orders.clone();
        let mine = |rng: &mut SmallRng| orders.keys().nth(rng.random_range(0..orders.len())).copied().unwrap();
        let kind = rng.random_range(0..10);
        let mut inserts_event = false;
        let statement = match kind {
            0 | 1 if !orders.is_empty() => {
                let (id, amount) = (mine(&mut rng), rng.random_range(0..100));
                after.get_mut(&id).unwrap().1 = amount;
                format!("UPDATE orders SET amount = {amount} WHERE id = {id}")
            }
            2 if !orders.is_empty() => {
                let id = mine(&mut rng);
                after.remove(&id);
                format!("DELETE FROM orders WHERE id = {id}")
            }
            3..=5 => {
                inserts_event = true;
                event += 1;
                format!("INSERT INTO events VALUES ({me}, {event}, {}, 'k{}')", moment(event * 7), event % 3)
            }
            _ => {
                let mut values = Vec::new();
                for _ in 0..rng.random_range(1..6) {
                    next += 1;
                    let (customer, amount) = (format!("c{}", rng.random_range(0..40)), rng.random_range(0..100));
                    values.push(format!("({next}, '{customer}', {amount})"));
                    after.insert(next, (customer, amount));
                }
                format!("INSERT INTO orders VALUES {} ON CONFLICT (id) DO NOTHING", values.join(", "))
            }
        };
        let mut again = false;
        loop {
            // A row without a key cannot be sent twice: whether it arrived must be asked.
            let arrived = format!("SELECT 1 FROM events WHERE client = {me} AND n = {event}");
            let outcome = match inserts_event && again {
                true => match try_rows(&client, &arrived).await {
                    Ok(found) if !found.is_empty() => Ok(()),
                    Ok(_) => client.batch_execute(&statement).await,
                    Err(error) => Err(error),
                },
                false => client.batch_execute(&statement).await,
            };
            match outcome {
                Ok(()) => break,
                Err(error) => {
                    lost(&error);
                    client = load.client().await;
                    again = true;
                }
            }
        }
        load.acknowledged.fetch_add(1, Ordering::Relaxed);
        orders = after;
        if inserts_event {
            events.insert((me, event));
        }
    }
    (orders, events)
}

#[derive(Clone)]
struct Flight {
    id: u64,
    origin: &'static str,
    dest: &'static str,
    /// Seconds after the first moment.
    landed: u64,
    passengers: u64,
}

/// New files in two folders, whether a server is there or not. The last one closes all windows before it.
async fn drop_files(load: Load, seed: u64) -> (Vec<Flight>, Vec<(u64, u64)>) {
    let mut rng = SmallRng::seed_from_u64(seed);
    let (mut flights, mut drained): (Vec<Flight>, Vec<(u64, u64)>) = (Vec::new(), Vec::new());
    let mut file = 0;
    loop {
        let last = load.stopped();
        file += 1;
        let mut text = String::from("id,origin,dest,landed_at,passengers\n");
        for _ in 0..rng.random_range(1..20) {
            let id = flights.len() as u64;
            let landed = match last {
                true => LAST,
                // Out of order, but never late.
                false => 100 + id * 5 - rng.random_range(0..60),
            };
            let origin = ["BER", "HEL", "OSL"][rng.random_range(0..3)];
            let dest = ["CDG", "LIS", "MAD", "NIL"][if last { 0 } else { rng.random_range(0..4) }];
            let flight = Flight { id, origin, dest, landed, passengers: rng.random_range(10..200) };
            let at = moment(flight.landed);
            text += &format!("{id},{origin},{dest},{},{}\n", at.trim_matches('\''), flight.passengers);
            flights.push(flight);
        }
        load.home.put(&format!("landed/{file:06}.csv"), text);
        let mut text = String::new();
        for _ in 0..rng.random_range(1..5) {
            let row = (drained.len() as u64, rng.random_range(0..5));
            text += &format!("{},{}\n", row.0, row.1);
            drained.push(row);
        }
        load.home.put(&format!("drained/{file:06}.csv"), text);
        if last {
            return (flights, drained);
        }
        sleep(Duration::from_millis(rng.random_range(10..60))).await;
    }
}

/// The seconds at which the last flights land: long after all others.
const LAST: u64 = 29_000_000;

/// What was seen once is never less again. Gives how often it looked.
async fn read(load: Load) -> u64 {
    let mut looks = 0;
    let mut seen = [0_i64; 5];
    let mut client = load.client().await;
    while !load.stopped() {
        let look = try_rows(
            &client,
            "SELECT (SELECT count(*) FROM events), (SELECT coalesce(sum(events), 0) FROM minutes),
                    (SELECT coalesce(sum(flights), 0) FROM routes), (SELECT count(*) FROM closed),
                    (SELECT coalesce(sum(landed), 0) FROM busiest)",
        )
        .await;
        match look {
            Ok(rows) => {
                let now: Vec<i64> = rows[0].split('|').map(|n| n.parse().unwrap()).collect();
                for (n, (then, now)) in seen.iter_mut().zip(now).enumerate() {
                    assert!(*then <= now, "column {n} went from {then} back to {now}");
                    *then = now;
                }
                looks += 1;
            }
            Err(error) => {
                lost(&error);
                client = load.client().await;
            }
        }
    }
    looks
}

/// A timestamp in quotes, some seconds after the first moment.
fn moment(seconds: u64) -> String {
    let days = seconds / 86_400;
    let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    // Years of 360 days in months of 30, less the days that February has not: only order and windows matter.
    let (year, month, day) = (2026 + days / 336, days % 336 / 28 + 1, days % 28 + 1);
    format!("'{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}'")
}

/// What must be there, computed from what was sent.
#[derive(Default)]
struct Model {
    orders: Orders,
    events: Events,
    flights: Vec<Flight>,
    drained: Vec<(u64, u64)>,
}

impl Model {
    fn orders(&self) -> Vec<String> {
        self.orders.iter().map(|(id, (customer, amount))| format!("{id}|{customer}|{amount}")).collect()
    }

    fn events(&self) -> Vec<String> {
        self.events.iter().map(|(client, n)| format!("{client}|{n}|k{}", n % 3)).collect()
    }

    /// The watermark that the last file leaves: every window before it is closed.
    fn close(&self) -> String {
        format!("TIMESTAMP {}", moment((LAST - 300) / 600 * 600))
    }

    fn spending(&self) -> BTreeMap<&str, (i64, i64)> {
        let mut spending = BTreeMap::new();
        for (customer, amount) in self.orders.values() {
            let (orders, spent) = spending.entry(customer.as_str()).or_insert((0, 0));
            *orders += 1;
            *spent += amount;
        }
        spending
    }

    fn landings(&self, closed: bool) -> BTreeMap<(u64, &str), (u64, u64)> {
        let mut landings = BTreeMap::new();
        for flight in self.flights.iter().filter(|f| f.dest != "NIL" && !(closed && f.landed == LAST)) {
            let (landed, passengers) = landings.entry((flight.landed / 600 * 600, flight.dest)).or_insert((0, 0));
            *landed += 1;
            *passengers += flight.passengers;
        }
        landings
    }

    fn view(&self, name: &str) -> Vec<String> {
        let plain = |seconds: u64| moment(seconds).trim_matches('\'').to_string();
        let landings = |closed: bool| {
            let landings = self.landings(closed).into_iter();
            landings.map(|((start, dest), (n, p))| format!("{}|{dest}|{n}|{p}", plain(start))).collect()
        };
        match name {
            "spending" => self.spending().iter().map(|(customer, (n, sum))| format!("{customer}|{n}|{sum}")).collect(),
            "classes" => {
                let mut classes: BTreeMap<i64, (i64, i64)> = BTreeMap::new();
                for (orders, spent) in self.spending().values() {
                    let (customers, most) = classes.entry(orders % 7).or_insert((0, i64::MIN));
                    *customers += 1;
                    *most = (*most).max(*spent);
                }
                classes.iter().map(|(class, (n, most))| format!("{class}|{n}|{most}")).collect()
            }
            "minutes" => {
                let mut minutes: BTreeMap<(u64, u64), (u64, u64)> = BTreeMap::new();
                for (_, n) in &self.events {
                    let (events, total) = minutes.entry((n * 7 / 60 * 60, n % 3)).or_default();
                    *events += 1;
                    *total += n;
                }
                minutes.iter().map(|((at, k), (n, sum))| format!("{}|k{k}|{n}|{sum}", plain(*at))).collect()
            }
            "routes" => {
                let mut routes: BTreeMap<(&str, &str), Vec<&Flight>> = BTreeMap::new();
                self.flights.iter().for_each(|f| routes.entry((f.origin, f.dest)).or_default().push(f));
                let row = |((origin, dest), flights): (&(&str, &str), &Vec<&Flight>)| {
                    let sum: u64 = flights.iter().map(|f| f.passengers).sum();
                    let first = flights.iter().map(|f| f.id).min().unwrap();
                    let sizes: BTreeSet<u64> = flights.iter().map(|f| f.passengers).collect();
                    format!("{origin}|{dest}|{}|{sum}|{first}|{}", flights.len(), sizes.len())
                };
                routes.iter().map(row).collect()
            }
            "landings" => landings(false),
            "closed" => landings(true),
            "busiest" => {
                let mut busiest: BTreeMap<&str, (u64, u64)> = BTreeMap::new();
                for ((_, dest), (landed, _)) in self.landings(true) {
                    let (sum, windows) = busiest.entry(dest).or_default();
                    *sum += landed;
                    *windows += 1;
                }
                busiest.iter().map(|(dest, (landed, windows))| format!("{dest}|{landed}|{windows}")).collect()
            }
            "everything" => {
                let orders = self.orders.values().filter(|(_, amount)| *amount > 50);
                let orders = orders.map(|(_, amount)| format!("order|{amount}"));
                orders.chain(self.events.iter().map(|(_, n)| format!("k{}|{n}", n % 3))).collect()
            }
            "drain" => {
                let mut drain: BTreeMap<u64, (u64, u64)> = BTreeMap::new();
                for (id, n) in &self.drained {
                    let (rows, ids) = drain.entry(*n).or_default();
                    *rows += 1;
                    *ids += id;
                }
                drain.iter().map(|(n, (rows, ids))| format!("{n}|{rows}|{ids}")).collect()
            }
            _ => panic!("no model of {name}"),
        }
    }
}
