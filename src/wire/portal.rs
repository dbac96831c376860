//! The objects of a session: prepared statements, portals and cursors. All are bounded.

use std::{collections::HashMap, sync::Arc, time::Duration};

use arrow::datatypes::DataType;
use datafusion::common::ScalarValue;

use super::{
    encode::RowFormat,
    session_memory::{Account, HeldBytes},
    work::RowStream,
};
use crate::{
    engine::Description,
    error::{Error, ErrorKind, Result},
    pg_catalog::types,
    sql::{Weight, statement::Statement},
};

/// Maximum of prepared statements: drivers that cache them have some hundred.
const PREPARED_MAX: usize = 10_000;
/// Maximum of portals and of cursors; each holds a running query.
const OPEN_MAX: usize = 256;

/// A prepared statement. PREPARE and Parse share their names.
#[derive(Clone)]
pub(super) struct Prepared {
    /// `None` for the empty query.
    pub statement: Option<Arc<Statement>>,
    /// Parameter type oids declared by the client; 0 is unspecified.
    pub declared: Vec<u32>,
    /// Computed by the engine at the first Describe or Bind.
    pub description: Option<Arc<Description>>,
    /// The weight of its text, for reserving memory.
    pub weight: Weight,
    /// The memory of statement and description.
    pub held: Vec<Arc<HeldBytes>>,
}

/// Bytes of a description per column besides its name.
const COLUMN_BYTES: usize = 512;

impl Prepared {
    /// Reserves memory for a description.
    pub fn room_for(account: &Account, description: &Description) -> Result<Arc<HeldBytes>> {
        let fields = description.columns.iter().flat_map(|columns| columns.fields());
        let bytes = fields.map(|field| COLUMN_BYTES + 2 * field.name().len()).sum::<usize>();
        let parameters = description.parameters.len() * size_of::<DataType>();
        account.reserve("the description of a statement", bytes + parameters).map(Arc::new)
    }

    pub fn types(&self) -> Vec<Option<DataType>> {
        self.declared.iter().map(|oid| types::from_oid(*oid)).collect()
    }

    /// The parameter oids for the client: the declared ones, or else the inferred.
    pub fn oids(&self, description: &Description) -> Vec<u32> {
        let inferred = description.parameters.iter().enumerate();
        inferred
            .map(|(i, ty)| match self.declared.get(i).copied().unwrap_or(0) {
                0 | 705 => types::of(ty).oid(),
                oid => oid,
            })
            .collect()
    }
}

/// A statement bound to parameters.
pub(super) struct Portal {
    pub prepared: Prepared,
    pub parameters: Vec<ScalarValue>,
    pub formats: Vec<i16>,
    /// The row format described to the client, if it asked.
    pub described: Option<RowFormat>,
    pub progress: PortalProgress,
    /// The memory of its parameters.
    pub held: HeldBytes,
}

pub(super) enum PortalProgress {
    Ready,
    Sending(PortalSource, RowFormat),
    Done,
}

/// The source of a portal's rows.
pub(super) enum PortalSource {
    Own(RowStream),
    /// `FETCH`: some or all rows of a cursor; for those of a subscription it waits at most `timeout`.
    Cursor {
        name: String,
        left: Option<u64>,
        timeout: Option<Duration>,
    },
}

/// A query whose rows are read in steps.
pub(super) struct SqlCursor {
    pub rows: RowStream,
    pub hold: bool,
    pub binary: bool,
}

/// The objects of one session.
#[derive(Default)]
pub(super) struct SessionObjects {
    pub prepared: HashMap<String, Prepared>,
    pub portals: HashMap<String, Portal>,
    pub cursors: HashMap<String, SqlCursor>,
}

impl SessionObjects {
    /// The unnamed statement is replaced, a named one must be new.
    pub fn prepare(&mut self, name: String, prepared: Prepared) -> Result<()> {
        if !name.is_empty() && self.prepared.contains_key(&name) {
            return Err(Error::new(
                ErrorKind::DuplicateObject,
                format!("prepared statement \"{name}\" already exists"),
            ));
        }
        if self.prepared.len() >= PREPARED_MAX {
            return Err(Error::new(ErrorKind::LimitExceeded, format!("more than {PREPARED_MAX} prepared statements"))
                .hint("DEALLOCATE those that are not needed any more."));
        }
        self.prepared.insert(name, prepared);
        Ok(())
    }

    pub fn statement(&mut self, name: &str) -> Result<&mut Prepared> {
        self.prepared.get_mut(name).ok_or_else(|| match name {
            "" => Error::new(ErrorKind::InvalidStatementName, "unnamed prepared statement does not exist"),
            name => {
                Error::new(ErrorKind::InvalidStatementName, format!("prepared statement \"{name}\" does not exist"))
            }
        })
    }

    pub fn bind(&mut self, name: String, portal: Portal) -> Result<()> {
        if !name.is_empty() && self.portals.contains_key(&name) {
            return Err(Error::new(ErrorKind::DuplicateObject, format!("cursor \"{name}\" already exists")));
        }
        self.room()?;
        self.portals.insert(name, portal);
        Ok(())
    }

    pub fn declare(&mut self, name: &str, cursor: SqlCursor) -> Result<()> {
        self.room()?;
        self.cursors.insert(name.to_string(), cursor);
        Ok(())
    }

    /// Fails if a cursor of this name exists, before its query is started.
    pub fn undeclared(&self, name: &str) -> Result<()> {
        match self.cursors.contains_key(name) {
            true => Err(Error::new(ErrorKind::DuplicateObject, format!("cursor \"{name}\" already exists"))),
            false => self.room(),
        }
    }

    /// The rows of a cursor or of a started portal, either of which `FETCH` and `MOVE` can read, and whether they are
    /// always binary.
    pub fn reading(&mut self, name: &str) -> Result<(&mut RowStream, bool)> {
        if let Some(cursor) = self.cursors.get_mut(name) {
            return Ok((&mut cursor.rows, cursor.binary));
        }
        match self.portals.get_mut(name).map(|portal| &mut portal.progress) {
            Some(PortalProgress::Sending(PortalSource::Own(rows), _)) => Ok((rows, false)),
            _ => Err(no_cursor(name)),
        }
    }

    /// Closes all portals, and cursors without HOLD.
    pub fn end_transaction(&mut self) {
        self.portals.clear();
        self.cursors.retain(|_, cursor| cursor.hold);
    }

    fn room(&self) -> Result<()> {
        if self.portals.len() + self.cursors.len() >= OPEN_MAX {
            return Err(Error::new(ErrorKind::LimitExceeded, format!("more than {OPEN_MAX} open cursors"))
                .hint("CLOSE those that are not needed any more."));
        }
        Ok(())
    }
}

pub(super) fn no_cursor(name: &str) -> Error {
    Error::new(ErrorKind::InvalidCursor, format!("cursor \"{name}\" does not exist"))
}
