//! `tidemark run PIPELINE.yaml`: a server with the objects that the file defines.

use std::{path::Path, sync::Arc};

use tokio::runtime::Handle;

use super::{
    flags::ServerFlags,
    output::say,
    runtimes::Pools,
    server::{Server, Signals, open, rehearse, until_signalled},
};
use crate::{
    config::{
        Config, Environment,
        pipeline::{Pipeline, apply_server},
        plan::{PipelinePlan, PlannedChange, plan},
        yaml::Document,
    },
    engine::{Engine, authorize},
    error::Result,
    session::Session,
    sql::statement::{Body, IfExists, Statement},
};

/// Reads a pipeline and the configuration of its server.
pub fn load(
    path: &Path,
    mut config: Config,
    flags: &ServerFlags,
    environment: &Environment,
) -> Result<(Config, Pipeline)> {
    let document = Document::read(path)?;
    let (raw, pipeline) = Pipeline::load(&document, environment)?;
    apply_server(&mut config, &raw, &document, environment)?;
    flags.win_over(&mut config);
    Ok((config, pipeline))
}

/// Applies the pipeline first and listens then: clients see all of its objects.
pub async fn run(config: Config, pipeline: Pipeline, redact: impl Fn(&str) -> String, pools: Pools) -> Result<()> {
    let signals = Signals::listen()?;
    let engine = open(&config, pools.epochs).await?;
    if let Err(error) = apply(&engine, &pipeline, redact).await {
        engine.shutdown().await;
        return Err(error);
    }
    until_signalled(Server::listen(&config, engine, pools.queries).await?, signals).await
}

/// Prints the plan of [`run`] without applying it: planned against the existing catalog.
pub async fn dry_run(
    config: Config,
    pipeline: Pipeline,
    redact: impl Fn(&str) -> String,
    epochs: Handle,
) -> Result<()> {
    let engine = rehearse(&config, epochs).await?;
    let plan = plan(&pipeline, &engine.relations())?;
    carry_out(&engine, &pipeline, &plan).await?;
    say(&redact(&plan.to_string()));
    Ok(())
}

/// Prints the plan, then applies it.
async fn apply(engine: &Arc<Engine>, pipeline: &Pipeline, redact: impl Fn(&str) -> String) -> Result<()> {
    let plan = plan(pipeline, &engine.relations())?;
    say(&redact(&plan.to_string()));
    carry_out(engine, pipeline, &plan).await
}

/// Applies a plan atomically: after an error nothing has changed.
pub async fn carry_out(engine: &Arc<Engine>, pipeline: &Pipeline, plan: &PipelinePlan<'_>) -> Result<()> {
    let (mut definitions, mut statements) = (Vec::new(), Vec::new());
    let session = Session::default();
    for (change, definition) in &plan.steps {
        let statement = match change {
            PlannedChange::Unchanged => continue,
            PlannedChange::Create => definition.statement.clone(),
            PlannedChange::Replace => replacing(&definition.statement),
        };
        statements.push(authorize(&session, statement).map_err(|error| pipeline.blame(definition, error))?);
        definitions.push(*definition);
    }
    let applied = engine.apply(&statements).await;
    applied.map_err(|(n, error)| definitions.get(n).map_or(error.clone(), |d| pipeline.blame(d, error)))
}

/// The same `CREATE`, with OR REPLACE.
fn replacing(statement: &Statement) -> Statement {
    let mut statement = statement.clone();
    match &mut statement.body {
        Body::CreateSource(source) => source.exists = replaces(source.exists),
        Body::CreateTable(table) => table.exists = replaces(table.exists),
        Body::CreateView(view) => view.exists = replaces(view.exists),
        _ => {}
    }
    statement
}

/// `OR REPLACE`, with the `discard_rows` of the definition itself.
fn replaces(exists: IfExists) -> IfExists {
    let discard_rows = exists == IfExists::Replace { discard_rows: true };
    IfExists::Replace { discard_rows }
}
