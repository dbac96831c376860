//! The simple protocol: a text of statements, and the results of all of them in text form.

use std::sync::Arc;

use super::{
    backend::{self, Bare},
    connection::Connection,
    door::Door,
};
use crate::{
    error::{Error, ErrorKind, Result},
    sql::{
        Weight, parameters,
        statement::{Body, Statement},
    },
};

impl<D: Door> Connection<D> {
    /// Runs the statements up to the first that fails.
    pub async fn simple(&mut self, text: String) -> Result<()> {
        self.kept.prepared.remove("");
        self.kept.portals.remove("");
        self.arm();
        let weight = Weight::of(&text);
        let parsed = self.parse(text, weight).await;
        self.disarm();
        let (statements, _held) = match parsed {
            Ok(parsed) => parsed,
            Err(error) => return self.failed(error),
        };
        if statements.is_empty() {
            backend::bare(&mut self.link.out, Bare::EmptyQuery);
        }
        for statement in statements {
            self.arm();
            let done = self.one(Arc::new(statement)).await;
            self.disarm();
            if let Err(error) = done {
                return self.failed(error);
            }
        }
        Ok(())
    }

    async fn one(&mut self, statement: Arc<Statement>) -> Result<()> {
        // Only a prepared statement may have parameters: EXECUTE passes them.
        if !matches!(statement.body, Body::Prepare { .. })
            && let Some(first) = parameters::numbers(&statement)?.first()
        {
            return Err(Error::new(ErrorKind::UndefinedParameter, format!("there is no parameter ${first}")));
        }
        let outcome = self.dispatch(statement, Vec::new()).await?;
        self.respond(outcome).await
    }
}
