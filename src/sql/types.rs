//! The types of columns: SQL's names for Arrow's types, and back.

use std::sync::Arc;

use arrow::datatypes::{DECIMAL128_MAX_PRECISION, DataType, Field, IntervalUnit, TimeUnit};
use datafusion::sql::sqlparser::ast::{self, ArrayElemTypeDef, ExactNumberInfo, TimezoneInfo};

use super::names::{fold, quote};
use crate::error::{Error, ErrorKind, Result};

/// The type of a `NUMERIC` without precision: DataFusion's type for `x::numeric`, so that a column and a cast agree.
/// Postgres' own is unbounded, which Arrow cannot express.
const NUMERIC: DataType = DataType::Decimal128(38, 10);

/// The zone of `TIMESTAMP WITH TIME ZONE`: as in Postgres stored in UTC, displayed in the session's zone.
pub const UTC: &str = "+00:00";

/// The Arrow type of a column that a `CREATE` statement declares.
///
/// Times have microseconds, Postgres' own resolution. The length of `VARCHAR(n)` is accepted and not enforced. JSON and
/// UUID are text: no function needs them to be otherwise.
pub fn column_type(declared: &ast::DataType) -> Result<DataType> {
    use ast::DataType as Sql;
    Ok(match declared {
        Sql::Boolean | Sql::Bool => DataType::Boolean,
        Sql::TinyInt(_) => DataType::Int8,
        Sql::SmallInt(_) | Sql::Int2(_) => DataType::Int16,
        Sql::Int(_) | Sql::Integer(_) | Sql::Int4(_) => DataType::Int32,
        Sql::BigInt(_) | Sql::Int8(_) => DataType::Int64,
        Sql::TinyIntUnsigned(_) => DataType::UInt8,
        Sql::SmallIntUnsigned(_) | Sql::Int2Unsigned(_) => DataType::UInt16,
        Sql::IntUnsigned(_) | Sql::IntegerUnsigned(_) | Sql::Int4Unsigned(_) => DataType::UInt32,
        Sql::BigIntUnsigned(_) | Sql::Int8Unsigned(_) => DataType::UInt64,
        Sql::Real | Sql::Float4 => DataType::Float32,
        Sql::Double(_) | Sql::DoublePrecision | Sql::Float8 => DataType::Float64,
        Sql::Float(ExactNumberInfo::Precision(bits)) if *bits <= 24 => DataType::Float32,
        Sql::Float(_) => DataType::Float64,
        Sql::Numeric(info) | Sql::Decimal(info) | Sql::Dec(info) => numeric(info)?,
        Sql::Text | Sql::String(_) | Sql::Uuid | Sql::JSON | Sql::JSONB => DataType::Utf8,
        Sql::Varchar(_) | Sql::CharVarying(_) | Sql::CharacterVarying(_) => DataType::Utf8,
        Sql::Char(_) | Sql::Character(_) => DataType::Utf8,
        Sql::Bytea | Sql::Bytes(_) | Sql::Binary(_) | Sql::Varbinary(_) | Sql::Blob(_) => DataType::Binary,
        Sql::Date => DataType::Date32,
        Sql::Time(precision, TimezoneInfo::None | TimezoneInfo::WithoutTimeZone) => {
            micros(*precision, "time").map(DataType::Time64)?
        }
        Sql::Timestamp(precision, zone) => {
            let unit = micros(*precision, "timestamp")?;
            let zoned = matches!(zone, TimezoneInfo::WithTimeZone | TimezoneInfo::Tz);
            DataType::Timestamp(unit, zoned.then(|| UTC.into()))
        }
        Sql::TimestampNtz(precision) | Sql::Datetime(precision) => {
            DataType::Timestamp(micros(*precision, "timestamp")?, None)
        }
        Sql::Interval { .. } => DataType::Interval(IntervalUnit::MonthDayNano),
        Sql::Array(ArrayElemTypeDef::SquareBracket(item, _) | ArrayElemTypeDef::AngleBracket(item)) => {
            DataType::List(Arc::new(Field::new_list_field(column_type(item)?, true)))
        }
        Sql::Struct(fields, _) => structure(fields)?,
        Sql::Custom(name, modifiers) => custom(name, modifiers)?,
        other => return Err(unknown(other)),
    })
}

fn micros(precision: Option<u64>, what: &str) -> Result<TimeUnit> {
    match precision {
        None | Some(0..=6) => Ok(TimeUnit::Microsecond),
        Some(p) => {
            let message = format!("{what}({p}) precision must be between 0 and 6");
            Err(Error::new(ErrorKind::InvalidParameterValue, message).hint("Times have microseconds."))
        }
    }
}

fn numeric(info: &ExactNumberInfo) -> Result<DataType> {
    let (precision, scale) = match info {
        ExactNumberInfo::None => return Ok(NUMERIC),
        ExactNumberInfo::Precision(precision) => (*precision, 0),
        ExactNumberInfo::PrecisionAndScale(precision, scale) => (*precision, *scale),
    };
    let max = DECIMAL128_MAX_PRECISION;
    match (u8::try_from(precision), i8::try_from(scale)) {
        (Ok(p @ 1..), Ok(s @ 0..)) if p <= max && s.unsigned_abs() <= p => Ok(DataType::Decimal128(p, s)),
        (Ok(1..), Ok(0..)) if precision <= u64::from(max) => {
            let message = format!("NUMERIC scale {scale} must be between 0 and precision {precision}");
            Err(Error::new(ErrorKind::InvalidParameterValue, message))
        }
        (_, Ok(..0)) => Err(Error::unsupported(format!("NUMERIC with a negative scale ({scale})"))),
        _ => {
            let message = format!("NUMERIC precision {precision} must be between 1 and {max}");
            Err(Error::new(ErrorKind::InvalidParameterValue, message))
        }
    }
}

fn structure(fields: &[ast::StructField]) -> Result<DataType> {
    let fields = fields.iter().map(|field| match &field.field_name {
        Some(name) => Ok(Field::new(fold(name), column_type(&field.field_type)?, true)),
        None => Err(Error::new(ErrorKind::InvalidDefinition, "a field of a struct has no name")
            .hint("Write STRUCT<a INTEGER, b TEXT>.")),
    });
    Ok(DataType::Struct(fields.collect::<Result<_>>()?))
}

/// Type names that are not keywords of the parser.
fn custom(name: &ast::ObjectName, modifiers: &[String]) -> Result<DataType> {
    let text = name.to_string().to_lowercase();
    match text.strip_prefix("pg_catalog.").unwrap_or(&text) {
        "timestamptz" => Ok(DataType::Timestamp(TimeUnit::Microsecond, Some(UTC.into()))),
        "timestamp_ltz" => {
            let precision = modifiers.first().and_then(|m| m.parse().ok());
            Ok(DataType::Timestamp(micros(precision, "timestamp")?, Some(UTC.into())))
        }
        "bpchar" | "name" | "string" => Ok(DataType::Utf8),
        "serial" | "serial2" | "serial4" | "serial8" | "smallserial" | "bigserial" => {
            Err(Error::unsupported(format!("type {text}"))
                .detail("There are no sequences.")
                .hint("Use bigint, and give the numbers yourself."))
        }
        _ => Err(unknown(&ast::DataType::Custom(name.clone(), modifiers.to_vec()))),
    }
}

fn unknown(declared: &ast::DataType) -> Error {
    let text = declared.to_string().to_lowercase();
    match declared {
        ast::DataType::Custom(..) => Error::new(ErrorKind::UndefinedObject, format!("type \"{text}\" does not exist")),
        _ => Error::unsupported(format!("type {text}")),
    }
}

/// The SQL name of an Arrow type: one that [`column_type`] accepts, or the nearest word if none does.
pub fn sql_type(data_type: &DataType) -> String {
    match data_type {
        DataType::Boolean => "boolean".to_string(),
        DataType::Int8 => "tinyint".to_string(),
        DataType::Int16 => "smallint".to_string(),
        DataType::Int32 => "integer".to_string(),
        DataType::Int64 => "bigint".to_string(),
        DataType::UInt8 => "tinyint unsigned".to_string(),
        DataType::UInt16 => "smallint unsigned".to_string(),
        DataType::UInt32 => "integer unsigned".to_string(),
        DataType::UInt64 => "bigint unsigned".to_string(),
        DataType::Float16 | DataType::Float32 => "real".to_string(),
        DataType::Float64 => "double precision".to_string(),
        DataType::Decimal32(p, s)
        | DataType::Decimal64(p, s)
        | DataType::Decimal128(p, s)
        | DataType::Decimal256(p, s) => format!("numeric({p},{s})"),
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => "text".to_string(),
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView | DataType::FixedSizeBinary(_) => {
            "bytea".to_string()
        }
        DataType::Date32 | DataType::Date64 => "date".to_string(),
        DataType::Time32(_) | DataType::Time64(_) => "time".to_string(),
        DataType::Timestamp(_, None) => "timestamp".to_string(),
        DataType::Timestamp(_, Some(_)) => "timestamptz".to_string(),
        DataType::Interval(_) | DataType::Duration(_) => "interval".to_string(),
        DataType::List(item)
        | DataType::LargeList(item)
        | DataType::ListView(item)
        | DataType::LargeListView(item)
        | DataType::FixedSizeList(item, _) => format!("{}[]", sql_type(item.data_type())),
        DataType::Struct(fields) => {
            let fields = fields.iter().map(|f| format!("{} {}", quote(f.name()), sql_type(f.data_type())));
            format!("struct<{}>", fields.collect::<Vec<_>>().join(", "))
        }
        DataType::Dictionary(_, value) => sql_type(value),
        DataType::RunEndEncoded(_, value) => sql_type(value.data_type()),
        DataType::Null => "unknown".to_string(),
        DataType::Map(..) | DataType::Union(..) => data_type.to_string().to_lowercase(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sql::{parse, statement::Body};

    fn declare(sql_type: &str) -> Result<DataType> {
        let statement = parse(&format!("CREATE TABLE t (c {sql_type})"))?.remove(0);
        let Body::CreateTable(table) = statement.body else { panic!("no table") };
        column_type(&table.columns[0].data_type)
    }

    fn check(declared: &str, arrow: &str, back: &str) {
        let data_type = declare(declared).unwrap_or_else(|e| panic!("{declared}: {e}"));
        assert_eq!(data_type.to_string(), arrow, "{declared}");
        assert_eq!(sql_type(&data_type), back, "{declared}");
        assert_eq!(declare(back).unwrap(), data_type, "{back} comes back as {declared}");
    }

    #[test]
    fn type_names_roundtrip_to_arrow() {
        for text in
            ["text", "varchar", "varchar(10)", "character varying(3)", "char(2)", "uuid", "json", "jsonb", "name"]
        {
            check(text, "Utf8", "text");
        }
        check("bool", "Boolean", "boolean");
        check("int2", "Int16", "smallint");
        check("INT", "Int32", "integer");
        check("int8", "Int64", "bigint");
        check("tinyint", "Int8", "tinyint");
        check("bigint unsigned", "UInt64", "bigint unsigned");
        check("real", "Float32", "real");
        check("float(24)", "Float32", "real");
        check("float", "Float64", "double precision");
        check("double precision", "Float64", "double precision");
        check("numeric", "Decimal128(38, 10)", "numeric(38,10)");
        check("numeric(5)", "Decimal128(5, 0)", "numeric(5,0)");
        check("decimal(10, 2)", "Decimal128(10, 2)", "numeric(10,2)");
        check("bytea", "Binary", "bytea");
        check("date", "Date32", "date");
        check("time", "Time64(µs)", "time");
        check("timestamp(3)", "Timestamp(µs)", "timestamp");
        check("timestamp without time zone", "Timestamp(µs)", "timestamp");
        check("timestamptz", "Timestamp(µs, \"+00:00\")", "timestamptz");
        check("timestamp with time zone", "Timestamp(µs, \"+00:00\")", "timestamptz");
        check("interval", "Interval(MonthDayNano)", "interval");
    }

    #[test]
    fn nested_type_names_roundtrip_to_arrow() {
        for (declared, back) in [
            ("int[]", "integer[]"),
            ("text[][]", "text[][]"),
            ("STRUCT<a int, \"B\" text>", "struct<a integer, \"B\" text>"),
            ("ROW<a int, b STRUCT<c timestamptz>>", "struct<a integer, b struct<c timestamptz>>"),
            ("ROW(a int, \"B\" text)", "struct<a integer, \"B\" text>"),
            ("ROW(a ROW(b int[])[], c text)[]", "struct<a struct<b integer[]>[], c text>[]"),
            ("STRUCT<a STRUCT<b STRUCT<c int>>>[]", "struct<a struct<b struct<c integer>>>[]"),
        ] {
            let data_type = declare(declared).unwrap_or_else(|e| panic!("{declared}: {e}"));
            assert_eq!(sql_type(&data_type), back);
            assert_eq!(declare(back).unwrap(), data_type, "{back}");
        }
    }

    #[test]
    fn unsupported_type_names_are_refused_with_position() {
        for (declared, message) in [
            ("serial", "0A000: type serial is not supported"),
            ("bigserial", "0A000: type bigserial is not supported"),
            ("point", "42704: type \"point\" does not exist"),
            ("frobnicate", "42704: type \"frobnicate\" does not exist"),
            ("timestamp(9)", "22023: timestamp(9) precision must be between 0 and 6"),
            ("numeric(39)", "22023: NUMERIC precision 39 must be between 1 and 38"),
            ("numeric(0)", "22023: NUMERIC precision 0 must be between 1 and 38"),
            ("numeric(3, 4)", "22023: NUMERIC scale 4 must be between 0 and precision 3"),
            ("numeric(3, -1)", "0A000: NUMERIC with a negative scale (-1) is not supported"),
            ("time with time zone", "0A000: type time with time zone is not supported"),
            ("STRUCT<a int>>", "42601: syntax error at or near \">>\""),
        ] {
            let error = declare(declared).expect_err(declared);
            let reported = format!("{}: {error}", error.kind().sqlstate());
            assert_eq!(reported, message, "{declared}");
            assert_eq!(
                error.position(),
                Some(match declared {
                    "STRUCT<a int>>" => 31,
                    _ => 19,
                }),
                "{declared}"
            );
        }
    }
}
