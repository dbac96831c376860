//! A function of PostgreSQL as DataFusion calls it.

use std::{
    fmt,
    hash::{Hash, Hasher},
    sync::Arc,
};

use arrow::{
    array::ArrayRef,
    datatypes::{DataType, Field, FieldRef},
};
use datafusion::{
    common::{Result, ScalarValue},
    logical_expr::{
        ColumnarValue, Expr, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
        expr::schema_name_from_exprs, type_coercion::functions::fields_with_udf,
    },
};

use super::{
    overload::{ArgumentColumn, Function, Overload},
    pg_type::Pg,
    resolve::{ArgumentType, resolve},
};
use crate::error;

/// Functions that DataFusion has under another name, by which the operators of standing queries know them.
const KNOWN_AS: [(&str, &str); 10] = [
    ("!~~", "NOT LIKE"),
    ("!~~*", "NOT ILIKE"),
    ("#", "BIT_XOR"),
    ("char_length", "character_length"),
    ("length", "character_length"),
    ("position", "strpos"),
    ("substring", "substr"),
    ("~~", "LIKE"),
    ("~~*", "ILIKE"),
    ("trim", "btrim"),
];

/// All signatures of one name.
pub(super) struct Builtin {
    name: &'static str,
    overloads: Arc<[Overload]>,
    /// DataFusion's function of that name, for arguments that no signature is for.
    shared: Option<Arc<ScalarUDF>>,
    signature: Signature,
}

impl Builtin {
    pub fn new(function: Function, shared: Option<Arc<ScalarUDF>>) -> Self {
        Builtin {
            name: function.name,
            overloads: function.overloads.into(),
            shared,
            signature: Signature::user_defined(Volatility::Immutable),
        }
    }

    /// DataFusion's function, if it is the one for arguments of these types.
    pub fn shared(&self, types: &[DataType]) -> Option<&Arc<ScalarUDF>> {
        let is_exact = types.iter().any(DataType::is_decimal) && !types.iter().any(DataType::is_floating);
        self.shared.as_ref().filter(|_| is_exact || self.overload(types).is_err())
    }

    /// The signature that a call of these arguments means.
    pub fn resolve(&self, args: &[ArgumentType]) -> error::Result<&Overload> {
        resolve(self.name, &self.overloads, args)
    }

    /// The same where only Arrow's types are known: until the call is checked, a text may be a literal of any type and
    /// a bigint one of a smaller type.
    fn overload(&self, types: &[DataType]) -> error::Result<&Overload> {
        let known: Vec<ArgumentType> = types.iter().map(ArgumentType::of).collect();
        let perhaps = |of: &ArgumentType| match of {
            ArgumentType::Known(Pg::Int8) => ArgumentType::Known(Pg::Int4),
            ArgumentType::Known(Pg::Text) => ArgumentType::Unknown,
            other => other.clone(),
        };
        self.resolve(&known).or_else(|error| {
            let literals: Vec<ArgumentType> = known.iter().map(perhaps).collect();
            self.resolve(&literals).map_err(|_| error)
        })
    }
}

impl fmt::Debug for Builtin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builtin").field("name", &self.name).finish_non_exhaustive()
    }
}

// There is one of each name.
impl PartialEq for Builtin {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for Builtin {}

impl Hash for Builtin {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name.hash(state);
    }
}

impl ScalarUDFImpl for Builtin {
    fn name(&self) -> &str {
        self.name
    }

    /// Integer literals are named as bigints, as DataFusion has them: operator uids hold such names.
    fn schema_name(&self, args: &[Expr]) -> Result<String> {
        let args: Vec<Expr> = args
            .iter()
            .map(|arg| match arg {
                Expr::Literal(ScalarValue::Int32(Some(number)), metadata) => {
                    Expr::Literal(ScalarValue::Int64(Some(i64::from(*number))), metadata.clone())
                }
                other => other.clone(),
            })
            .collect();
        let known = KNOWN_AS.iter().find(|(name, _)| *name == self.name).map_or(self.name, |(_, known)| known);
        match args.as_slice() {
            [left, right] if !self.name.starts_with(char::is_alphanumeric) => {
                let name = |of: &Expr| schema_name_from_exprs(std::slice::from_ref(of));
                Ok(format!("{} {known} {}", name(left)?, name(right)?))
            }
            args => Ok(format!("{known}({})", schema_name_from_exprs(args)?)),
        }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        if let Some(shared) = self.shared(types) {
            let fields: Vec<FieldRef> = types.iter().map(|of| Arc::new(Field::new("", of.clone(), true))).collect();
            return Ok(fields_with_udf(&fields, shared.as_ref())?
                .iter()
                .map(|field| field.data_type().clone())
                .collect());
        }
        let overload = self.overload(types)?;
        Ok(types.iter().enumerate().map(|(n, from)| overload.taken(n, from)).collect())
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        let types: Vec<DataType> = args.arg_fields.iter().map(|field| field.data_type().clone()).collect();
        match self.shared(&types) {
            Some(shared) => shared.return_field_from_args(args),
            None => Ok(Arc::new(Field::new(self.name, self.return_type(&types)?, true))),
        }
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        Ok(self.overload(types)?.returns.data_type())
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let types: Vec<DataType> = args.args.iter().map(ColumnarValue::data_type).collect();
        if let Some(shared) = self.shared(&types) {
            return shared.invoke_with_args(args);
        }
        let overload = self.overload(&types)?;
        let is_constant = args.args.iter().all(|arg| matches!(arg, ColumnarValue::Scalar(_)));
        let rows = if is_constant { 1 } else { args.number_rows };
        let columns = args.args.into_iter().enumerate().map(|(n, arg)| argument(arg, overload, n));
        let answer = (overload.kernel)(&columns.collect::<Result<Vec<_>>>()?, rows)?;
        match is_constant {
            true => Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&answer, 0)?)),
            false => Ok(ColumnarValue::Array(answer)),
        }
    }
}

/// An argument as the kernel takes it. The optimizer may put a NULL without a type, or another text, in its place.
fn argument(arg: ColumnarValue, overload: &Overload, n: usize) -> Result<ArgumentColumn> {
    let taken = overload.taken(n, &arg.data_type());
    let cast = |array: ArrayRef| match *array.data_type() == taken {
        true => Ok(array),
        false => arrow::compute::cast(&array, &taken),
    };
    Ok(match arg {
        ColumnarValue::Array(array) => ArgumentColumn { array: cast(array)?, is_scalar: false },
        ColumnarValue::Scalar(value) => ArgumentColumn { array: cast(value.to_array()?)?, is_scalar: true },
    })
}
