//! Plans the standing query of a definition.

use std::sync::Arc;

use super::view_options::ViewOptions;
use crate::{
    error::Result,
    sql::{
        naming::named,
        plan::{CatalogView, ContinuousPlan, Planner, emission},
        statement::CreateView,
    },
};

/// The plan of a view's standing query over `snapshot`.
pub async fn plan_view(
    planner: &Arc<Planner>,
    create: &CreateView,
    options: &ViewOptions,
    snapshot: &Arc<dyn CatalogView>,
    partitions: usize,
) -> Result<ContinuousPlan> {
    let query = named(&create.query);
    let context = planner.context(snapshot);
    let emission = emission(create.emit, options.output_mode)?;
    let label = format!("{} \"{}\"", create.kind, create.name.name);
    planner.continuous(&context, &query, emission, partitions, &create.columns, &label).await
}
