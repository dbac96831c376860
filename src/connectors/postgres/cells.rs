//! Rows as the text form of COPY, which Postgres reads into whatever type its column has.

use arrow::{
    array::{Array, ArrayRef, AsArray, RecordBatch},
    compute::cast,
    datatypes::{DataType, TimeUnit},
    util::display::{ArrayFormatter, FormatOptions},
};

use crate::error::Result;

/// The type that a column becomes where the table is made; what a column that is there may be; or `None` where Postgres
/// has nothing like it.
pub(super) fn types(data_type: &DataType) -> Option<(String, Vec<String>)> {
    use DataType::*;
    let (made, may): (&str, &[&str]) = match data_type {
        Boolean => ("boolean", &["bool"]),
        Int8 | Int16 | UInt8 => ("smallint", &["int2", "int4", "int8", "numeric", "float4", "float8"]),
        Int32 | UInt16 => ("integer", &["int4", "int8", "numeric", "float8"]),
        Int64 | UInt32 => ("bigint", &["int8", "numeric"]),
        UInt64 => ("numeric(20)", &["numeric"]),
        Float16 | Float32 => ("real", &["float4", "float8"]),
        Float64 => ("double precision", &["float8"]),
        Utf8 | LargeUtf8 | Utf8View => {
            ("text", &["text", "varchar", "bpchar", "citext", "json", "jsonb", "uuid", "xml", "inet", "cidr"])
        }
        Binary | LargeBinary | BinaryView | FixedSizeBinary(_) => ("bytea", &["bytea"]),
        Date32 | Date64 => ("date", &["date"]),
        Time32(_) | Time64(_) => ("time", &["time"]),
        Timestamp(_, None) => ("timestamp", &["timestamp"]),
        Timestamp(_, Some(_)) => ("timestamptz", &["timestamptz"]),
        Interval(_) => ("interval", &["interval"]),
        Decimal32(precision, scale)
        | Decimal64(precision, scale)
        | Decimal128(precision, scale)
        | Decimal256(precision, scale) => {
            return Some((format!("numeric({precision}, {scale})"), vec!["numeric".to_string()]));
        }
        Dictionary(_, values) => return types(values),
        List(item) | LargeList(item) if !item.data_type().is_nested() => {
            let (made, may) = types(item.data_type())?;
            return Some((format!("{made}[]"), may.iter().map(|name| format!("_{name}")).collect()));
        }
        _ => return None,
    };
    Some((made.to_string(), may.iter().map(|name| name.to_string()).collect()))
}

/// Columns whose values can be written.
pub(super) struct Cells(Vec<ArrayRef>);

impl Cells {
    /// Some columns of a batch.
    pub fn new(rows: &RecordBatch, columns: &[usize]) -> Result<Cells> {
        Ok(Cells(columns.iter().map(|column| plain(rows.column(*column))).collect::<Result<_>>()?))
    }

    /// Writes some rows, each as a line.
    pub fn write(&self, rows: impl Iterator<Item = usize>, out: &mut Vec<u8>) -> Result<()> {
        let options = FormatOptions::default();
        let columns: Vec<_> =
            self.0.iter().map(|column| CellColumn::new(column.as_ref(), &options)).collect::<Result<_>>()?;
        let mut cell = String::new();
        for row in rows {
            for (n, column) in columns.iter().enumerate() {
                if n > 0 {
                    out.push(b'\t');
                }
                if column.array.is_null(row) {
                    out.extend_from_slice(b"\\N");
                    continue;
                }
                cell.clear();
                column.write(row, &mut cell)?;
                escape(&cell, out);
            }
            out.push(b'\n');
        }
        Ok(())
    }
}

/// A column in a form whose display Postgres reads: a moment in UTC, no dictionary.
fn plain(column: &ArrayRef) -> Result<ArrayRef> {
    Ok(match column.data_type() {
        DataType::Timestamp(_, Some(_)) => {
            cast(column, &DataType::Timestamp(TimeUnit::Microsecond, Some("+00:00".into())))?
        }
        DataType::Dictionary(_, values) => plain(&cast(column, values)?)?,
        DataType::Date64 => cast(column, &DataType::Date32)?,
        _ => column.clone(),
    })
}

struct CellColumn<'a> {
    array: &'a dyn Array,
    display: Option<ArrayFormatter<'a>>,
    bytes: bool,
}

impl<'a> CellColumn<'a> {
    fn new(array: &'a dyn Array, options: &FormatOptions<'a>) -> Result<CellColumn<'a>> {
        use DataType::*;
        let display = match array.data_type() {
            List(_) | LargeList(_) => None,
            _ => Some(ArrayFormatter::try_new(array, options)?),
        };
        let bytes = matches!(array.data_type(), Binary | LargeBinary | BinaryView | FixedSizeBinary(_));
        Ok(CellColumn { array, display, bytes })
    }

    fn write(&self, row: usize, out: &mut String) -> Result<()> {
        if self.bytes {
            out.push_str("\\x");
        }
        match &self.display {
            Some(display) => display.value(row).write(out)?,
            None => self.write_list(row, out)?,
        }
        Ok(())
    }

    /// `{"a","b",NULL}`
    fn write_list(&self, row: usize, out: &mut String) -> Result<()> {
        let items = match self.array.as_list_opt::<i32>() {
            Some(list) => list.value(row),
            None => self.array.as_list::<i64>().value(row),
        };
        let items = plain(&items)?;
        let options = FormatOptions::default();
        let column = CellColumn::new(items.as_ref(), &options)?;
        let mut item = String::new();
        out.push('{');
        for row in 0..items.len() {
            if row > 0 {
                out.push(',');
            }
            if items.is_null(row) {
                out.push_str("NULL");
                continue;
            }
            item.clear();
            column.write(row, &mut item)?;
            out.push('"');
            for c in item.chars() {
                if matches!(c, '"' | '\\') {
                    out.push('\\');
                }
                out.push(c);
            }
            out.push('"');
        }
        out.push('}');
        Ok(())
    }
}

/// A value as it stands in COPY's text.
fn escape(cell: &str, out: &mut Vec<u8>) {
    for byte in cell.bytes() {
        match byte {
            b'\\' => out.extend_from_slice(b"\\\\"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            _ => out.push(byte),
        }
    }
}
