//! The simple protocol: a text of statements in, everything that they give out, in text form.

use std::sync::Arc;

use super::{
    backend::{self, Bare},
    connection::Connection,
    door::Door,
};
use crate::{error::Result, sql::statement::Statement};

impl<D: Door> Connection<D> {
    /// Runs the statements up to the first that fails.
    pub async fn simple(&mut self, text: String) -> Result<()> {
        self.kept.prepared.remove("");
        self.kept.portals.remove("");
        let statements = match self.parse(text).await {
            Ok(statements) => statements,
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
        let outcome = self.dispatch(statement, Vec::new()).await?;
        self.respond(outcome).await
    }
}
