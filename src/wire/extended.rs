//! The extended protocol: Parse, Bind, Describe, Execute and Close, each with a response of its own.

use std::sync::Arc;

use arrow::datatypes::DataType;
use bytes::Bytes;
use datafusion::common::ScalarValue;
use pgwire::api::Type;

use super::{
    backend::{self, Bare},
    connection::Connection,
    dispatch::Outcome,
    door::Door,
    encode::RowFormat,
    frontend::{self, Bind, DescribeTarget, FrontendMessage},
    portal::{Portal, PortalProgress, PortalSource, Prepared, no_cursor},
    values,
};
use crate::{
    engine::Description,
    error::{Error, ErrorKind, Result},
    pg_catalog::types,
    sql::{Weight, parameters},
};

impl<D: Door> Connection<D> {
    /// Handles one message; after an error the connection skips all messages up to Sync.
    pub async fn extended(&mut self, message: FrontendMessage) -> Result<()> {
        self.arm();
        let done = match message {
            FrontendMessage::Parse { name, text, types } => self.on_parse(name, text, types).await,
            FrontendMessage::Bind(bind) => self.on_bind(bind).await,
            FrontendMessage::Describe(DescribeTarget::Statement(name)) => self.on_describe_statement(&name).await,
            FrontendMessage::Describe(DescribeTarget::Portal(name)) => self.on_describe_portal(&name).await,
            FrontendMessage::Execute { portal, rows_max } => self.on_execute(portal, rows_max).await,
            FrontendMessage::Close(target) => {
                match target {
                    DescribeTarget::Statement(name) => drop(self.kept.prepared.remove(&name)),
                    DescribeTarget::Portal(name) => {
                        if self.kept.portals.remove(&name).is_none() {
                            self.kept.cursors.remove(&name);
                        }
                    }
                }
                backend::bare(&mut self.link.out, Bare::CloseComplete);
                Ok(())
            }
            FrontendMessage::NotText(_) => Err(frontend::not_text()),
            FrontendMessage::Refused(_) => Err(self.link.refusal()),
            other => Err(Error::internal(format!("{other:?} is no message of the extended protocol"))),
        };
        self.disarm();
        done
    }

    async fn on_parse(&mut self, name: String, text: String, declared: Vec<u32>) -> Result<()> {
        let weight = Weight::of(&text);
        let (mut statements, mut held) = self.parse(text, weight).await?;
        if statements.len() > 1 {
            return Err(Error::new(ErrorKind::Syntax, "cannot insert multiple commands into a prepared statement"));
        }
        let statement = statements.pop().map(Arc::new);
        if let Some(statement) = &statement {
            self.session.transaction().admit(&statement.body)?;
            // Refuses invalid parameter numbers before memory is allocated for them.
            parameters::numbers(statement)?;
        }
        held.shrink(weight.retained());
        let held = vec![Arc::new(held)];
        self.kept.prepare(name, Prepared { statement, declared, description: None, weight, held })?;
        backend::bare(&mut self.link.out, Bare::ParseComplete);
        Ok(())
    }

    async fn on_bind(&mut self, bind: Bind) -> Result<()> {
        let prepared = self.kept.statement(&bind.statement)?;
        let asks = !bind.values.is_empty() || !prepared.declared.is_empty();
        let mut held = self.account.reserve("parameters", 0)?;
        let parameters = if asks {
            let description = self.description(&bind.statement).await?;
            let oids = self.kept.statement(&bind.statement)?.oids(&description);
            held.resize(bytes_while_read(&bind, &description))?;
            let parameters = parameters(&bind, &oids, &description)?;
            held.shrink(parameters.iter().map(ScalarValue::size).sum());
            parameters
        } else {
            Vec::new()
        };
        let prepared = self.kept.statement(&bind.statement)?.clone();
        let (formats, progress) = (bind.result_formats, PortalProgress::Ready);
        self.kept.bind(bind.portal, Portal { prepared, parameters, formats, described: None, progress, held })?;
        backend::bare(&mut self.link.out, Bare::BindComplete);
        Ok(())
    }

    /// The description of a prepared statement, computed once.
    async fn description(&mut self, name: &str) -> Result<Arc<Description>> {
        let prepared = self.kept.statement(name)?.clone();
        let description = self.describe(&prepared).await?;
        if prepared.description.is_none()
            && let Some(prepared) = self.kept.prepared.get_mut(name)
        {
            prepared.held.push(Prepared::room_for(&self.account, &description)?);
            prepared.description = Some(description.clone());
        }
        Ok(description)
    }

    async fn on_describe_statement(&mut self, name: &str) -> Result<()> {
        let description = self.description(name).await?;
        let oids = self.kept.statement(name)?.oids(&description);
        let zone = self.zone()?;
        backend::parameter_description(&mut self.link.out, oids)?;
        match &description.columns {
            Some(columns) => {
                let format = RowFormat::new(columns, &[], zone)?;
                backend::row_description(&mut self.link.out, format.description())
            }
            None => {
                backend::bare(&mut self.link.out, Bare::NoData);
                Ok(())
            }
        }
    }

    async fn on_describe_portal(&mut self, name: &str) -> Result<()> {
        if !self.kept.portals.contains_key(name) && self.kept.cursors.contains_key(name) {
            let format = self.row_format(&cursor(name), &[])?;
            return backend::row_description(&mut self.link.out, format.description());
        }
        let zone = self.zone()?;
        let portal = self.kept.portals.get(name).ok_or_else(|| no_portal(name))?;
        let (prepared, formats) = (portal.prepared.clone(), portal.formats.clone());
        let description = self.describe(&prepared).await?;
        let Some(columns) = &description.columns else {
            backend::bare(&mut self.link.out, Bare::NoData);
            return Ok(());
        };
        let format = RowFormat::new(columns, &formats, zone)?;
        backend::row_description(&mut self.link.out, format.description())?;
        if let Some(portal) = self.kept.portals.get_mut(name) {
            portal.prepared.held.push(Prepared::room_for(&self.account, &description)?);
            portal.prepared.description = Some(description);
            portal.described = Some(format);
        }
        Ok(())
    }

    async fn on_execute(&mut self, name: String, rows_max: u32) -> Result<()> {
        if !self.kept.portals.contains_key(&name) && self.kept.cursors.contains_key(&name) {
            let mut source = cursor(&name);
            let format = self.row_format(&source, &[])?;
            return self.step(&mut source, &format, rows_max).await;
        }
        // Removed from the map while it runs; dropped if it fails.
        let mut portal = self.kept.portals.remove(&name).ok_or_else(|| no_portal(&name))?;
        self.execute(&mut portal, rows_max).await?;
        // COMMIT, DISCARD and the like close all portals, including their own.
        if !matches!(portal.progress, PortalProgress::Done) {
            self.kept.portals.insert(name, portal);
        }
        Ok(())
    }

    async fn execute(&mut self, portal: &mut Portal, rows_max: u32) -> Result<()> {
        let Some(statement) = portal.prepared.statement.clone() else {
            backend::bare(&mut self.link.out, Bare::EmptyQuery);
            return Ok(());
        };
        if let PortalProgress::Ready = portal.progress {
            portal.progress = PortalProgress::Done;
            let weight = portal.prepared.weight;
            let running = COPIES * portal.held.bytes() + weight.running().saturating_sub(weight.retained());
            let _held = self.account.reserve("a statement", running)?;
            match self.dispatch(statement, portal.parameters.clone()).await? {
                Outcome::Rows(source) => {
                    let format = self.row_format(&source, &portal.formats)?;
                    self.check_unchanged(portal, &format)?;
                    portal.progress = PortalProgress::Sending(source, format);
                }
                other => return self.respond_without_rows(other).await,
            }
        }
        let PortalProgress::Sending(source, format) = &mut portal.progress else {
            return Err(Error::new(ErrorKind::ObjectNotInState, "the portal cannot be run any more"));
        };
        let format = format.clone();
        self.step(source, &format, rows_max).await
    }

    /// Sends all rows, or at most `rows_max`.
    async fn step(&mut self, source: &mut PortalSource, format: &RowFormat, rows_max: u32) -> Result<()> {
        let max = (rows_max > 0).then_some(u64::from(rows_max));
        let sent = self.send(source, format, max).await?;
        if max == Some(sent) {
            backend::bare(&mut self.link.out, Bare::PortalSuspended);
            return Ok(());
        }
        let tag = self.tag(source, sent)?;
        self.complete(&tag)
    }

    /// Fails if the columns changed since they were described to the client.
    fn check_unchanged(&self, portal: &Portal, format: &RowFormat) -> Result<()> {
        let described = match (&portal.described, &portal.prepared.description) {
            (Some(described), _) => Some(described.clone()),
            (None, Some(description)) => match &description.columns {
                Some(columns) => Some(RowFormat::new(columns, &[], self.zone()?)?),
                None => None,
            },
            (None, None) => None,
        };
        match described {
            Some(described) if !described.fits(format) => {
                Err(Error::new(ErrorKind::Unsupported, "cached plan must not change result type"))
            }
            _ => Ok(()),
        }
    }
}

/// Copies of parameter values held while a statement is planned and started.
const COPIES: usize = 4;
/// Bytes held per byte of an array in text form, and in binary form, while it is parsed.
const ARRAY_TEXT_TIMES: usize = 80;
const ARRAY_TIMES: usize = 12;

/// Upper bound of the bytes held while the values of Bind are parsed.
fn bytes_while_read(bind: &Bind, description: &Description) -> usize {
    let one = |(n, value): (usize, &Option<Bytes>)| {
        let list = description.parameters.get(n).is_some_and(DataType::is_nested);
        let text = bind.formats.get(n).or(bind.formats.first()).copied().unwrap_or(0) == 0;
        let times = match (list, text) {
            (true, true) => ARRAY_TEXT_TIMES,
            (true, false) => ARRAY_TIMES,
            (false, _) => 2,
        };
        size_of::<ScalarValue>() + value.as_ref().map_or(0, Bytes::len).saturating_mul(times)
    };
    bind.values.iter().enumerate().map(one).fold(0, usize::saturating_add)
}

/// The remaining rows of a cursor, as a portal.
fn cursor(name: &str) -> PortalSource {
    PortalSource::Cursor { name: name.to_string(), left: None, timeout: None }
}

fn no_portal(name: &str) -> Error {
    match name {
        "" => Error::new(ErrorKind::InvalidCursor, "unnamed portal does not exist"),
        name => no_cursor(name),
    }
}

/// The values of Bind in the parameter types of the statement.
fn parameters(bind: &Bind, oids: &[u32], description: &Description) -> Result<Vec<ScalarValue>> {
    let (given, needed) = (bind.values.len(), description.parameters.len());
    if given != needed {
        return Err(Error::new(
            ErrorKind::ProtocolViolation,
            format!(
                "bind message supplies {given} parameters, but prepared statement \"{}\" requires {needed}",
                bind.statement
            ),
        ));
    }
    if bind.formats.len() > 1 && bind.formats.len() != given {
        return Err(Error::new(
            ErrorKind::ProtocolViolation,
            format!("bind message has {} parameter formats but {given} parameters", bind.formats.len()),
        ));
    }
    let each = bind.values.iter().zip(oids).zip(&description.parameters).enumerate();
    each.map(|(i, ((value, oid), target))| {
        let format = bind.formats.get(i).or(bind.formats.first()).copied().unwrap_or(0);
        parameter(value.as_ref(), format, *oid, target)
            .map_err(|e| e.detail(format!("It was the value of parameter ${}.", i + 1)))
    })
    .collect()
}

fn parameter(value: Option<&Bytes>, format: i16, oid: u32, target: &DataType) -> Result<ScalarValue> {
    match (value, format) {
        (None, _) => Ok(ScalarValue::try_from(target)?),
        (Some(bytes), 0) => values::from_text(&values::text_of(bytes.clone())?, target),
        (Some(bytes), 1) => {
            let ty = Type::from_oid(oid).or(Type::from_oid(types::TEXT)).unwrap_or(Type::UNKNOWN);
            values::from_binary(bytes.clone(), &ty, target)
        }
        (_, other) => Err(Error::new(ErrorKind::ProtocolViolation, format!("unsupported format code: {other}"))),
    }
}
