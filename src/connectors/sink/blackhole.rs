//! A sink that throws rows away: what a query costs without an outside system.

use std::any::Any;

use async_trait::async_trait;

use super::{Delivery, Mode, Outgoing, Sink, SinkConfig, SinkDef};
use crate::{error::Result, time::Epoch};

/// It has no options.
#[derive(Debug)]
pub struct Blackhole;

impl SinkConfig for Blackhole {
    fn modes(&self) -> &'static [Mode] {
        &[Mode::Append, Mode::Changes, Mode::Upsert, Mode::Complete]
    }

    fn continues(&self, other: &dyn Any) -> bool {
        other.is::<Blackhole>()
    }

    fn create(&self, _: SinkDef) -> Result<Box<dyn Sink>> {
        Ok(Box::new(Blackhole))
    }
}

#[async_trait]
impl Sink for Blackhole {
    fn delivery(&self) -> Delivery {
        Delivery::BestEffort
    }

    async fn open(&mut self) -> Result<Epoch> {
        Ok(Epoch(0))
    }

    async fn write(&mut self, _: Epoch, _: &Outgoing) -> Result<()> {
        Ok(())
    }
}
