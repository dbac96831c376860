//! The options of a standing query.

use std::time::Duration;

use crate::{
    catalog::ObjectKind,
    connectors::{Fence, SinkOptions},
    error::{Error, ErrorKind, Result},
    options::{Options, Taker},
    query::Trigger,
    sql::{
        statement::{CreateView, Emit, WatermarkDef},
        watermark::WatermarkSpec,
    },
};

/// The options of a standing query.
#[derive(Debug, Clone)]
pub struct ViewOptions {
    pub trigger: Trigger,
    pub checkpoint_interval: Option<Duration>,
    pub target_epoch: Option<Duration>,
    pub output_mode: Option<Emit>,
    pub watermark: Option<WatermarkSpec>,
    /// `Some` for a sink.
    pub sink: Option<SinkOptions>,
}

/// The options of a sink that belong to its query, not to the connector.
const OF_A_QUERY: [&str; 3] = ["trigger", "checkpoint_interval", "target_epoch"];

impl ViewOptions {
    pub fn from_create(create: &CreateView, fence: &Fence) -> Result<Self> {
        let name = &create.name.name;
        if create.kind != ObjectKind::Sink {
            return Self::own_from_options(create, &create.options);
        }
        let (own, outside) =
            create.options.0.clone().into_iter().partition(|(key, _)| OF_A_QUERY.contains(&key.as_str()));
        let mut options = Self::own_from_options(create, &Options(own))?;
        let sink = SinkOptions::from_options(name, &Options(outside), fence)?;
        if sink.is_whole() {
            if create.emit.is_some_and(|emit| emit != Emit::Complete) {
                let message = "type = 'complete' and EMIT contradict each other";
                return Err(Error::new(ErrorKind::InvalidParameterValue, message).hint("Leave one of them out."));
            }
            options.output_mode = Some(Emit::Complete);
        }
        Ok(ViewOptions { sink: Some(sink), ..options })
    }

    fn own_from_options(create: &CreateView, options: &Options) -> Result<Self> {
        let mut taker = options.taker(format!("{} \"{}\"", create.kind, create.name.name));
        let trigger = match taker.text("trigger") {
            None => Trigger::default(),
            Some(text) => Trigger::parse(&text).ok_or_else(|| {
                Error::new(ErrorKind::InvalidParameterValue, format!("option \"trigger\" cannot be '{text}'"))
                    .hint("Use 'asap', an interval such as '500 ms', 'once' or 'available_now'.")
            })?,
        };
        let output_mode = taker.one_of(
            "output_mode",
            &[("append", Emit::OnWindowClose), ("update", Emit::OnUpdate), ("complete", Emit::Complete)],
        )?;
        let checkpoint_interval = taker.duration("checkpoint_interval")?;
        let target_epoch = taker.duration("target_epoch")?;
        let watermark = watermark(create.watermark.as_ref(), &mut taker)?;
        taker.finish()?;
        Ok(ViewOptions { trigger, checkpoint_interval, target_epoch, output_mode, watermark, sink: None })
    }

    /// The target duration of an epoch: at least the trigger's interval; none for `once`.
    pub(super) fn epoch_target(&self, default: Duration) -> Option<Duration> {
        let target = self.target_epoch.unwrap_or(default);
        match self.trigger {
            Trigger::Once => None,
            Trigger::Interval(interval) if !target.is_zero() => Some(target.max(interval)),
            _ => Some(target),
        }
    }
}

/// The watermark of a statement with its options.
pub fn watermark(def: Option<&WatermarkDef>, taker: &mut Taker) -> Result<Option<WatermarkSpec>> {
    let idle_timeout = taker.duration("watermark.idle_timeout")?;
    let ahead = taker.duration("watermark.max_ahead")?;
    let Some(def) = def else {
        return match idle_timeout.is_some() || ahead.is_some() {
            true => {
                Err(Error::new(ErrorKind::InvalidParameterValue, "there is no watermark for the watermark options")
                    .hint("Add WATERMARK FOR column AS column - INTERVAL '…'."))
            }
            false => Ok(None),
        };
    };
    let ahead_us_max = ahead.map(|ahead| ahead.as_micros() as i64);
    Ok(Some(WatermarkSpec { column: def.column.clone(), delay_us: def.delay_us, ahead_us_max, idle_timeout }))
}
