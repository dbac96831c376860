//! `tidemark run PIPELINE.yaml`: serve, with what the file declares.

use std::{path::Path, sync::Arc};

use tokio::runtime::Handle;

use super::{
    ServerFlags, say,
    server::{Server, Signals, open, until_signalled},
};
use crate::{
    config::{
        Config, Environment,
        pipeline::{Pipeline, apply_server},
        plan::{Change, plan},
        yaml::Document,
    },
    engine::{Engine, Session},
    error::Result,
    sql::statement::{Body, IfExists, Statement},
};

/// Reads a pipeline and the settings of its server.
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

/// Applies first and listens then: a client finds everything in place.
pub async fn run(config: Config, pipeline: Pipeline, redact: impl Fn(&str) -> String, queries: Handle) -> Result<()> {
    let signals = Signals::listen()?;
    let engine = open(&config, queries.clone()).await?;
    if let Err(error) = apply(&engine, &pipeline, redact).await {
        engine.shutdown().await;
        return Err(error);
    }
    until_signalled(Server::listen(&config, engine, queries).await?, signals).await
}

/// Says what [`run`] would do, and does none of it.
pub async fn dry_run(
    config: Config,
    pipeline: Pipeline,
    redact: impl Fn(&str) -> String,
    queries: Handle,
) -> Result<()> {
    let engine = open(&config, queries).await?;
    let planned = plan(&pipeline, &engine.relations()).map(|plan| redact(&plan.to_string()));
    engine.shutdown().await;
    say(&planned?);
    Ok(())
}

/// Says the plan, then carries it out step by step. Each step is durable when it is done: after an error the file can be
/// mended and applied again.
async fn apply(engine: &Arc<Engine>, pipeline: &Pipeline, redact: impl Fn(&str) -> String) -> Result<()> {
    let plan = plan(pipeline, &engine.relations())?;
    say(&redact(&plan.to_string()));
    let session = Session::default();
    for (change, definition) in &plan.steps {
        let statement = match change {
            Change::Unchanged => continue,
            Change::Create => definition.statement.clone(),
            Change::Replace => replacing(&definition.statement),
        };
        let done = engine.execute(&session, &statement, &[]).await;
        done.map_err(|e| pipeline.blame(definition, e))?;
    }
    Ok(())
}

/// The same `CREATE`, with OR REPLACE.
fn replacing(statement: &Statement) -> Statement {
    let mut statement = statement.clone();
    match &mut statement.body {
        Body::CreateSource(source) => source.exists = IfExists::Replace,
        Body::CreateTable(table) => table.exists = IfExists::Replace,
        Body::CreateView(view) => view.exists = IfExists::Replace,
        _ => {}
    }
    statement
}
