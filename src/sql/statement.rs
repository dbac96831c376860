//! The statements of clients, as plain data. Queries and expressions are sqlparser's; the rest is ours.

use std::time::Duration;

use datafusion::sql::sqlparser::{ast, tokenizer::Location};

use crate::{
    catalog::{ObjectKind, Secret},
    options::Options,
};

/// One statement and its text.
#[derive(Debug, Clone, PartialEq)]
pub struct Statement {
    pub body: Body,
    /// The statement as written, without the semicolon: shown by `SHOW CREATE` and stored in the catalog.
    pub text: String,
    /// Its start within the submitted text.
    pub start: StatementStart,
}

/// The position of a statement's first character in a longer text. All fields are counted from 1, in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StatementStart {
    pub line: u64,
    pub column: u64,
    pub position: usize,
}

impl Statement {
    /// The position, for [`Error::at`](crate::error::Error::at), of a location in sqlparser's trees: both refer to the
    /// whole text. `None` for a location outside of the statement.
    pub fn position(&self, place: Location) -> Option<usize> {
        let line = place.line.checked_sub(self.start.line)?;
        if line == 0 {
            return Some(self.start.position + place.column.checked_sub(self.start.column)? as usize);
        }
        let before = self.text.split_inclusive('\n').take(line as usize).map(|l| l.chars().count()).sum::<usize>();
        Some(self.start.position + before + place.column.checked_sub(1)? as usize)
    }
}

#[derive(Debug, Clone, PartialEq)]
pub enum Body {
    CreateSource(CreateSource),
    CreateTable(CreateTable),
    /// `CREATE STREAM`, `CREATE MATERIALIZED VIEW`, `CREATE VIEW`, `CREATE SINK`: a named query.
    CreateView(CreateView),
    CreateSecret(CreateSecret),
    DropSecrets(DropSecrets),
    CreateFunction(CreateFunction),
    CreateAggregate(CreateAggregate),
    DropFunctions(DropFunctions),
    Drop(Drop),
    Alter(Alter),
    /// `SELECT`, `VALUES`, `TABLE t`, `WITH …`: windows are lowered already.
    Query(Box<ast::Query>),
    Subscribe(Subscribe),
    Insert(Box<ast::Insert>),
    Update(Box<ast::Update>),
    Delete(Box<ast::Delete>),
    CopyIn(CopyIn),
    CopyOut(CopyOut),
    Explain {
        analyze: bool,
        verbose: bool,
        statement: Box<Statement>,
    },
    /// `EXPLAIN MATERIALIZED VIEW v`: the plan of the running query.
    ExplainRelation(Name),
    Show(Show),
    /// `FLUSH [name]`: waits until all input available at the time of the call is in every view, or in the named one.
    Flush(Option<Name>),
    Set {
        name: String,
        value: Option<String>,
        local: bool,
    },
    /// `RESET name`; `None` is `RESET ALL`.
    Reset(Option<String>),
    /// `READ ONLY`, `READ WRITE`; `None` if unspecified.
    Begin {
        read_only: Option<bool>,
    },
    Commit,
    Rollback,
    /// `SAVEPOINT`, `RELEASE`, `ROLLBACK TO`, `LISTEN`, `UNLISTEN`, …: accepted without effect; the command tag.
    NoOp(String),
    Discard(DiscardWhat),
    Prepare {
        name: String,
        /// The types of its first parameters, as far as given.
        types: Vec<ast::DataType>,
        statement: Box<Statement>,
    },
    Execute {
        name: String,
        parameters: Vec<ast::Expr>,
    },
    /// `DEALLOCATE name`; `None` is `DEALLOCATE ALL`.
    Deallocate(Option<String>),
    Declare {
        name: String,
        reads: Reads,
        hold: bool,
        binary: bool,
    },
    Fetch {
        name: String,
        count: FetchCount,
        skip: bool,
        /// The maximum time to wait for rows of a subscription.
        timeout: Option<Duration>,
    },
    /// `CLOSE name`; `None` is `CLOSE ALL`.
    Close(Option<String>),
}

/// The name of an object as written: lowercase unless it was quoted. `schema` is `None` where none was given.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Name {
    pub schema: Option<String>,
    pub name: String,
    /// Its position in the text, in characters from 1; 0 if unknown.
    pub position: usize,
}

/// `CREATE SOURCE`, and `CREATE [EXTERNAL] TABLE … WITH (connector = …)`.
#[derive(Debug, Clone, PartialEq)]
pub struct CreateSource {
    pub name: Name,
    pub exists: IfExists,
    /// Empty if the columns are to be inferred from the source.
    pub columns: Vec<ColumnDef>,
    pub watermark: Option<WatermarkDef>,
    /// `CREATE EXTERNAL TABLE`: each query reads all of it once, and does not wait for more.
    pub fixed: bool,
    /// The key columns of an upsert format; otherwise empty.
    pub key: Vec<String>,
    pub options: Options,
}

#[derive(Debug, Clone, PartialEq)]
pub struct CreateTable {
    pub name: Name,
    pub exists: IfExists,
    pub columns: Vec<ColumnDef>,
    /// The primary key columns; empty without a primary key.
    pub primary_key: Vec<String>,
    pub append_only: bool,
    pub watermark: Option<WatermarkDef>,
    pub options: Options,
    /// `CREATE TABLE … AS`; `columns` is empty if it is set.
    pub query: Option<Box<ast::Query>>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct CreateView {
    /// [`Kind::Stream`], [`Kind::MaterializedView`], [`Kind::View`] or [`Kind::Sink`].
    pub kind: ObjectKind,
    pub name: Name,
    pub exists: IfExists,
    /// `CREATE … VIEW v (a, b)`: the new column names; empty if they are not renamed.
    pub columns: Vec<String>,
    pub watermark: Option<WatermarkDef>,
    pub options: Options,
    pub query: Box<ast::Query>,
    pub emit: Option<Emit>,
}

/// `CREATE SECRET name AS 'value'`, `CREATE SECRET name WITH (env = 'VARIABLE')`.
#[derive(Debug, Clone, PartialEq)]
pub struct CreateSecret {
    pub name: String,
    pub exists: IfExists,
    pub secret: Secret,
}

/// `DROP SECRET name, …`
#[derive(Debug, Clone, PartialEq)]
pub struct DropSecrets {
    pub names: Vec<String>,
    pub if_exists: bool,
}

/// `CREATE FUNCTION`: a named expression.
#[derive(Debug, Clone, PartialEq)]
pub struct CreateFunction {
    pub name: Name,
    pub replace: bool,
    pub arguments: Vec<Argument>,
    pub returns: ast::DataType,
    /// Whether the result is NULL if an argument is.
    pub strict: bool,
    pub body: Box<ast::Expr>,
}

/// `CREATE AGGREGATE`: functions that fold rows into a state.
#[derive(Debug, Clone, PartialEq)]
pub struct CreateAggregate {
    pub name: Name,
    pub replace: bool,
    pub arguments: Vec<Argument>,
    /// `SFUNC`, `STYPE`, `INITCOND`, `FINALFUNC`, `COMBINEFUNC`
    pub step: Name,
    pub state: ast::DataType,
    pub initial: Option<String>,
    pub finish: Option<Name>,
    pub combine: Option<Name>,
}

/// An argument of a function, which need not have a name.
#[derive(Debug, Clone, PartialEq)]
pub struct Argument {
    pub name: Option<String>,
    pub data_type: ast::DataType,
}

/// `DROP FUNCTION name [(types)], …`, `DROP AGGREGATE …`
#[derive(Debug, Clone, PartialEq)]
pub struct DropFunctions {
    pub aggregates: bool,
    pub names: Vec<(Name, Option<Vec<ast::DataType>>)>,
    pub if_exists: bool,
}

/// What `CREATE` does when the name is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IfExists {
    Fail,
    /// `IF NOT EXISTS`
    Skip,
    /// `OR REPLACE`; `WITH (discard_rows = true)` allows it to lose rows that cannot be read again.
    Replace {
        discard_rows: bool,
    },
}

#[derive(Debug, Clone, PartialEq)]
pub struct ColumnDef {
    pub name: String,
    pub data_type: ast::DataType,
    pub not_null: bool,
    pub default: Option<ast::Expr>,
    /// The position of its name in the text.
    pub position: usize,
}

/// A watermark: the event time column and the delay behind its maximum.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WatermarkDef {
    pub column: String,
    pub delay_us: i64,
    pub position: usize,
}

/// When a standing query emits a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Emit {
    /// Once, when the watermark closes its window: append mode.
    OnWindowClose,
    /// Whenever it changes: update mode.
    OnUpdate,
    /// The whole result each time, with state kept forever: complete mode.
    Complete,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Drop {
    pub kind: ObjectKind,
    pub names: Vec<Name>,
    pub if_exists: bool,
    pub cascade: bool,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Alter {
    pub kind: ObjectKind,
    pub name: Name,
    pub action: AlterAction,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AlterAction {
    Pause,
    Resume,
    RenameTo(String),
    /// For a source: skips lost data, and readers continue with what is available. For a sink: continues after the data
    /// that is already written.
    ResetOffsets,
}

/// `COPY t (columns) FROM STDIN`.
#[derive(Debug, Clone, PartialEq)]
pub struct CopyIn {
    pub table: Name,
    pub columns: Vec<String>,
    pub format: CopyFormat,
}

/// `COPY t TO STDOUT`, `COPY (SELECT …) TO STDOUT`, `COPY (SUBSCRIBE …) TO STDOUT`.
#[derive(Debug, Clone, PartialEq)]
pub struct CopyOut {
    pub reads: Reads,
    pub format: CopyFormat,
}

/// `SUBSCRIBE TO relation`: streams its changes.
#[derive(Debug, Clone, PartialEq)]
pub struct Subscribe {
    pub relation: Name,
    /// Whether the current rows are sent first.
    pub snapshot: bool,
    /// `AS OF EPOCH n`: continues after that epoch, without a snapshot.
    pub after: Option<u64>,
}

/// The rows of a cursor or a COPY.
#[derive(Debug, Clone, PartialEq)]
pub enum Reads {
    Query(Box<ast::Query>),
    Subscription(Subscribe),
}

impl From<Reads> for Body {
    fn from(reads: Reads) -> Body {
        match reads {
            Reads::Query(query) => Body::Query(query),
            Reads::Subscription(subscribe) => Body::Subscribe(subscribe),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CopyFormat {
    pub kind: CopyKind,
    pub delimiter: u8,
    pub null: String,
    pub header: bool,
    pub quote: u8,
    pub escape: u8,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CopyKind {
    Text,
    Csv,
    Binary,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Show {
    /// `SHOW SOURCES | STREAMS | TABLES | MATERIALIZED VIEWS | SINKS`
    Objects(ObjectKind),
    /// `SHOW SECRETS`: their names.
    Secrets,
    /// `SHOW FUNCTIONS`: user-defined functions and aggregates.
    Functions,
    /// `SHOW CREATE …`; the kind is `None` for `SHOW CREATE name`.
    Create(Option<ObjectKind>, Name),
    /// `SHOW COLUMNS FROM name`
    Columns(Name),
    /// `SHOW setting`
    Setting(String),
    /// `SHOW ALL`
    AllSettings,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DiscardWhat {
    All,
    Plans,
    Sequences,
    Temp,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FetchCount {
    All,
    Rows(u64),
}
