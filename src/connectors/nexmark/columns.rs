//! The columns of the three tables: their names and types, and their values.

use std::{ops::Range, sync::Arc};

use arrow::{
    array::{ArrayRef, Int64Array, StringBuilder, TimestampMicrosecondArray},
    datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit},
};

use super::{
    dice::For,
    events::{Events, FIRST_ID, Table},
    words::{DESCRIPTION_LENGTH, ITEM_NAME_LENGTH},
};
use crate::{
    error::{Error, Kind, Result},
    options::nearest,
};

/// What a column says of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum What {
    Id,
    DateTime,
    Extra,
    Name,
    EmailAddress,
    CreditCard,
    City,
    State,
    ItemName,
    Description,
    InitialBid,
    Reserve,
    Expires,
    Seller,
    Category,
    Auction,
    Bidder,
    Price,
    Channel,
    Url,
}

const PERSON: &[(&str, What)] = &[
    ("id", What::Id),
    ("name", What::Name),
    ("email_address", What::EmailAddress),
    ("credit_card", What::CreditCard),
    ("city", What::City),
    ("state", What::State),
    ("date_time", What::DateTime),
    ("extra", What::Extra),
];

const AUCTION: &[(&str, What)] = &[
    ("id", What::Id),
    ("item_name", What::ItemName),
    ("description", What::Description),
    ("initial_bid", What::InitialBid),
    ("reserve", What::Reserve),
    ("date_time", What::DateTime),
    ("expires", What::Expires),
    ("seller", What::Seller),
    ("category", What::Category),
    ("extra", What::Extra),
];

const BID: &[(&str, What)] = &[
    ("auction", What::Auction),
    ("bidder", What::Bidder),
    ("price", What::Price),
    ("channel", What::Channel),
    ("url", What::Url),
    ("date_time", What::DateTime),
    ("extra", What::Extra),
];

fn standard(table: Table) -> &'static [(&'static str, What)] {
    match table {
        Table::Person => PERSON,
        Table::Auction => AUCTION,
        Table::Bid => BID,
    }
}

/// All columns of a table: what a source has that declares none.
pub(super) fn schema(table: Table) -> SchemaRef {
    let field = |(name, what): &(&str, What)| Field::new(*name, what.data_type(), true);
    Arc::new(Schema::new(standard(table).iter().map(field).collect::<Vec<_>>()))
}

impl What {
    fn data_type(self) -> DataType {
        match self {
            What::DateTime | What::Expires => DataType::Timestamp(TimeUnit::Microsecond, None),
            What::Id
            | What::InitialBid
            | What::Reserve
            | What::Seller
            | What::Category
            | What::Auction
            | What::Bidder
            | What::Price => DataType::Int64,
            _ => DataType::Utf8,
        }
    }

    /// The type as a statement spells it.
    fn spelled(self) -> &'static str {
        match self.data_type() {
            DataType::Int64 => "BIGINT",
            DataType::Utf8 => "TEXT",
            _ => "TIMESTAMP",
        }
    }
}

/// Makes the values of one column.
#[derive(Debug)]
pub(super) struct Column {
    table: Table,
    what: What,
}

impl Column {
    /// The columns that a source declares: any of those of its table, in any order.
    pub fn all(table: Table, schema: &Schema, source: &str) -> Result<Vec<Column>> {
        schema.fields().iter().map(|field| Column::new(table, field, source)).collect()
    }

    fn new(table: Table, field: &Field, source: &str) -> Result<Column> {
        let known = standard(table);
        let Some((name, what)) = known.iter().find(|(name, _)| name == field.name()) else {
            let message = format!("table '{}' of source \"{source}\" has no column \"{}\"", table.name(), field.name());
            let names: Vec<String> = known.iter().map(|(name, _)| name.to_string()).collect();
            let error = Error::new(Kind::InvalidTableDefinition, message);
            return Err(match nearest(field.name(), &names) {
                Some(near) => error.hint(format!("Perhaps you meant \"{near}\".")),
                None => error.hint(format!("Its columns are: {}.", names.join(", "))),
            });
        };
        if *field.data_type() != what.data_type() {
            let message = format!("column \"{name}\" of source \"{source}\" is of type {}", what.spelled());
            return Err(Error::new(Kind::InvalidTableDefinition, message).hint(format!(
                "Declare {name} {}, or no columns at all: then it has all of table '{}'.",
                what.spelled(),
                table.name()
            )));
        }
        Ok(Column { table, what: *what })
    }

    /// The values of some rows, by their numbers among those of the table.
    pub fn values(&self, events: &Events, rows: Range<u64>) -> ArrayRef {
        let numbers = rows.clone().map(|row| self.table.event_of(row));
        match self.what {
            What::Id => Arc::new(Int64Array::from_iter_values(rows.map(|row| FIRST_ID + row as i64))),
            What::Auction => integers(numbers, |event| events.auction(event)),
            What::Bidder => integers(numbers, |event| events.bidder(event)),
            What::Price => integers(numbers, |event| events.price(For::Price, event)),
            What::InitialBid => integers(numbers, |event| events.price(For::InitialBid, event)),
            What::Reserve => {
                integers(numbers, |event| events.price(For::InitialBid, event) + events.price(For::Reserve, event))
            }
            What::Seller => integers(numbers, |event| events.seller(event)),
            What::Category => integers(numbers, |event| events.category(event)),
            What::DateTime => moments(numbers, |event| events.moment(event)),
            What::Expires => moments(numbers, |event| events.expires(event)),
            What::Name => texts(numbers, |event, text| events.name(event, text)),
            What::EmailAddress => texts(numbers, |event, text| events.email_address(event, text)),
            What::CreditCard => texts(numbers, |event, text| events.credit_card(event, text)),
            What::City => texts(numbers, |event, text| text.push_str(events.city(event))),
            What::State => texts(numbers, |event, text| text.push_str(events.state(event))),
            What::ItemName => {
                texts(numbers, |event, text| events.letters(For::ItemName, event, ITEM_NAME_LENGTH, text))
            }
            What::Description => {
                texts(numbers, |event, text| events.letters(For::Description, event, DESCRIPTION_LENGTH, text))
            }
            What::Channel => texts(numbers, |event, text| events.channel(event, text)),
            What::Url => texts(numbers, |event, text| events.url(event, text)),
            What::Extra => texts(numbers, |event, text| events.extra(self.table, event, text)),
        }
    }
}

fn integers(events: impl Iterator<Item = u64>, value: impl Fn(u64) -> i64) -> ArrayRef {
    Arc::new(Int64Array::from_iter_values(events.map(value)))
}

fn moments(events: impl Iterator<Item = u64>, value: impl Fn(u64) -> i64) -> ArrayRef {
    Arc::new(TimestampMicrosecondArray::from_iter_values(events.map(value)))
}

fn texts(events: impl Iterator<Item = u64>, fill: impl Fn(u64, &mut String)) -> ArrayRef {
    let mut texts = StringBuilder::new();
    let mut text = String::new();
    for event in events {
        text.clear();
        fill(event, &mut text);
        texts.append_value(&text);
    }
    Arc::new(texts.finish())
}
