//! Replacing a sink's options without starting over, such as a changed password.

use std::sync::Arc;

use super::ContinuousQueries;
use crate::{
    catalog::ObjectKind,
    engine::{
        objects::{Object, ObjectState},
        sink_plan::SinkPlan,
    },
    error::{Error, Result},
    options::Options,
    query::Command,
    sql::{
        plan::CatalogView,
        statement::{Body, CreateView, IfExists, Statement},
    },
};

impl ContinuousQueries {
    /// Whether a statement changes only how a sink reaches the same destination: then it keeps its state, its identity
    /// there and what it has written.
    pub fn is_refit(&self, old: &Object, statement: &Statement) -> Result<bool> {
        let (Body::CreateView(was), Body::CreateView(is)) = (&old.statement.body, &statement.body) else {
            return Ok(false);
        };
        if old.kind != ObjectKind::Sink || !matches!(old.what, ObjectState::Sink { .. }) || bare(was) != bare(is) {
            return Ok(false);
        }
        let (was, is) = (self.secrets.view_options(was)?, self.secrets.view_options(is)?);
        let goes_on = was.sink.zip(is.sink).is_some_and(|(was, is)| is.continues(&was));
        Ok(goes_on && was.output_mode == is.output_mode)
    }

    /// The sink with the options of `statement`. Its runner is unchanged until [`ContinuousQueries::tell_refit`], once this is
    /// durable.
    pub async fn refitted(&self, old: &Object, statement: &Statement) -> Result<Object> {
        let (ObjectState::Sink { handle, inputs, recipe }, Body::CreateView(create)) = (&old.what, &statement.body)
        else {
            return Err(Error::internal("only a sink is fitted with other options"));
        };
        let options = self.secrets.view_options(create)?;
        let snapshot: Arc<dyn CatalogView> = Arc::new(self.catalog.snapshot());
        let standing = self.plan(create, &options, &snapshot, Some(recipe.partitions)).await?;
        let sink_plan = options.sink.as_ref().map(|sink| SinkPlan::new(sink, &standing)).transpose()?;
        let recipe = Arc::new(self.recipe_with(recipe, create.clone(), options, sink_plan));
        Ok(Object {
            id: old.id,
            name: old.name.clone(),
            kind: old.kind,
            statement: statement.clone(),
            schema: old.schema.clone(),
            depends: old.depends.clone(),
            watermark: old.watermark.clone(),
            readers: old.readers.clone(),
            what: ObjectState::Sink { handle: handle.clone(), inputs: inputs.clone(), recipe },
        })
    }

    /// Makes a sink's runner continue with its present definition and secrets.
    pub async fn tell_refit(self: &Arc<Self>, object: &Object) {
        if let ObjectState::Sink { handle, recipe, .. } = &object.what {
            let (trigger, checkpoint_interval) = (recipe.options.trigger, recipe.checkpoint_interval);
            let rebuild = self.rebuild(recipe.clone());
            handle.tell(Command::Refit { rebuild, trigger, checkpoint_interval }).await;
        }
    }

    /// Reopens the sinks that use a changed secret.
    pub async fn refit_users_of(self: &Arc<Self>, secret: &str) {
        for object in self.catalog.objects().in_order() {
            let Body::CreateView(create) = &object.statement.body else { continue };
            if create.options.secrets().any(|used| used == secret) {
                self.tell_refit(&object).await;
            }
        }
    }
}

/// A definition without options, positions and OR REPLACE.
fn bare(create: &CreateView) -> CreateView {
    let mut create = create.clone();
    create.name.position = 0;
    CreateView { exists: IfExists::Fail, options: Options::default(), ..create }
}
