//! `OR REPLACE` refuses to discard rows that cannot be read again, unless `discard_rows` is set.

use std::{collections::BTreeSet, sync::Arc};

use super::executor::DdlExecutor;
use crate::{
    catalog::ObjectKind,
    connectors::Source,
    engine::objects::{Object, ObjectState},
    error::{Error, ErrorKind, Result},
    sql::names,
};

impl DdlExecutor {
    /// Fails if `old` holds rows that cannot be read again from any source.
    pub(super) async fn check_discard(&self, old: &Object) -> Result<()> {
        let lost = match (&old.what, old.kind) {
            (ObjectState::Table(table), _) => counted(table.shared.lock().rows() as u64, "row"),
            (ObjectState::Source { source, .. }, _) => {
                counted(source.irreplaceable().await.map_err(|e| e.context(old.label()))?.records, "record")
            }
            (ObjectState::ContinuousQuery { .. }, _) => self.forgotten_below(old).await?,
            (ObjectState::Broken(_), ObjectKind::Table) => Some("its rows, which could not be read".to_string()),
            (ObjectState::Broken(_), ObjectKind::MaterializedView | ObjectKind::Stream) => {
                self.forgotten_below(old).await?
            }
            (ObjectState::Broken(_) | ObjectState::Query { .. } | ObjectState::Sink { .. }, _) => None,
        };
        let Some(lost) = lost else { return Ok(()) };
        let (label, kind) = (old.label(), old.kind.word().to_uppercase());
        let keep = match old.kind {
            ObjectKind::Table => format!(
                "To keep them, create the new table under another name and INSERT INTO it SELECT … FROM {}.",
                names::quote(&old.name)
            ),
            _ => "To keep them, create the new one under another name, beside it.".to_string(),
        };
        let unless = format!("If they may go: CREATE OR REPLACE {kind} … WITH (discard_rows = true).");
        Err(Error::new(ErrorKind::ObjectNotInState, format!("replacing {label} would discard {lost}"))
            .detail("They cannot be had again.")
            .hint(format!("{keep} {unless}")))
    }

    /// Why a view cannot be recomputed: a source has released what the view read. `None` if it can be.
    async fn forgotten_below(&self, view: &Object) -> Result<Option<String>> {
        for source in self.sources_below(view) {
            let forgets = match &source.what {
                ObjectState::Source { source: open, .. } => {
                    open.irreplaceable().await.map_err(|e| e.context(source.label()))?.forgotten
                }
                // The source does not answer: assumed.
                _ => true,
            };
            if forgets {
                return Ok(Some(format!("rows that {} does not give again", source.label())));
            }
        }
        Ok(None)
    }

    /// The sources that a view reads, directly or through computed streams and views. Tables and materialized views
    /// give their rows to every reader.
    fn sources_below(&self, view: &Object) -> Vec<Arc<Object>> {
        let mut sources = Vec::new();
        let (mut seen, mut ahead) = (BTreeSet::new(), view.depends.clone());
        while let Some(id) = ahead.pop() {
            let Some(object) = self.catalog.object(id).filter(|_| seen.insert(id)) else { continue };
            match (&object.what, object.kind) {
                (_, ObjectKind::Source) => sources.push(object),
                (ObjectState::Query { .. }, _) => ahead.extend(&object.depends),
                _ => {}
            }
        }
        sources.sort_by_key(|source| source.id);
        sources
    }
}

fn counted(n: u64, what: &str) -> Option<String> {
    (n > 0).then(|| format!("its {n} {what}{}", if n == 1 { "" } else { "s" }))
}
