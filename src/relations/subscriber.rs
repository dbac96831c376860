//! A subscriber: reads a relation's changes as they come, registered in its changelog.

use tokio::sync::watch;

use super::{SharedRelation, Snapshot, sync::Arc};
use crate::{
    changes::Changes,
    error::{Error, ErrorKind, Result},
    time::Epoch,
};

/// Gives each epoch after its start once, in order. The changelog holds what it has not read, up to the limit.
/// Unregisters on drop.
#[derive(Debug)]
pub struct Subscriber {
    shared: Arc<SharedRelation>,
    place: u64,
    /// The epoch read up to.
    at: Epoch,
    changed: watch::Receiver<u64>,
}

impl Subscriber {
    /// Starts after epoch `after`, or with the current snapshot, which is returned as well.
    pub fn begin(shared: &Arc<SharedRelation>, after: Option<Epoch>) -> Result<(Subscriber, Arc<Snapshot>)> {
        let changed = shared.changed();
        let mut relation = shared.lock();
        let snapshot = shared.snapshot();
        if let Some(refusal) = snapshot.refusal() {
            let context = format!("\"{}\"", shared.name);
            return Err(if refusal.kind() == ErrorKind::Recovering { refusal } else { refusal.context(context) });
        }
        let at = after.unwrap_or(snapshot.epoch());
        if at > snapshot.epoch() {
            let message =
                format!("\"{}\" has not come to epoch {at}: it is at epoch {}", shared.name, snapshot.epoch());
            return Err(Error::new(ErrorKind::InvalidParameterValue, message)
                .hint("It may be another one of the same name: SUBSCRIBE without AS OF EPOCH begins with its rows."));
        }
        let place = relation.subscribe(at, snapshot.epoch()).ok_or_else(|| {
            let message = format!("the changes of \"{}\" after epoch {at} are no longer kept", shared.name);
            Error::new(ErrorKind::ObjectNotInState, message)
                .hint("SUBSCRIBE without AS OF EPOCH begins with the rows that are there.")
        })?;
        drop(relation);
        Ok((Subscriber { shared: shared.clone(), place, at, changed }, snapshot))
    }

    /// The next epochs, about `rows` changed rows of them. Releases those given before.
    pub fn read(&mut self, rows: usize) -> Result<Vec<(Epoch, Changes)>> {
        // Before reading, so that no later change is missed.
        self.changed.mark_unchanged();
        let dropped = self.shared.is_dropped();
        let published = self.shared.snapshot().epoch();
        let mut relation = self.shared.lock();
        relation.read(self.place, self.at);
        let Some(epochs) = relation.epochs(self.at, published, rows) else { return Err(self.too_slow()) };
        if let Some((epoch, _)) = epochs.last() {
            self.at = *epoch;
        } else if dropped {
            return Err(Error::new(ErrorKind::UndefinedTable, format!("\"{}\" was dropped", self.shared.name))
                .hint("If there is another one of its name by now, SUBSCRIBE to that."));
        }
        Ok(epochs)
    }

    /// Waits until there may be more to read.
    pub async fn wait(&mut self) -> Result<()> {
        let gone = |_| Error::new(ErrorKind::AdminShutdown, "the server is stopping");
        self.changed.changed().await.map_err(gone)
    }

    fn too_slow(&self) -> Error {
        let (name, at) = (&self.shared.name, self.at);
        Error::new(ErrorKind::ObjectNotInState, format!("the subscription to \"{name}\" is too far behind"))
            .detail(format!("It has read up to epoch {at}, and what came after that is no longer kept."))
            .hint("SUBSCRIBE again, which begins with the rows that are there, and read faster; or raise changelog.max_rows.")
    }
}

impl Drop for Subscriber {
    fn drop(&mut self) {
        self.shared.lock().unsubscribe(self.place);
    }
}
