//! The exported tables adapted to the Postgres version of this server: the exports have arrays as text and the column
//! names of a later version.

use std::sync::Arc;

use arrow::{
    array::{
        Array, ArrayRef, AsArray, Int16Builder, Int32Array, Int32Builder, ListBuilder, RecordBatch, StringBuilder,
    },
    datatypes::{DataType, Field, Schema},
};

use super::exports;
use crate::error::Result;

/// Arrays of texts: privileges, options, names.
const TEXTS: &[&str] = &[
    "setconfig",
    "defaclacl",
    "spcacl",
    "spcoptions",
    "proargmodes",
    "proargnames",
    "proconfig",
    "proacl",
    "typacl",
    "lanacl",
    "extcondition",
    "lomacl",
];
/// Arrays of oids.
const OIDS: &[&str] = &["proargtypes", "proallargtypes", "protrftypes", "extconfig"];
/// Columns with function names in the export, which clients join by oid.
const FUNCTIONS: &[&str] = &["amproc", "aggfnoid"];
const NUMBERS: &[&str] = &["conkey", "confkey"];

/// Columns to rename: from, to.
const RENAMED: &[(&str, &str)] = &[("colllocale", "colliculocale"), ("datlocale", "daticulocale")];

pub(super) fn normalize(batch: &RecordBatch) -> Result<RecordBatch> {
    let schema = batch.schema();
    let mut fields = Vec::with_capacity(schema.fields().len());
    let mut columns = Vec::with_capacity(schema.fields().len());
    for (field, column) in schema.fields().iter().zip(batch.columns()) {
        let column = array(field.name(), column);
        let name = RENAMED.iter().find(|(from, _)| from == field.name()).map_or(field.name().as_str(), |(_, to)| to);
        let field = Field::new(name, column.data_type().clone(), true);
        fields.push(field.with_metadata(schema.field_with_name(schema_name(name))?.metadata().clone()));
        columns.push(column);
    }
    Ok(RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)?)
}

fn schema_name(name: &str) -> &str {
    RENAMED.iter().find(|(_, to)| *to == name).map_or(name, |(from, _)| from)
}

fn array(name: &str, column: &ArrayRef) -> ArrayRef {
    if *column.data_type() != DataType::Utf8 {
        return column.clone();
    }
    let rows = column.as_string::<i32>().iter().map(|text| text.map(items));
    if TEXTS.contains(&name) {
        let mut lists = ListBuilder::new(StringBuilder::new());
        rows.for_each(|row| lists.append_option(row.map(|items| items.into_iter().map(Some))));
        Arc::new(lists.finish())
    } else if OIDS.contains(&name) {
        let mut lists = ListBuilder::new(Int32Builder::new());
        rows.for_each(|row| lists.append_option(row.map(|items| items.into_iter().map(|item| item.parse().ok()))));
        Arc::new(lists.finish())
    } else if NUMBERS.contains(&name) {
        let mut lists = ListBuilder::new(Int16Builder::new());
        rows.for_each(|row| lists.append_option(row.map(|items| items.into_iter().map(|item| item.parse().ok()))));
        Arc::new(lists.finish())
    } else if FUNCTIONS.contains(&name) {
        let oids = exports::functions();
        let names = column.as_string::<i32>().iter();
        Arc::new(names.map(|name| oids.get(name?).copied()).collect::<Int32Array>())
    } else {
        column.clone()
    }
}

/// The items of `['a', 'b']`, `[1, 2]`, `{a,b}` and `1 2`.
fn items(text: &str) -> Vec<String> {
    let inner = text.trim().trim_matches(['[', ']', '{', '}']);
    let items = inner.split(|c: char| c == ',' || c.is_whitespace());
    items.map(|item| item.trim_matches('\'').to_string()).filter(|item| !item.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn static_table_lists_are_parsed_in_every_spelling() {
        assert_eq!(items("['i', 'o']"), ["i", "o"]);
        assert_eq!(items("[2276, 26]"), ["2276", "26"]);
        assert_eq!(items("2276 26"), ["2276", "26"]);
        assert_eq!(items(""), [""; 0]);
    }
}
