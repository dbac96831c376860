//! The values of made-up columns.

use std::{fmt::Write, ops::Range, sync::Arc};

use arrow::{
    array::{
        ArrayRef, ArrowPrimitiveType, BooleanArray, Date32Array, Decimal128Array, Float32Array, Float64Array,
        PrimitiveArray, StringBuilder, TimestampMicrosecondArray,
    },
    buffer::NullBuffer,
    datatypes::{DataType, Int8Type, Int16Type, Int32Type, Int64Type, Schema, TimeUnit},
};

use crate::{
    error::{Error, ErrorKind, Result},
    options::{Options, Taker, nearest, parse_duration},
    time::Micros,
};

/// `fields.<name>.…`: how the values of one column come about.
#[derive(Debug, Clone)]
pub(super) struct FieldOptions {
    name: String,
    sequence: bool,
    start: Option<i64>,
    end: Option<i64>,
    min: Option<f64>,
    max: Option<f64>,
    length: Option<usize>,
    null_rate: f64,
    /// How far at most a moment lies behind its row's, in microseconds.
    max_past: i64,
}

/// The longest text.
const LENGTH_MAX: usize = 64 << 10;

impl FieldOptions {
    /// Takes the options of every field that `all` names.
    pub fn from_options(options: &mut Taker, all: &Options) -> Result<Vec<FieldOptions>> {
        let name = |key: &String| Some(key.strip_prefix("fields.")?.rsplit_once('.')?.0.to_string());
        let mut names: Vec<String> = all.0.keys().filter_map(name).collect();
        names.dedup();
        names.into_iter().map(|name| FieldOptions::one_from_options(options, name)).collect()
    }

    fn one_from_options(options: &mut Taker, name: String) -> Result<FieldOptions> {
        let key = |what: &str| format!("fields.{name}.{what}");
        let words = [("random", false), ("sequence", true)];
        let field = FieldOptions {
            sequence: options.one_of(&key("kind"), &words)?.unwrap_or(false),
            start: options.parse(&key("start"), "a whole number")?,
            end: options.parse(&key("end"), "a whole number")?,
            min: options.parse(&key("min"), "a number")?,
            max: options.parse(&key("max"), "a number")?,
            length: options.parse(&key("length"), "a whole number")?,
            null_rate: options.parse(&key("null_rate"), "a number between 0 and 1")?.unwrap_or(0.0),
            max_past: match options.text(&key("max_past")) {
                None => 0,
                Some(text) => {
                    parse_duration(&text).and_then(|d| i64::try_from(d.as_micros()).ok()).ok_or_else(|| {
                        bad(format!(
                            "option \"{}\" takes a duration such as '10 seconds', not '{text}'",
                            key("max_past")
                        ))
                    })?
                }
            },
            name: name.clone(),
        };
        let upside_down = field.start.zip(field.end).is_some_and(|(a, b)| a > b)
            || field.min.zip(field.max).is_some_and(|(a, b)| a > b || a.is_nan() || b.is_nan());
        if upside_down {
            return Err(bad(format!("field \"{name}\" ends before it begins")));
        }
        if !(0.0..=1.0).contains(&field.null_rate) {
            return Err(bad(format!("option \"{}\" takes a number between 0 and 1", key("null_rate"))));
        }
        if field.length.is_some_and(|l| l > LENGTH_MAX) {
            return Err(bad(format!("option \"{}\" is larger than {LENGTH_MAX}", key("length"))));
        }
        Ok(field)
    }
}

fn bad(message: String) -> Error {
    Error::new(ErrorKind::InvalidParameterValue, message)
}

/// Makes the values of one column.
#[derive(Debug)]
pub(super) struct GeneratedColumn {
    data_type: DataType,
    values: ColumnGenerator,
    /// Differs from column to column and from seed to seed.
    salt: u64,
    /// Of 2^64 rows, how many are NULL.
    nulls: u64,
}

#[derive(Debug)]
enum ColumnGenerator {
    Integer {
        sequence: bool,
        low: i64,
        /// How many there are above the lowest.
        above: u64,
    },
    Float {
        low: f64,
        high: f64,
    },
    Boolean,
    Text {
        length: usize,
    },
    Timestamp {
        max_past: i64,
    },
}

impl GeneratedColumn {
    /// The columns of a source.
    pub fn all(schema: &Schema, fields: &[FieldOptions], seed: u64, source: &str) -> Result<Vec<GeneratedColumn>> {
        let names: Vec<String> = schema.fields().iter().map(|f| f.name().clone()).collect();
        for field in fields {
            if !names.iter().any(|n| n.eq_ignore_ascii_case(&field.name)) {
                let error = bad(format!("source \"{source}\" has no column \"{}\" to make up", field.name));
                return Err(match nearest(&field.name, &names) {
                    Some(near) => error.hint(format!("Perhaps you meant \"fields.{near}.…\".")),
                    None => error.hint(format!("Its columns are: {}.", names.join(", "))),
                });
            }
        }
        let column = |(i, field): (usize, &Arc<arrow::datatypes::Field>)| {
            let options = fields.iter().find(|f| f.name.eq_ignore_ascii_case(field.name()));
            GeneratedColumn::new(field.name(), field.data_type(), options, mix(seed ^ mix(i as u64 + 1)))
        };
        schema.fields().iter().enumerate().map(column).collect()
    }

    fn new(name: &str, data_type: &DataType, options: Option<&FieldOptions>, salt: u64) -> Result<GeneratedColumn> {
        let sequence = options.is_some_and(|o| o.sequence);
        let (min, max) = (options.and_then(|o| o.min), options.and_then(|o| o.max));
        let nulls = (options.map_or(0.0, |o| o.null_rate) * u64::MAX as f64) as u64;
        let integer = |least: i64, most: i64| {
            let (low, high) = if sequence {
                (options.and_then(|o| o.start).unwrap_or(0), options.and_then(|o| o.end).unwrap_or(most))
            } else {
                let low = min.map_or(0, |m| m.ceil() as i64);
                (low, max.map_or(low.saturating_add(32_767).min(most), |m| m.floor() as i64))
            };
            if low < least || high > most || low > high {
                return Err(bad(format!("the values of field \"{name}\" do not fit its type {data_type}")));
            }
            Ok(ColumnGenerator::Integer { sequence, low, above: high.wrapping_sub(low) as u64 })
        };
        let values = match data_type {
            DataType::Int8 => integer(i64::from(i8::MIN), i64::from(i8::MAX)),
            DataType::Int16 => integer(i64::from(i16::MIN), i64::from(i16::MAX)),
            DataType::Int32 => integer(i64::from(i32::MIN), i64::from(i32::MAX)),
            DataType::Int64 => integer(i64::MIN, i64::MAX),
            DataType::Decimal128(precision, scale) => {
                let digits = (i32::from(*precision) - i32::from(*scale)).clamp(0, 18) as u32;
                integer(1 - 10_i64.pow(digits), 10_i64.pow(digits) - 1)
            }
            DataType::Float32 | DataType::Float64 if sequence => integer(-(1 << 53), 1 << 53),
            DataType::Float32 | DataType::Float64 => {
                let low = min.unwrap_or(0.0);
                Ok(ColumnGenerator::Float { low, high: max.unwrap_or(low + 1.0) })
            }
            DataType::Boolean => Ok(ColumnGenerator::Boolean),
            DataType::Utf8 if sequence => integer(i64::MIN, i64::MAX),
            DataType::Utf8 => Ok(ColumnGenerator::Text { length: options.and_then(|o| o.length).unwrap_or(10) }),
            DataType::Date32 | DataType::Timestamp(TimeUnit::Microsecond, _) => {
                Ok(ColumnGenerator::Timestamp { max_past: options.map_or(0, |o| o.max_past) })
            }
            other => Err(Error::unsupported(format!("type {other} of column \"{name}\" in a generator"))),
        };
        Ok(GeneratedColumn { data_type: data_type.clone(), values: values?, salt, nulls })
    }

    /// The values of some rows; `moment` tells when a row is due.
    pub fn values(&self, rows: Range<u64>, moment: &dyn Fn(u64) -> Micros) -> ArrayRef {
        let nulls = self.null_buffer(rows.clone());
        match &self.values {
            ColumnGenerator::Integer { sequence, low, above } => {
                let (sequence, low, above, salt) = (*sequence, *low, *above, self.salt);
                let value = move |row: u64| {
                    let step = if sequence { within(row, above) } else { below(random(salt, row), above) };
                    low.wrapping_add(step as i64)
                };
                self.integers(rows, nulls, value)
            }
            ColumnGenerator::Float { low, high } => {
                let value = |row| low + unit(random(self.salt, row)) * (high - low);
                match self.data_type {
                    DataType::Float32 => {
                        Arc::new(Float32Array::new(rows.map(|row| value(row) as f32).collect(), nulls))
                    }
                    _ => Arc::new(Float64Array::new(rows.map(value).collect(), nulls)),
                }
            }
            ColumnGenerator::Boolean => {
                Arc::new(BooleanArray::new(rows.map(|row| random(self.salt, row) & 1 == 1).collect(), nulls))
            }
            ColumnGenerator::Text { length } => self.texts(rows, nulls, |row, text| {
                let (mut bits, mut left) = (random(self.salt, row), 12);
                for i in 0..*length {
                    if left == 0 {
                        (bits, left) = (mix(bits ^ i as u64), 12);
                    }
                    text.push(char::from(ALPHABET[(bits & 31) as usize]));
                    (bits, left) = (bits >> 5, left - 1);
                }
            }),
            ColumnGenerator::Timestamp { max_past } => {
                let past = u64::try_from(*max_past).unwrap_or(0);
                let value = |row| moment(row) - below(random(self.salt, row), past) as i64;
                match &self.data_type {
                    DataType::Date32 => {
                        let days = rows.map(|row| value(row).div_euclid(86_400_000_000) as i32);
                        Arc::new(Date32Array::new(days.collect(), nulls))
                    }
                    DataType::Timestamp(_, zone) => Arc::new(
                        TimestampMicrosecondArray::new(rows.map(value).collect(), nulls)
                            .with_timezone_opt(zone.clone()),
                    ),
                    other => unreachable!("{other} has no moments"),
                }
            }
        }
    }

    fn integers(&self, rows: Range<u64>, nulls: Option<NullBuffer>, value: impl Fn(u64) -> i64) -> ArrayRef {
        fn narrow<T: ArrowPrimitiveType>(
            values: impl Iterator<Item = T::Native>,
            nulls: Option<NullBuffer>,
        ) -> ArrayRef {
            Arc::new(PrimitiveArray::<T>::new(values.collect(), nulls))
        }
        match &self.data_type {
            DataType::Int8 => narrow::<Int8Type>(rows.map(|r| value(r) as i8), nulls),
            DataType::Int16 => narrow::<Int16Type>(rows.map(|r| value(r) as i16), nulls),
            DataType::Int32 => narrow::<Int32Type>(rows.map(|r| value(r) as i32), nulls),
            DataType::Float32 => Arc::new(Float32Array::new(rows.map(|r| value(r) as f32).collect(), nulls)),
            DataType::Float64 => Arc::new(Float64Array::new(rows.map(|r| value(r) as f64).collect(), nulls)),
            DataType::Decimal128(_, scale) => {
                let factor = 10_i128.pow(u32::try_from(*scale).unwrap_or(0));
                let values = rows.map(|r| i128::from(value(r)) * factor).collect();
                Arc::new(Decimal128Array::new(values, nulls).with_data_type(self.data_type.clone()))
            }
            DataType::Utf8 => self.texts(rows, nulls, |row, text| {
                // Writing to a string cannot fail.
                let _ = write!(text, "{}", value(row));
            }),
            _ => narrow::<Int64Type>(rows.map(value), nulls),
        }
    }

    fn texts(&self, rows: Range<u64>, nulls: Option<NullBuffer>, fill: impl Fn(u64, &mut String)) -> ArrayRef {
        let mut texts = StringBuilder::new();
        let mut text = String::new();
        for (i, row) in rows.enumerate() {
            if nulls.as_ref().is_some_and(|n| n.is_null(i)) {
                texts.append_null();
                continue;
            }
            text.clear();
            fill(row, &mut text);
            texts.append_value(&text);
        }
        Arc::new(texts.finish())
    }

    fn null_buffer(&self, rows: Range<u64>) -> Option<NullBuffer> {
        (self.nulls > 0).then(|| rows.map(|row| random(!self.salt, row) > self.nulls).collect())
    }
}

const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz012345";

/// SplitMix64's finishing step: every bit of the result hangs on every bit of the input.
fn mix(n: u64) -> u64 {
    let n = (n ^ (n >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let n = (n ^ (n >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    n ^ (n >> 31)
}

fn random(salt: u64, row: u64) -> u64 {
    mix(salt.wrapping_add(row.wrapping_mul(0x9E37_79B9_7F4A_7C15)))
}

/// A random number from 0 to `above`, both included.
fn below(random: u64, above: u64) -> u64 {
    ((u128::from(random) * (u128::from(above) + 1)) >> 64) as u64
}

/// Counts from 0 to `above`, and begins again.
fn within(row: u64, above: u64) -> u64 {
    match above.checked_add(1) {
        Some(count) => row % count,
        None => row,
    }
}

/// A random number from 0 up to, not including, 1.
fn unit(random: u64) -> f64 {
    (random >> 11) as f64 / (1_u64 << 53) as f64
}
