//! User-defined functions in `pg_proc`.

use arrow::{
    array::{ArrayRef, RecordBatch},
    datatypes::{DataType, SchemaRef},
};
use datafusion::common::ScalarValue;

use super::{
    objects::{FIRST_OID, OWNER_OID, SessionCatalog, quoted, schema_oid},
    types,
};
use crate::{catalog::Routine, error::Result};

/// The oid of the language SQL in every Postgres.
const SQL_OID: i32 = 14;
/// The oid of the language `internal`, which is shown for aggregates.
const INTERNAL_OID: i32 = 12;

pub(super) fn oid(routine: &Routine) -> i32 {
    FIRST_OID + (routine.id & 0x3fff_ffff) as i32
}

/// The function of an oid.
pub(super) fn find(session_catalog: &SessionCatalog, wanted: i32) -> Option<Routine> {
    session_catalog.listing.routines().into_iter().find(|routine| oid(routine) == wanted)
}

/// The arguments as `CREATE FUNCTION` has them.
pub(super) fn arguments(routine: &Routine) -> String {
    let argument = |(name, of): &(Option<String>, DataType)| match name {
        Some(name) => format!("{} {}", quoted(name), type_name(of)),
        None => type_name(of),
    };
    routine.arguments.iter().map(argument).collect::<Vec<_>>().join(", ")
}

pub(super) fn type_name(of: &DataType) -> String {
    types::sql_name(types::of(of).oid(), -1)
}

/// Rows of `pg_proc` for user-defined functions, in `schema`.
pub(super) fn rows(session_catalog: &SessionCatalog, schema: &SchemaRef) -> Result<Option<RecordBatch>> {
    let routines = session_catalog.listing.routines();
    if routines.is_empty() {
        return Ok(None);
    }
    let column = |(name, of): (&str, &DataType)| -> Result<ArrayRef> {
        let value = |routine: &Routine| match value(routine, name) {
            Some(value) => value.cast_to(of),
            None => ScalarValue::try_from(of),
        };
        Ok(ScalarValue::iter_to_array(routines.iter().map(value).collect::<Result<Vec<_>, _>>()?)?)
    };
    let columns = schema.fields().iter().map(|field| column((field.name(), field.data_type())));
    Ok(Some(RecordBatch::try_new(schema.clone(), columns.collect::<Result<_>>()?)?))
}

/// The value of a column of `pg_proc`; `None` if it is null.
fn value(routine: &Routine, column: &str) -> Option<ScalarValue> {
    let text = |text: &str| Some(ScalarValue::from(text));
    let number = |number: i32| Some(ScalarValue::from(number));
    let list =
        |values: Vec<ScalarValue>, of: DataType| Some(ScalarValue::List(ScalarValue::new_list_nullable(&values, &of)));
    match column {
        "oid" => number(oid(routine)),
        "proname" => text(&routine.name),
        "pronamespace" => number(schema_oid("public")),
        "proowner" => number(OWNER_OID),
        "prolang" => number(if routine.aggregate { INTERNAL_OID } else { SQL_OID }),
        "procost" => number(100),
        "prorows" | "provariadic" | "pronargdefaults" => number(0),
        "prosupport" => text("-"),
        "prokind" => text(if routine.aggregate { "a" } else { "f" }),
        "prosecdef" | "proleakproof" | "proretset" => Some(false.into()),
        "proisstrict" => Some(routine.strict.into()),
        "provolatile" => text("i"),
        "proparallel" => text("s"),
        "pronargs" => number(routine.arguments.len() as i32),
        "prorettype" => number(types::of(&routine.returns).oid() as i32),
        "proargtypes" => {
            let types = routine.arguments.iter().map(|(_, of)| ScalarValue::from(types::of(of).oid() as i32));
            list(types.collect(), DataType::Int32)
        }
        "proargnames" if routine.arguments.iter().any(|(name, _)| name.is_some()) => {
            let names = routine.arguments.iter().map(|(name, _)| ScalarValue::from(name.clone().unwrap_or_default()));
            list(names.collect(), DataType::Utf8)
        }
        "prosrc" => text(&routine.definition),
        _ => None,
    }
}
