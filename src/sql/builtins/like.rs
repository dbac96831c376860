//! `LIKE` and `ILIKE`, as operators by their signs, and what an `ESCAPE` clause means: the pattern that it is rewritten to.
//!
//! Where a column has one pattern, it is read once, and its simple forms are tests of a few instructions.

use std::sync::Arc;

use arrow::{
    array::{Array, ArrayRef, AsArray, BooleanArray, GenericByteArray, StringArray},
    buffer::{BooleanBuffer, OffsetBuffer, ScalarBuffer},
    datatypes::ByteArrayType,
};

use super::overload::{ArgumentColumn, Bool, Bytea, Function, Kernel, Overload, Text, f2, function};
use crate::{
    error::Result,
    functions::{
        like::{BACKSLASH, LikeForm, LikePattern, LikeShape, like, like_bytes, like_escape, like_escape_bytes},
        regex::ctype::push_lower,
    },
};

pub fn functions() -> Vec<Function> {
    vec![
        function("~~", [text_like(false, false), bytes_like(false)]),
        function("!~~", [text_like(false, true), bytes_like(true)]),
        function("~~*", [text_like(true, false)]),
        function("!~~*", [text_like(true, true)]),
        function("like_escape", [f2::<Text, Text, Text>(like_escape), f2::<Bytea, Bytea, Bytea>(like_escape_bytes)]),
    ]
}

/// `LIKE`, or `ILIKE` if case does not matter, of text; or the contrary of what it says.
fn text_like(ignore_case: bool, negated: bool) -> Overload {
    let by_row =
        f2::<Text, Text, Bool>(move |text, pattern| Ok(like(text, pattern, BACKSLASH, ignore_case)? != negated));
    let form = text_form(ignore_case);
    Overload { kernel: by_column(Arc::clone(&by_row.kernel), form, negated), ..by_row }
}

/// `LIKE` of bytes, or the contrary of what it says.
fn bytes_like(negated: bool) -> Overload {
    let by_row = f2::<Bytea, Bytea, Bool>(move |bytes, pattern| Ok(like_bytes(bytes, pattern)? != negated));
    Overload { kernel: by_column(Arc::clone(&by_row.kernel), LikeForm::Bytes, negated), ..by_row }
}

fn text_form(ignore_case: bool) -> LikeForm {
    if ignore_case { LikeForm::LowerCase } else { LikeForm::Text }
}

/// A kernel that reads a constant pattern once, and leaves other patterns to the one for rows.
fn by_column(by_row: Kernel, form: LikeForm, negated: bool) -> Kernel {
    let is_constant = |argument: &ArgumentColumn| argument.is_scalar && argument.array.is_valid(0);
    Arc::new(move |args, rows| {
        let Some((column, constants)) = args.split_first() else { return by_row(args, rows) };
        if column.is_scalar || rows == 0 || !constants.iter().all(is_constant) {
            return by_row(args, rows);
        }
        let [pattern] = constants else { return by_row(args, rows) };
        if form == LikeForm::Bytes {
            let read = LikePattern::new(pattern.array.as_binary::<i32>().value(0), BACKSLASH, form);
            return test_rows(column.array.as_binary::<i32>(), &read, negated);
        }
        let read = LikePattern::new(pattern.array.as_string::<i32>().value(0).as_bytes(), BACKSLASH, form);
        let texts = column.array.as_string::<i32>();
        if form == LikeForm::Text {
            return test_rows(texts, &read, negated);
        }
        match lower_case(texts) {
            Some(lowered) => test_rows(&lowered, &read, negated),
            None => by_row(args, rows),
        }
    })
}

/// The texts of a column in lower case; none if they are too long for one column.
fn lower_case(texts: &StringArray) -> Option<StringArray> {
    let offsets = texts.offsets();
    let (first, last) = (*offsets.first()?, *offsets.last()?);
    let all = texts.values().get(first as usize..last as usize)?;
    let nulls = texts.nulls().cloned();
    if all.is_ascii() {
        let offsets: Vec<i32> = offsets.iter().map(|offset| offset - first).collect();
        let offsets = OffsetBuffer::new(ScalarBuffer::from(offsets));
        return StringArray::try_new(offsets, all.to_ascii_lowercase().into(), nulls).ok();
    }
    let mut lowered = String::with_capacity(all.len());
    let mut offsets = Vec::with_capacity(offsets.len());
    offsets.push(0);
    for row in 0..texts.len() {
        push_lower(texts.value(row), &mut lowered);
        offsets.push(i32::try_from(lowered.len()).ok()?);
    }
    let offsets = OffsetBuffer::new(ScalarBuffer::from(offsets));
    StringArray::try_new(offsets, lowered.into_bytes().into(), nulls).ok()
}

/// The answer for each row.
fn test_rows<T: ByteArrayType<Offset = i32>>(
    column: &GenericByteArray<T>,
    pattern: &LikePattern,
    negated: bool,
) -> Result<ArrayRef>
where
    T::Native: AsRef<[u8]>,
{
    let text = |row: usize| -> &[u8] { column.value(row).as_ref() };
    let is_valid = |row: usize| column.is_valid(row);
    let rows = column.len();
    let answers = match pattern.shape() {
        Some(LikeShape::Everything) => BooleanBuffer::collect_bool(rows, |_| !negated),
        Some(LikeShape::Equals(all)) => {
            let is_as_long = |row: usize| usize::try_from(column.value_length(row)) == Ok(all.len());
            BooleanBuffer::collect_bool(rows, |row| (is_as_long(row) && text(row) == all) != negated)
        }
        Some(LikeShape::StartsWith(start)) => {
            BooleanBuffer::collect_bool(rows, |row| text(row).starts_with(start) != negated)
        }
        Some(LikeShape::EndsWith(end)) => BooleanBuffer::collect_bool(rows, |row| text(row).ends_with(end) != negated),
        Some(LikeShape::Contains(finder)) => {
            BooleanBuffer::collect_bool(rows, |row| finder.find(text(row)).is_some() != negated)
        }
        None => {
            let mut failure = Ok(());
            let answers = BooleanBuffer::collect_bool(rows, |row| {
                // A row that is NULL may not fail.
                let answer = if is_valid(row) && failure.is_ok() { pattern.matches(text(row)) } else { Ok(false) };
                answer.map_err(|error| failure = Err(error)).is_ok_and(|answer| answer != negated)
            });
            failure?;
            answers
        }
    };
    Ok(Arc::new(BooleanArray::new(answers, column.nulls().cloned())))
}
