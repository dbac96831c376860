//! `FLUSH`: waits until everything available is in all views and sinks, except failed ones.

use std::{collections::BTreeSet, sync::Arc};

use super::{
    Engine, Reply,
    continuous::recovering,
    objects::{Object, ObjectState},
};
use crate::{
    catalog::ObjectKind,
    error::{Error, Result},
    query::QueryState,
    session::{Notice, Session, Severity},
    sql::statement::Name,
};

const HINT: &str = "FLUSH name tells more of one; ALTER … RESUME lets one try again that has stopped.";

impl Engine {
    /// Flushes views and sinks in dependency order: all, or `name` with its inputs. Failed ones do not block others:
    /// each gives a warning, and is an error if it is `name` itself.
    pub(super) async fn flush(&self, session: &Session, name: Option<&Name>) -> Result<Reply> {
        let objects = self.objects();
        let asked = name.map(|name| objects.find(name).cloned()).transpose()?;
        let mut failed = Vec::new();
        for object in asked.as_ref().map_or_else(|| objects.in_order(), |asked| self.with_its_inputs(asked)) {
            if object.handle().is_some_and(|handle| handle.progress().state == QueryState::Recovering) {
                session.waits_for(Some(recovering(&object.label())));
            }
            let error = flushed(&object).await.err().map(|error| self.env.hidden.mask(error));
            session.waits_for(None);
            match error {
                Some(error) if asked.as_ref().is_some_and(|asked| asked.id == object.id) => {
                    return Err(error.context(object.label()));
                }
                Some(error) => failed.push(format!("{} ({error})", object.label())),
                None => {}
            }
        }
        if !failed.is_empty() {
            let message = format!("not everything is flushed: {}", failed.join(", "));
            session.tell(Notice { severity: Severity::Warning, message, hint: Some(HINT.to_string()) });
        }
        Ok(Reply::Done("FLUSH".to_string()))
    }

    /// An object and its inputs, transitively, in creation order.
    fn with_its_inputs(&self, object: &Arc<Object>) -> Vec<Arc<Object>> {
        let mut ids: BTreeSet<u64> = [object.id].into();
        for other in self.objects().in_order().iter().rev() {
            if ids.contains(&other.id) {
                ids.extend(&other.depends);
            }
        }
        self.objects().in_order().into_iter().filter(|other| ids.contains(&other.id)).collect()
    }
}

async fn flushed(object: &Object) -> Result<(), Error> {
    match (&object.what, object.handle()) {
        (_, Some(handle)) => handle.flush().await,
        (ObjectState::Broken(error), _) if object.kind != ObjectKind::View => Err(error.clone()),
        _ => Ok(()),
    }
}
