//! User-defined functions, as registered in a session.

use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::{
    execution::{FunctionRegistry, SessionState},
    logical_expr::{AggregateUDF, ScalarUDF},
};

/// A user-defined function.
#[derive(Debug)]
pub struct Defined {
    pub id: u64,
    pub name: String,
    pub arguments: Vec<(Option<String>, DataType)>,
    pub returns: DataType,
    pub strict: bool,
    /// The text of the statement.
    pub definition: String,
    pub what: FunctionBody,
}

/// Its implementation.
#[derive(Debug)]
pub enum FunctionBody {
    Scalar(Arc<ScalarUDF>),
    Aggregate(Arc<AggregateUDF>),
}

/// All user-defined functions, in creation order: each only calls earlier ones. Immutable.
#[derive(Debug, Clone, Default)]
pub struct Functions(Arc<Vec<Arc<Defined>>>);

impl Functions {
    pub fn all(&self) -> &[Arc<Defined>] {
        &self.0
    }

    pub fn find(&self, name: &str) -> Option<&Arc<Defined>> {
        self.0.iter().find(|function| function.name == name)
    }

    /// A copy with `function` added; it replaces one of the same name.
    pub fn with(&self, function: Defined) -> Functions {
        let mut all = self.without(&function.name).0.as_ref().clone();
        all.push(Arc::new(function));
        Functions(Arc::new(all))
    }

    pub fn without(&self, name: &str) -> Functions {
        Functions(Arc::new(self.0.iter().filter(|function| function.name != name).cloned().collect()))
    }

    /// Registers the functions in a session.
    pub fn register(&self, state: &mut SessionState) {
        for function in self.0.iter() {
            // A session's state accepts any function.
            let _ = match &function.what {
                FunctionBody::Scalar(function) => FunctionRegistry::register_udf(state, function.clone()).map(|_| ()),
                FunctionBody::Aggregate(function) => {
                    FunctionRegistry::register_udaf(state, function.clone()).map(|_| ())
                }
            };
        }
    }
}
