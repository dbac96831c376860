//! Replacing a sink's options without starting over, such as a changed password.

use std::sync::Arc;

use super::{
    Engine,
    objects::{Object, ObjectState},
    sink_plan::SinkPlan,
};
use crate::{
    catalog::ObjectKind,
    error::{Error, Result},
    options::Options,
    sql::{
        plan::CatalogView,
        statement::{Body, CreateView, IfExists, Statement},
    },
};

impl Engine {
    /// Whether a statement changes only how a sink reaches the same destination: then it keeps its state, its identity
    /// there and what it has written.
    pub(super) fn is_refit(&self, old: &Object, statement: &Statement) -> Result<bool> {
        let (Body::CreateView(was), Body::CreateView(is)) = (&old.statement.body, &statement.body) else {
            return Ok(false);
        };
        if old.kind != ObjectKind::Sink || !matches!(old.what, ObjectState::Sink { .. }) || bare(was) != bare(is) {
            return Ok(false);
        }
        let (was, is) = (self.view_options(was)?, self.view_options(is)?);
        let goes_on = was.sink.zip(is.sink).is_some_and(|(was, is)| is.continues(&was));
        Ok(goes_on && was.output_mode == is.output_mode)
    }

    /// The sink with the options of `statement`. Its runner is unchanged until [`Engine::tell_refit`], once this is
    /// durable.
    pub(super) async fn refitted(self: &Arc<Self>, old: &Object, statement: &Statement) -> Result<Object> {
        let (ObjectState::Sink { handle, inputs, recipe }, Body::CreateView(create)) = (&old.what, &statement.body)
        else {
            return Err(Error::internal("only a sink is fitted with other options"));
        };
        let options = self.view_options(create)?;
        let snapshot: Arc<dyn CatalogView> = Arc::new(self.statement_snapshot());
        let standing = self.plan_view(create, &options, &snapshot, recipe.partitions).await?;
        let sink_plan = options.sink.as_ref().map(|sink| SinkPlan::new(sink, &standing)).transpose()?;
        let recipe = Arc::new(recipe.with(self, create.clone(), options, sink_plan));
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
    pub(super) async fn tell_refit(self: &Arc<Self>, object: &Object) {
        if let ObjectState::Sink { handle, recipe, .. } = &object.what {
            handle.tell(self.refit(recipe.clone())).await;
        }
    }

    /// Reopens the sinks that use a changed secret.
    pub(super) async fn refit_users_of(self: &Arc<Self>, secret: &str) {
        for object in self.objects().in_order() {
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
