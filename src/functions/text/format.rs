//! `format`: a text with places for others, as `printf` of C has it.

use super::{
    bounded::BoundedText,
    quoting::{quote_ident, quote_literal},
};
use crate::error::{Error, ErrorKind, Result};

fn invalid(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidParameterValue, message)
}

fn out_of_range() -> Error {
    Error::new(ErrorKind::NumericOutOfRange, "number is out of range")
}

const PERCENT_HINT: &str = "For a single \"%\" use \"%%\".";

/// A place for an argument, whose `%` is read.
struct Specifier<'f> {
    rest: &'f str,
    /// Number of the argument, from 1.
    argument: Option<usize>,
    width: FieldWidth,
    is_left: bool,
}

/// Characters to fill with spaces up to; a negative number fills on the right.
enum FieldWidth {
    Number(i32),
    /// That of the argument of a number, from 1, or of the next.
    Argument(Option<usize>),
}

impl<'f> Specifier<'f> {
    /// A specifier has a character left at all times.
    fn current(&self) -> Result<char> {
        let unterminated = || invalid("unterminated format() type specifier").hint(PERCENT_HINT);
        self.rest.chars().next().ok_or_else(unterminated)
    }

    fn advance(&mut self) -> Result<char> {
        let mut rest = self.rest.chars();
        rest.next();
        self.rest = rest.as_str();
        self.current()
    }

    fn digits(&mut self) -> Result<Option<i32>> {
        let mut number: Option<i32> = None;
        while let Some(digit) = self.current()?.to_digit(10).and_then(|digit| i32::try_from(digit).ok()) {
            let longer = number.unwrap_or(0).checked_mul(10).and_then(|tens| tens.checked_add(digit));
            number = Some(longer.ok_or_else(out_of_range)?);
            self.advance()?;
        }
        Ok(number)
    }

    fn argument_number(&mut self, number: i32) -> Result<Option<usize>> {
        if number == 0 {
            return Err(invalid("format specifies argument 0, but arguments are numbered from 1"));
        }
        self.advance()?;
        Ok(usize::try_from(number).ok())
    }

    fn parse(rest: &'f str) -> Result<Self> {
        let mut read = Specifier { rest, argument: None, width: FieldWidth::Number(0), is_left: false };
        if let Some(number) = read.digits()? {
            if read.current()? != '$' {
                read.width = FieldWidth::Number(number);
                return Ok(read);
            }
            read.argument = read.argument_number(number)?;
        }
        while read.current()? == '-' {
            read.is_left = true;
            read.advance()?;
        }
        if read.current()? != '*' {
            read.width = FieldWidth::Number(read.digits()?.unwrap_or(0));
            return Ok(read);
        }
        read.advance()?;
        let number = match read.digits()? {
            Some(_) if read.current()? != '$' => {
                return Err(invalid("width argument position must be ended by \"$\""));
            }
            Some(number) => read.argument_number(number)?,
            None => None,
        };
        read.width = FieldWidth::Argument(number);
        Ok(read)
    }
}

/// The arguments, and the number of the next.
struct FormatArguments<'a> {
    texts: &'a [Option<&'a str>],
    next: usize,
}

impl<'a> FormatArguments<'a> {
    /// The argument of a number, from 1, or the next.
    fn value(&mut self, number: Option<usize>) -> Result<Option<&'a str>> {
        let number = number.unwrap_or(self.next);
        let text = number.checked_sub(1).and_then(|index| self.texts.get(index));
        self.next = number.saturating_add(1);
        text.copied().ok_or_else(|| invalid("too few arguments for format()"))
    }
}

/// An integer of four bytes, as its input reads it.
fn integer(text: &str) -> Result<i32> {
    let is_space = |c: char| c.is_ascii_whitespace() || c == '\x0b';
    let no_integer =
        || Error::new(ErrorKind::InvalidText, format!("invalid input syntax for type integer: \"{text}\""));
    let number = text.trim_start_matches(is_space);
    let unsigned = number.strip_prefix(['-', '+']).unwrap_or(number);
    let rest = unsigned.trim_start_matches(|c: char| c.is_ascii_digit());
    if rest.len() == unsigned.len() {
        return Err(no_integer());
    }
    let number = number.strip_suffix(rest).unwrap_or(number).parse::<i32>().map_err(|_| {
        let message = format!("value \"{text}\" is out of range for type integer");
        Error::new(ErrorKind::NumericOutOfRange, message)
    })?;
    if rest.trim_start_matches(is_space).is_empty() { Ok(number) } else { Err(no_integer()) }
}

fn push_filled(out: &mut BoundedText, text: &str, width: i32, is_left: bool) -> Result<()> {
    if width == 0 {
        return out.push(text);
    }
    let is_left = is_left || width < 0;
    let width = usize::try_from(width.checked_abs().ok_or_else(out_of_range)?).unwrap_or(0);
    let lacking = width.saturating_sub(text.chars().count());
    if is_left {
        out.push(text)?;
        return out.push_spaces(lacking);
    }
    out.push_spaces(lacking)?;
    out.push(text)
}

/// The format with its `%s` (text), `%I` (identifier) and `%L` (literal) replaced by arguments. A format or an argument
/// that does not fit is an error: 22023, 22003, 22004, and what the input of integers tells about a width.
pub fn format(format: &str, texts: &[Option<&str>]) -> Result<String> {
    let (mut out, mut arguments) = (BoundedText::default(), FormatArguments { texts, next: 1 });
    let mut rest = format;
    while let Some((before, behind)) = rest.split_once('%') {
        out.push(before)?;
        if let Some(after) = behind.strip_prefix('%') {
            out.push("%")?;
            rest = after;
            continue;
        }
        let specifier = Specifier::parse(behind)?;
        let conversion = specifier.current()?;
        if !matches!(conversion, 's' | 'I' | 'L') {
            let message = format!("unrecognized format() type specifier \"{conversion}\"");
            return Err(invalid(message).hint(PERCENT_HINT));
        }
        let width = match specifier.width {
            FieldWidth::Number(width) => width,
            FieldWidth::Argument(number) => arguments.value(number)?.map_or(Ok(0), integer)?,
        };
        let value = arguments.value(specifier.argument)?;
        let converted = match (conversion, value) {
            ('s', value) => value.unwrap_or_default().to_string(),
            ('L', value) => value.map_or_else(|| "NULL".to_string(), quote_literal),
            (_, Some(name)) => quote_ident(name),
            (_, None) => {
                let message = "null values cannot be formatted as an SQL identifier";
                return Err(Error::new(ErrorKind::NullNotAllowed, message));
            }
        };
        push_filled(&mut out, &converted, width, specifier.is_left)?;
        rest = specifier.rest.get(1..).unwrap_or_default();
    }
    out.push(rest)?;
    Ok(out.finish())
}
