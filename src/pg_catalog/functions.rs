//! The functions of `pg_catalog` that clients call in catalog queries.

use std::{
    hash::{Hash, Hasher},
    sync::Arc,
};

use arrow::{
    array::{ArrayRef, new_empty_array},
    datatypes::{DataType, Field, TimeUnit},
};
use datafusion::{
    common::ScalarValue,
    error::Result as DfResult,
    logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, TypeSignature, Volatility},
    prelude::SessionContext,
};
use datafusion_pg_catalog::pg_catalog::array_bounds_udf;

use super::{
    exports,
    objects::{self, OWNER_OID, SCHEMAS, SessionCatalog},
    routines, tables, texts, types,
};
use crate::{
    catalog::{ObjectKind, Routine},
    error::{Error, ErrorKind, Result},
    session::version,
};

type FunctionImpl = fn(&SessionCatalog, &[ScalarValue]) -> Result<ScalarValue>;

/// Registers all of them in a context.
pub(super) fn register(context: &SessionContext, session_catalog: &Arc<SessionCatalog>) {
    for (name, returns, run) in FUNCTIONS {
        context.register_udf(function(name, returns.data_type(), *run, session_catalog));
    }
    for name in PRIVILEGES {
        context.register_udf(function(name, DataType::Boolean, |_, _| Ok(true.into()), session_catalog));
    }
    for name in VISIBLE {
        context.register_udf(function(name, DataType::Boolean, |_, _| Ok(true.into()), session_catalog));
    }
    for name in NOTHING {
        context.register_udf(function(name, DataType::Utf8, |_, _| Ok(ScalarValue::Utf8(None)), session_catalog));
    }
    context.register_udf(array_bounds_udf::create_array_upper_udf());
    context.register_udf(array_bounds_udf::create_array_lower_udf());
    if let Some(exports) = exports::exports() {
        context.register_udtf("pg_get_keywords", exports.pg_get_keywords.clone());
    }
}

/// Privilege functions: there is one role, and it has every privilege.
const PRIVILEGES: &[&str] = &[
    "has_table_privilege",
    "has_schema_privilege",
    "has_database_privilege",
    "has_column_privilege",
    "has_any_column_privilege",
    "has_function_privilege",
    "has_sequence_privilege",
    "has_tablespace_privilege",
    "pg_has_role",
];

/// Visibility functions: everything is on the search path.
const VISIBLE: &[&str] = &[
    "pg_type_is_visible",
    "pg_function_is_visible",
    "pg_operator_is_visible",
    "pg_opclass_is_visible",
    "pg_opfamily_is_visible",
    "pg_collation_is_visible",
    "pg_conversion_is_visible",
    "pg_statistics_obj_is_visible",
    "pg_ts_config_is_visible",
    "pg_ts_dict_is_visible",
    "pg_ts_parser_is_visible",
    "pg_ts_template_is_visible",
];

/// Functions about objects that do not exist here: comments, defaults, partitions, rules, triggers, sequences.
const NOTHING: &[&str] = &[
    "obj_description",
    "col_description",
    "shobj_description",
    "pg_describe_object",
    "pg_get_expr",
    "pg_get_partkeydef",
    "pg_get_partition_constraintdef",
    "pg_get_statisticsobjdef_columns",
    "pg_get_ruledef",
    "pg_get_triggerdef",
    "pg_get_serial_sequence",
    "pg_get_function_sqlbody",
    "pg_tablespace_location",
    "inet_server_addr",
    "inet_client_addr",
];

/// The result types of the functions.
#[derive(Clone, Copy)]
enum Returns {
    Text,
    Int,
    BigInt,
    Bool,
    Texts,
    TimestampTz,
}

impl Returns {
    fn data_type(self) -> DataType {
        match self {
            Returns::Text => DataType::Utf8,
            Returns::Int => DataType::Int32,
            Returns::BigInt => DataType::Int64,
            Returns::Bool => DataType::Boolean,
            Returns::Texts => DataType::List(Arc::new(Field::new_list_field(DataType::Utf8, true))),
            Returns::TimestampTz => DataType::Timestamp(TimeUnit::Microsecond, Some("+00:00".into())),
        }
    }
}

const FUNCTIONS: &[(&str, Returns, FunctionImpl)] = &[
    ("version", Returns::Text, |_, _| Ok(text(version()))),
    ("current_database", Returns::Text, |s, _| Ok(text(s.session_info.database.clone()))),
    ("current_catalog", Returns::Text, |s, _| Ok(text(s.session_info.database.clone()))),
    ("current_schema", Returns::Text, |_, _| Ok(text("public"))),
    ("current_schemas", Returns::Texts, |_, args| {
        let implicit = matches!(args.first(), Some(ScalarValue::Boolean(Some(true))));
        let names = if implicit { &["pg_catalog", "public"][..] } else { &["public"][..] };
        let names: Vec<ScalarValue> = names.iter().map(|name| text(*name)).collect();
        Ok(ScalarValue::List(ScalarValue::new_list_nullable(&names, &DataType::Utf8)))
    }),
    ("current_user", Returns::Text, user),
    ("session_user", Returns::Text, user),
    ("current_role", Returns::Text, user),
    ("user", Returns::Text, user),
    ("pg_get_userbyid", Returns::Text, |s, args| match args.first().and_then(oid_of) {
        Some(OWNER_OID) => Ok(text(s.session_info.subject.user.clone())),
        Some(oid) => Ok(text(format!("unknown (OID={oid})"))),
        None => Ok(ScalarValue::Utf8(None)),
    }),
    ("pg_backend_pid", Returns::Int, |s, _| Ok(ScalarValue::Int32(Some(s.session_info.pid)))),
    ("current_setting", Returns::Text, current_setting),
    ("set_config", Returns::Text, set_config),
    ("pg_is_in_recovery", Returns::Bool, |_, _| Ok(false.into())),
    ("pg_is_other_temp_schema", Returns::Bool, |_, _| Ok(false.into())),
    ("pg_my_temp_schema", Returns::Int, |_, _| Ok(ScalarValue::Int32(Some(0)))),
    ("pg_postmaster_start_time", Returns::TimestampTz, |_, _| {
        Ok(ScalarValue::TimestampMicrosecond(None, Some("+00:00".into())))
    }),
    ("txid_current", Returns::BigInt, |_, _| Ok(ScalarValue::Int64(Some(1)))),
    ("pg_table_is_visible", Returns::Bool, |s, args| {
        let Some(oid) = args.first().and_then(oid_of) else { return Ok(ScalarValue::Boolean(None)) };
        let hidden = s.relations().iter().any(|r| objects::oid(r) == oid && r.schema != "public");
        Ok((!hidden).into())
    }),
    ("pg_relation_is_publishable", Returns::Bool, |_, _| Ok(false.into())),
    ("pg_get_viewdef", Returns::Text, |s, args| {
        let Some(oid) = args.first().and_then(|v| relation_oid(s, v)) else { return Ok(ScalarValue::Utf8(None)) };
        let relations = s.relations();
        let found = relations.iter().find(|r| objects::oid(r) == oid);
        let found =
            found.filter(|r| matches!(r.kind, ObjectKind::View | ObjectKind::MaterializedView | ObjectKind::Stream));
        Ok(ScalarValue::Utf8(found.map(|r| format!(" {};", r.definition))))
    }),
    ("pg_get_indexdef", Returns::Text, |s, args| {
        let Some(oid) = args.first().and_then(oid_of) else { return Ok(ScalarValue::Utf8(None)) };
        let relations = s.relations();
        let Some(found) = relations.iter().find(|r| objects::index_oid(r) == Some(oid)) else {
            return Ok(ScalarValue::Utf8(None));
        };
        match args.get(1).and_then(oid_of) {
            Some(column @ 1..) => {
                let field = found.primary_key.get(column as usize - 1).and_then(|i| found.columns.fields().get(*i));
                Ok(ScalarValue::Utf8(field.map(|f| objects::quoted(f.name()))))
            }
            _ => Ok(text(tables::index_definition(found))),
        }
    }),
    ("pg_get_constraintdef", Returns::Text, |s, args| {
        let Some(oid) = args.first().and_then(oid_of) else { return Ok(ScalarValue::Utf8(None)) };
        let relations = s.relations();
        let found = relations.iter().find(|r| objects::index_oid(r) == Some(oid));
        Ok(ScalarValue::Utf8(found.map(|r| format!("PRIMARY KEY ({})", objects::key_definition(r)))))
    }),
    ("pg_get_functiondef", Returns::Text, |s, args| routine(s, args, |r| r.definition.clone())),
    ("pg_get_function_result", Returns::Text, |s, args| routine(s, args, |r| routines::type_name(&r.returns))),
    ("pg_get_function_arguments", Returns::Text, |s, args| routine(s, args, routines::arguments)),
    ("pg_get_function_identity_arguments", Returns::Text, |s, args| routine(s, args, routines::arguments)),
    ("format_type", Returns::Text, |_, args| {
        let Some(oid) = args.first().and_then(oid_of) else { return Ok(ScalarValue::Utf8(None)) };
        Ok(text(types::sql_name(oid as u32, args.get(1).and_then(oid_of).unwrap_or(-1))))
    }),
    ("pg_typeof", Returns::Text, |_, args| {
        let ty = args.first().map(|v| types::of(&v.data_type()).oid()).unwrap_or(types::TEXT);
        Ok(text(types::sql_name(ty, -1)))
    }),
    ("pg_encoding_to_char", Returns::Text, |_, args| {
        Ok(text(if args.first().and_then(oid_of) == Some(6) { "UTF8" } else { "" }))
    }),
    ("pg_char_to_encoding", Returns::Int, |_, args| {
        let utf8 = args.first().and_then(string).is_some_and(|name| name.to_lowercase().replace('-', "") == "utf8");
        Ok(ScalarValue::Int32(Some(if utf8 { 6 } else { -1 })))
    }),
    ("getdatabaseencoding", Returns::Text, |_, _| Ok(text("UTF8"))),
    ("pg_relation_size", Returns::BigInt, size),
    ("pg_table_size", Returns::BigInt, size),
    ("pg_indexes_size", Returns::BigInt, size),
    ("pg_total_relation_size", Returns::BigInt, size),
    ("pg_database_size", Returns::BigInt, size),
    ("pg_tablespace_size", Returns::BigInt, size),
    ("pg_stat_get_numscans", Returns::BigInt, size),
    ("pg_advisory_lock", Returns::Bool, |_, _| Ok(ScalarValue::Boolean(None))),
    ("pg_try_advisory_lock", Returns::Bool, |_, _| Ok(true.into())),
    ("pg_advisory_unlock", Returns::Bool, |_, _| Ok(true.into())),
    ("pg_advisory_unlock_all", Returns::Bool, |_, _| Ok(ScalarValue::Boolean(None))),
    ("regclass", Returns::Int, |s, args| strict(s, args, relation_oid, ErrorKind::UndefinedTable, "relation")),
    ("regtype", Returns::Int, |s, args| strict(s, args, type_oid, ErrorKind::UndefinedObject, "type")),
    ("regnamespace", Returns::Int, |s, args| strict(s, args, namespace_oid, ErrorKind::UndefinedObject, "schema")),
    ("regrole", Returns::Int, |s, args| strict(s, args, role_oid, ErrorKind::UndefinedObject, "role")),
    ("regproc", Returns::Int, |s, args| strict(s, args, function_oid, ErrorKind::UndefinedFunction, "function")),
    ("json_build_object", Returns::Text, |_, args| texts::json_object(args)),
    ("jsonb_build_object", Returns::Text, |_, args| texts::json_object(args)),
    ("pg_cancel_backend", Returns::Bool, |s, args| {
        let Some(pid) = args.first().and_then(oid_of) else { return Ok(ScalarValue::Boolean(None)) };
        Ok(s.session_info.peers.as_ref().is_some_and(|peers| peers.cancel(pid)).into())
    }),
    ("to_regclass", Returns::Int, |s, args| Ok(ScalarValue::Int32(args.first().and_then(|v| relation_oid(s, v))))),
    ("to_regtype", Returns::Int, |s, args| Ok(ScalarValue::Int32(args.first().and_then(|v| type_oid(s, v))))),
    ("regclass_out", Returns::Text, |s, args| {
        let oid = args.first().and_then(oid_of);
        Ok(ScalarValue::Utf8(oid.map(|oid| s.name(oid).unwrap_or_else(|| oid_text(oid)))))
    }),
    ("regtype_out", Returns::Text, |_, args| {
        Ok(ScalarValue::Utf8(args.first().and_then(oid_of).map(|oid| types::sql_name(oid as u32, -1))))
    }),
    ("regnamespace_out", Returns::Text, |_, args| {
        let oid = args.first().and_then(oid_of);
        let name = |oid| SCHEMAS.iter().find(|(_, o)| *o == oid).map_or_else(|| oid_text(oid), |(n, _)| n.to_string());
        Ok(ScalarValue::Utf8(oid.map(name)))
    }),
    ("regrole_out", Returns::Text, |s, args| {
        let oid = args.first().and_then(oid_of);
        let name = |oid| if oid == OWNER_OID { s.session_info.subject.user.clone() } else { oid_text(oid) };
        Ok(ScalarValue::Utf8(oid.map(name)))
    }),
    ("relation_word", Returns::Text, |s, args| {
        let oid = args.first().and_then(oid_of);
        let relations = s.relations();
        let found = relations.iter().find(|r| Some(objects::oid(r)) == oid);
        Ok(ScalarValue::Utf8(found.and_then(|r| objects::word(r.kind)).map(str::to_string)))
    }),
];

fn text(value: impl Into<String>) -> ScalarValue {
    ScalarValue::Utf8(Some(value.into()))
}

fn oid_text(oid: i32) -> String {
    if oid == 0 { "-".to_string() } else { (oid as u32).to_string() }
}

fn user(session_catalog: &SessionCatalog, _: &[ScalarValue]) -> Result<ScalarValue> {
    Ok(text(session_catalog.session_info.subject.user.clone()))
}

/// Size functions: 0, since the disk size of a single object is not known.
fn size(_: &SessionCatalog, _: &[ScalarValue]) -> Result<ScalarValue> {
    Ok(ScalarValue::Int64(Some(0)))
}

fn string(value: &ScalarValue) -> Option<String> {
    value.try_as_str().flatten().map(str::to_string)
}

/// A property of a user-defined function, by its oid; null for other functions.
fn routine(
    session_catalog: &SessionCatalog,
    args: &[ScalarValue],
    tell: fn(&Routine) -> String,
) -> Result<ScalarValue> {
    let found = args.first().and_then(oid_of).and_then(|oid| routines::find(session_catalog, oid));
    Ok(ScalarValue::Utf8(found.as_ref().map(tell)))
}

fn oid_of(value: &ScalarValue) -> Option<i32> {
    match value {
        ScalarValue::Int32(oid) => *oid,
        ScalarValue::Int16(n) => n.map(i32::from),
        ScalarValue::Int64(Some(n)) => i32::try_from(*n).ok().or(u32::try_from(*n).ok().map(|n| n as i32)),
        ScalarValue::UInt32(n) => n.map(|n| n as i32),
        ScalarValue::Boolean(_) | ScalarValue::Null => None,
        other => string(other)?.trim().parse().ok(),
    }
}

fn relation_oid(session_catalog: &SessionCatalog, value: &ScalarValue) -> Option<i32> {
    oid_of(value).or_else(|| session_catalog.find(&string(value)?))
}

fn type_oid(_: &SessionCatalog, value: &ScalarValue) -> Option<i32> {
    if let Some(oid) = oid_of(value) {
        return Some(oid);
    }
    let name = string(value)?.to_lowercase();
    let name = name.trim().trim_start_matches("pg_catalog.").to_string();
    // The oids of built-in types are small; their names are searched among them.
    (16..4100)
        .find(|oid| types::sql_name(*oid, -1) == name || types::internal_name(*oid) == Some(&name))
        .map(|o| o as i32)
}

fn function_oid(_: &SessionCatalog, value: &ScalarValue) -> Option<i32> {
    let name = || string(value).map(|name| name.trim_start_matches("pg_catalog.").to_lowercase());
    oid_of(value).or_else(|| exports::functions().get(name()?.split('(').next()?).copied())
}

fn namespace_oid(_: &SessionCatalog, value: &ScalarValue) -> Option<i32> {
    oid_of(value).or_else(|| {
        let name = string(value)?;
        SCHEMAS.iter().find(|(schema, _)| *schema == name).map(|(_, oid)| *oid)
    })
}

fn role_oid(session_catalog: &SessionCatalog, value: &ScalarValue) -> Option<i32> {
    oid_of(value).or_else(|| (string(value)? == session_catalog.session_info.subject.user).then_some(OWNER_OID))
}

/// The oid of a name, which must exist; null for null.
fn strict(
    session_catalog: &SessionCatalog,
    args: &[ScalarValue],
    find: fn(&SessionCatalog, &ScalarValue) -> Option<i32>,
    kind: ErrorKind,
    what: &str,
) -> Result<ScalarValue> {
    let Some(value) = args.first().filter(|v| !v.is_null()) else { return Ok(ScalarValue::Int32(None)) };
    match find(session_catalog, value) {
        Some(oid) => Ok(ScalarValue::Int32(Some(oid))),
        None => Err(Error::new(kind, format!("{what} \"{value}\" does not exist"))),
    }
}

fn current_setting(session_catalog: &SessionCatalog, args: &[ScalarValue]) -> Result<ScalarValue> {
    let Some(name) = args.first().and_then(string) else { return Ok(ScalarValue::Utf8(None)) };
    let missing_ok = matches!(args.get(1), Some(ScalarValue::Boolean(Some(true))));
    match session_catalog.session_info.settings.get(&name) {
        None if !missing_ok => {
            let message = format!("unrecognized configuration parameter \"{name}\"");
            Err(Error::new(ErrorKind::UndefinedObject, message))
        }
        value => Ok(ScalarValue::Utf8(value)),
    }
}

fn set_config(session_catalog: &SessionCatalog, args: &[ScalarValue]) -> Result<ScalarValue> {
    let [name, value, rest @ ..] = args else {
        return Err(Error::new(ErrorKind::UndefinedFunction, "set_config takes a name, a value and is_local"));
    };
    let Some(name) = string(name) else { return Ok(ScalarValue::Utf8(None)) };
    let local = matches!(rest.first(), Some(ScalarValue::Boolean(Some(true))));
    match string(value) {
        Some(value) => session_catalog.session_info.settings.set(&name, &value, local)?,
        None => session_catalog.session_info.settings.reset(&name)?,
    }
    Ok(ScalarValue::Utf8(session_catalog.session_info.settings.get(&name)))
}

/// One function; it takes arguments of any type, since drivers do not always cast.
#[derive(Debug)]
struct CatalogFunction {
    name: &'static str,
    returns: DataType,
    run: FunctionImpl,
    session_catalog: Arc<SessionCatalog>,
    signature: Signature,
}

fn function(
    name: &'static str,
    returns: DataType,
    run: FunctionImpl,
    session_catalog: &Arc<SessionCatalog>,
) -> ScalarUDF {
    let volatility = match name {
        "set_config" | "pg_cancel_backend" => Volatility::Volatile,
        _ => Volatility::Stable,
    };
    let any = vec![TypeSignature::Nullary, TypeSignature::VariadicAny];
    let signature = Signature::one_of(any, volatility);
    ScalarUDF::new_from_impl(CatalogFunction {
        name,
        returns,
        run,
        session_catalog: session_catalog.clone(),
        signature,
    })
}

impl PartialEq for CatalogFunction {
    fn eq(&self, other: &CatalogFunction) -> bool {
        self.name == other.name && Arc::ptr_eq(&self.session_catalog, &other.session_catalog)
    }
}

impl Eq for CatalogFunction {}

impl Hash for CatalogFunction {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name.hash(state);
    }
}

impl ScalarUDFImpl for CatalogFunction {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> DfResult<DataType> {
        Ok(self.returns.clone())
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> DfResult<ColumnarValue> {
        let one_for_all = args.args.iter().all(|a| matches!(a, ColumnarValue::Scalar(_)));
        let at = |row: usize| -> DfResult<Vec<ScalarValue>> {
            let values = args.args.iter().map(|a| match a {
                ColumnarValue::Scalar(value) => Ok(value.clone()),
                ColumnarValue::Array(array) => ScalarValue::try_from_array(array, row),
            });
            values.collect()
        };
        if one_for_all {
            return Ok(ColumnarValue::Scalar((self.run)(&self.session_catalog, &at(0)?)?));
        }
        let values = (0..args.number_rows).map(|row| Ok((self.run)(&self.session_catalog, &at(row)?)?));
        let values = values.collect::<DfResult<Vec<_>>>()?;
        let array: ArrayRef = match values.is_empty() {
            true => new_empty_array(&self.returns),
            false => ScalarValue::iter_to_array(values)?,
        };
        Ok(ColumnarValue::Array(array))
    }
}
