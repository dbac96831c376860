//! The columns of the three tables: their names and types, and their values.

use std::{ops::Range, sync::Arc};

use arrow::{
    array::{ArrayRef, Int64Array, StringBuilder, TimestampMicrosecondArray},
    datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit},
};

use super::{
    dice::For,
    events::{Events, FIRST_ID, NexmarkTable},
    words::{DESCRIPTION_LENGTH, ITEM_NAME_LENGTH},
};
use crate::{
    error::{Error, ErrorKind, Result},
    options::nearest,
};

/// What a column says of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum NexmarkField {
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

const PERSON: &[(&str, NexmarkField)] = &[
    ("id", NexmarkField::Id),
    ("name", NexmarkField::Name),
    ("email_address", NexmarkField::EmailAddress),
    ("credit_card", NexmarkField::CreditCard),
    ("city", NexmarkField::City),
    ("state", NexmarkField::State),
    ("date_time", NexmarkField::DateTime),
    ("extra", NexmarkField::Extra),
];

const AUCTION: &[(&str, NexmarkField)] = &[
    ("id", NexmarkField::Id),
    ("item_name", NexmarkField::ItemName),
    ("description", NexmarkField::Description),
    ("initial_bid", NexmarkField::InitialBid),
    ("reserve", NexmarkField::Reserve),
    ("date_time", NexmarkField::DateTime),
    ("expires", NexmarkField::Expires),
    ("seller", NexmarkField::Seller),
    ("category", NexmarkField::Category),
    ("extra", NexmarkField::Extra),
];

const BID: &[(&str, NexmarkField)] = &[
    ("auction", NexmarkField::Auction),
    ("bidder", NexmarkField::Bidder),
    ("price", NexmarkField::Price),
    ("channel", NexmarkField::Channel),
    ("url", NexmarkField::Url),
    ("date_time", NexmarkField::DateTime),
    ("extra", NexmarkField::Extra),
];

fn standard(table: NexmarkTable) -> &'static [(&'static str, NexmarkField)] {
    match table {
        NexmarkTable::Person => PERSON,
        NexmarkTable::Auction => AUCTION,
        NexmarkTable::Bid => BID,
    }
}

/// All columns of a table: what a source has that declares none.
pub(super) fn schema(table: NexmarkTable) -> SchemaRef {
    let field = |(name, what): &(&str, NexmarkField)| Field::new(*name, what.data_type(), true);
    Arc::new(Schema::new(standard(table).iter().map(field).collect::<Vec<_>>()))
}

impl NexmarkField {
    fn data_type(self) -> DataType {
        match self {
            NexmarkField::DateTime | NexmarkField::Expires => DataType::Timestamp(TimeUnit::Microsecond, None),
            NexmarkField::Id
            | NexmarkField::InitialBid
            | NexmarkField::Reserve
            | NexmarkField::Seller
            | NexmarkField::Category
            | NexmarkField::Auction
            | NexmarkField::Bidder
            | NexmarkField::Price => DataType::Int64,
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
pub(super) struct NexmarkColumn {
    table: NexmarkTable,
    what: NexmarkField,
}

impl NexmarkColumn {
    /// The columns that a source declares: any of those of its table, in any order.
    pub fn all(table: NexmarkTable, schema: &Schema, source: &str) -> Result<Vec<NexmarkColumn>> {
        schema.fields().iter().map(|field| NexmarkColumn::new(table, field, source)).collect()
    }

    fn new(table: NexmarkTable, field: &Field, source: &str) -> Result<NexmarkColumn> {
        let known = standard(table);
        let Some((name, what)) = known.iter().find(|(name, _)| name == field.name()) else {
            let message = format!("table '{}' of source \"{source}\" has no column \"{}\"", table.name(), field.name());
            let names: Vec<String> = known.iter().map(|(name, _)| name.to_string()).collect();
            let error = Error::new(ErrorKind::InvalidTableDefinition, message);
            return Err(match nearest(field.name(), &names) {
                Some(near) => error.hint(format!("Perhaps you meant \"{near}\".")),
                None => error.hint(format!("Its columns are: {}.", names.join(", "))),
            });
        };
        if *field.data_type() != what.data_type() {
            let message = format!("column \"{name}\" of source \"{source}\" is of type {}", what.spelled());
            return Err(Error::new(ErrorKind::InvalidTableDefinition, message).hint(format!(
                "Declare {name} {}, or no columns at all: then it has all of table '{}'.",
                what.spelled(),
                table.name()
            )));
        }
        Ok(NexmarkColumn { table, what: *what })
    }

    /// The values of some rows, by their numbers among those of the table.
    pub fn values(&self, events: &Events, rows: Range<u64>) -> ArrayRef {
        let numbers = rows.clone().map(|row| self.table.event_of(row));
        match self.what {
            NexmarkField::Id => Arc::new(Int64Array::from_iter_values(rows.map(|row| FIRST_ID + row as i64))),
            NexmarkField::Auction => integers(numbers, |event| events.auction(event)),
            NexmarkField::Bidder => integers(numbers, |event| events.bidder(event)),
            NexmarkField::Price => integers(numbers, |event| events.price(For::Price, event)),
            NexmarkField::InitialBid => integers(numbers, |event| events.price(For::InitialBid, event)),
            NexmarkField::Reserve => {
                integers(numbers, |event| events.price(For::InitialBid, event) + events.price(For::Reserve, event))
            }
            NexmarkField::Seller => integers(numbers, |event| events.seller(event)),
            NexmarkField::Category => integers(numbers, |event| events.category(event)),
            NexmarkField::DateTime => moments(numbers, |event| events.moment(event)),
            NexmarkField::Expires => moments(numbers, |event| events.expires(event)),
            NexmarkField::Name => texts(numbers, |event, text| events.name(event, text)),
            NexmarkField::EmailAddress => texts(numbers, |event, text| events.email_address(event, text)),
            NexmarkField::CreditCard => texts(numbers, |event, text| events.credit_card(event, text)),
            NexmarkField::City => texts(numbers, |event, text| text.push_str(events.city(event))),
            NexmarkField::State => texts(numbers, |event, text| text.push_str(events.state(event))),
            NexmarkField::ItemName => {
                texts(numbers, |event, text| events.letters(For::ItemName, event, ITEM_NAME_LENGTH, text))
            }
            NexmarkField::Description => {
                texts(numbers, |event, text| events.letters(For::Description, event, DESCRIPTION_LENGTH, text))
            }
            NexmarkField::Channel => texts(numbers, |event, text| events.channel(event, text)),
            NexmarkField::Url => texts(numbers, |event, text| events.url(event, text)),
            NexmarkField::Extra => texts(numbers, |event, text| events.extra(self.table, event, text)),
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
