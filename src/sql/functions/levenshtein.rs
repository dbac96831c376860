//! `levenshtein(a, b)`: DataFusion's, with PostgreSQL's limit on lengths. Its time is proportional to the product of
//! the lengths, and it cannot be interrupted.

use std::sync::Arc;

use arrow::{array::ArrayRef, array::AsArray, datatypes::DataType};
use datafusion::{
    common::Result,
    functions::string,
    logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature},
};

use crate::error::{Error, ErrorKind};

/// The limit of PostgreSQL's fuzzystrmatch.
const CHARACTERS_MAX: usize = 255;

#[derive(Debug, PartialEq, Eq, Hash)]
pub struct Levenshtein(Arc<ScalarUDF>);

impl Default for Levenshtein {
    fn default() -> Self {
        Levenshtein(string::levenshtein())
    }
}

fn check(texts: &ArrayRef) -> Result<(), Error> {
    let mut texts: Box<dyn Iterator<Item = Option<&str>>> = match texts.data_type() {
        DataType::Utf8 => Box::new(texts.as_string::<i32>().iter()),
        DataType::LargeUtf8 => Box::new(texts.as_string::<i64>().iter()),
        DataType::Utf8View => Box::new(texts.as_string_view().iter()),
        _ => return Ok(()),
    };
    // Few bytes are few characters: no count.
    match texts
        .any(|text| text.is_some_and(|text| text.len() > CHARACTERS_MAX && text.chars().count() > CHARACTERS_MAX))
    {
        false => Ok(()),
        true => {
            let message = format!("levenshtein argument exceeds maximum length of {CHARACTERS_MAX} characters");
            Err(Error::new(ErrorKind::InvalidParameterValue, message))
        }
    }
}

impl ScalarUDFImpl for Levenshtein {
    fn name(&self) -> &str {
        self.0.name()
    }

    fn signature(&self) -> &Signature {
        self.0.signature()
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        self.0.return_type(types)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        for arg in &args.args {
            match arg {
                ColumnarValue::Array(texts) => check(texts)?,
                ColumnarValue::Scalar(text) => check(&text.to_array()?)?,
            }
        }
        self.0.invoke_with_args(args)
    }
}
