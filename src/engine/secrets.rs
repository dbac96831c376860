//! Secrets: values that options refer to by name, redacted everywhere.

use std::sync::Arc;

use super::{Engine, Reply, detached::to_its_end, objects::Object, view_options::ViewOptions};
use crate::{
    catalog::{CatalogChange, Secret},
    error::{Error, ErrorKind, Result},
    options::{Options, is_secret, nearest},
    sql::statement::{Body, CreateSecret, CreateView, DropSecrets, IfExists},
    sync::locked,
};

impl Engine {
    /// `CREATE SECRET`
    pub(super) async fn create_secret(self: &Arc<Self>, create: &CreateSecret) -> Result<Reply> {
        let (engine, create) = (self.clone(), create.clone());
        to_its_end(async move {
            let _one = engine.ddl.lock().await;
            let CreateSecret { name, exists, secret } = create;
            if let Secret::Environment(variable) = &secret {
                engine.options.fence.check_variable(variable)?;
            }
            match (engine.secret(&name).is_some(), exists) {
                (true, IfExists::Skip) => {}
                (true, IfExists::Fail) => {
                    return Err(Error::new(ErrorKind::DuplicateObject, format!("secret \"{name}\" already exists"))
                        .hint("Give it another name; or CREATE OR REPLACE SECRET writes over the value that it has."));
                }
                _ => {
                    engine.log_change(CatalogChange::Secret { name: name.clone(), secret: Some(secret) }).await?;
                    engine.refit_users_of(&name).await;
                }
            }
            Ok(Reply::Done("CREATE SECRET".to_string()))
        })
        .await
    }

    /// `DROP SECRET`
    pub(super) async fn drop_secrets(self: &Arc<Self>, drop: &DropSecrets) -> Result<Reply> {
        let (engine, drop) = (self.clone(), drop.clone());
        to_its_end(async move {
            let _one = engine.ddl.lock().await;
            for name in &drop.names {
                if engine.secret(name).is_none() && !drop.if_exists {
                    return Err(engine.no_secret(name));
                }
                engine.check_unused(name)?;
            }
            for name in drop.names.into_iter().filter(|name| engine.secret(name).is_some()) {
                engine.log_change(CatalogChange::Secret { name, secret: None }).await?;
            }
            Ok(Reply::Done("DROP SECRET".to_string()))
        })
        .await
    }

    fn check_unused(&self, name: &str) -> Result<()> {
        for object in self.objects().in_order() {
            let Some(options) = options_of(&object.statement.body) else { continue };
            if options.secrets().any(|secret| secret == name) {
                let message = format!("cannot drop secret \"{name}\" because {} uses it", object.label());
                return Err(Error::new(ErrorKind::DependentObjects, message)
                    .hint("It goes once nothing uses it. CREATE OR REPLACE SECRET writes another value over the one that it has."));
            }
        }
        Ok(())
    }

    /// Fails if a secret that an object uses was dropped.
    pub(super) fn check_secrets(&self, object: &Object) -> Result<()> {
        let options = options_of(&object.statement.body);
        let gone = options.and_then(|options| options.secrets().find(|name| self.secret(name).is_none()));
        gone.map_or(Ok(()), |name| Err(self.no_secret(name)))
    }

    pub(super) fn secret_names(&self) -> Vec<String> {
        locked(&self.live).catalog.secrets.keys().cloned().collect()
    }

    fn secret(&self, name: &str) -> Option<Secret> {
        locked(&self.live).catalog.secrets.get(name).cloned()
    }

    fn no_secret(&self, name: &str) -> Error {
        let error = Error::new(ErrorKind::UndefinedObject, format!("secret \"{name}\" does not exist"));
        match nearest(name, &self.secret_names()) {
            Some(near) => error.hint(format!("Perhaps you meant \"{near}\".")),
            None => error.hint("Make it first: CREATE SECRET name AS 'value'."),
        }
    }

    /// The options of a view or sink, with secrets resolved and registered for redaction.
    pub(super) fn view_options(&self, create: &CreateView) -> Result<ViewOptions> {
        let (options, hidden) = self.revealed(&create.options)?;
        let create = CreateView { options, ..create.clone() };
        let taken = ViewOptions::from_create(&create, &self.options.fence);
        taken.map_err(|error| error.masked(&hidden))
    }

    /// Options with secret references resolved, and the secret values, for redaction.
    pub(super) fn revealed(&self, options: &Options) -> Result<(Options, Vec<String>)> {
        let mut values = Vec::new();
        let options = options.revealed(|name| {
            let value = match self.secret(name).ok_or_else(|| self.no_secret(name))? {
                Secret::Value(value) => value,
                Secret::Environment(variable) => self.variable(name, &variable)?,
            };
            values.push(value.clone());
            Ok(value)
        })?;
        let given = options.0.iter().filter(|(key, _)| is_secret(key)).map(|(_, value)| value.clone());
        self.env.hidden.add(values.iter().cloned().chain(given));
        Ok((options, values))
    }

    fn variable(&self, name: &str, variable: &str) -> Result<String> {
        self.options.fence.check_variable(variable).map_err(|error| error.context(format!("secret \"{name}\"")))?;
        std::env::var(variable).map_err(|_| {
            let message = format!("secret \"{name}\" is environment variable \"{variable}\", which is not set");
            Error::new(ErrorKind::UndefinedObject, message).hint("Set it where the server is started.")
        })
    }
}

/// The options of a statement that may refer to secrets.
fn options_of(body: &Body) -> Option<&Options> {
    match body {
        Body::CreateSource(create) => Some(&create.options),
        Body::CreateView(create) => Some(&create.options),
        _ => None,
    }
}
