//! Random rows of the eight tables, as SQL writes them. The domains are TPC-H's with most values left out, so that a
//! few hundred rows answer every query; the values that a query asks for are among those that stay.

use chrono::{Days, NaiveDate};
use rand::{Rng, rngs::SmallRng, seq::IndexedRandom};

/// Those who trade, and at what: tables whose keys are from 1 to a number that is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dimension {
    Supplier,
    Customer,
    Part,
    Partsupp,
}

pub const DIMENSIONS: [Dimension; 4] = [Dimension::Supplier, Dimension::Customer, Dimension::Part, Dimension::Partsupp];

const SUPPLIERS: i64 = 12;
const CUSTOMERS: i64 = 30;
const PARTS: i64 = 40;

/// Suppliers of a part.
const PART_SUPPLIERS: i64 = 2;

const REGIONS: [&str; 5] = ["AFRICA", "AMERICA", "ASIA", "EUROPE", "MIDDLE EAST"];

/// The nations in the order of their keys, each with its region's.
const NATIONS: [(&str, i64); 25] = [
    ("ALGERIA", 0),
    ("ARGENTINA", 1),
    ("BRAZIL", 1),
    ("CANADA", 1),
    ("EGYPT", 4),
    ("ETHIOPIA", 0),
    ("FRANCE", 3),
    ("GERMANY", 3),
    ("INDIA", 2),
    ("INDONESIA", 2),
    ("IRAN", 4),
    ("IRAQ", 4),
    ("JAPAN", 2),
    ("JORDAN", 4),
    ("KENYA", 0),
    ("MOROCCO", 0),
    ("MOZAMBIQUE", 0),
    ("PERU", 1),
    ("CHINA", 2),
    ("ROMANIA", 3),
    ("SAUDI ARABIA", 4),
    ("VIETNAM", 2),
    ("RUSSIA", 3),
    ("UNITED KINGDOM", 3),
    ("UNITED STATES", 1),
];

/// BRAZIL, CANADA, FRANCE, GERMANY, SAUDI ARABIA, INDIA and CHINA: where suppliers are, in turn, and most customers.
const TRADERS: [i64; 7] = [2, 3, 6, 7, 20, 8, 18];

const SEGMENTS: [&str; 3] = ["AUTOMOBILE", "BUILDING", "MACHINERY"];
const TYPES: [&str; 6] = [
    "ECONOMY ANODIZED STEEL",
    "ECONOMY ANODIZED STEEL",
    "MEDIUM POLISHED BRASS",
    "PROMO BURNISHED BRASS",
    "PROMO PLATED STEEL",
    "STANDARD BRUSHED BRASS",
];
const COLORS: [&str; 5] = ["almond", "forest", "green", "lace", "rose"];
const SIZES: [i64; 10] = [3, 3, 5, 9, 15, 15, 15, 23, 45, 49];
const PRIORITIES: [&str; 5] = ["1-URGENT", "2-HIGH", "3-MEDIUM", "4-NOT SPECIFIED", "5-LOW"];
const INSTRUCTIONS: [&str; 3] = ["COLLECT COD", "DELIVER IN PERSON", "DELIVER IN PERSON"];
const MODES: [&str; 5] = ["AIR", "AIR REG", "MAIL", "SHIP", "TRUCK"];

/// What a brand comes in, mostly.
const BRANDS: [(&str, &[&str]); 4] = [
    ("Brand#12", &["SM CASE", "SM BOX", "SM PACK"]),
    ("Brand#23", &["MED BAG", "MED BOX", "MED BOX"]),
    ("Brand#34", &["LG CASE", "LG BOX", "LG PACK"]),
    ("Brand#45", &["JUMBO JAR", "WRAP CAN", "MED BOX"]),
];

/// The day that TPC-H calls today: what is shipped later is still open.
const TODAY: (i32, u32, u32) = (1995, 6, 17);

impl Dimension {
    pub fn table(self) -> &'static str {
        match self {
            Dimension::Supplier => "supplier",
            Dimension::Customer => "customer",
            Dimension::Part => "part",
            Dimension::Partsupp => "partsupp",
        }
    }

    /// The keys are from 1 to here.
    pub fn keys(self) -> i64 {
        match self {
            Dimension::Supplier => SUPPLIERS,
            Dimension::Customer => CUSTOMERS,
            Dimension::Part => PARTS,
            Dimension::Partsupp => PARTS * PART_SUPPLIERS,
        }
    }

    pub fn is(self, key: i64) -> String {
        match self {
            Dimension::Supplier => format!("s_suppkey = {key}"),
            Dimension::Customer => format!("c_custkey = {key}"),
            Dimension::Part => format!("p_partkey = {key}"),
            Dimension::Partsupp => {
                let (part, supplier) = supplied(key);
                format!("ps_partkey = {part} AND ps_suppkey = {supplier}")
            }
        }
    }

    pub fn row(self, rng: &mut SmallRng, key: i64) -> String {
        match self {
            Dimension::Supplier => supplier(rng, key),
            Dimension::Customer => customer(rng, key),
            Dimension::Part => part(rng, key),
            Dimension::Partsupp => partsupp(rng, key),
        }
    }
}

pub fn regions() -> Vec<String> {
    (0..).zip(REGIONS).map(|(key, name)| format!("({key}, '{name}', 'far away')")).collect()
}

pub fn nations() -> Vec<String> {
    (0..).zip(NATIONS).map(|(key, (name, region))| format!("({key}, '{name}', {region}, 'as it was')")).collect()
}

fn supplier(rng: &mut SmallRng, key: i64) -> String {
    let nation = TRADERS[key as usize % TRADERS.len()];
    let (phone, balance, comment) = (phone(rng, nation), balance(rng), supplier_comment(rng));
    format!("({key}, 'Supplier#{key:09}', 'Quay {key}', {nation}, '{phone}', {balance}, '{comment}')")
}

pub fn supplier_comment(rng: &mut SmallRng) -> &'static str {
    pick(rng, &["blithely bold", "carefully even", "Customer slow Complaints", "Customer happy Recommends"])
}

fn customer(rng: &mut SmallRng, key: i64) -> String {
    let nation = nation(rng);
    let (phone, balance, segment) = (phone(rng, nation), balance(rng), segment(rng));
    format!(
        "({key}, 'Customer#{key:09}', 'Street {key}', {nation}, '{phone}', {balance}, '{segment}', 'quickly final')"
    )
}

pub fn segment(rng: &mut SmallRng) -> &'static str {
    pick(rng, &SEGMENTS)
}

/// A key of a nation.
pub fn nation(rng: &mut SmallRng) -> i64 {
    if rng.random_bool(0.8) { *TRADERS.choose(rng).unwrap() } else { rng.random_range(0..NATIONS.len() as i64) }
}

/// A phone's first two digits say the nation.
pub fn phone(rng: &mut SmallRng, nation: i64) -> String {
    format!("{}-{}-{}", nation + 10, rng.random_range(100..1000), rng.random_range(1000..10000))
}

/// What one owes or is owed.
pub fn balance(rng: &mut SmallRng) -> String {
    money(rng.random_range(-99_999..1_000_000))
}

fn part(rng: &mut SmallRng, key: i64) -> String {
    let (brand, container) = brand(rng);
    let (name, kind, size, price) = (part_name(rng), part_type(rng), SIZES.choose(rng).unwrap(), money(retail(key)));
    let maker = rng.random_range(1..6);
    format!(
        "({key}, '{name}', 'Manufacturer#{maker}', '{brand}', '{kind}', {size}, '{container}', {price}, 'furiously')"
    )
}

pub fn part_name(rng: &mut SmallRng) -> String {
    format!("{} {}", pick(rng, &COLORS), pick(rng, &COLORS))
}

pub fn part_type(rng: &mut SmallRng) -> &'static str {
    pick(rng, &TYPES)
}

/// A brand and a container.
pub fn brand(rng: &mut SmallRng) -> (&'static str, &'static str) {
    let (brand, own) = *BRANDS.choose(rng).unwrap();
    let (_, any) = *BRANDS.choose(rng).unwrap();
    let containers = if rng.random_bool(0.8) { own } else { any };
    (brand, pick(rng, containers))
}

fn partsupp(rng: &mut SmallRng, key: i64) -> String {
    let (part, supplier) = supplied(key);
    let (available, cost) = (rng.random_range(1..200), cost(rng));
    format!("({part}, {supplier}, {available}, {cost}, 'slyly')")
}

/// Of a few values, so that the cheapest may be two.
pub fn cost(rng: &mut SmallRng) -> String {
    money(rng.random_range(1..20) * 5025)
}

/// The part and the supplier of a row of `partsupp`.
fn supplied(key: i64) -> (i64, i64) {
    let (part, nth) = ((key - 1) / PART_SUPPLIERS + 1, (key - 1) % PART_SUPPLIERS);
    (part, (part + nth * (SUPPLIERS / PART_SUPPLIERS + 1)) % SUPPLIERS + 1)
}

/// Cents.
fn retail(part: i64) -> i64 {
    90_000 + part * 1_010
}

pub struct Order {
    pub row: String,
    pub lines: Vec<String>,
}

/// An order and its lines. A third of the customers never orders anything.
pub fn order(rng: &mut SmallRng, key: i64) -> Order {
    let customer = buyer(rng);
    let ordered = order_date(rng);
    let mut lines = Vec::new();
    let (mut total, mut open) = (0, 0);
    let count = [1, 2, 2, 3, 3, 3, 4, 7].choose(rng).unwrap();
    for number in 1..=*count {
        let (part, supplier) = supplied(rng.random_range(1..=PARTS * PART_SUPPLIERS));
        let quantity: i64 = rng.random_range(1..51);
        let price = quantity * retail(part);
        let [shipped, committed, received] = line_dates(rng, ordered);
        let (discount, tax) = (discount(rng), money(rng.random_range(0..9)));
        let status = if shipped > today() { "O" } else { "F" };
        let returned = if received > today() { "N" } else { pick(rng, &["A", "R"]) };
        let (instruction, mode) = (pick(rng, &INSTRUCTIONS), ship_mode(rng));
        let price_text = money(price);
        lines.push(format!(
            "({key}, {part}, {supplier}, {number}, {quantity}, {price_text}, {discount}, {tax}, '{returned}', '{status}', \
             '{shipped}', '{committed}', '{received}', '{instruction}', '{mode}', 'even')"
        ));
        (total, open) = (total + price, open + i64::from(status == "O"));
    }
    let status = match open {
        0 => "F",
        open if open == *count => "O",
        _ => "P",
    };
    let (total, priority, comment, clerk) = (money(total), priority(rng), order_comment(rng), rng.random_range(1..5));
    let row = format!(
        "({key}, {customer}, '{status}', {total}, '{ordered}', '{priority}', 'Clerk#{clerk:09}', 0, '{comment}')"
    );
    Order { row, lines }
}

/// A customer who orders.
pub fn buyer(rng: &mut SmallRng) -> i64 {
    let nth = rng.random_range(0..CUSTOMERS * 2 / 3);
    nth / 2 * 3 + nth % 2 + 1
}

pub fn priority(rng: &mut SmallRng) -> &'static str {
    pick(rng, &PRIORITIES)
}

pub fn order_comment(rng: &mut SmallRng) -> &'static str {
    pick(rng, &["pending deposits", "special packages requests", "requests are special", "ironic"])
}

/// Between 1992 and August 1998, and most of them in the years that are asked for.
pub fn order_date(rng: &mut SmallRng) -> NaiveDate {
    let first = NaiveDate::from_ymd_opt(1992, 1, 1).unwrap();
    let (from, to) = if rng.random_bool(0.8) { (540, 1830) } else { (0, 2406) };
    first + Days::new(rng.random_range(from..to))
}

/// When a line of an order is shipped, when it should arrive, and when it does.
pub fn line_dates(rng: &mut SmallRng, ordered: NaiveDate) -> [NaiveDate; 3] {
    let shipped = ordered + Days::new(rng.random_range(1..122));
    [shipped, ordered + Days::new(rng.random_range(30..91)), shipped + Days::new(rng.random_range(1..31))]
}

pub fn discount(rng: &mut SmallRng) -> String {
    money(rng.random_range(0..11))
}

pub fn ship_mode(rng: &mut SmallRng) -> &'static str {
    pick(rng, &MODES)
}

fn today() -> NaiveDate {
    let (year, month, day) = TODAY;
    NaiveDate::from_ymd_opt(year, month, day).unwrap()
}

/// Cents as SQL writes them.
pub fn money(cents: i64) -> String {
    let sign = if cents < 0 { "-" } else { "" };
    format!("{sign}{}.{:02}", cents.abs() / 100, cents.abs() % 100)
}

fn pick(rng: &mut SmallRng, of: &[&'static str]) -> &'static str {
    of.choose(rng).unwrap()
}
