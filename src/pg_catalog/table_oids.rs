//! The tables and views of `pg_catalog` itself: their names, and the oid of each.

use datafusion_pg_catalog::pg_catalog::PG_CATALOG_TABLES;

use super::empty_tables;

/// The tables that `tables.rs` computes from existing objects.
const NAMES: &[&str] = &[
    "pg_class",
    "pg_attribute",
    "pg_namespace",
    "pg_database",
    "pg_index",
    "pg_constraint",
    "pg_tables",
    "pg_views",
    "pg_matviews",
    "pg_indexes",
    "pg_settings",
    "pg_roles",
    "pg_user",
    "pg_foreign_table",
    "pg_foreign_server",
    "pg_foreign_data_wrapper",
    "pg_stat_activity",
];

/// Oids that drivers have hard-coded.
const KNOWN_OIDS: &[(&str, i32)] = &[
    ("pg_type", 1247),
    ("pg_attribute", 1249),
    ("pg_proc", 1255),
    ("pg_class", 1259),
    ("pg_attrdef", 2604),
    ("pg_constraint", 2606),
    ("pg_index", 2610),
    ("pg_namespace", 2615),
    ("pg_rewrite", 2618),
    ("pg_trigger", 2620),
    ("pg_database", 1262),
    ("pg_authid", 1260),
    ("pg_tablespace", 1213),
    ("pg_extension", 3079),
    ("pg_foreign_server", 1417),
];
/// The first oid of the other tables, which are numbered in the order of their list.
const OTHER_OIDS: i32 = 12000;

/// The oid of a table of `pg_catalog` itself.
pub(super) fn oid_of(name: &str) -> Option<i32> {
    if let Some((_, oid)) = KNOWN_OIDS.iter().find(|(known, _)| *known == name) {
        return Some(*oid);
    }
    all().position(|known| known == name).map(|at| OTHER_OIDS + at as i32)
}

pub(super) fn name_of(oid: i32) -> Option<&'static str> {
    if let Some((name, _)) = KNOWN_OIDS.iter().find(|(_, known)| *known == oid) {
        return Some(name);
    }
    usize::try_from(oid - OTHER_OIDS).ok().and_then(|at| all().nth(at))
}

/// Every table and view of the schema.
pub(super) fn all() -> impl Iterator<Item = &'static str> {
    let ours = NAMES.iter().copied().chain(empty_tables::names()).filter(|name| !PG_CATALOG_TABLES.contains(name));
    PG_CATALOG_TABLES.iter().copied().chain(ours)
}
