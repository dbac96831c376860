//! Compiles `CREATE FUNCTION` and `CREATE AGGREGATE` to callable functions.

use std::{ops::ControlFlow, sync::Arc};

use arrow::{
    array::{ListArray, new_empty_array},
    buffer::OffsetBuffer,
    datatypes::DataType,
};
use datafusion::{
    common::{
        DFSchema, ScalarValue,
        tree_node::{TreeNode, TreeNodeRecursion},
    },
    execution::SessionState,
    logical_expr::{
        AggregateUDF, Expr, ExprSchemable, ScalarUDF, Volatility, expr_rewriter::FunctionRewrite,
        simplify::SimplifyContext,
    },
    optimizer::simplify_expressions::ExprSimplifier,
    prelude::cast,
    sql::sqlparser::ast::{self, Ident, Value, VisitMut, VisitorMut},
};

use super::{
    defined::{Defined, FunctionBody, Functions},
    inline::{Inline, Inliner, over_columns, parameter, signature, volatility},
};
use crate::{
    error::{Error, ErrorKind, Result},
    operators::{Call, Fold, FoldSpec, fits},
    sql::{
        names,
        normalize::{Forms, compared, with_floats},
        plan::Planner,
        quantified::with_nulls,
        statement::{Argument, Body, CreateAggregate, CreateFunction, Name, Statement},
        types::{column_type, sql_type},
    },
};

/// Defines the function of a statement; its body may call `others`.
pub fn define(planner: &Planner, others: &Functions, id: u64, statement: &Statement) -> Result<Defined> {
    let maker = Maker { state: planner.with(others), id, definition: statement.text.clone() };
    match &statement.body {
        // Positions in a body refer to another text, so they are removed.
        Body::CreateFunction(create) => {
            maker.function(create).map_err(|e| e.unplaced().at(create.name.position.max(1)))
        }
        Body::CreateAggregate(create) => maker.aggregate(create).map_err(|e| e.at(create.name.position.max(1))),
        _ => Err(Error::internal("only CREATE makes a function")),
    }
}

struct Maker {
    state: SessionState,
    id: u64,
    definition: String,
}

fn declared(arguments: &[Argument]) -> Result<Vec<DataType>> {
    arguments.iter().map(|argument| column_type(&argument.data_type)).collect()
}

/// The names under which a function can be called.
fn aliases(name: &str) -> Vec<String> {
    vec![format!("public.{name}")]
}

impl Maker {
    fn defined(
        self,
        name: &Name,
        arguments: &[Argument],
        types: Vec<DataType>,
        returns: DataType,
        what: FunctionBody,
    ) -> Defined {
        let strict = match &what {
            FunctionBody::Scalar(function) => {
                function.inner().downcast_ref::<Inline>().is_some_and(|inline| inline.strict)
            }
            FunctionBody::Aggregate(_) => false,
        };
        let arguments = arguments.iter().map(|argument| argument.name.clone()).zip(types).collect();
        Defined { id: self.id, name: name.name.clone(), arguments, returns, strict, definition: self.definition, what }
    }

    fn function(self, create: &CreateFunction) -> Result<Defined> {
        let name = &create.name.name;
        let (arguments, returns) = (declared(&create.arguments)?, column_type(&create.returns)?);
        let schema = DFSchema::try_from(Call::schema(&arguments))?;
        let body = self.body(create, &schema)?;
        let of = body.get_type(&schema)?;
        if !fits(&returns, &of) {
            let message = format!("return type mismatch in function declared to return {}", sql_type(&returns));
            return Err(Error::new(ErrorKind::InvalidFunctionDefinition, message)
                .detail(format!("Actual return type is {}.", sql_type(&of)))
                .hint("Declare that type, or cast the expression."));
        }
        let steady = volatility(&body);
        let mut inline = Inline {
            name: name.clone(),
            id: self.id,
            aliases: aliases(name),
            signature: signature(&create.arguments, steady)?,
            arguments: arguments.clone(),
            returns: returns.clone(),
            strict: create.strict,
            body,
            call: None,
        };
        if steady != Volatility::Stable {
            let columns: Vec<Expr> = schema.columns().into_iter().map(Expr::Column).collect();
            let expr = self.state.create_physical_expr(inline.expand(&columns, &schema)?, &schema)?;
            inline.call = Some(Call::new(expr, Call::schema(&arguments), create.strict));
        }
        let what = FunctionBody::Scalar(Arc::new(ScalarUDF::from(inline)));
        Ok(self.defined(&create.name, &create.arguments, arguments, returns, what))
    }

    /// The body of a function over parameter columns, with calls of other SQL functions inlined.
    fn body(&self, create: &CreateFunction, schema: &DFSchema) -> Result<Expr> {
        let name = &create.name.name;
        if names::calls(create.body.as_ref()).contains(name) {
            return Err(Error::unsupported(format!("function \"{name}\" that calls itself"))
                .hint("What goes on from row to row is an aggregate: CREATE AGGREGATE."));
        }
        let mut expr = create.body.as_ref().clone();
        if let ControlFlow::Break(error) = expr.visit(&mut Parameters { name, arguments: &create.arguments }) {
            return Err(error);
        }
        with_nulls(&mut expr);
        let expr = self.state.create_logical_expr_from_sql_expr(ast::ExprWithAlias { expr, alias: None }, schema)?;
        check_one_row(&expr, name)?;
        self.coerced(expr, schema)
    }

    /// An expression with coerced types, and calls of SQL functions inlined.
    fn coerced(&self, expr: Expr, schema: &DFSchema) -> Result<Expr> {
        let options = self.state.config_options();
        let expr = expr.transform_up(|expr| Inliner.rewrite(expr, schema, options))?.data;
        let expr = self.simplifier(schema).coerce(with_floats(expr, schema)?.data, schema)?;
        Ok(compared(expr, &Forms::of_schema(schema))?.data)
    }

    fn simplifier(&self, schema: &DFSchema) -> ExprSimplifier {
        let context = SimplifyContext::builder()
            .with_schema(Arc::new(schema.clone()))
            .with_config_options(self.state.config_options().clone())
            .build();
        ExprSimplifier::new(context)
    }

    fn aggregate(self, create: &CreateAggregate) -> Result<Defined> {
        let name = &create.name.name;
        let (arguments, state) = (declared(&create.arguments)?, column_type(&create.state)?);
        let taken: Vec<DataType> = std::iter::once(&state).chain(&arguments).cloned().collect();
        let (step, _) = self.call(&create.step, "transition", &taken, Some(&state))?;
        let initial = create.initial.as_deref().map(|text| initial(text, &state)).transpose()?;
        if step.strict && initial.is_none() && !fits(&state, &arguments[0]) {
            let message = "must not omit initial value when transition function is strict and transition type is not \
                           compatible with input type";
            return Err(Error::new(ErrorKind::InvalidFunctionDefinition, message).hint("Give an INITCOND."));
        }
        let finish =
            create.finish.as_ref().map(|f| self.call(f, "final", std::slice::from_ref(&state), None)).transpose()?;
        let both = [state.clone(), state.clone()];
        let combine = create.combine.as_ref().map(|f| self.call(f, "combine", &both, Some(&state))).transpose()?;
        let output = finish.as_ref().map_or_else(|| state.clone(), |(_, of)| of.clone());
        let spec = FoldSpec {
            name: name.clone(),
            id: self.id,
            arguments: arguments.clone(),
            state,
            initial,
            step,
            finish: finish.map(|(call, _)| call),
            combine: combine.map(|(call, _)| call),
            output: output.clone(),
        };
        let what = FunctionBody::Aggregate(Arc::new(AggregateUDF::from(Fold::new(spec, aliases(name)))));
        Ok(self.defined(&create.name, &create.arguments, arguments, output, what))
    }

    /// Resolves a function of an aggregate for argument types, cast to `wanted` if given; gives it with its type.
    fn call(&self, name: &Name, what: &str, types: &[DataType], wanted: Option<&DataType>) -> Result<(Call, DataType)> {
        let Some(function) = self.state.scalar_functions().get(&name.name) else {
            let list: Vec<String> = types.iter().map(sql_type).collect();
            let message = format!("function {}({}) does not exist", name.name, list.join(", "));
            return Err(Error::new(ErrorKind::UndefinedFunction, message)
                .hint("Make it first: CREATE FUNCTION.")
                .at(name.position.max(1)));
        };
        let schema = DFSchema::try_from(Call::schema(types))?;
        let coerced = self.coerced(over_columns(function, &schema), &schema).and_then(|expr| {
            let of = expr.get_type(&schema)?;
            Ok((expr, of))
        });
        let (expr, of) = coerced.map_err(|e| e.at(name.position.max(1)))?;
        if volatility(&expr) != Volatility::Immutable {
            return Err(Error::unsupported(format!("{what} function \"{}\" of an aggregate", name.name))
                .detail("It gives another answer at another time.")
                .hint("Give what it asks for to the aggregate as an argument.")
                .at(name.position.max(1)));
        }
        let to = wanted.unwrap_or(&of);
        if !fits(to, &of) {
            let message = format!("return type of {what} function {} is not {}", name.name, sql_type(to));
            return Err(Error::new(ErrorKind::DatatypeMismatch, message)
                .detail(format!("It is {}.", sql_type(&of)))
                .at(name.position.max(1)));
        }
        let expr = if of == *to { expr } else { cast(expr, to.clone()) };
        let strict = function.is_strict();
        // Some functions, such as coalesce, are rewritten to other expressions.
        let expr = self.simplifier(&schema).simplify(expr)?;
        let expr = self.state.create_physical_expr(expr, &schema)?;
        Ok((Call::new(expr, Call::schema(types), strict), to.clone()))
    }
}

/// Fails on aggregates, window functions and subqueries.
fn check_one_row(expr: &Expr, name: &str) -> Result<()> {
    expr.apply(|part| {
        let what = match part {
            Expr::AggregateFunction(call) => format!("aggregate function {}", call.func.name()),
            Expr::WindowFunction(call) => format!("window function {}", call.fun.name()),
            Expr::Unnest(_) => "unnest".to_string(),
            _ => return Ok(TreeNodeRecursion::Continue),
        };
        Err(Error::unsupported(format!("{what} in function \"{name}\""))
            .hint("A function is an expression over its arguments; CREATE AGGREGATE makes one over rows.")
            .into())
    })?;
    Ok(())
}

/// Parses the value of `INITCOND`.
fn initial(text: &str, of: &DataType) -> Result<ScalarValue> {
    if let DataType::List(item) = of {
        return match text.trim() {
            "{}" => Ok(ScalarValue::List(Arc::new(ListArray::new(
                item.clone(),
                OffsetBuffer::from_lengths([0]),
                new_empty_array(item.data_type()),
                None,
            )))),
            _ => Err(Error::unsupported("INITCOND of an array that is not empty").hint("Write INITCOND = '{}'.")),
        };
    }
    Ok(ScalarValue::Utf8(Some(text.to_string())).cast_to(of)?)
}

/// Replaces the arguments of a function, by name or number, by the columns `$1`, `$2`, …
struct Parameters<'a> {
    name: &'a str,
    arguments: &'a [Argument],
}

impl Parameters<'_> {
    fn column(&self, ident: &Ident) -> Option<Ident> {
        let name = names::fold(ident);
        let n = self.arguments.iter().position(|argument| argument.name.as_ref() == Some(&name))?;
        Some(Ident::with_quote('"', parameter(n)))
    }

    fn numbered(&self, text: &str) -> Result<Ident> {
        let n = text.strip_prefix('$').and_then(|number| number.parse::<usize>().ok());
        match n.and_then(|n| n.checked_sub(1)).filter(|n| *n < self.arguments.len()) {
            Some(n) => Ok(Ident::with_quote('"', parameter(n))),
            None => Err(Error::new(ErrorKind::UndefinedParameter, format!("there is no parameter {text}"))),
        }
    }
}

impl VisitorMut for Parameters<'_> {
    type Break = Error;

    fn post_visit_expr(&mut self, expr: &mut ast::Expr) -> ControlFlow<Error> {
        match expr {
            ast::Expr::Identifier(ident) => {
                if let Some(column) = self.column(ident) {
                    *ident = column;
                }
            }
            ast::Expr::CompoundIdentifier(path) => {
                // `function.argument`, and fields of an argument.
                if path.len() > 1 && names::fold(&path[0]) == self.name && self.column(&path[1]).is_some() {
                    path.remove(0);
                }
                if let Some(column) = self.column(&path[0]) {
                    path[0] = column;
                }
                if let [only] = path.as_slice() {
                    *expr = ast::Expr::Identifier(only.clone());
                }
            }
            ast::Expr::Value(value) => {
                if let Value::Placeholder(text) = &value.value {
                    match self.numbered(text) {
                        Ok(column) => *expr = ast::Expr::Identifier(column),
                        Err(error) => return ControlFlow::Break(error),
                    }
                }
            }
            _ => {}
        }
        ControlFlow::Continue(())
    }
}
