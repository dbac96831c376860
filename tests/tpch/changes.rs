//! What clients do to the eight tables: they fill them, and then order, correct, cancel, leave and come back.

use rand::{Rng, rngs::SmallRng, seq::IndexedRandom};

use super::data::{self, DIMENSIONS, Dimension};

/// Orders that there are at first.
const ORDERS: i64 = 100;

/// What is there, as far as it must be known to change it.
#[derive(Default)]
pub struct Trade {
    orders: Vec<i64>,
    last_order: i64,
    /// Rows that were deleted and may come back, as other rows of the same keys.
    gone: Vec<(Dimension, i64)>,
}

impl Trade {
    /// The statements that fill all tables.
    pub fn filling(&mut self, rng: &mut SmallRng) -> Vec<String> {
        let mut statements = vec![insert("region", &data::regions()), insert("nation", &data::nations())];
        for dimension in DIMENSIONS {
            let rows: Vec<String> = (1..=dimension.keys()).map(|key| dimension.row(rng, key)).collect();
            statements.push(insert(dimension.table(), &rows));
        }
        statements.extend(self.ordering(rng, ORDERS));
        statements
    }

    /// The statements of one change.
    pub fn change(&mut self, rng: &mut SmallRng) -> Vec<String> {
        match rng.random_range(0..12) {
            0..3 => {
                let count = rng.random_range(1..6);
                self.ordering(rng, count)
            }
            3..5 => self.cancelling(rng),
            5..7 => self.correcting(rng),
            7 => self.reordering(rng),
            8 | 9 => moving(rng),
            10 => self.leaving(rng),
            _ => self.coming_back(rng),
        }
    }

    /// New orders with their lines, and now and then the lines first.
    fn ordering(&mut self, rng: &mut SmallRng, count: i64) -> Vec<String> {
        let first = self.last_order + 1;
        self.last_order += count;
        self.orders.extend(first..=self.last_order);
        let (mut rows, mut lines) = (Vec::new(), Vec::new());
        for key in first..=self.last_order {
            let order = data::order(rng, key);
            rows.push(order.row);
            lines.extend(order.lines);
        }
        either_order(rng, insert("orders", &rows), insert("lineitem", &lines))
    }

    fn cancelling(&mut self, rng: &mut SmallRng) -> Vec<String> {
        let key = self.orders.swap_remove(rng.random_range(0..self.orders.len()));
        let order = format!("DELETE FROM orders WHERE o_orderkey = {key}");
        either_order(rng, order, format!("DELETE FROM lineitem WHERE l_orderkey = {key}"))
    }

    /// Lines of an order, or a few lines of everywhere.
    fn correcting(&self, rng: &mut SmallRng) -> Vec<String> {
        let set = match rng.random_range(0..6) {
            0 => format!("l_quantity = {}", rng.random_range(1..51)),
            1 => "l_quantity = l_quantity + 10, l_extendedprice = l_extendedprice * 1.1".to_string(),
            2 => format!("l_discount = {}", data::discount(rng)),
            3 => {
                let ordered = data::order_date(rng);
                let [shipped, committed, received] = data::line_dates(rng, ordered);
                format!("l_shipdate = '{shipped}', l_commitdate = '{committed}', l_receiptdate = '{received}'")
            }
            4 => format!("l_returnflag = '{}'", ["A", "N", "R"].choose(rng).unwrap()),
            _ => format!("l_shipmode = '{}'", data::ship_mode(rng)),
        };
        let which = match rng.random_range(0..4) {
            0 => format!("l_partkey = {} AND l_linenumber <= 2", rng.random_range(1..=Dimension::Part.keys())),
            1 => format!("l_orderkey % 17 = {} AND l_linenumber = 1", rng.random_range(0..17)),
            _ => format!("l_orderkey = {}", self.orders.choose(rng).unwrap()),
        };
        vec![format!("UPDATE lineitem SET {set} WHERE {which}")]
    }

    fn reordering(&self, rng: &mut SmallRng) -> Vec<String> {
        let set = match rng.random_range(0..5) {
            0 => format!("o_custkey = {}", data::buyer(rng)),
            1 => format!("o_orderdate = '{}'", data::order_date(rng)),
            2 => format!("o_orderpriority = '{}'", data::priority(rng)),
            3 => format!("o_comment = '{}'", data::order_comment(rng)),
            _ => format!("o_orderstatus = '{}'", ["F", "O", "P"].choose(rng).unwrap()),
        };
        let key = self.orders.choose(rng).unwrap();
        vec![format!("UPDATE orders SET {set} WHERE o_orderkey = {key}")]
    }

    /// One of those who trade goes, or something that is traded; what names it stays.
    fn leaving(&mut self, rng: &mut SmallRng) -> Vec<String> {
        let dimension = *DIMENSIONS.choose(rng).unwrap();
        let key = rng.random_range(1..=dimension.keys());
        if self.gone.contains(&(dimension, key)) {
            return Vec::new();
        }
        self.gone.push((dimension, key));
        vec![format!("DELETE FROM {} WHERE {}", dimension.table(), dimension.is(key))]
    }

    fn coming_back(&mut self, rng: &mut SmallRng) -> Vec<String> {
        if self.gone.is_empty() {
            return Vec::new();
        }
        let (dimension, key) = self.gone.swap_remove(rng.random_range(0..self.gone.len()));
        vec![insert(dimension.table(), &[dimension.row(rng, key)])]
    }
}

/// A row of a dimension becomes another.
fn moving(rng: &mut SmallRng) -> Vec<String> {
    let (dimension, set) = match rng.random_range(0..9) {
        0 => (Dimension::Customer, format!("c_mktsegment = '{}'", data::segment(rng))),
        1 => {
            let nation = data::nation(rng);
            (Dimension::Customer, format!("c_nationkey = {nation}, c_phone = '{}'", data::phone(rng, nation)))
        }
        2 => (Dimension::Customer, format!("c_acctbal = {}", data::balance(rng))),
        3 => (Dimension::Part, format!("p_type = '{}', p_name = '{}'", data::part_type(rng), data::part_name(rng))),
        4 => {
            let (brand, container) = data::brand(rng);
            (Dimension::Part, format!("p_brand = '{brand}', p_container = '{container}'"))
        }
        5 => (Dimension::Supplier, format!("s_nationkey = {}", data::nation(rng))),
        6 => (Dimension::Supplier, format!("s_comment = '{}'", data::supplier_comment(rng))),
        7 => (Dimension::Partsupp, format!("ps_supplycost = {}", data::cost(rng))),
        _ => (Dimension::Partsupp, format!("ps_availqty = {}", rng.random_range(1..200))),
    };
    let key = rng.random_range(1..=dimension.keys());
    vec![format!("UPDATE {} SET {set} WHERE {}", dimension.table(), dimension.is(key))]
}

fn insert(table: &str, rows: &[String]) -> String {
    format!("INSERT INTO {table} VALUES\n  {}", rows.join(",\n  "))
}

fn either_order(rng: &mut SmallRng, first: String, second: String) -> Vec<String> {
    if rng.random_bool(0.5) { vec![first, second] } else { vec![second, first] }
}
