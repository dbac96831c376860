//! The table that rows go to: made where it is missing, held against the columns where it is there.

use tokio_postgres::{Client, Row};

use super::{PostgresOptions, cells, literal, name, names, postgres_error};
use crate::{
    connectors::{SinkDef, sink::Mode},
    error::{Error, ErrorKind, Result},
};

/// The statements of one sink.
#[derive(Debug)]
pub(super) struct TargetTable {
    /// `"schema"."table"`
    table: String,
    /// Where the number of the last epoch stands.
    ledger: String,
    identity: String,
    columns: Vec<String>,
    key: Vec<String>,
    creates: bool,
    /// How the table is made.
    create: String,
    /// The types that each column of the table may have.
    types: Vec<Vec<String>>,
}

/// Where the rows of an epoch wait that are to be inserted or updated, and the keys that are to be deleted. A session's
/// own, and empty between transactions.
const STAGED: &str = "pg_temp.tidemark_staged";
const GONE: &str = "pg_temp.tidemark_gone";

/// The lock under which tables are made: two that are made at once would collide.
const MAKING: i64 = 0x7469_6465_6d61_726b;

/// A column of the table as it is.
struct TableColumn {
    name: String,
    base_type: String,
    shown_type: String,
    is_enum: bool,
    not_null: bool,
    has_default: bool,
    generated: bool,
}

impl TargetTable {
    /// Fails where a column has no type in Postgres.
    pub fn new(def: &SinkDef, options: &PostgresOptions) -> Result<TargetTable> {
        let columns: Vec<String> = def.schema.fields().iter().map(|f| f.name().clone()).collect();
        // Rows of an append are not told apart, whatever the query knows of them.
        let key = match def.mode {
            Mode::Upsert => def.key.iter().flatten().map(|column| columns[*column].clone()).collect(),
            _ => Vec::new(),
        };
        let table = format!("{}.{}", name(&options.schema), name(&options.table));
        let (mut made, mut types) = (Vec::new(), Vec::new());
        for field in def.schema.fields() {
            let (ty, may) = cells::types(field.data_type()).ok_or_else(|| {
                let message = format!(
                    "column \"{}\" of sink \"{}\" has type {}, which has no place in postgres",
                    field.name(),
                    def.name,
                    field.data_type()
                );
                Error::new(ErrorKind::DatatypeMismatch, message)
                    .hint(format!("Select its parts, or its text: CAST({} AS TEXT).", field.name()))
            })?;
            made.push(format!("{} {ty}", name(field.name())));
            types.push(may);
        }
        if !key.is_empty() {
            made.push(format!("PRIMARY KEY ({})", list(&key)));
        }
        Ok(TargetTable {
            ledger: format!("{}.tidemark_sinks", name(&options.schema)),
            identity: literal(&def.identity),
            create: format!("CREATE TABLE {table} ({})", made.join(", ")),
            creates: options.create_table,
            table,
            columns,
            key,
            types,
        })
    }

    /// Makes what is missing, sees that what is there fits, and becomes the holder. Gives the last epoch that is there,
    /// and the word by which this holder is known.
    pub async fn take_hold(&self, client: &Client) -> Result<(u64, String)> {
        client
            .batch_execute(&format!("BEGIN; SELECT pg_advisory_xact_lock({MAKING})"))
            .await
            .map_err(postgres_error)?;
        if self.find(client, &self.ledger).await?.is_none() {
            let columns = "identity text PRIMARY KEY, epoch bigint NOT NULL, holder text NOT NULL";
            client.batch_execute(&format!("CREATE TABLE {} ({columns})", self.ledger)).await.map_err(postgres_error)?;
        }
        match self.find(client, &self.table).await? {
            Some(table) => self.check(client, table).await?,
            None if self.creates => client.batch_execute(&self.create).await.map_err(postgres_error)?,
            None => {
                return Err(Error::new(ErrorKind::UndefinedTable, format!("postgres has no table {}", self.table))
                    .hint(format!("Leave create_table = false out, or make it: {};", self.create)));
            }
        }
        // Waits for a transaction of the holder before, which ends or is undone by the end of its connection.
        let take = format!(
            "INSERT INTO {} AS ledger VALUES ({}, 0, md5(random()::text || clock_timestamp()::text))
             ON CONFLICT (identity) DO UPDATE SET holder = excluded.holder RETURNING epoch, holder",
            self.ledger, self.identity
        );
        let row = client.query_one(&take, &[]).await.map_err(postgres_error)?;
        client.batch_execute("COMMIT").await.map_err(postgres_error)?;
        let epoch: i64 = get(&row, 0)?;
        Ok((u64::try_from(epoch).unwrap_or(0), get(&row, 1)?))
    }

    /// The number that Postgres knows a table by.
    async fn find(&self, client: &Client, table: &str) -> Result<Option<u32>> {
        let row = client.query_one("SELECT to_regclass($1)::oid", &[&table]).await.map_err(postgres_error)?;
        get(&row, 0)
    }

    /// Whether rows can go into the table that is there.
    async fn check(&self, client: &Client, table: u32) -> Result<()> {
        let query = "
            SELECT a.attname::text, COALESCE(base.typname, t.typname)::text, format_type(a.atttypid, a.atttypmod),
                   t.typtype = 'e', a.attnotnull, a.atthasdef OR a.attidentity <> '', a.attgenerated <> ''
            FROM pg_catalog.pg_attribute a
            JOIN pg_catalog.pg_type t ON t.oid = a.atttypid
            LEFT JOIN pg_catalog.pg_type base ON base.oid = t.typbasetype AND t.typbasetype <> 0
            WHERE a.attrelid = $1 AND a.attnum > 0 AND NOT a.attisdropped";
        let mut there = Vec::new();
        for row in client.query(query, &[&table]).await.map_err(postgres_error)? {
            there.push(TableColumn {
                name: get(&row, 0)?,
                base_type: get(&row, 1)?,
                shown_type: get(&row, 2)?,
                is_enum: get(&row, 3)?,
                not_null: get(&row, 4)?,
                has_default: get(&row, 5)?,
                generated: get(&row, 6)?,
            });
        }
        for (column, may) in self.columns.iter().zip(&self.types) {
            let Some(found) = there.iter().find(|c| c.name == *column) else {
                let known: Vec<&str> = there.iter().map(|c| c.name.as_str()).collect();
                let message = format!("table {} of postgres has no column \"{column}\"", self.table);
                return Err(Error::new(ErrorKind::UndefinedColumn, message)
                    .hint(format!("Its columns are: {}. Rename with AS, or add the column there.", known.join(", "))));
            };
            let fits = may.contains(&found.base_type) || (found.is_enum && may.iter().any(|name| name == "text"));
            if !fits || found.generated {
                let what = if found.generated { "a generated column" } else { found.shown_type.as_str() };
                let message = format!("column \"{column}\" of table {} of postgres is {what}", self.table);
                return Err(Error::new(ErrorKind::DatatypeMismatch, message)
                    .hint(format!("What comes needs one of: {}. A CAST in the query can help.", may.join(", "))));
            }
            if self.key.contains(column) && !found.not_null {
                let message = format!("key column \"{column}\" of table {} of postgres may be NULL", self.table);
                return Err(Error::new(ErrorKind::InvalidTableDefinition, message)
                    .detail("Two rows with NULL there could not be told apart.")
                    .hint(format!("ALTER TABLE {} ALTER COLUMN {} SET NOT NULL;", self.table, name(column))));
            }
        }
        let needed = |c: &&TableColumn| c.not_null && !c.has_default && !c.generated && !self.columns.contains(&c.name);
        if let Some(column) = there.iter().find(needed) {
            let message = format!("column \"{}\" of table {} of postgres needs a value", column.name, self.table);
            return Err(Error::new(ErrorKind::NotNullViolation, message)
                .hint("Select one under that name, or give the column a default."));
        }
        self.check_unique(client, table).await
    }

    /// ON CONFLICT needs an index on exactly the key.
    async fn check_unique(&self, client: &Client, table: u32) -> Result<()> {
        if self.key.is_empty() {
            return Ok(());
        }
        let query = "
            SELECT EXISTS (
                SELECT FROM pg_catalog.pg_index i
                WHERE i.indrelid = $1 AND i.indisunique AND i.indimmediate AND i.indpred IS NULL AND i.indexprs IS NULL
                  AND (SELECT array_agg(a.attname::text ORDER BY a.attname::text COLLATE \"C\")
                       FROM pg_catalog.pg_attribute a
                       WHERE a.attrelid = i.indrelid AND a.attnum = ANY ((i.indkey::int2[])[0:i.indnkeyatts - 1])) = $2)";
        let mut key = self.key.clone();
        key.sort();
        let row = client.query_one(query, &[&table, &key]).await.map_err(postgres_error)?;
        if get(&row, 0)? {
            return Ok(());
        }
        let key = list(&self.key);
        let message = format!("table {} of postgres has no unique index on ({key})", self.table);
        Err(Error::new(ErrorKind::InvalidTableDefinition, message)
            .hint(format!("ALTER TABLE {} ADD PRIMARY KEY ({key});", self.table)))
    }

    /// Makes the session's own tables.
    pub fn stage(&self) -> Option<String> {
        let like = |place: &str, columns: &[String]| {
            let place = place.trim_start_matches("pg_temp.");
            let columns = list(columns);
            format!(
                "CREATE TEMP TABLE {place} ON COMMIT DELETE ROWS AS SELECT {columns} FROM {} WITH NO DATA",
                self.table
            )
        };
        (!self.key.is_empty()).then(|| format!("{}; {}", like(STAGED, &self.columns), like(GONE, &self.key)))
    }

    /// Begins the transaction of an epoch. Its second statement changes one row, or the holder is another.
    pub fn begin(&self, epoch: u64, holder: &str) -> String {
        let TargetTable { ledger, identity, .. } = self;
        let holder = literal(holder);
        format!(
            "BEGIN; UPDATE {ledger} SET epoch = {epoch} WHERE identity = {identity} AND holder = {holder} AND epoch < {epoch}"
        )
    }

    /// Takes away all rows that are there.
    pub fn clear(&self) -> String {
        format!("DELETE FROM {}", self.table)
    }

    pub fn copy(&self) -> String {
        format!("COPY {} ({}) FROM STDIN", self.table, list(&self.columns))
    }

    pub fn copy_staged(&self) -> String {
        format!("COPY {STAGED} ({}) FROM STDIN", list(&self.columns))
    }

    pub fn copy_gone(&self) -> String {
        format!("COPY {GONE} ({}) FROM STDIN", list(&self.key))
    }

    /// Takes away the rows of the keys that are gone.
    pub fn delete(&self) -> String {
        let same = self.key.iter().map(|key| format!("t.{0} = gone.{0}", name(key))).collect::<Vec<_>>();
        format!("DELETE FROM {} AS t USING {GONE} AS gone WHERE {}", self.table, same.join(" AND "))
    }

    /// Puts the staged rows in the place of those with their keys.
    pub fn upsert(&self) -> String {
        let rest = self.columns.iter().filter(|column| !self.key.contains(column)).map(|column| name(column));
        let set: Vec<String> = rest.map(|column| format!("{column} = excluded.{column}")).collect();
        let action = if set.is_empty() { "NOTHING".to_string() } else { format!("UPDATE SET {}", set.join(", ")) };
        let (table, columns, key) = (&self.table, list(&self.columns), list(&self.key));
        format!("INSERT INTO {table} ({columns}) SELECT {columns} FROM {STAGED} ON CONFLICT ({key}) DO {action}")
    }
}

fn list(all: &[String]) -> String {
    names(all.iter().map(String::as_str))
}

fn get<'a, T: tokio_postgres::types::FromSql<'a>>(row: &'a Row, column: usize) -> Result<T> {
    row.try_get(column).map_err(|e| Error::internal(format!("an answer of postgres: {e}")))
}
