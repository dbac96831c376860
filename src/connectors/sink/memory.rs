//! An outside system in memory that can be made to fail: where tests crash a sink.

use std::{
    any::Any,
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use async_trait::async_trait;
use tokio::sync::{Notify, Semaphore};

use super::{Delivery, Mode, Outgoing, Sink, SinkConfig, SinkDef};
use crate::{
    error::{Error, ErrorKind, Result},
    options::Taker,
    time::Epoch,
};

/// `WITH (connector = 'memory', …)`.
#[derive(Debug)]
pub struct MemoryOptions {
    place: String,
    password: Option<String>,
}

impl MemoryOptions {
    pub fn from_options(options: &mut Taker) -> Result<MemoryOptions> {
        Ok(MemoryOptions { place: options.required("place")?, password: options.text("password") })
    }
}

impl SinkConfig for MemoryOptions {
    fn modes(&self) -> &'static [Mode] {
        &[Mode::Append, Mode::Upsert, Mode::Changes, Mode::Debezium, Mode::Complete]
    }

    fn continues(&self, other: &dyn Any) -> bool {
        other.downcast_ref::<MemoryOptions>().is_some_and(|other| self.place == other.place)
    }

    fn create(&self, def: SinkDef) -> Result<Box<dyn Sink>> {
        Ok(Box::new(MemorySink::new(&self.place, self.password.clone(), def)))
    }
}

/// What was written by one identity, epoch by epoch, and who may still write.
#[derive(Debug, Default)]
pub struct MemoryTarget {
    pub written: Vec<(Epoch, Outgoing)>,
    pub opens: u64,
    pub writes: u64,
    /// The write that fails, from 1: before it takes effect, or after.
    pub fail_at: Option<(u64, SinkFault)>,
    /// The kind of that failure.
    pub kind: Option<ErrorKind>,
    /// Required to open it, if set.
    pub password: Option<String>,
    /// Opens and writes wait at this gate, if set.
    pub gate: Option<Arc<Gate>>,
    holder: u64,
    identity: Option<String>,
}

/// Blocks callers until a permit is added.
#[derive(Debug)]
pub struct Gate {
    /// Notified of each caller.
    pub arrived: Notify,
    pub permits: Semaphore,
}

impl Gate {
    pub fn closed() -> Arc<Gate> {
        Arc::new(Gate { arrived: Notify::new(), permits: Semaphore::new(0) })
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SinkFault {
    Before,
    After,
}

/// The places of all tests of this process, by name.
static PLACES: Mutex<BTreeMap<String, Arc<Mutex<MemoryTarget>>>> = Mutex::new(BTreeMap::new());

pub fn place(name: &str) -> Arc<Mutex<MemoryTarget>> {
    let mut places = PLACES.lock().unwrap_or_else(PoisonError::into_inner);
    places.entry(name.to_string()).or_default().clone()
}

#[derive(Debug)]
pub struct MemorySink {
    place: Arc<Mutex<MemoryTarget>>,
    pub def: SinkDef,
    password: Option<String>,
    holds: u64,
}

impl MemorySink {
    pub fn new(name: &str, password: Option<String>, def: SinkDef) -> Self {
        MemorySink { place: place(name), password, def, holds: 0 }
    }

    fn place(&self) -> MutexGuard<'_, MemoryTarget> {
        self.place.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn pass(&self) {
        let gate = self.place().gate.clone();
        if let Some(gate) = gate {
            gate.arrived.notify_one();
            // It is never closed.
            gate.permits.acquire().await.into_iter().for_each(|permit| permit.forget());
        }
    }
}

#[async_trait]
impl Sink for MemorySink {
    fn delivery(&self) -> Delivery {
        Delivery::ExactlyOnce
    }

    async fn open(&mut self) -> Result<Epoch> {
        self.pass().await;
        let identity = self.def.identity.clone();
        let mut place = self.place();
        if place.password != self.password {
            return Err(Error::new(ErrorKind::CannotConnectNow, "password authentication failed"));
        }
        place.opens += 1;
        place.holder += 1;
        assert_eq!(*place.identity.get_or_insert(identity.clone()), identity, "an identity is for ever");
        let (holds, last) = (place.holder, place.written.last().map_or(Epoch(0), |(epoch, _)| *epoch));
        drop(place);
        self.holds = holds;
        Ok(last)
    }

    async fn write(&mut self, epoch: Epoch, rows: &Outgoing) -> Result<()> {
        self.pass().await;
        let mut place = self.place();
        if place.password != self.password {
            return Err(Error::new(ErrorKind::CannotConnectNow, "password authentication failed"));
        }
        if place.holder != self.holds {
            return Err(Error::new(ErrorKind::ObjectInUse, "another has taken hold of the sink"));
        }
        let last = place.written.last().map_or(Epoch(0), |(epoch, _)| *epoch);
        assert!(epoch > last, "epoch {epoch} is written after {last}");
        assert!(!rows.changes.is_empty() || rows.whole, "an epoch that changed nothing is not written");
        place.writes += 1;
        let fault = place.fail_at.filter(|(at, _)| *at == place.writes).map(|(_, fault)| fault);
        if fault != Some(SinkFault::Before) {
            place.written.push((epoch, rows.clone()));
        }
        match fault {
            Some(_) => Err(Error::new(place.kind.unwrap_or(ErrorKind::Io), "the outside system failed")),
            None => Ok(()),
        }
    }
}
