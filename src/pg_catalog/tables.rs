//! The tables of `pg_catalog` that are computed from the existing objects.

use std::sync::Arc;

use arrow::{
    array::{
        ArrayRef, BooleanArray, Float32Array, Int16Array, Int32Array, Int64Array, ListArray, RecordBatch, StringArray,
    },
    datatypes::{DataType, Field, Int16Type, Int32Type, Schema, TimeUnit},
};
use datafusion_pg_catalog::pg_catalog::oid_field::{kind as alias, oid_field};

use super::{
    objects::{self, DATABASE_OID, OWNER_OID, SCHEMAS, SERVER_OID, SessionCatalog, WRAPPER_OID},
    table_oids, types,
};
use crate::{
    catalog::{ObjectKind, RelationDef},
    error::Result,
};

pub(super) fn table(session_catalog: &SessionCatalog, name: &str) -> Result<Option<RecordBatch>> {
    Ok(Some(match name {
        "pg_class" => pg_class(session_catalog),
        "pg_attribute" => pg_attribute(session_catalog),
        "pg_namespace" => pg_namespace(),
        "pg_database" => pg_database(session_catalog),
        "pg_index" => pg_index(session_catalog),
        "pg_constraint" => pg_constraint(session_catalog),
        "pg_tables" => pg_tables(session_catalog),
        "pg_views" => pg_views(session_catalog, &[ObjectKind::View], "viewname", "viewowner"),
        "pg_matviews" => pg_views(
            session_catalog,
            &[ObjectKind::MaterializedView, ObjectKind::Stream],
            "matviewname",
            "matviewowner",
        ),
        "pg_indexes" => pg_indexes(session_catalog),
        "pg_settings" => pg_settings(session_catalog),
        "pg_roles" | "pg_user" => pg_roles(session_catalog, name == "pg_user"),
        "pg_foreign_table" => pg_foreign_table(session_catalog),
        "pg_foreign_server" => pg_foreign_server(),
        "pg_foreign_data_wrapper" => pg_foreign_data_wrapper(),
        "pg_stat_activity" => pg_stat_activity(session_catalog),
        _ => return Ok(None),
    }?))
}

/// Builds a batch column by column; all have the same length.
#[derive(Default)]
pub(super) struct TableBuilder {
    fields: Vec<Field>,
    arrays: Vec<ArrayRef>,
}

impl TableBuilder {
    pub fn add(mut self, field: Field, array: ArrayRef) -> TableBuilder {
        self.fields.push(field);
        self.arrays.push(array);
        self
    }

    /// A column of oids; `kind` is the type reported to the client.
    pub fn oid(self, name: &str, kind: &str, values: impl IntoIterator<Item = i32>) -> TableBuilder {
        self.add(oid_field(name, kind, true), Arc::new(Int32Array::from_iter_values(values)))
    }

    pub fn int(self, name: &str, values: impl IntoIterator<Item = i32>) -> TableBuilder {
        self.add(Field::new(name, DataType::Int32, true), Arc::new(Int32Array::from_iter_values(values)))
    }

    pub fn small(self, name: &str, values: impl IntoIterator<Item = i16>) -> TableBuilder {
        self.add(Field::new(name, DataType::Int16, true), Arc::new(Int16Array::from_iter_values(values)))
    }

    pub fn flag(self, name: &str, values: impl IntoIterator<Item = bool>) -> TableBuilder {
        let values: Vec<bool> = values.into_iter().collect();
        self.add(Field::new(name, DataType::Boolean, true), Arc::new(BooleanArray::from(values)))
    }

    pub fn text<S: Into<String>>(self, name: &str, values: impl IntoIterator<Item = S>) -> TableBuilder
    where
        TableBuilder: Sized,
    {
        let values = values.into_iter().map(|v| Some(v.into())).collect::<StringArray>();
        self.add(Field::new(name, DataType::Utf8, true), Arc::new(values))
    }

    pub fn none(self, name: &str, rows: usize) -> TableBuilder {
        self.add(Field::new(name, DataType::Utf8, true), Arc::new(StringArray::new_null(rows)))
    }

    /// A column of null text arrays: privileges, options.
    fn no_list(self, name: &str, rows: usize) -> TableBuilder {
        let list = DataType::new_list(DataType::Utf8, true);
        let array = arrow::array::new_null_array(&list, rows);
        self.add(Field::new(name, list, true), array)
    }

    /// A column of arrays of column numbers.
    fn numbers(self, name: &str, values: impl IntoIterator<Item = Vec<i16>>) -> TableBuilder {
        let lists = values.into_iter().map(|v| Some(v.into_iter().map(Some).collect::<Vec<_>>()));
        let array = ListArray::from_iter_primitive::<Int16Type, _, _>(lists.collect::<Vec<_>>());
        self.add(Field::new(name, arrow::array::Array::data_type(&array).clone(), true), Arc::new(array))
    }

    /// A column of arrays of oids.
    fn oids(self, name: &str, values: impl IntoIterator<Item = Vec<i32>>) -> TableBuilder {
        let lists = values.into_iter().map(|v| Some(v.into_iter().map(Some).collect::<Vec<_>>()));
        let array = ListArray::from_iter_primitive::<Int32Type, _, _>(lists.collect::<Vec<_>>());
        self.add(Field::new(name, arrow::array::Array::data_type(&array).clone(), true), Arc::new(array))
    }

    /// A column of null timestamps, for times that are not recorded.
    fn no_moment(self, name: &str, rows: usize) -> TableBuilder {
        let moment = DataType::Timestamp(TimeUnit::Microsecond, Some("+00:00".into()));
        let array = arrow::array::new_null_array(&moment, rows);
        self.add(Field::new(name, moment, true), array)
    }

    pub fn build(self) -> Result<RecordBatch> {
        Ok(RecordBatch::try_new(Arc::new(Schema::new(self.fields)), self.arrays)?)
    }
}

/// One row of `pg_class`.
struct Class {
    oid: i32,
    name: String,
    schema: i32,
    kind: &'static str,
    columns: i16,
    has_index: bool,
}

fn classes(session_catalog: &SessionCatalog) -> Vec<Class> {
    let mut rows = Vec::new();
    for r in session_catalog.relations() {
        let (columns, schema) = (r.columns.fields().len() as i16, objects::schema_oid(&r.schema));
        let index = objects::index_oid(&r);
        let (oid, name) = (objects::oid(&r), r.name.clone());
        rows.push(Class { oid, name, schema, kind: objects::relkind(r.kind), columns, has_index: index.is_some() });
        if let Some(oid) = index {
            let (name, columns) = (objects::index_name(&r), r.primary_key.len() as i16);
            rows.push(Class { oid, name, schema, kind: "i", columns, has_index: false });
        }
    }
    rows.extend(table_oids::all().filter_map(|name| {
        let oid = table_oids::oid_of(name)?;
        Some(Class { oid, name: name.into(), schema: 11, kind: "r", columns: 0, has_index: false })
    }));
    rows
}

fn pg_class(session_catalog: &SessionCatalog) -> Result<RecordBatch> {
    let rows = classes(session_catalog);
    let n = rows.len();
    let (zero, no) = (|| vec![0; n], || vec![false; n]);
    TableBuilder::default()
        .oid("oid", alias::OID, rows.iter().map(|r| r.oid))
        .text("relname", rows.iter().map(|r| r.name.clone()))
        .oid("relnamespace", alias::OID, rows.iter().map(|r| r.schema))
        .oid("reltype", alias::OID, zero())
        .oid("reloftype", alias::OID, zero())
        .oid("relowner", alias::OID, vec![OWNER_OID; n])
        .oid("relam", alias::OID, rows.iter().map(|r| access_method(r.kind)))
        .oid("relfilenode", alias::OID, rows.iter().map(|r| r.oid))
        .oid("reltablespace", alias::OID, zero())
        .int("relpages", zero())
        .add(Field::new("reltuples", DataType::Float32, true), Arc::new(Float32Array::from(vec![-1.0; n])))
        .int("relallvisible", zero())
        .oid("reltoastrelid", alias::OID, zero())
        .flag("relhasindex", rows.iter().map(|r| r.has_index))
        .flag("relisshared", no())
        .text("relpersistence", vec!["p"; n])
        .text("relkind", rows.iter().map(|r| r.kind))
        .small("relnatts", rows.iter().map(|r| r.columns))
        .small("relchecks", vec![0; n])
        .flag("relhasrules", no())
        .flag("relhastriggers", no())
        .flag("relhassubclass", no())
        .flag("relrowsecurity", no())
        .flag("relforcerowsecurity", no())
        .flag("relispopulated", vec![true; n])
        .text("relreplident", vec!["d"; n])
        .flag("relispartition", no())
        .oid("relrewrite", alias::OID, zero())
        .int("relfrozenxid", zero())
        .int("relminmxid", zero())
        .no_list("relacl", n)
        .no_list("reloptions", n)
        .none("relpartbound", n)
        .build()
}

/// The access method: `heap` for relations with rows, `btree` for indexes.
fn access_method(relkind: &str) -> i32 {
    match relkind {
        "r" | "m" => 2,
        "i" => 403,
        _ => 0,
    }
}

fn pg_attribute(session_catalog: &SessionCatalog) -> Result<RecordBatch> {
    let relations = session_catalog.relations();
    let mut rows: Vec<(i32, i16, &Arc<Field>, bool)> = Vec::new();
    for r in &relations {
        for (i, field) in r.columns.fields().iter().enumerate() {
            let not_null = !field.is_nullable() || r.primary_key.contains(&i);
            rows.push((objects::oid(r), i as i16 + 1, field, not_null));
        }
        for (i, column) in r.primary_key.iter().enumerate() {
            if let (Some(oid), Some(field)) = (objects::index_oid(r), r.columns.fields().get(*column)) {
                rows.push((oid, i as i16 + 1, field, false));
            }
        }
    }
    let n = rows.len();
    let (no, zero) = (|| vec![false; n], || vec![0; n]);
    let kinds: Vec<_> = rows.iter().map(|(_, _, field, _)| types::of_field(field)).collect();
    let lengths: Vec<i16> = kinds.iter().map(types::length).collect();
    let is_array = |ty: &pgwire::api::Type| ty.name().starts_with('_');
    TableBuilder::default()
        .oid("attrelid", alias::OID, rows.iter().map(|r| r.0))
        .text("attname", rows.iter().map(|r| r.2.name().clone()))
        .oid("atttypid", alias::OID, kinds.iter().map(|ty| ty.oid() as i32))
        .int("attstattarget", vec![-1; n])
        .small("attlen", lengths.clone())
        .small("attnum", rows.iter().map(|r| r.1))
        .int("attndims", kinds.iter().map(|ty| is_array(ty).into()))
        .int("attcacheoff", vec![-1; n])
        .int("atttypmod", rows.iter().map(|r| types::modifier(r.2.data_type())))
        .flag("attbyval", lengths.iter().map(|length| (1..=8).contains(length)))
        .text("attalign", lengths.iter().map(|l| if *l == 8 { "d" } else { "i" }))
        .text("attstorage", lengths.iter().map(|l| if *l < 0 { "x" } else { "p" }))
        .text("attcompression", vec![""; n])
        .flag("attnotnull", rows.iter().map(|r| r.3))
        .flag("atthasdef", no())
        .flag("atthasmissing", no())
        .text("attidentity", vec![""; n])
        .text("attgenerated", vec![""; n])
        .flag("attisdropped", no())
        .flag("attislocal", vec![true; n])
        .int("attinhcount", zero())
        .oid("attcollation", alias::OID, zero())
        .no_list("attacl", n)
        .no_list("attoptions", n)
        .no_list("attfdwoptions", n)
        .no_list("attmissingval", n)
        .build()
}

fn pg_namespace() -> Result<RecordBatch> {
    TableBuilder::default()
        .oid("oid", alias::OID, SCHEMAS.iter().map(|(_, oid)| *oid))
        .text("nspname", SCHEMAS.iter().map(|(name, _)| *name))
        .oid("nspowner", alias::OID, vec![OWNER_OID; SCHEMAS.len()])
        .no_list("nspacl", SCHEMAS.len())
        .build()
}

fn pg_database(session_catalog: &SessionCatalog) -> Result<RecordBatch> {
    TableBuilder::default()
        .oid("oid", alias::OID, [DATABASE_OID])
        .text("datname", [session_catalog.session_info.database.clone()])
        .oid("datdba", alias::OID, [OWNER_OID])
        .int("encoding", [6])
        .text("datlocprovider", ["c"])
        .flag("datistemplate", [false])
        .flag("datallowconn", [true])
        .int("datconnlimit", [-1])
        .int("datfrozenxid", [0])
        .int("datminmxid", [0])
        .oid("dattablespace", alias::OID, [1663])
        .text("datcollate", ["C"])
        .text("datctype", ["C"])
        .none("daticulocale", 1)
        .none("datcollversion", 1)
        .no_list("datacl", 1)
        .build()
}

fn keyed(session_catalog: &SessionCatalog) -> Vec<(RelationDef, i32)> {
    let relations = session_catalog.relations().into_iter();
    relations.filter_map(|r| objects::index_oid(&r).map(|oid| (r, oid))).collect()
}

fn key_columns(relation: &RelationDef) -> Vec<i16> {
    relation.primary_key.iter().map(|i| *i as i16 + 1).collect()
}

/// The `btree` operator class of each key column: the default of its type, by its fixed oid.
fn operator_classes(relation: &RelationDef) -> Vec<i32> {
    let of = |field: &Arc<Field>| match types::of_field(field).name() {
        "int2" => 1979,
        "int4" => 1978,
        "int8" => 3124,
        "float4" => 1970,
        "float8" => 3123,
        "numeric" => 3125,
        "text" => 3126,
        "timestamptz" => 3127,
        "timestamp" => 3128,
        "date" => 3122,
        _ => 0,
    };
    relation.primary_key.iter().filter_map(|i| relation.columns.fields().get(*i)).map(of).collect()
}

fn pg_index(session_catalog: &SessionCatalog) -> Result<RecordBatch> {
    let rows = keyed(session_catalog);
    let n = rows.len();
    let (yes, no) = (|| vec![true; n], || vec![false; n]);
    TableBuilder::default()
        .oid("indexrelid", alias::OID, rows.iter().map(|(_, oid)| *oid))
        .oid("indrelid", alias::OID, rows.iter().map(|(r, _)| objects::oid(r)))
        .small("indnatts", rows.iter().map(|(r, _)| r.primary_key.len() as i16))
        .small("indnkeyatts", rows.iter().map(|(r, _)| r.primary_key.len() as i16))
        .flag("indisunique", yes())
        .flag("indnullsnotdistinct", no())
        .flag("indisprimary", yes())
        .flag("indisexclusion", no())
        .flag("indimmediate", yes())
        .flag("indisclustered", no())
        .flag("indisvalid", yes())
        .flag("indcheckxmin", no())
        .flag("indisready", yes())
        .flag("indislive", yes())
        .flag("indisreplident", no())
        .numbers("indkey", rows.iter().map(|(r, _)| key_columns(r)))
        .oids("indcollation", rows.iter().map(|(r, _)| vec![0; r.primary_key.len()]))
        .oids("indclass", rows.iter().map(|(r, _)| operator_classes(r)))
        .numbers("indoption", rows.iter().map(|(r, _)| vec![0; r.primary_key.len()]))
        .none("indexprs", n)
        .none("indpred", n)
        .build()
}

fn pg_constraint(session_catalog: &SessionCatalog) -> Result<RecordBatch> {
    let rows = keyed(session_catalog);
    let n = rows.len();
    let (zero, no) = (|| vec![0; n], || vec![false; n]);
    TableBuilder::default()
        .oid("oid", alias::OID, rows.iter().map(|(_, oid)| *oid))
        .text("conname", rows.iter().map(|(r, _)| objects::index_name(r)))
        .oid("connamespace", alias::OID, rows.iter().map(|(r, _)| objects::schema_oid(&r.schema)))
        .text("contype", vec!["p"; n])
        .flag("condeferrable", no())
        .flag("condeferred", no())
        .flag("convalidated", vec![true; n])
        .oid("conrelid", alias::OID, rows.iter().map(|(r, _)| objects::oid(r)))
        .oid("contypid", alias::OID, zero())
        .oid("conindid", alias::OID, rows.iter().map(|(_, oid)| *oid))
        .oid("conparentid", alias::OID, zero())
        .oid("confrelid", alias::OID, zero())
        .text("confupdtype", vec![" "; n])
        .text("confdeltype", vec![" "; n])
        .text("confmatchtype", vec![" "; n])
        .flag("conislocal", vec![true; n])
        .int("coninhcount", zero())
        .flag("connoinherit", vec![true; n])
        .numbers("conkey", rows.iter().map(|(r, _)| key_columns(r)))
        .numbers("confkey", rows.iter().map(|_| Vec::new()))
        .none("conbin", n)
        .build()
}

fn of_kinds(session_catalog: &SessionCatalog, kinds: &[ObjectKind]) -> Vec<RelationDef> {
    session_catalog.relations().into_iter().filter(|r| kinds.contains(&r.kind)).collect()
}

fn pg_tables(session_catalog: &SessionCatalog) -> Result<RecordBatch> {
    let rows = of_kinds(session_catalog, &[ObjectKind::Table, ObjectKind::System]);
    let n = rows.len();
    TableBuilder::default()
        .text("schemaname", rows.iter().map(|r| r.schema.clone()))
        .text("tablename", rows.iter().map(|r| r.name.clone()))
        .text("tableowner", vec![session_catalog.session_info.subject.user.clone(); n])
        .none("tablespace", n)
        .flag("hasindexes", rows.iter().map(|r| !r.primary_key.is_empty()))
        .flag("hasrules", vec![false; n])
        .flag("hastriggers", vec![false; n])
        .flag("rowsecurity", vec![false; n])
        .build()
}

fn pg_views(session_catalog: &SessionCatalog, kinds: &[ObjectKind], name: &str, owner: &str) -> Result<RecordBatch> {
    let rows = of_kinds(session_catalog, kinds);
    let columns = TableBuilder::default()
        .text("schemaname", rows.iter().map(|r| r.schema.clone()))
        .text(name, rows.iter().map(|r| r.name.clone()))
        .text(owner, vec![session_catalog.session_info.subject.user.clone(); rows.len()]);
    let columns = match name {
        "matviewname" => columns
            .none("tablespace", rows.len())
            .flag("hasindexes", vec![false; rows.len()])
            .flag("ispopulated", vec![true; rows.len()]),
        _ => columns,
    };
    columns.text("definition", rows.iter().map(|r| r.definition.clone())).build()
}

fn pg_indexes(session_catalog: &SessionCatalog) -> Result<RecordBatch> {
    let rows = keyed(session_catalog);
    TableBuilder::default()
        .text("schemaname", rows.iter().map(|(r, _)| r.schema.clone()))
        .text("tablename", rows.iter().map(|(r, _)| r.name.clone()))
        .text("indexname", rows.iter().map(|(r, _)| objects::index_name(r)))
        .none("tablespace", rows.len())
        .text("indexdef", rows.iter().map(|(r, _)| index_definition(r)))
        .build()
}

pub(super) fn index_definition(relation: &RelationDef) -> String {
    format!(
        "CREATE UNIQUE INDEX {} ON {}.{} USING btree ({})",
        objects::quoted(&objects::index_name(relation)),
        objects::quoted(&relation.schema),
        objects::quoted(&relation.name),
        objects::key_definition(relation)
    )
}

fn pg_settings(session_catalog: &SessionCatalog) -> Result<RecordBatch> {
    let (names, values): (Vec<String>, Vec<String>) = session_catalog.session_info.settings.all().into_iter().unzip();
    let n = names.len();
    TableBuilder::default()
        .text("name", names)
        .text("setting", values.clone())
        .none("unit", n)
        .text("category", vec![""; n])
        .text("short_desc", vec![""; n])
        .none("extra_desc", n)
        .text("context", vec!["user"; n])
        .text("vartype", vec!["string"; n])
        .text("source", vec!["session"; n])
        .none("min_val", n)
        .none("max_val", n)
        .none("enumvals", n)
        .text("boot_val", values.clone())
        .text("reset_val", values)
        .none("sourcefile", n)
        .none("sourceline", n)
        .flag("pending_restart", vec![false; n])
        .build()
}

fn pg_roles(session_catalog: &SessionCatalog, user: bool) -> Result<RecordBatch> {
    let name = session_catalog.session_info.subject.user.clone();
    if user {
        return TableBuilder::default()
            .text("usename", [name])
            .oid("usesysid", alias::OID, [OWNER_OID])
            .flag("usecreatedb", [true])
            .flag("usesuper", [true])
            .flag("userepl", [false])
            .flag("usebypassrls", [true])
            .text("passwd", ["********"])
            .no_moment("valuntil", 1)
            .no_list("useconfig", 1)
            .build();
    }
    TableBuilder::default()
        .oid("oid", alias::OID, [OWNER_OID])
        .text("rolname", [name])
        .flag("rolsuper", [true])
        .flag("rolinherit", [true])
        .flag("rolcreaterole", [true])
        .flag("rolcreatedb", [true])
        .flag("rolcanlogin", [true])
        .flag("rolreplication", [false])
        .flag("rolbypassrls", [true])
        .int("rolconnlimit", [-1])
        .text("rolpassword", ["********"])
        .none("rolvaliduntil", 1)
        .no_list("rolconfig", 1)
        .build()
}

fn pg_foreign_table(session_catalog: &SessionCatalog) -> Result<RecordBatch> {
    let rows = of_kinds(session_catalog, &[ObjectKind::Source, ObjectKind::Sink]);
    TableBuilder::default()
        .oid("ftrelid", alias::OID, rows.iter().map(objects::oid))
        .oid("ftserver", alias::OID, vec![SERVER_OID; rows.len()])
        .no_list("ftoptions", rows.len())
        .build()
}

fn pg_foreign_server() -> Result<RecordBatch> {
    TableBuilder::default()
        .oid("oid", alias::OID, [SERVER_OID])
        .text("srvname", ["tidemark"])
        .oid("srvowner", alias::OID, [OWNER_OID])
        .oid("srvfdw", alias::OID, [WRAPPER_OID])
        .none("srvtype", 1)
        .none("srvversion", 1)
        .no_list("srvacl", 1)
        .no_list("srvoptions", 1)
        .build()
}

fn pg_foreign_data_wrapper() -> Result<RecordBatch> {
    TableBuilder::default()
        .oid("oid", alias::OID, [WRAPPER_OID])
        .text("fdwname", ["source"])
        .oid("fdwowner", alias::OID, [OWNER_OID])
        .oid("fdwhandler", alias::OID, [0])
        .oid("fdwvalidator", alias::OID, [0])
        .no_list("fdwacl", 1)
        .no_list("fdwoptions", 1)
        .build()
}

/// Only the session itself: it does not see others.
fn pg_stat_activity(session_catalog: &SessionCatalog) -> Result<RecordBatch> {
    let session_info = &session_catalog.session_info;
    TableBuilder::default()
        .oid("datid", alias::OID, [DATABASE_OID])
        .text("datname", [session_info.database.clone()])
        .int("pid", [session_info.pid])
        .oid("usesysid", alias::OID, [OWNER_OID])
        .text("usename", [session_info.subject.user.clone()])
        .text("application_name", [session_info.settings.get("application_name").unwrap_or_default()])
        .none("client_addr", 1)
        .none("client_hostname", 1)
        .int("client_port", [-1])
        .no_moment("backend_start", 1)
        .no_moment("xact_start", 1)
        .no_moment("query_start", 1)
        .no_moment("state_change", 1)
        .none("wait_event_type", 1)
        .none("wait_event", 1)
        .text("state", ["active"])
        .text("backend_type", ["client backend"])
        .add(Field::new("backend_xid", DataType::Int64, true), Arc::new(Int64Array::new_null(1)))
        .none("query", 1)
        .build()
}
