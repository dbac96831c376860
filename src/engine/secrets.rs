//! Secrets: values that options refer to by name, redacted everywhere.

use std::sync::Arc;

use super::{
    live_catalog::{DdlLock, LiveCatalog},
    objects::Object,
    view_options::ViewOptions,
};
use crate::{
    catalog::{CatalogChange, Secret},
    connectors::Fence,
    error::{Error, ErrorKind, Result},
    options::{Options, SecretRedactor, is_secret, nearest},
    sql::statement::{Body, CreateSecret, CreateView, DropSecrets, IfExists},
};

/// The secrets of the catalog. Whatever value is read from them is redacted from then on.
#[derive(Debug)]
pub struct Secrets {
    catalog: Arc<LiveCatalog>,
    fence: Fence,
    hidden: Arc<SecretRedactor>,
}

impl Secrets {
    pub fn new(catalog: Arc<LiveCatalog>, fence: Fence, hidden: Arc<SecretRedactor>) -> Self {
        Secrets { catalog, fence, hidden }
    }

    /// `CREATE SECRET`. Whether there is another value now than before.
    pub async fn create(&self, lock: &DdlLock<'_>, create: CreateSecret) -> Result<bool> {
        let CreateSecret { name, exists, secret } = create;
        if let Secret::Environment(variable) = &secret {
            self.fence.check_variable(variable)?;
        }
        match (self.catalog.secret(&name).is_some(), exists) {
            (true, IfExists::Skip) => Ok(false),
            (true, IfExists::Fail) => {
                Err(Error::new(ErrorKind::DuplicateObject, format!("secret \"{name}\" already exists"))
                    .hint("Give it another name; or CREATE OR REPLACE SECRET writes over the value that it has."))
            }
            _ => {
                lock.log_change(CatalogChange::Secret { name, secret: Some(secret) }).await?;
                Ok(true)
            }
        }
    }

    /// `DROP SECRET`
    pub async fn remove(&self, lock: &DdlLock<'_>, drop: DropSecrets) -> Result<()> {
        for name in &drop.names {
            if self.catalog.secret(name).is_none() && !drop.if_exists {
                return Err(self.no_secret(name));
            }
            self.check_unused(name)?;
        }
        for name in drop.names.into_iter().filter(|name| self.catalog.secret(name).is_some()) {
            lock.log_change(CatalogChange::Secret { name, secret: None }).await?;
        }
        Ok(())
    }

    fn check_unused(&self, name: &str) -> Result<()> {
        for object in self.catalog.objects().in_order() {
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
    pub fn check_secrets(&self, object: &Object) -> Result<()> {
        let options = options_of(&object.statement.body);
        let gone = options.and_then(|options| options.secrets().find(|name| self.catalog.secret(name).is_none()));
        gone.map_or(Ok(()), |name| Err(self.no_secret(name)))
    }

    fn no_secret(&self, name: &str) -> Error {
        let error = Error::new(ErrorKind::UndefinedObject, format!("secret \"{name}\" does not exist"));
        match nearest(name, &self.catalog.secret_names()) {
            Some(near) => error.hint(format!("Perhaps you meant \"{near}\".")),
            None => error.hint("Make it first: CREATE SECRET name AS 'value'."),
        }
    }

    /// The options of a view or sink, with secrets resolved and registered for redaction.
    pub fn view_options(&self, create: &CreateView) -> Result<ViewOptions> {
        let (options, hidden) = self.revealed(&create.options)?;
        let create = CreateView { options, ..create.clone() };
        let taken = ViewOptions::from_create(&create, &self.fence);
        taken.map_err(|error| error.masked(&hidden))
    }

    /// Options with secret references resolved, and the secret values, for redaction.
    pub fn revealed(&self, options: &Options) -> Result<(Options, Vec<String>)> {
        let mut values = Vec::new();
        let options = options.revealed(|name| {
            let value = match self.catalog.secret(name).ok_or_else(|| self.no_secret(name))? {
                Secret::Value(value) => value,
                Secret::Environment(variable) => self.variable(name, &variable)?,
            };
            values.push(value.clone());
            Ok(value)
        })?;
        let given = options.0.iter().filter(|(key, _)| is_secret(key)).map(|(_, value)| value.clone());
        self.hidden.add(values.iter().cloned().chain(given));
        Ok((options, values))
    }

    fn variable(&self, name: &str, variable: &str) -> Result<String> {
        self.fence.check_variable(variable).map_err(|error| error.context(format!("secret \"{name}\"")))?;
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
