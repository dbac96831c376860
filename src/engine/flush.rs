//! `FLUSH`: waits until everything available is in all views and sinks, except failed ones.

use super::{
    live_catalog::LiveCatalog,
    objects::{Object, ObjectState},
    reply::Reply,
    returning::recovering,
};
use crate::{
    catalog::ObjectKind,
    error::{Error, Result},
    options::SecretRedactor,
    query::QueryState,
    session::{Notice, Session, Severity},
    sql::statement::Name,
};

const HINT: &str = "FLUSH name tells more of one; ALTER … RESUME lets one try again that has stopped.";

/// Flushes views and sinks in dependency order: all, or `name` with its inputs. Failed ones do not block others:
/// each gives a warning, and is an error if it is `name` itself.
pub async fn flush(
    catalog: &LiveCatalog,
    hidden: &SecretRedactor,
    session: &Session,
    name: Option<&Name>,
) -> Result<Reply> {
    let objects = catalog.objects();
    let asked = name.map(|name| objects.find(name).cloned()).transpose()?;
    let mut failed = Vec::new();
    for object in asked.as_ref().map_or_else(|| objects.in_order(), |asked| objects.with_inputs(asked)) {
        if object.handle().is_some_and(|handle| handle.progress().state == QueryState::Recovering) {
            session.waits_for(Some(recovering(&object.label())));
        }
        let error = flushed(&object).await.err().map(|error| hidden.mask(error));
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

async fn flushed(object: &Object) -> Result<(), Error> {
    match (&object.what, object.handle()) {
        (_, Some(handle)) => handle.flush().await,
        (ObjectState::Broken(error), _) if object.kind != ObjectKind::View => Err(error.clone()),
        _ => Ok(()),
    }
}
