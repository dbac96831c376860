//! Errors, as Postgres says them: what went wrong, in which class, and what to do about it.
//!
//! A message is lowercase, has no full stop, and names its object; the kind decides the SQLSTATE; `Display` prints
//! the message alone. Log an error where it is handled, never where it is passed on.

mod conversion;
mod planning;

use std::{fmt, sync::Arc};

pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What class of thing went wrong. Each kind is one SQLSTATE.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    Syntax,
    Unsupported,
    UndefinedTable,
    UndefinedColumn,
    UndefinedFunction,
    AmbiguousFunction,
    UndefinedObject,
    UndefinedParameter,
    AmbiguousColumn,
    DuplicateTable,
    DuplicateColumn,
    DuplicateObject,
    WrongObjectType,
    InvalidDefinition,
    InvalidFunctionDefinition,
    DuplicateFunction,
    InvalidColumnReference,
    IndeterminateType,
    InvalidTableDefinition,
    ReservedName,
    DatatypeMismatch,
    GroupingError,
    CannotCoerce,
    InvalidParameterValue,
    DependentObjects,
    UniqueViolation,
    NotNullViolation,
    DivisionByZero,
    NumericOutOfRange,
    NullNotAllowed,
    SubstringError,
    ArraySubscript,
    UntranslatableCharacter,
    InvalidRegularExpression,
    InvalidLogArgument,
    InvalidPowerArgument,
    InvalidWidthBucket,
    InvalidTimeZoneDisplacement,
    IntervalOverflow,
    InvalidLimit,
    InvalidOffset,
    BadCharacter,
    InvalidEscape,
    InvalidUseOfEscape,
    InvalidDatetime,
    DatetimeOverflow,
    InvalidText,
    InvalidBinary,
    BadCopyFormat,
    CardinalityViolation,
    ProtocolViolation,
    InvalidCursor,
    InvalidStatementName,
    InvalidTransactionState,
    ReadOnlyTransaction,
    ActiveTransaction,
    FailedTransaction,
    InvalidAuthorization,
    InsufficientPrivilege,
    UndefinedDatabase,
    TooManyConnections,
    OutOfMemory,
    DiskFull,
    LimitExceeded,
    TooManyColumns,
    ConfigurationLimit,
    ObjectNotInState,
    /// What is asked for is not back yet after a start: it may be waited for.
    Recovering,
    ObjectInUse,
    QueryCanceled,
    AdminShutdown,
    CannotConnectNow,
    Io,
    UndefinedFile,
    DataCorrupted,
    Config,
    Internal,
}

impl ErrorKind {
    /// The five characters that Postgres drivers decide by.
    pub fn sqlstate(self) -> &'static str {
        match self {
            ErrorKind::Syntax => "42601",
            ErrorKind::Unsupported => "0A000",
            ErrorKind::UndefinedTable => "42P01",
            ErrorKind::UndefinedColumn => "42703",
            ErrorKind::UndefinedFunction => "42883",
            ErrorKind::AmbiguousFunction => "42725",
            ErrorKind::UndefinedObject => "42704",
            ErrorKind::UndefinedParameter => "42P02",
            ErrorKind::AmbiguousColumn => "42702",
            ErrorKind::DuplicateTable => "42P07",
            ErrorKind::DuplicateColumn => "42701",
            ErrorKind::DuplicateObject => "42710",
            ErrorKind::WrongObjectType => "42809",
            ErrorKind::InvalidDefinition => "42P17",
            ErrorKind::InvalidFunctionDefinition => "42P13",
            ErrorKind::DuplicateFunction => "42723",
            ErrorKind::InvalidColumnReference => "42P10",
            ErrorKind::IndeterminateType => "42P18",
            ErrorKind::InvalidTableDefinition => "42P16",
            ErrorKind::ReservedName => "42939",
            ErrorKind::DatatypeMismatch => "42804",
            ErrorKind::GroupingError => "42803",
            ErrorKind::CannotCoerce => "42846",
            ErrorKind::InvalidParameterValue => "22023",
            ErrorKind::DependentObjects => "2BP01",
            ErrorKind::UniqueViolation => "23505",
            ErrorKind::NotNullViolation => "23502",
            ErrorKind::DivisionByZero => "22012",
            ErrorKind::NumericOutOfRange => "22003",
            ErrorKind::NullNotAllowed => "22004",
            ErrorKind::SubstringError => "22011",
            ErrorKind::ArraySubscript => "2202E",
            ErrorKind::UntranslatableCharacter => "22P05",
            ErrorKind::InvalidRegularExpression => "2201B",
            ErrorKind::InvalidLogArgument => "2201E",
            ErrorKind::InvalidPowerArgument => "2201F",
            ErrorKind::InvalidWidthBucket => "2201G",
            ErrorKind::InvalidTimeZoneDisplacement => "22009",
            ErrorKind::IntervalOverflow => "22015",
            ErrorKind::InvalidLimit => "2201W",
            ErrorKind::InvalidOffset => "2201X",
            ErrorKind::BadCharacter => "22021",
            ErrorKind::InvalidEscape => "22025",
            ErrorKind::InvalidUseOfEscape => "2200C",
            ErrorKind::InvalidDatetime => "22007",
            ErrorKind::DatetimeOverflow => "22008",
            ErrorKind::InvalidText => "22P02",
            ErrorKind::InvalidBinary => "22P03",
            ErrorKind::BadCopyFormat => "22P04",
            ErrorKind::CardinalityViolation => "21000",
            ErrorKind::ProtocolViolation => "08P01",
            ErrorKind::InvalidCursor => "34000",
            ErrorKind::InvalidStatementName => "26000",
            ErrorKind::InvalidTransactionState => "25000",
            ErrorKind::ReadOnlyTransaction => "25006",
            ErrorKind::ActiveTransaction => "25001",
            ErrorKind::FailedTransaction => "25P02",
            ErrorKind::InsufficientPrivilege => "42501",
            ErrorKind::InvalidAuthorization => "28000",
            ErrorKind::UndefinedDatabase => "3D000",
            ErrorKind::TooManyConnections => "53300",
            ErrorKind::OutOfMemory => "53200",
            ErrorKind::DiskFull => "53100",
            ErrorKind::LimitExceeded => "54000",
            ErrorKind::TooManyColumns => "54011",
            ErrorKind::ConfigurationLimit => "53400",
            ErrorKind::ObjectNotInState | ErrorKind::Recovering => "55000",
            ErrorKind::ObjectInUse => "55006",
            ErrorKind::QueryCanceled => "57014",
            ErrorKind::AdminShutdown => "57P01",
            ErrorKind::CannotConnectNow => "57P03",
            ErrorKind::Io => "58030",
            ErrorKind::UndefinedFile => "58P01",
            ErrorKind::DataCorrupted => "XX001",
            ErrorKind::Config => "F0000",
            ErrorKind::Internal => "XX000",
        }
    }
}

/// One error. Cheap to clone: the same failure is shown to a client, a system table and the log.
#[derive(Debug, Clone)]
pub struct Error(Box<Inner>);

#[derive(Debug, Clone)]
struct Inner {
    kind: ErrorKind,
    message: String,
    detail: Option<String>,
    hint: Option<String>,
    position: Option<usize>,
    /// Line and column, from 1, of a place that only the statement's text can turn into a position.
    place: Option<(u64, u64)>,
    source: Option<Arc<dyn std::error::Error + Send + Sync>>,
}

impl Error {
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        let message = message.into();
        Error(Box::new(Inner { kind, message, detail: None, hint: None, position: None, place: None, source: None }))
    }

    /// Something DESIGN allows but this server does not do (yet): names the construct.
    pub fn unsupported(what: impl fmt::Display) -> Self {
        Error::new(ErrorKind::Unsupported, format!("{what} is not supported"))
    }

    /// A broken promise of our own: always a bug.
    pub fn internal(message: impl Into<String>) -> Self {
        Error::new(ErrorKind::Internal, message)
    }

    /// A panic that is no bug: Arrow has no other way of saying that an array is too large.
    pub fn of_panic(text: &str) -> Option<Self> {
        text.contains("offset overflow").then(beyond_arrow)
    }

    pub fn detail(mut self, detail: impl Into<String>) -> Self {
        self.0.detail = Some(detail.into());
        self
    }

    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.0.hint = Some(hint.into());
        self
    }

    /// Where in the statement's text, in characters from 1, as Postgres counts.
    pub fn at(mut self, position: usize) -> Self {
        self.0.position.get_or_insert(position);
        self
    }

    /// The same in a longer text, in which so many characters stand before its own.
    pub fn moved(mut self, by: usize) -> Self {
        self.0.position = self.0.position.map(|position| position + by);
        self
    }

    /// The same without a place that is one of another text.
    pub fn unplaced(mut self) -> Self {
        self.0.place = None;
        self
    }

    /// Turns the place that the planner told, if it told one, into a position.
    pub fn placed(self, position: impl FnOnce(u64, u64) -> Option<usize>) -> Self {
        match self.0.place.and_then(|(line, column)| position(line, column)) {
            Some(position) => self.at(position),
            None => self,
        }
    }

    pub fn caused_by(mut self, source: impl std::error::Error + Send + Sync + 'static) -> Self {
        self.0.source = Some(Arc::new(source));
        self
    }

    pub fn with_kind(mut self, kind: ErrorKind) -> Self {
        self.0.kind = kind;
        self
    }

    /// Puts `context: ` before the message.
    pub fn context(mut self, context: impl fmt::Display) -> Self {
        self.0.message = format!("{context}: {}", self.0.message);
        self
    }

    /// Whether a text stands anywhere in it.
    pub fn tells(&self, text: &str) -> bool {
        let Inner { message, detail, hint, source, .. } = self.0.as_ref();
        let found =
            [Some(message), detail.as_ref(), hint.as_ref()].into_iter().flatten().any(|part| part.contains(text));
        found || source.as_ref().is_some_and(|source| format!("{source:?} {source}").contains(text))
    }

    /// The same without some texts that nobody may see.
    pub fn masked(mut self, hidden: &[String]) -> Self {
        let Inner { message, detail, hint, source, .. } = self.0.as_mut();
        for text in [Some(message), detail.as_mut(), hint.as_mut()].into_iter().flatten() {
            for secret in hidden.iter().filter(|secret| !secret.is_empty()) {
                *text = text.replace(secret.as_str(), "***");
            }
        }
        if !hidden.is_empty() {
            *source = None;
        }
        self
    }

    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }
    pub fn message(&self) -> &str {
        &self.0.message
    }
    pub fn detail_text(&self) -> Option<&str> {
        self.0.detail.as_deref()
    }
    pub fn hint_text(&self) -> Option<&str> {
        self.0.hint.as_deref()
    }
    pub fn position(&self) -> Option<usize> {
        self.0.position
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source.as_ref().map(|s| s.as_ref() as _)
    }
}

impl From<std::io::Error> for Error {
    fn from(e: std::io::Error) -> Self {
        let kind = match e.kind() {
            std::io::ErrorKind::NotFound => ErrorKind::UndefinedFile,
            std::io::ErrorKind::StorageFull => ErrorKind::DiskFull,
            _ => ErrorKind::Io,
        };
        Error::new(kind, e.to_string()).caused_by(e)
    }
}

/// Arrow finds the place of a value in 32 bits.
fn beyond_arrow() -> Error {
    Error::new(ErrorKind::LimitExceeded, "the rows of one batch hold more than 2 GB")
        .hint("Read shorter values, or fewer.")
}

/// Postgres' manner: lowercase first letter, no full stop, no prefix of the library that said it.
fn lower(message: &str) -> String {
    let mut text = message.trim();
    for prefix in [
        "Error during planning: ",
        "Execution error: ",
        "Arrow error: ",
        "SQL error: ",
        "sql parser error: ",
        "External error: ",
        "Cast error: ",
        "Parser error: ",
        "This feature is not implemented: ",
    ] {
        text = text.strip_prefix(prefix).unwrap_or(text);
    }
    let text = text.strip_suffix('.').unwrap_or(text);
    let mut chars = text.chars();
    match (chars.next(), chars.clone().next()) {
        (Some(first), Some(second)) if first.is_uppercase() && !second.is_uppercase() => {
            first.to_lowercase().chain(chars).collect()
        }
        _ => text.to_string(),
    }
}
