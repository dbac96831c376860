//! Plans clients' statements: over all live objects, their rows at one moment, and `pg_catalog`.

use std::sync::Arc;

use arrow::datatypes::{Field, Schema, SchemaRef};
use datafusion::{
    common::ScalarValue,
    execution::{SessionStateBuilder, memory_pool::MemoryPool},
    logical_expr::{DmlStatement, LogicalPlan},
    prelude::SessionContext,
    sql::sqlparser::ast,
};

use super::{collected::Collected, collecting::collect, live_catalog::LiveCatalog};
use crate::{
    error::{Error, Result},
    exec::{self, AsideLimit},
    pg_catalog,
    session::Session,
    sql::{
        naming, parameters,
        plan::{CatalogView, Planner},
    },
};

/// Plans statements against the catalog as it is when they are planned.
#[derive(Debug)]
pub struct StatementPlanner {
    catalog: Arc<LiveCatalog>,
    planner: Arc<Planner>,
    aside: Arc<AsideLimit>,
}

impl StatementPlanner {
    pub fn new(catalog: Arc<LiveCatalog>, planner: Arc<Planner>, aside: Arc<AsideLimit>) -> Self {
        StatementPlanner { catalog, planner, aside }
    }

    /// The memory of all clients' statements.
    pub fn memory_pool(&self) -> &Arc<dyn MemoryPool> {
        self.planner.memory_pool()
    }

    /// A session context over all objects, including `pg_catalog`.
    pub fn context(&self, session: &Session) -> Result<SessionContext> {
        let snapshot: Arc<dyn CatalogView> = Arc::new(self.catalog.snapshot());
        let state = self.planner.context(&snapshot).state();
        let config = state.config().clone().with_extension(self.aside.clone());
        let state = SessionStateBuilder::new_from_existing(state).with_config(config);
        let state = state.with_physical_optimizer_rules(exec::query_rules()).build();
        let context = SessionContext::new_with_state(state);
        pg_catalog::register(&context, self.catalog.clone(), &session.info)?;
        Ok(context)
    }

    /// The logical plan of a query against the present catalog, with unbound parameters.
    pub async fn plan_query(&self, session: &Session, query: &ast::Query) -> Result<(SessionContext, LogicalPlan)> {
        let context = self.context(session)?;
        let plan = Planner::logical(&context, &naming::with_unique_names(&naming::named(&compatible(query)))).await?;
        Ok((context, plan))
    }

    /// The columns of a query that has no parameters.
    pub async fn columns_of(&self, query: &ast::Query) -> Result<SchemaRef> {
        let (_, plan) = self.plan_query(&Session::default(), query).await?;
        Ok(renamed(plan.schema().inner(), query))
    }

    /// Plans a DML statement against the present catalog.
    pub async fn plan_dml(
        &self,
        session: &Session,
        statement: ast::Statement,
        params: &[ScalarValue],
    ) -> Result<(SessionContext, DmlStatement)> {
        let context = self.context(session)?;
        let plan = Box::pin(Planner::plan(&context, statement)).await?;
        let plan = parameters::bind(plan, params)?;
        match plan {
            LogicalPlan::Dml(dml) => Ok((context, dml)),
            _ => Err(Error::internal("a statement that writes was planned as one that does not")),
        }
    }

    /// The rows of `CREATE TABLE … AS`.
    pub async fn rows_of(&self, query: &ast::Query) -> Result<Collected> {
        let context = self.context(&Session::default())?;
        let plan = Planner::logical(&context, query).await?;
        collect(&context, plan).await
    }

    /// The plan of a statement that writes, with unbound parameters.
    pub async fn plan_write(&self, session: &Session, statement: ast::Statement) -> Result<LogicalPlan> {
        Planner::plan(&self.context(session)?, statement).await
    }
}

/// Rewrites Postgres syntax that DataFusion does not know.
fn compatible(query: &ast::Query) -> ast::Query {
    let mut query = query.clone();
    pg_catalog::rewrite(&mut query);
    query
}

/// The columns of a query, named as in Postgres.
pub fn renamed(schema: &SchemaRef, query: &ast::Query) -> SchemaRef {
    let schema = &pg_catalog::typed(schema, query);
    let Some(names) = naming::names(query).filter(|names| names.len() == schema.fields().len()) else {
        let together = |field: &Arc<Field>| field.as_ref().clone().with_name(naming::original_name(field.name()));
        return Arc::new(Schema::new(schema.fields().iter().map(together).collect::<Vec<_>>()));
    };
    let fields: Vec<Field> =
        schema.fields().iter().zip(names).map(|(field, name)| field.as_ref().clone().with_name(name)).collect();
    Arc::new(Schema::new(fields))
}
