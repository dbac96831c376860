//! How a query's answer is written to a sink, checked against what its connector can write.

use crate::{
    connectors::{
        Sink, SinkDef, SinkOptions, Timeouts, open_sink,
        sink::{Mode, SinkSchema},
    },
    error::Result,
    operators::Emission,
    query::{Retention, SinkDriver},
    relations::Identity,
    sql::plan::ContinuousPlan,
};

/// The plan of a sink: mode, key and options.
#[derive(Debug, Clone)]
pub struct SinkPlan {
    pub(super) options: SinkOptions,
    pub(super) answer: SinkSchema,
    pub mode: Mode,
    pub key: Option<Vec<usize>>,
}

/// How retracted rows of a query's answer are found.
pub fn identity_of(standing: &ContinuousPlan) -> Identity {
    match (standing.rewritten.diff, &standing.rewritten.key) {
        (false, _) => Identity::AppendOnly,
        (true, Some(key)) => Identity::Key(key.clone()),
        (true, None) => Identity::Row,
    }
}

impl SinkPlan {
    /// Plans a sink. Fails if the connector cannot write the query's changes.
    pub fn new(options: &SinkOptions, standing: &ContinuousPlan) -> Result<SinkPlan> {
        let answer = SinkSchema {
            schema: standing.schema.clone(),
            append_only: !standing.rewritten.diff,
            key: standing.rewritten.key.clone(),
            whole: standing.emission == Emission::Complete,
        };
        let (mode, key) = options.resolve_mode(&answer)?;
        Ok(SinkPlan { options: options.clone(), answer, mode, key })
    }

    /// The same plan with other connector options.
    pub fn with(&self, options: SinkOptions) -> SinkPlan {
        SinkPlan { options, ..self.clone() }
    }

    /// Whether uniqueness of the key is only declared, not known from the query, and so must be checked.
    fn is_claimed(&self) -> bool {
        let by_key = matches!(self.mode, Mode::Upsert | Mode::Debezium) && self.key.is_some();
        by_key && !self.answer.append_only && self.answer.key.is_none()
    }

    pub(super) fn keeps(&self) -> Retention {
        match self.mode {
            Mode::Complete => Retention::ToWrite,
            _ if self.is_claimed() => Retention::ToCheck,
            _ => Retention::Nothing,
        }
    }

    /// How retracted rows are found in the rows kept for the sink.
    pub fn identity(&self, standing: &ContinuousPlan) -> Identity {
        match (self.keeps(), &self.key) {
            (Retention::ToCheck, Some(key)) => Identity::Key(key.clone()),
            (Retention::ToWrite, _) => identity_of(standing),
            _ => Identity::AppendOnly,
        }
    }

    /// The sink, not yet opened.
    pub fn sink_driver(&self, name: &str, identity: &str, timeouts: Timeouts) -> Result<SinkDriver> {
        let nets = !self.answer.append_only;
        let sink = self.sink(name, identity)?;
        Ok(SinkDriver::new(format!("sink \"{name}\""), sink, self.keeps(), nets, timeouts))
    }

    pub(super) fn sink(&self, name: &str, identity: &str) -> Result<Box<dyn Sink>> {
        let def = SinkDef {
            name: name.to_string(),
            identity: identity.to_string(),
            schema: self.answer.schema.clone(),
            mode: self.mode,
            key: self.key.clone(),
            append_only: self.answer.append_only,
        };
        open_sink(def, &self.options)
    }
}
