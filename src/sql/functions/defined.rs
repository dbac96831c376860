//! The functions that statements made, as a session is told of them.

use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::{
    execution::{FunctionRegistry, SessionState},
    logical_expr::{AggregateUDF, ScalarUDF},
};

/// A function that a statement made.
#[derive(Debug)]
pub struct Defined {
    pub id: u64,
    pub name: String,
    pub arguments: Vec<(Option<String>, DataType)>,
    pub returns: DataType,
    pub strict: bool,
    /// The statement as it was written.
    pub definition: String,
    pub what: FunctionBody,
}

/// What it is to a query.
#[derive(Debug)]
pub enum FunctionBody {
    Scalar(Arc<ScalarUDF>),
    Aggregate(Arc<AggregateUDF>),
}

/// All that statements made, at one moment, in the order of making: one only uses those before it.
#[derive(Debug, Clone, Default)]
pub struct Functions(Arc<Vec<Arc<Defined>>>);

impl Functions {
    pub fn all(&self) -> &[Arc<Defined>] {
        &self.0
    }

    pub fn find(&self, name: &str) -> Option<&Arc<Defined>> {
        self.0.iter().find(|function| function.name == name)
    }

    /// With one more, or with another one in place of that of its name.
    pub fn with(&self, function: Defined) -> Functions {
        let mut all = self.without(&function.name).0.as_ref().clone();
        all.push(Arc::new(function));
        Functions(Arc::new(all))
    }

    pub fn without(&self, name: &str) -> Functions {
        Functions(Arc::new(self.0.iter().filter(|function| function.name != name).cloned().collect()))
    }

    /// Makes them known to a session.
    pub fn register(&self, state: &mut SessionState) {
        for function in self.0.iter() {
            // A session's state takes any.
            let _ = match &function.what {
                FunctionBody::Scalar(function) => FunctionRegistry::register_udf(state, function.clone()).map(|_| ()),
                FunctionBody::Aggregate(function) => {
                    FunctionRegistry::register_udaf(state, function.clone()).map(|_| ())
                }
            };
        }
    }
}
