//! What a client can ask for, as plain data. Queries and expressions are sqlparser's; everything of our own is here.

use std::time::Duration;

use datafusion::sql::sqlparser::{ast, tokenizer::Location};

use crate::{
    catalog::{ObjectKind, Secret},
    options::Options,
};

/// One statement and the text that it was parsed from.
#[derive(Debug, Clone, PartialEq)]
pub struct Statement {
    pub body: Body,
    /// The statement as written, without the semicolon: what `SHOW CREATE` tells and the catalog keeps.
    pub text: String,
    /// Where it begins in the text that it came in.
    pub start: StatementStart,
}

/// The place of a statement's first character in a longer text. All are counted from 1, in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StatementStart {
    pub line: u64,
    pub column: u64,
    pub position: usize,
}

impl Statement {
    /// The position, for [`Error::at`](crate::error::Error::at), of a place that sqlparser's trees tell: both are places
    /// in the whole text. `None` for a place that is not within the statement.
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
    /// `CREATE STREAM`, `CREATE MATERIALIZED VIEW`, `CREATE VIEW`, `CREATE SINK`: a query under a name.
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
    /// `EXPLAIN MATERIALIZED VIEW v`: the plan of what runs already.
    ExplainRelation(Name),
    Show(Show),
    /// `FLUSH [name]`: waits until all that was available when it was sent is in every view, or in that one.
    Flush(Option<Name>),
    Set {
        name: String,
        value: Option<String>,
        local: bool,
    },
    /// `RESET name`, or `RESET ALL` where `None`.
    Reset(Option<String>),
    /// `READ ONLY`, `READ WRITE`, or `None` where neither was said.
    Begin {
        read_only: Option<bool>,
    },
    Commit,
    Rollback,
    /// `SAVEPOINT`, `RELEASE`, `ROLLBACK TO`, `LISTEN`, `UNLISTEN`, …: taken and without effect; the command tag.
    NoOp(String),
    Discard(DiscardWhat),
    Prepare {
        name: String,
        /// The types of its first parameters, where they were told.
        types: Vec<ast::DataType>,
        statement: Box<Statement>,
    },
    Execute {
        name: String,
        parameters: Vec<ast::Expr>,
    },
    /// `DEALLOCATE name`, or all of them where `None`.
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
        /// How long it may wait for the rows of a subscription.
        timeout: Option<Duration>,
    },
    /// `CLOSE name`, or all of them where `None`.
    Close(Option<String>),
}

/// The name of an object as written: lowercase unless it was quoted. `schema` is `None` where none was given.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Name {
    pub schema: Option<String>,
    pub name: String,
    /// Where it stands in the text, in characters from 1; 0 where nobody knows.
    pub position: usize,
}

/// `CREATE SOURCE`, and `CREATE [EXTERNAL] TABLE … WITH (connector = …)`.
#[derive(Debug, Clone, PartialEq)]
pub struct CreateSource {
    pub name: Name,
    pub exists: IfExists,
    /// Empty: to be inferred from what the source holds.
    pub columns: Vec<ColumnDef>,
    pub watermark: Option<WatermarkDef>,
    /// `CREATE EXTERNAL TABLE`: read as a whole wherever it is used, never followed.
    pub fixed: bool,
    /// The columns by which rows are set and removed, where the format does that; else none.
    pub key: Vec<String>,
    pub options: Options,
}

#[derive(Debug, Clone, PartialEq)]
pub struct CreateTable {
    pub name: Name,
    pub exists: IfExists,
    pub columns: Vec<ColumnDef>,
    /// Names of the key's columns; empty where the table has none.
    pub primary_key: Vec<String>,
    pub append_only: bool,
    pub watermark: Option<WatermarkDef>,
    pub options: Options,
    /// `CREATE TABLE … AS`; then `columns` is empty.
    pub query: Option<Box<ast::Query>>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct CreateView {
    /// [`Kind::Stream`], [`Kind::MaterializedView`], [`Kind::View`] or [`Kind::Sink`].
    pub kind: ObjectKind,
    pub name: Name,
    pub exists: IfExists,
    /// `CREATE … VIEW v (a, b)`: new names for the columns; empty keeps them.
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

/// `CREATE FUNCTION`: an expression under a name.
#[derive(Debug, Clone, PartialEq)]
pub struct CreateFunction {
    pub name: Name,
    pub replace: bool,
    pub arguments: Vec<Argument>,
    pub returns: ast::DataType,
    /// Whether it is NULL where an argument is, whatever it says.
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
    /// `OR REPLACE`; with `WITH (discard_rows = true)` even where rows go that nobody gives again.
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
    /// Where its name stands in the text.
    pub position: usize,
}

/// Every spelling of a watermark comes down to a column and how far behind its maximum the watermark stays.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WatermarkDef {
    pub column: String,
    pub delay_us: i64,
    pub position: usize,
}

/// When a standing query shows a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Emit {
    /// Once, when the watermark proves it final: append.
    OnWindowClose,
    /// Whenever it changes: update.
    OnUpdate,
    /// The whole answer each time, nothing forgotten: complete.
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
    /// Of a source: what is lost is given up, and readers go on with what there is. Of a sink: it goes on after whatever is
    /// outside.
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

/// `SUBSCRIBE TO relation`: its changes as they come.
#[derive(Debug, Clone, PartialEq)]
pub struct Subscribe {
    pub relation: Name,
    /// Whether the rows that are there come first.
    pub snapshot: bool,
    /// `AS OF EPOCH n`: goes on after that epoch, without a snapshot.
    pub after: Option<u64>,
}

/// What gives the rows of a cursor, and of COPY.
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
    /// `SHOW FUNCTIONS`: those that statements made, aggregates among them.
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
