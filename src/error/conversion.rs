//! Errors of Arrow and of DataFusion as errors of ours, and the way back.

use datafusion::{arrow::error::ArrowError, error::DataFusionError};

use super::{
    Error, ErrorKind, beyond_arrow, lower,
    planning::{planning, unsupported},
};

impl From<Error> for DataFusionError {
    fn from(e: Error) -> Self {
        DataFusionError::External(Box::new(e))
    }
}

impl From<ArrowError> for Error {
    fn from(e: ArrowError) -> Self {
        match e {
            ArrowError::ExternalError(inner) => match inner.downcast::<Error>() {
                Ok(ours) => *ours,
                Err(inner) => match inner.downcast::<DataFusionError>() {
                    Ok(df) => Error::from(*df),
                    Err(inner) => Error::internal(inner.to_string()),
                },
            },
            ArrowError::DivideByZero => Error::new(ErrorKind::DivisionByZero, "division by zero"),
            ArrowError::ArithmeticOverflow(m) => overflow(&m),
            ArrowError::OffsetOverflowError(_) => beyond_arrow(),
            ArrowError::CastError(m) | ArrowError::ParseError(m) => value(&m),
            ArrowError::ComputeError(m) if m.contains("out of range") => overflow(&m),
            ArrowError::ComputeError(m) => Error::new(ErrorKind::InvalidParameterValue, lower(&m)),
            ArrowError::InvalidArgumentError(m) if m.contains("to store in a Decimal") => value(&m),
            ArrowError::InvalidArgumentError(m) => Error::new(ErrorKind::InvalidParameterValue, lower(&m)),
            ArrowError::NotYetImplemented(m) => Error::new(ErrorKind::Unsupported, lower(&m)),
            ArrowError::IoError(m, e) => Error::new(ErrorKind::Io, lower(&m)).caused_by(e),
            other => Error::internal(lower(&other.to_string())),
        }
    }
}

impl From<DataFusionError> for Error {
    fn from(e: DataFusionError) -> Self {
        use datafusion::common::SchemaError;
        match e {
            DataFusionError::External(inner) => match inner.downcast::<Error>() {
                Ok(ours) => *ours,
                Err(inner) => match inner.downcast::<DataFusionError>() {
                    Ok(df) => Error::from(*df),
                    Err(inner) => Error::internal(inner.to_string()),
                },
            },
            DataFusionError::ArrowError(e, _) => Error::from(*e),
            DataFusionError::Context(context, inner) => {
                let inner = Error::from(*inner);
                if inner.0.detail.is_none() && inner.kind() == ErrorKind::Internal {
                    inner.detail(context)
                } else {
                    inner
                }
            }
            DataFusionError::Diagnostic(diagnostic, inner) => {
                let mut error = Error::from(*inner);
                error.0.place = diagnostic.span.map(|span| (span.start.line, span.start.column)).or(error.0.place);
                error
            }
            DataFusionError::Collection(mut all) if !all.is_empty() => Error::from(all.swap_remove(0)),
            DataFusionError::Shared(inner) => shared(&inner),
            DataFusionError::SchemaError(e, _) => match *e {
                SchemaError::AmbiguousReference { field } => {
                    Error::new(ErrorKind::AmbiguousColumn, format!("column reference \"{}\" is ambiguous", field.name))
                }
                SchemaError::FieldNotFound { field, valid_fields } => {
                    let error = Error::new(
                        ErrorKind::UndefinedColumn,
                        format!("column \"{}\" does not exist", field.flat_name()),
                    );
                    match valid_fields.iter().find(|f| f.name.eq_ignore_ascii_case(&field.name)) {
                        Some(f) => error.hint(format!("Perhaps you meant the column \"{}\".", f.flat_name())),
                        None => error,
                    }
                }
                SchemaError::DuplicateQualifiedField { name, .. } | SchemaError::DuplicateUnqualifiedField { name } => {
                    Error::new(ErrorKind::DuplicateColumn, format!("column \"{name}\" specified more than once"))
                }
            },
            DataFusionError::SQL(e, _) => Error::new(ErrorKind::Syntax, lower(&e.to_string())),
            DataFusionError::NotImplemented(m) => unsupported(&m),
            DataFusionError::ResourcesExhausted(m) => Error::new(ErrorKind::OutOfMemory, lower(&m)),
            DataFusionError::IoError(e) => Error::from(e),
            DataFusionError::ObjectStore(e) => {
                let kind = match *e {
                    object_store::Error::NotFound { .. } => ErrorKind::UndefinedFile,
                    _ => ErrorKind::Io,
                };
                Error::new(kind, lower(&e.to_string()))
            }
            DataFusionError::Plan(m) => planning(&m),
            DataFusionError::Execution(m) => execution(&m),
            DataFusionError::Configuration(m) => Error::new(ErrorKind::InvalidParameterValue, lower(&m)),
            other => Error::internal(lower(&other.strip_backtrace())),
        }
    }
}

/// An error that several partitions share cannot be taken apart; its text and class can be kept.
fn shared(e: &DataFusionError) -> Error {
    match e {
        DataFusionError::External(inner) => match inner.downcast_ref::<Error>() {
            Some(ours) => ours.clone(),
            None => Error::internal(inner.to_string()),
        },
        DataFusionError::ArrowError(e, _) => match e.as_ref() {
            ArrowError::DivideByZero => Error::new(ErrorKind::DivisionByZero, "division by zero"),
            ArrowError::ArithmeticOverflow(m) => overflow(m),
            ArrowError::OffsetOverflowError(_) => beyond_arrow(),
            ArrowError::ComputeError(m) if m.contains("out of range") => overflow(m),
            ArrowError::CastError(m) | ArrowError::ParseError(m) => value(m),
            ArrowError::ExternalError(inner) => match inner.downcast_ref::<Error>() {
                Some(ours) => ours.clone(),
                None => Error::internal(lower(&inner.to_string())),
            },
            other => Error::internal(lower(&other.to_string())),
        },
        DataFusionError::Shared(e) => shared(e),
        DataFusionError::Context(_, e) | DataFusionError::Diagnostic(_, e) => shared(e),
        DataFusionError::ResourcesExhausted(m) => Error::new(ErrorKind::OutOfMemory, lower(m)),
        DataFusionError::Execution(m) => execution(m),
        other => Error::internal(lower(&other.strip_backtrace())),
    }
}

/// A number, or a time, that its type does not have.
fn overflow(message: &str) -> Error {
    let text = lower(message);
    let is_time = ["timestamp", "date", "interval"].iter().any(|what| text.to_lowercase().contains(what));
    Error::new(if is_time { ErrorKind::DatetimeOverflow } else { ErrorKind::NumericOutOfRange }, text)
}

fn execution(message: &str) -> Error {
    if message.contains("annot access field at argument") {
        let message = "a field is asked of a column that is not a composite type";
        let hint = "Where it has the name of a relation of the query around, give that relation another name with AS.";
        return Error::new(ErrorKind::WrongObjectType, message).hint(hint);
    }
    if message.contains("calar subquery returned more than one row") {
        return Error::new(
            ErrorKind::CardinalityViolation,
            "more than one row returned by a subquery used as an expression",
        );
    }
    if message.contains("exceeds the representable i64 range") {
        return Error::new(ErrorKind::DatetimeOverflow, "timestamp out of range");
    }
    Error::new(ErrorKind::InvalidParameterValue, lower(message))
}

/// A value that does not fit a type: Arrow says one thing in many words, drivers want to know which.
fn value(message: &str) -> Error {
    let text = lower(message);
    if let Some((_, number)) = text.split_once(". Overflowing on ") {
        let finite = number.parse().is_ok_and(f64::is_finite);
        let text = if finite { "numeric field overflow".into() } else { format!("cannot convert {number} to numeric") };
        return Error::new(ErrorKind::NumericOutOfRange, text);
    }
    let kind = if text.starts_with("can't cast value") || text.contains("to store in a Decimal") || too_large(&text) {
        ErrorKind::NumericOutOfRange
    } else if ["error parsing timestamp", "error parsing date"].iter().any(|start| text.starts_with(start))
        || ["of Date32 type", "of Date64 type", "of Time64(us) type", "of Time64(ns) type"]
            .iter()
            .any(|end| text.contains(end))
    {
        ErrorKind::InvalidDatetime
    } else {
        ErrorKind::InvalidText
    };
    Error::new(kind, text)
}

/// A text that is a whole number, but none of its type.
fn too_large(text: &str) -> bool {
    let quoted = text.strip_prefix("cannot cast string '").and_then(|rest| rest.split_once("' to value of "));
    quoted.is_some_and(|(value, ty)| ty.contains("Int") && value.trim().parse::<i128>().is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn converted(message: &str) -> String {
        let error = Error::from(DataFusionError::Plan(message.to_string()));
        format!("{} {error}", error.kind().sqlstate())
    }

    #[test]
    fn planner_and_arrow_errors_get_their_sqlstate() {
        for (said, expected) in [
            (
                "Internal error: Function 'avg' failed to match any signature, errors: …. This issue was likely caused \
                 by a bug in DataFusion's code. No function matches the given name and argument types \
                 'avg(Utf8)'. You might need to add explicit type casts.\n\tCandidate functions:\n\tavg(Decimal)",
                "42883 function avg(Utf8) does not exist",
            ),
            ("Invalid function 'nofunc'.\nDid you mean 'round'?", "42883 function \"nofunc\" does not exist"),
            ("Order by column out of bounds, specified: 2, max: 1", "42P10 ORDER BY position 2 is not in select list"),
            ("LIMIT must be >= 0, '-1' was provided", "2201W LIMIT must not be negative"),
            ("OFFSET must be >=0, '-1' was provided", "2201X OFFSET must not be negative"),
        ] {
            assert_eq!(converted(said), expected);
        }
        let more = Error::from(DataFusionError::Execution("Scalar subquery returned more than one row".into()));
        assert_eq!(more.kind(), ErrorKind::CardinalityViolation);
        for (value, kind) in [("99999999999", ErrorKind::NumericOutOfRange), ("x", ErrorKind::InvalidText)] {
            let error = ArrowError::CastError(format!("Cannot cast string '{value}' to value of Int32 type"));
            assert_eq!(Error::from(error).kind(), kind, "{value}");
        }
    }
}
