//! Sinks that go on with other options: a password that was changed outside is no reason to send everything again.

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
    /// Whether a statement only says otherwise how a sink is to reach the place that it writes to: then it stays what it
    /// is, with its state, its identity outside and all that it has written.
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

    /// The sink with another statement's options: what runs is the same, and is to be told once this is durable.
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

    /// Lets a sink go on as its definition, or what that refers to, says now.
    pub(super) async fn tell_refit(self: &Arc<Self>, object: &Object) {
        if let ObjectState::Sink { handle, recipe, .. } = &object.what {
            handle.tell(self.refit(recipe.clone())).await;
        }
    }

    /// Sinks that use a secret which has another value now take hold of the outside with that.
    pub(super) async fn refit_users_of(self: &Arc<Self>, secret: &str) {
        for object in self.objects().in_order() {
            let Body::CreateView(create) = &object.statement.body else { continue };
            if create.options.secrets().any(|used| used == secret) {
                self.tell_refit(&object).await;
            }
        }
    }
}

/// A definition less its options, where it stood, and what was to happen to an earlier one.
fn bare(create: &CreateView) -> CreateView {
    let mut create = create.clone();
    create.name.position = 0;
    CreateView { exists: IfExists::Fail, options: Options::default(), ..create }
}
