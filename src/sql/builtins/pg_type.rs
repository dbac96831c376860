//! The types of PostgreSQL that functions are declared with, and the Arrow types that carry them.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, IntervalUnit, TimeUnit};

/// A type of PostgreSQL.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Pg {
    Bool,
    Int2,
    Int4,
    Int8,
    Float4,
    Float8,
    Numeric,
    Text,
    Bytea,
    Date,
    Time,
    Timestamp,
    Timestamptz,
    Interval,
    /// `text[]`.
    Texts,
    /// `integer[]`.
    Int4s,
    /// `bigint[]`.
    Int8s,
    /// `double precision[]`.
    Float8s,
    /// Any type (`"any"`): its value as its output function writes it.
    Any,
}

/// A category of types, as far as resolution asks (`pg_type.typcategory`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Category {
    Boolean,
    Numeric,
    String,
    UserDefined,
    DateTime,
    Timespan,
    Array,
    Pseudo,
}

/// The types of numbers; each casts implicitly to those after it.
const NUMBERS: [Pg; 6] = [Pg::Int2, Pg::Int4, Pg::Int8, Pg::Numeric, Pg::Float4, Pg::Float8];
const TIMES: [Pg; 3] = [Pg::Date, Pg::Timestamp, Pg::Timestamptz];

impl Pg {
    /// The Arrow type that carries it.
    pub fn data_type(self) -> DataType {
        match self {
            Pg::Bool => DataType::Boolean,
            Pg::Int2 => DataType::Int16,
            Pg::Int4 => DataType::Int32,
            Pg::Int8 => DataType::Int64,
            Pg::Float4 => DataType::Float32,
            Pg::Float8 => DataType::Float64,
            Pg::Numeric => DataType::Decimal128(38, 10),
            Pg::Text | Pg::Any => DataType::Utf8,
            Pg::Bytea => DataType::Binary,
            Pg::Date => DataType::Date32,
            Pg::Time => DataType::Time64(TimeUnit::Microsecond),
            Pg::Timestamp => DataType::Timestamp(TimeUnit::Microsecond, None),
            Pg::Timestamptz => DataType::Timestamp(TimeUnit::Microsecond, Some("+00:00".into())),
            Pg::Interval => DataType::Interval(IntervalUnit::MonthDayNano),
            Pg::Texts => list(DataType::Utf8),
            Pg::Int4s => list(DataType::Int32),
            Pg::Int8s => list(DataType::Int64),
            Pg::Float8s => list(DataType::Float64),
        }
    }

    /// The type that an Arrow type carries; `None` if there is none.
    pub fn of(data_type: &DataType) -> Option<Pg> {
        Some(match data_type {
            DataType::Boolean => Pg::Bool,
            DataType::Int8 | DataType::Int16 | DataType::UInt8 => Pg::Int2,
            DataType::Int32 | DataType::UInt16 => Pg::Int4,
            DataType::Int64 | DataType::UInt32 | DataType::UInt64 => Pg::Int8,
            DataType::Float16 | DataType::Float32 => Pg::Float4,
            DataType::Float64 => Pg::Float8,
            DataType::Decimal128(..) => Pg::Numeric,
            DataType::Utf8 | DataType::Utf8View | DataType::LargeUtf8 => Pg::Text,
            DataType::Binary | DataType::BinaryView | DataType::LargeBinary => Pg::Bytea,
            DataType::Date32 => Pg::Date,
            DataType::Time64(_) => Pg::Time,
            DataType::Timestamp(_, None) => Pg::Timestamp,
            DataType::Timestamp(_, Some(_)) => Pg::Timestamptz,
            DataType::Interval(_) => Pg::Interval,
            DataType::List(item) => match Pg::of(item.data_type())? {
                Pg::Text => Pg::Texts,
                Pg::Int4 => Pg::Int4s,
                Pg::Int8 => Pg::Int8s,
                Pg::Float8 => Pg::Float8s,
                _ => return None,
            },
            _ => return None,
        })
    }

    /// Its name in messages (`format_type`).
    pub fn name(self) -> &'static str {
        match self {
            Pg::Bool => "boolean",
            Pg::Int2 => "smallint",
            Pg::Int4 => "integer",
            Pg::Int8 => "bigint",
            Pg::Float4 => "real",
            Pg::Float8 => "double precision",
            Pg::Numeric => "numeric",
            Pg::Text => "text",
            Pg::Bytea => "bytea",
            Pg::Date => "date",
            Pg::Time => "time without time zone",
            Pg::Timestamp => "timestamp without time zone",
            Pg::Timestamptz => "timestamp with time zone",
            Pg::Interval => "interval",
            Pg::Texts => "text[]",
            Pg::Int4s => "integer[]",
            Pg::Int8s => "bigint[]",
            Pg::Float8s => "double precision[]",
            Pg::Any => "\"any\"",
        }
    }

    pub fn category(self) -> Category {
        match self {
            Pg::Bool => Category::Boolean,
            Pg::Int2 | Pg::Int4 | Pg::Int8 | Pg::Float4 | Pg::Float8 | Pg::Numeric => Category::Numeric,
            Pg::Text => Category::String,
            Pg::Bytea => Category::UserDefined,
            Pg::Date | Pg::Time | Pg::Timestamp | Pg::Timestamptz => Category::DateTime,
            Pg::Interval => Category::Timespan,
            Pg::Texts | Pg::Int4s | Pg::Int8s | Pg::Float8s => Category::Array,
            Pg::Any => Category::Pseudo,
        }
    }

    /// Whether it is the preferred type of its category (`pg_type.typispreferred`).
    pub fn is_preferred(self) -> bool {
        matches!(self, Pg::Bool | Pg::Float8 | Pg::Text | Pg::Timestamptz | Pg::Interval)
    }

    /// Whether a value of another type is cast to it implicitly (`pg_cast.castcontext`).
    pub fn accepts(self, from: Pg) -> bool {
        let upwards = |order: &[Pg]| {
            let place = |of: Pg| order.iter().position(|pg| *pg == of);
            matches!((place(from), place(self)), (Some(from), Some(to)) if from <= to)
        };
        self == Pg::Any
            || from == self
            || upwards(&NUMBERS)
            || upwards(&TIMES)
            || (from, self) == (Pg::Time, Pg::Interval)
    }
}

fn list(of: DataType) -> DataType {
    DataType::List(Arc::new(Field::new_list_field(of, true)))
}
