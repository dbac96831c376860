//! User-defined functions: `CREATE FUNCTION`, `CREATE AGGREGATE`, `DROP`.

use std::sync::Arc;

use datafusion::sql::sqlparser::ast;

use super::{detached::to_its_end, live_catalog::LiveCatalog, reply::Reply, statement_planner::StatementPlanner};
use crate::{
    catalog::{Catalog, CatalogChange, FunctionDef},
    error::{Error, ErrorKind, Result},
    options::nearest,
    pg_catalog::Listing,
    session::Session,
    sql::{
        functions::{Defined, FunctionBody, Functions, define},
        names, parse,
        plan::Planner,
        statement::{Body, DropFunctions, Name, Statement},
        types::{column_type, sql_type},
    },
};

/// Syntax that looks like functions to the planner but is not registered as such.
const SYNTAX: [&str; 5] = ["grouping", "session_window", "unnest", "window", "row"];

/// `function` or `aggregate`, for messages.
fn word(aggregate: bool) -> &'static str {
    if aggregate { "aggregate" } else { "function" }
}

fn is_aggregate(function: &Defined) -> bool {
    matches!(function.what, FunctionBody::Aggregate(_))
}

/// The names of functions that a statement calls.
fn used(body: &Body) -> Vec<String> {
    match body {
        Body::CreateView(create) => names::calls(create.query.as_ref()),
        Body::CreateFunction(create) => names::calls(create.body.as_ref()),
        Body::CreateAggregate(create) => {
            let all = [Some(&create.step), create.finish.as_ref(), create.combine.as_ref()];
            all.into_iter().flatten().map(|name| name.name.clone()).collect()
        }
        _ => Vec::new(),
    }
}

fn check_schema(name: &Name) -> Result<()> {
    match name.schema.as_deref().filter(|schema| *schema != "public") {
        None => Ok(()),
        Some(schema) => {
            Err(Error::new(ErrorKind::Unsupported, format!("cannot create anything in schema \"{schema}\""))
                .hint("There is one schema for users: public.")
                .at(name.position.max(1)))
        }
    }
}

/// The user-defined functions of the catalog.
#[derive(Debug)]
pub struct UserFunctions {
    catalog: Arc<LiveCatalog>,
    statements: Arc<StatementPlanner>,
    planner: Arc<Planner>,
}

impl UserFunctions {
    pub fn new(catalog: Arc<LiveCatalog>, statements: Arc<StatementPlanner>, planner: Arc<Planner>) -> Self {
        UserFunctions { catalog, statements, planner }
    }

    /// `CREATE FUNCTION`, `CREATE AGGREGATE`
    pub async fn create(self: &Arc<Self>, statement: &Statement) -> Result<Reply> {
        let (functions, statement) = (self.clone(), statement.clone());
        to_its_end(async move {
            let lock = functions.catalog.lock().await;
            let (name, replace, aggregate) = match &statement.body {
                Body::CreateFunction(create) => (&create.name, create.replace, false),
                Body::CreateAggregate(create) => (&create.name, create.replace, true),
                _ => return Err(Error::internal("no function is made")),
            };
            check_schema(name)?;
            let tag = Reply::Done(format!("CREATE {}", word(aggregate).to_uppercase()));
            if functions.check_free(name, replace, aggregate)?.is_some_and(|old| old.definition == statement.text) {
                return Ok(tag);
            }
            functions.check_unneeded(&name.name, "replace", aggregate)?;
            let others = functions.catalog.functions().without(&name.name);
            let function = define(&functions.planner, &others, functions.catalog.next_id(), &statement)?;
            let kept = FunctionDef { id: function.id, definition: statement.text.clone() };
            lock.log_change(CatalogChange::Function { name: name.name.clone(), function: Some(kept) }).await?;
            lock.set_functions(others.with(function));
            Ok(tag)
        })
        .await
    }

    /// The function that a new one replaces; fails if the name is that of a built-in or may not be replaced.
    fn check_free(&self, name: &Name, replace: bool, aggregate: bool) -> Result<Option<FunctionDef>> {
        let taken = format!("function \"{}\" already exists", name.name);
        let taken = Error::new(ErrorKind::DuplicateFunction, taken).at(name.position.max(1));
        let old = self.catalog.function(&name.name);
        match &old {
            None if self.is_built_in(&name.name)? => Err(taken.detail("It is built in.").hint("Give it another name.")),
            None => Ok(None),
            Some(_) if !replace => {
                let hint = format!(
                    "Give it another name; or CREATE OR REPLACE {} puts it in the place of the old one.",
                    word(aggregate).to_uppercase()
                );
                Err(taken.hint(hint))
            }
            Some(_) => match self.check_kind(name, aggregate) {
                Ok(()) => Ok(old),
                Err(error) => Err(error.hint("Give it another name.")),
            },
        }
    }

    fn is_built_in(&self, name: &str) -> Result<bool> {
        let state = self.statements.context(&Session::default())?.state();
        Ok(SYNTAX.contains(&name)
            || state.scalar_functions().contains_key(name)
            || state.aggregate_functions().contains_key(name)
            || state.window_functions().contains_key(name)
            || state.table_functions().contains_key(name))
    }

    /// Fails on an aggregate where a function is meant, or the other way round.
    fn check_kind(&self, name: &Name, aggregate: bool) -> Result<()> {
        let Some(function) = self.catalog.functions().find(&name.name).cloned() else { return Ok(()) };
        if is_aggregate(&function) == aggregate {
            return Ok(());
        }
        let (is, said) = (word(!aggregate), word(aggregate));
        let is_a = if aggregate { "a" } else { "an" };
        let said_a = if aggregate { "an" } else { "a" };
        let message = format!("\"{}\" is {is_a} {is}, not {said_a} {said}", name.name);
        Err(Error::new(ErrorKind::WrongObjectType, message).at(name.position.max(1)))
    }

    /// Fails while something uses a function.
    fn check_unneeded(&self, name: &str, verb: &str, aggregate: bool) -> Result<()> {
        let users = self.users_of(name);
        if users.is_empty() {
            return Ok(());
        }
        let what = format!("{} \"{name}\"", word(aggregate));
        let list: Vec<String> = users.iter().map(|user| format!("{user} depends on {what}")).collect();
        let message = format!("cannot {verb} {what} because other objects depend on it");
        Err(Error::new(ErrorKind::DependentObjects, message)
            .detail(list.join("\n"))
            .hint("Another one can be made under another name."))
    }

    /// Labels of the objects that use a function.
    fn users_of(&self, name: &str) -> Vec<String> {
        let uses = |body: &Body| used(body).iter().any(|used| used == name);
        let objects = self.catalog.objects().in_order();
        let mut users: Vec<String> =
            objects.iter().filter(|object| uses(&object.statement.body)).map(|object| object.label()).collect();
        let functions = self.catalog.definitions().functions;
        for (other, function) in functions.iter().filter(|(other, _)| *other != name) {
            let Ok(statements) = parse(&function.definition) else { continue };
            if let Some(statement) = statements.iter().find(|statement| uses(&statement.body)) {
                let aggregate = matches!(statement.body, Body::CreateAggregate(_));
                users.push(format!("{} \"{other}\"", word(aggregate)));
            }
        }
        users
    }

    /// The first function used by a statement that was dropped or replaced since `was`.
    pub fn function_gone(&self, body: &Body, was: &Functions) -> Option<String> {
        let now = self.catalog.functions();
        let id = |functions: &Functions, name: &str| functions.find(name).map(|function| function.id);
        used(body).into_iter().find(|name| id(&now, name) != id(was, name))
    }

    /// `DROP FUNCTION`, `DROP AGGREGATE`
    pub async fn remove(self: &Arc<Self>, drop: &DropFunctions) -> Result<Reply> {
        let (functions, drop) = (self.clone(), drop.clone());
        to_its_end(async move {
            let lock = functions.catalog.lock().await;
            let mut gone = Vec::new();
            for (name, types) in &drop.names {
                if !functions.is_there(name, types.as_deref(), drop.aggregates)? {
                    match drop.if_exists {
                        true => continue,
                        false => return Err(functions.no_function(name, types.as_deref(), drop.aggregates)),
                    }
                }
                let other = word(!drop.aggregates).to_uppercase();
                functions
                    .check_kind(name, drop.aggregates)
                    .map_err(|error| error.hint(format!("Use DROP {other} to remove it.")))?;
                functions.check_unneeded(&name.name, "drop", drop.aggregates)?;
                gone.push(name.name.clone());
            }
            for name in gone {
                lock.log_change(CatalogChange::Function { name: name.clone(), function: None }).await?;
                lock.set_functions(functions.catalog.functions().without(&name));
            }
            Ok(Reply::Done(format!("DROP {}", word(drop.aggregates).to_uppercase())))
        })
        .await
    }

    /// Whether a function of this name exists, with these argument types if given.
    fn is_there(&self, name: &Name, types: Option<&[ast::DataType]>, aggregate: bool) -> Result<bool> {
        let public = name.schema.as_deref().is_none_or(|schema| schema == "public");
        if !public || self.catalog.function(&name.name).is_none() {
            return Ok(false);
        }
        let functions = self.catalog.functions();
        let (Some(types), Some(function)) = (types, functions.find(&name.name)) else { return Ok(true) };
        let types = types.iter().map(column_type).collect::<Result<Vec<_>>>()?;
        // One of the wrong kind counts too: it gets a different error.
        Ok(is_aggregate(function) != aggregate || function.arguments.iter().map(|(_, of)| of).eq(&types))
    }

    fn no_function(&self, name: &Name, types: Option<&[ast::DataType]>, aggregate: bool) -> Error {
        let list = types.map(|types| types.iter().map(|of| of.to_string().to_lowercase()).collect::<Vec<_>>());
        let call = match list {
            Some(list) => format!("{}({})", name.name, list.join(", ")),
            None => format!("\"{}\"", name.name),
        };
        let error = Error::new(ErrorKind::UndefinedFunction, format!("{} {call} does not exist", word(aggregate)))
            .at(name.position.max(1));
        let routines = self.catalog.routines();
        if let Some(other) = routines.iter().find(|routine| routine.name == name.name) {
            let types: Vec<String> = other.arguments.iter().map(|(_, of)| sql_type(of)).collect();
            return error.hint(format!("There is {}({}).", other.name, types.join(", ")));
        }
        match nearest(&name.name, &routines.into_iter().map(|routine| routine.name).collect::<Vec<_>>()) {
            Some(near) => error.hint(format!("Perhaps you meant \"{near}\".")),
            None => error.hint("SHOW FUNCTIONS lists what there is."),
        }
    }

    /// Registers all functions of a catalog, before the objects that call them are restored. One that fails is logged,
    /// and its users fail.
    pub fn restore(&self, definitions: &Catalog) {
        let mut all: Vec<_> = definitions.functions.iter().collect();
        all.sort_by_key(|(_, function)| function.id);
        for (name, function) in all {
            let others = self.catalog.functions();
            let statement = parse(&function.definition).map(|mut statements| statements.pop());
            let defined = statement.and_then(|statement| {
                let statement = statement.ok_or_else(|| Error::internal("an empty definition"))?;
                define(&self.planner, &others, function.id, &statement)
            });
            match defined {
                Ok(defined) => self.catalog.restore_functions(others.with(defined)),
                Err(error) => tracing::error!(name, %error, "a function could not be made again"),
            }
        }
    }
}
