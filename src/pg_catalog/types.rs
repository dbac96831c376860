//! Mapping between Arrow column types and Postgres types.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, IntervalUnit, TimeUnit};
use pgwire::api::Type;

/// The oid of `text`: the type of all columns without a better one.
pub const TEXT: u32 = 25;

/// The Postgres type reported for a column; `text` if Postgres has none.
pub fn of_field(field: &Arc<Field>) -> Type {
    match field.data_type() {
        DataType::Decimal32(..) | DataType::Decimal64(..) | DataType::Decimal256(..) => Type::NUMERIC,
        DataType::Null => Type::TEXT,
        DataType::List(item) if *item.data_type() == DataType::Int32 && of_field(item) == Type::OID => Type::OID_ARRAY,
        // Postgres has one type for arrays of however many dimensions.
        DataType::List(item) if matches!(item.data_type(), DataType::List(_)) => of_field(item),
        _ => arrow_pg::datatypes::field_into_pg_type(field).unwrap_or(Type::TEXT),
    }
}

pub fn of(data_type: &DataType) -> Type {
    of_field(&Arc::new(Field::new("", data_type.clone(), true)))
}

/// `pg_type.typlen`.
pub fn length(ty: &Type) -> i16 {
    match *ty {
        Type::BOOL | Type::CHAR => 1,
        Type::INT2 => 2,
        Type::INT4 | Type::FLOAT4 | Type::DATE | Type::OID | Type::REGCLASS | Type::REGTYPE | Type::REGPROC => 4,
        Type::INT8 | Type::FLOAT8 | Type::TIME | Type::TIMESTAMP | Type::TIMESTAMPTZ => 8,
        Type::INTERVAL | Type::UUID => 16,
        _ => -1,
    }
}

/// `pg_attribute.atttypmod`: for decimals, the precision and scale.
pub fn modifier(data_type: &DataType) -> i32 {
    match data_type {
        DataType::Decimal32(p, s) | DataType::Decimal64(p, s) | DataType::Decimal128(p, s) if *s >= 0 => {
            ((i32::from(*p) << 16) | i32::from(*s)) + 4
        }
        _ => -1,
    }
}

/// The column type of a parameter declared with this oid; `None` if it is unspecified, or of a type that the server has
/// to infer.
pub fn from_oid(oid: u32) -> Option<DataType> {
    let list = |item: DataType| DataType::List(Arc::new(Field::new_list_field(item, true)));
    Some(match Type::from_oid(oid)? {
        Type::BOOL => DataType::Boolean,
        Type::INT2 => DataType::Int16,
        Type::INT4 | Type::OID | Type::REGCLASS | Type::REGTYPE | Type::REGPROC | Type::REGNAMESPACE => DataType::Int32,
        Type::INT8 => DataType::Int64,
        Type::FLOAT4 => DataType::Float32,
        Type::FLOAT8 => DataType::Float64,
        Type::NUMERIC => DataType::Decimal128(38, 10),
        Type::TEXT | Type::VARCHAR | Type::BPCHAR | Type::NAME | Type::CHAR | Type::JSON | Type::JSONB | Type::UUID => {
            DataType::Utf8
        }
        Type::BYTEA => DataType::Binary,
        Type::DATE => DataType::Date32,
        Type::TIME => DataType::Time64(TimeUnit::Microsecond),
        Type::TIMESTAMP => DataType::Timestamp(TimeUnit::Microsecond, None),
        Type::TIMESTAMPTZ => DataType::Timestamp(TimeUnit::Microsecond, Some("+00:00".into())),
        Type::INTERVAL => DataType::Interval(IntervalUnit::MonthDayNano),
        Type::BOOL_ARRAY => list(DataType::Boolean),
        Type::INT2_ARRAY => list(DataType::Int16),
        Type::INT4_ARRAY | Type::OID_ARRAY => list(DataType::Int32),
        Type::INT8_ARRAY => list(DataType::Int64),
        Type::FLOAT4_ARRAY => list(DataType::Float32),
        Type::FLOAT8_ARRAY => list(DataType::Float64),
        Type::NUMERIC_ARRAY => list(DataType::Decimal128(38, 10)),
        Type::TEXT_ARRAY | Type::VARCHAR_ARRAY | Type::NAME_ARRAY | Type::UUID_ARRAY => list(DataType::Utf8),
        Type::BYTEA_ARRAY => list(DataType::Binary),
        Type::DATE_ARRAY => list(DataType::Date32),
        Type::TIMESTAMP_ARRAY => list(DataType::Timestamp(TimeUnit::Microsecond, None)),
        Type::TIMESTAMPTZ_ARRAY => list(DataType::Timestamp(TimeUnit::Microsecond, Some("+00:00".into()))),
        _ => return None,
    })
}

/// The type of an array type's items.
pub fn item(array: &Type) -> Option<Type> {
    let name = array.name().strip_prefix('_')?;
    // Array types are searched among small oids, as their items' types are.
    (16..5000).filter_map(Type::from_oid).find(|ty| ty.name() == name)
}

/// The SQL name of a type: the result of `format_type`.
pub fn sql_name(oid: u32, modifier: i32) -> String {
    let Some(ty) = Type::from_oid(oid) else { return if oid == 0 { "-".into() } else { "???".into() } };
    let name = ty.name();
    if let Some(item) = name.strip_prefix('_') {
        return format!("{}[]", spelled(item));
    }
    match ty {
        Type::NUMERIC if modifier > 4 => format!("numeric({},{})", (modifier - 4) >> 16, (modifier - 4) & 0xffff),
        Type::VARCHAR if modifier > 4 => format!("character varying({})", modifier - 4),
        _ => spelled(name).to_string(),
    }
}

fn spelled(name: &str) -> &str {
    match name {
        "bool" => "boolean",
        "int2" => "smallint",
        "int4" => "integer",
        "int8" => "bigint",
        "float4" => "real",
        "float8" => "double precision",
        "bpchar" => "character",
        "varchar" => "character varying",
        "char" => "\"char\"",
        "time" => "time without time zone",
        "timetz" => "time with time zone",
        "timestamp" => "timestamp without time zone",
        "timestamptz" => "timestamp with time zone",
        other => other,
    }
}

/// The name of a type in `pg_type`.
pub fn internal_name(oid: u32) -> Option<&'static str> {
    let ty = Type::from_oid(oid)?;
    INTERNAL.iter().find(|name| **name == ty.name()).copied()
}

/// Type names that drivers look up.
const INTERNAL: &[&str] = &[
    "bool",
    "bytea",
    "char",
    "name",
    "int8",
    "int2",
    "int4",
    "regproc",
    "text",
    "oid",
    "json",
    "float4",
    "float8",
    "bpchar",
    "varchar",
    "date",
    "time",
    "timestamp",
    "timestamptz",
    "interval",
    "numeric",
    "uuid",
    "jsonb",
    "regclass",
    "regtype",
    "record",
    "unknown",
    "void",
];
