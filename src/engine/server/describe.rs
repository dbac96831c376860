//! The parameters and columns of a statement.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema};
use datafusion::common::ScalarValue;

use super::Engine;
use crate::{
    engine::{position::placed, reply::Description, statement_planner::renamed, subscribe::subscribe_columns},
    error::Result,
    pg_catalog::typed_parameters,
    session::Session,
    sql::{
        parameters,
        statement::{Body, Show, Statement},
    },
};

impl Engine {
    /// The parameters and columns of a statement. `types` are those the client declared; `None` is inferred.
    pub async fn describe(
        &self,
        session: &Session,
        statement: &Statement,
        types: &[Option<DataType>],
    ) -> Result<Description> {
        self.described(session, statement, types).await.map_err(|error| placed(error, statement))
    }

    async fn described(
        &self,
        session: &Session,
        statement: &Statement,
        types: &[Option<DataType>],
    ) -> Result<Description> {
        let text = |names: &[&str]| {
            let fields: Vec<Field> = names.iter().map(|name| Field::new(*name, DataType::Utf8, true)).collect();
            Some(Arc::new(Schema::new(fields)))
        };
        let none = |columns| Ok(Description { parameters: Vec::new(), columns });
        match &statement.body {
            Body::Query(query) => {
                let (_, plan) = self.statements.plan_query(session, query).await?;
                let parameters = parameters::types(statement, &plan, types)?;
                let parameters = typed_parameters(parameters, query);
                // A column that is a parameter has the client's type.
                let nulls = parameters.iter().map(ScalarValue::try_from).collect::<Result<Vec<_>, _>>()?;
                let plan = if nulls.is_empty() { plan } else { parameters::bind(plan, &nulls)? };
                let columns = Some(renamed(plan.schema().inner(), query));
                Ok(Description { parameters, columns })
            }
            Body::Insert(_) | Body::Update(_) | Body::Delete(_) => {
                let plan = self.statements.plan_write(session, self.writer.written(&statement.body)?).await?;
                Ok(Description { parameters: parameters::types(statement, &plan, types)?, columns: None })
            }
            Body::Explain { statement, .. } => {
                let inner = Box::pin(self.described(session, statement, types)).await?;
                Ok(Description { columns: text(&["QUERY PLAN"]), ..inner })
            }
            Body::Subscribe(subscribe) => none(Some(subscribe_columns(&self.catalog, subscribe)?)),
            Body::ExplainRelation(_) => none(text(&["QUERY PLAN"])),
            Body::Show(Show::Objects(_) | Show::Secrets) => none(text(&["name"])),
            Body::Show(Show::Create(..) | Show::Functions) => none(text(&["name", "create_statement"])),
            Body::Show(Show::Columns(_)) => none(text(&["column", "type"])),
            _ => none(None),
        }
    }
}
