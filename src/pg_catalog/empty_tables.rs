//! Catalog tables without rows, with the columns that clients read: there are no triggers, policies, partitions,
//! publications. Joins with them find nothing, as in a Postgres without such objects.

use std::sync::Arc;

use arrow::{
    array::RecordBatch,
    datatypes::{DataType, Field, Schema, TimeUnit},
};
use datafusion_pg_catalog::pg_catalog::oid_field::{kind as alias, oid_field};

/// By table name: its columns with types; `text` if there is no type.
const TABLES: &[(&str, &str)] = &[
    ("pg_attrdef", "oid:oid adrelid:oid adnum:int2 adbin"),
    (
        "pg_auth_members",
        "oid:oid roleid:oid member:oid grantor:oid admin_option:bool inherit_option:bool set_option:bool",
    ),
    ("pg_enum", "oid:oid enumtypid:oid enumsortorder:float4 enumlabel"),
    ("pg_event_trigger", "oid:oid evtname evtevent evtowner:oid evtfoid:oid evtenabled evttags:text[]"),
    ("pg_inherits", "inhrelid:oid inhparent:oid inhseqno:int4 inhdetachpending:bool"),
    ("pg_locks", "locktype database:oid relation:oid pid:int4 mode granted:bool"),
    ("pg_parameter_acl", "oid:oid parname paracl:text[]"),
    (
        "pg_partitioned_table",
        "partrelid:oid partstrat partnatts:int2 partdefid:oid partattrs:int2[] partclass:oid[] partcollation:oid[] \
         partexprs",
    ),
    ("pg_policies", "schemaname tablename policyname permissive roles:text[] cmd qual with_check"),
    ("pg_policy", "oid:oid polname polrelid:oid polcmd polpermissive:bool polroles:oid[] polqual polwithcheck"),
    (
        "pg_publication",
        "oid:oid pubname pubowner:oid puballtables:bool pubinsert:bool pubupdate:bool pubdelete:bool \
         pubtruncate:bool pubviaroot:bool",
    ),
    ("pg_publication_namespace", "oid:oid pnpubid:oid pnnspid:oid"),
    ("pg_publication_rel", "oid:oid prpubid:oid prrelid:oid prqual prattrs:int2[]"),
    ("pg_rules", "schemaname tablename rulename definition"),
    (
        "pg_sequence",
        "seqrelid:oid seqtypid:oid seqstart:int8 seqincrement:int8 seqmax:int8 seqmin:int8 seqcache:int8 seqcycle:bool",
    ),
    (
        "pg_sequences",
        "schemaname sequencename sequenceowner data_type start_value:int8 min_value:int8 max_value:int8 \
         increment_by:int8 cycle:bool cache_size:int8 last_value:int8",
    ),
    (
        "pg_statistic_ext",
        "oid:oid stxrelid:oid stxname stxnamespace:oid stxowner:oid stxstattarget:int4 stxkeys:int2[] stxkind:text[] \
         stxexprs",
    ),
    ("pg_statistic_ext_data", "stxoid:oid stxdinherit:bool stxdndistinct stxddependencies stxdmcv stxdexpr"),
    ("pg_stats", "schemaname tablename attname inherited:bool null_frac:float4 avg_width:int4 n_distinct:float4"),
    (
        "pg_subscription",
        "oid:oid subdbid:oid subskiplsn subname subowner:oid subenabled:bool subbinary:bool substream \
         subtwophasestate subdisableonerr:bool subpasswordrequired:bool subrunasowner:bool subconninfo subslotname \
         subsynccommit subpublications:text[] suborigin",
    ),
    ("pg_subscription_rel", "srsubid:oid srrelid:oid srsubstate srsublsn"),
    (
        "pg_trigger",
        "oid:oid tgrelid:oid tgparentid:oid tgname tgfoid:oid tgtype:int2 tgenabled tgisinternal:bool \
         tgconstrrelid:oid tgconstrindid:oid tgconstraint:oid tgdeferrable:bool tginitdeferred:bool tgnargs:int2 \
         tgattr:int2[] tgargs tgqual tgoldtable tgnewtable",
    ),
    ("pg_ts_config_map", "mapcfg:oid maptokentype:int4 mapseqno:int4 mapdict:oid"),
    ("pg_user_mapping", "oid:oid umuser:oid umserver:oid umoptions:text[]"),
    ("pg_user_mappings", "umid:oid srvid:oid srvname umuser:oid usename umoptions:text[]"),
    ("pg_prepared_statements", "name statement prepare_time:timestamptz parameter_types:oid[] from_sql:bool"),
    ("pg_prepared_xacts", "transaction:int4 gid prepared:timestamptz owner database"),
    ("pg_cursors", "name statement is_holdable:bool is_binary:bool is_scrollable:bool creation_time:timestamptz"),
];

pub(super) fn names() -> impl Iterator<Item = &'static str> {
    TABLES.iter().map(|(name, _)| *name)
}

pub(super) fn table(name: &str) -> Option<RecordBatch> {
    let (_, columns) = TABLES.iter().find(|(table, _)| *table == name)?;
    let fields: Vec<Field> = columns.split_whitespace().map(field).collect();
    Some(RecordBatch::new_empty(Arc::new(Schema::new(fields))))
}

fn field(column: &str) -> Field {
    let (name, ty) = column.split_once(':').unwrap_or((column, "text"));
    let data_type = match ty {
        "oid" => return oid_field(name, alias::OID, true),
        "oid[]" => DataType::new_list(DataType::Int32, true),
        "int2" => DataType::Int16,
        "int2[]" => DataType::new_list(DataType::Int16, true),
        "int4" => DataType::Int32,
        "int8" => DataType::Int64,
        "float4" => DataType::Float32,
        "bool" => DataType::Boolean,
        "text[]" => DataType::new_list(DataType::Utf8, true),
        "timestamptz" => DataType::Timestamp(TimeUnit::Microsecond, Some("+00:00".into())),
        _ => DataType::Utf8,
    };
    Field::new(name, data_type, true)
}
