//! The inputs from which a standing query is built.

use std::{sync::Arc, time::Duration};

use super::{sink_plan::SinkPlan, view_options::ViewOptions};
use crate::{query::Progress, relations::SharedRelation, sql::statement::CreateView};

/// The inputs from which a standing query is built, at first and after each failure.
pub struct QueryRecipe {
    pub(super) id: u64,
    pub(super) create: CreateView,
    pub(super) options: ViewOptions,
    pub partitions: usize,
    pub(super) shared: Arc<SharedRelation>,
    pub(super) progress: Arc<Progress>,
    pub(super) checkpoint_interval: Duration,
    pub(super) epoch_target: Option<Duration>,
    /// `Some` for a sink.
    pub(super) sink_plan: Option<SinkPlan>,
}

impl std::fmt::Debug for QueryRecipe {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Recipe").field("id", &self.id).finish_non_exhaustive()
    }
}
