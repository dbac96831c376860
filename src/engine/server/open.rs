//! Opens a data directory, and makes the engine over it.

use std::sync::Arc;

use datafusion::execution::runtime_env::{RuntimeEnv, RuntimeEnvBuilder};

use super::Engine;
use crate::{
    engine::{
        build::ObjectBuilder,
        cleanup::ObjectCleanup,
        continuous::ContinuousQueries,
        ddl::DdlExecutor,
        dead_letter_replay::DeadLetterReplay,
        dml::TableWriter,
        functions::UserFunctions,
        live_catalog::LiveCatalog,
        log_compaction::LogCompaction,
        object_recovery::ObjectRecovery,
        opened_directory::OpenedDirectory,
        options::{EngineOptions, Env},
        read::Reader,
        secrets::Secrets,
        statement_planner::StatementPlanner,
    },
    error::Result,
    exec::AsideLimit,
    sql::plan::Planner,
};

impl Engine {
    /// Opens a data directory: objects are restored in creation order, each at its last committed epoch; then queries
    /// run. An object that cannot be restored exists, and gives its error when used.
    pub async fn open(env: Env, options: EngineOptions) -> Result<Arc<Engine>> {
        Self::load(env, options, false).await
    }

    /// Opens a data directory to try definitions: no query runs and no source is read. It writes to an overlay that is
    /// discarded.
    pub async fn rehearse(env: Env, options: EngineOptions) -> Result<Arc<Engine>> {
        Self::load(env, options, true).await
    }

    async fn load(env: Env, options: EngineOptions, rehearsal: bool) -> Result<Arc<Engine>> {
        let (planner, options, runtime) = (planner(&options)?, Arc::new(options), env.runtime.clone());
        let OpenedDirectory { env, manifest, catalog: definitions, recovered } =
            OpenedDirectory::open(env, &options, &planner).await?;
        let catalog = Arc::new(LiveCatalog::new(env.clone(), definitions.clone()));
        let secrets = Arc::new(Secrets::new(catalog.clone(), options.fence.clone(), env.hidden.clone()));
        let aside = AsideLimit::new(options.aside_max);
        let statements = Arc::new(StatementPlanner::new(catalog.clone(), planner.clone(), aside));
        let functions = Arc::new(UserFunctions::new(catalog.clone(), statements.clone(), planner.clone()));
        let queries = Arc::new(ContinuousQueries {
            catalog: catalog.clone(),
            secrets: secrets.clone(),
            planner: planner.clone(),
            env: env.clone(),
            options: options.clone(),
            runtime: runtime.clone(),
            rehearsal,
        });
        let builder = Arc::new(ObjectBuilder {
            catalog: catalog.clone(),
            secrets: secrets.clone(),
            queries: queries.clone(),
            planner: planner.clone(),
            env: env.clone(),
            options: options.clone(),
            rehearsal,
        });
        let cleanup = ObjectCleanup::new(catalog.clone(), env.storage.clone(), runtime.clone());
        let compaction = LogCompaction::new(catalog.clone(), env.clone(), manifest.clone(), options.log_file_bytes);
        let compaction = Arc::new(compaction);

        functions.restore(&definitions);
        let recovery = ObjectRecovery { catalog: &catalog, builder: &builder, env: &env, rehearsal };
        recovery.restore_all(&definitions, recovered).await;
        if !rehearsal {
            recovery.release_sources().await;
            if let Err(error) = recovery.remove_strays(&definitions, &cleanup, &manifest) {
                // Left-over files only use disk space.
                tracing::warn!(%error, "files that nobody needs are left");
            }
            compaction.spawn(&runtime);
        }

        let reader = Reader::new(catalog.clone(), statements.clone(), secrets.clone(), planner);
        let (dead_letters, clock) = (env.dead_letters.clone(), env.clock.clone());
        let replay = DeadLetterReplay::new(catalog.clone(), statements.clone(), dead_letters, clock);
        let writer = TableWriter::new(catalog.clone(), statements.clone(), replay, options.copy_bytes_max);
        let ddl = Arc::new(DdlExecutor {
            catalog: catalog.clone(),
            statements: statements.clone(),
            secrets,
            functions: functions.clone(),
            queries,
            builder,
            cleanup,
            open_timeout: options.open_timeout,
            rehearsal,
        });
        Ok(Arc::new(Engine { options, env, catalog, statements, reader, writer, functions, ddl, compaction }))
    }
}

/// The planner of client queries and standing queries.
fn planner(options: &EngineOptions) -> Result<Arc<Planner>> {
    let partitions = match options.partitions {
        0 => std::thread::available_parallelism().map_or(1, |n| n.get()),
        n => n,
    };
    let value_bytes_max = usize::try_from(options.value_bytes_max).unwrap_or(usize::MAX);
    let planner = Planner::new(partitions, runtime_env(options.memory_bytes_max)?, value_bytes_max);
    let planner = planner.with_batch_rows(options.thresholds.batch_rows);
    Ok(Arc::new(planner.with_epochs(runtime_env(options.epoch_memory_bytes_max)?)))
}

/// A DataFusion runtime environment with a memory pool of `bytes_max`.
fn runtime_env(bytes_max: u64) -> Result<Arc<RuntimeEnv>> {
    let bytes_max = usize::try_from(bytes_max).unwrap_or(usize::MAX);
    Ok(RuntimeEnvBuilder::new().with_memory_limit(bytes_max, 1.0).build_arc()?)
}
