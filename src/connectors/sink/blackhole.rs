//! A sink that throws rows away: what a query costs without an outside system.

use async_trait::async_trait;

use super::{Delivery, Mode, Outgoing, Sink};
use crate::{error::Result, time::Epoch};

pub const MODES: &[Mode] = &[Mode::Append, Mode::Changes, Mode::Upsert, Mode::Complete];

#[derive(Debug)]
pub struct Blackhole;

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
