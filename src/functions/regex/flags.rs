//! What the arguments of the `regexp_` functions say: how an expression is to be read (its dialect, and what case and
//! newlines mean), and from where.

use crate::error::{Error, ErrorKind, Result};

/// The dialect of a regular expression.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RegexSyntax {
    /// A string that stands for itself.
    Literal,
    /// POSIX's basic ones, with `\(` and `\{`.
    Basic,
    /// POSIX's extended ones.
    Extended,
    /// PostgreSQL's own: extended ones with escapes, classes, look-around and reluctant quantifiers.
    Advanced,
}

/// How a regular expression is compiled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct RegexFlags {
    pub syntax: RegexSyntax,
    pub ignore_case: bool,
    /// White space and comments mean nothing.
    pub expanded: bool,
    /// `.` and `[^a]` do not match a newline.
    pub newline_stops: bool,
    /// `^` and `$` match around a newline too.
    pub newline_anchors: bool,
}

impl RegexFlags {
    pub const ADVANCED: RegexFlags = RegexFlags {
        syntax: RegexSyntax::Advanced,
        ignore_case: false,
        expanded: false,
        newline_stops: false,
        newline_anchors: false,
    };

    pub const IGNORE_CASE: RegexFlags = RegexFlags { ignore_case: true, ..RegexFlags::ADVANCED };

    /// Sets what a newline means: whether it stops wildcards, and whether lines have anchors.
    pub fn set_newline(&mut self, stops: bool, anchors: bool) {
        self.newline_stops = stops;
        self.newline_anchors = anchors;
    }

    pub fn is_newline_sensitive(&self) -> bool {
        self.newline_stops || self.newline_anchors
    }
}

/// The `flags` argument of the `regexp_` functions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RegexOptions {
    pub flags: RegexFlags,
    /// `g`: all matches, not the first.
    pub global: bool,
}

impl RegexOptions {
    /// Reads option letters; an unknown one is an error (22023). As in PostgreSQL, `e` gives basic expressions.
    pub fn parse(letters: &str) -> Result<RegexOptions> {
        let mut flags = RegexFlags::ADVANCED;
        let mut global = false;
        for letter in letters.chars() {
            match letter {
                'g' => global = true,
                'b' | 'e' => flags.syntax = RegexSyntax::Basic,
                'q' => flags.syntax = RegexSyntax::Literal,
                'c' => flags.ignore_case = false,
                'i' => flags.ignore_case = true,
                'm' | 'n' => flags.set_newline(true, true),
                'p' => flags.set_newline(true, false),
                's' => flags.set_newline(false, false),
                'w' => flags.set_newline(false, true),
                't' => flags.expanded = false,
                'x' => flags.expanded = true,
                other => return Err(unknown_option(other)),
            }
        }
        Ok(RegexOptions { flags, global })
    }

    /// As [`RegexOptions::parse`], for a function that has no use for `g`.
    pub fn parse_without_global(letters: &str, function: &str) -> Result<RegexOptions> {
        let options = RegexOptions::parse(letters)?;
        if options.global {
            let message = format!("{function} does not support the \"global\" option");
            return Err(Error::new(ErrorKind::InvalidParameterValue, message));
        }
        Ok(options)
    }
}

/// The error for an option letter that there is none of.
pub fn unknown_option(letter: char) -> Error {
    let message = format!("invalid regular expression option: \"{letter}\"");
    Error::new(ErrorKind::InvalidParameterValue, message)
}

/// A number that is at least so much; less is an error (22023).
pub fn number_from(name: &str, number: i32, least: i32) -> Result<usize> {
    match usize::try_from(number) {
        Ok(enough) if number >= least => Ok(enough),
        _ => Err(invalid_parameter(name, number)),
    }
}

pub fn invalid_parameter(name: &str, number: i32) -> Error {
    let message = format!("invalid value for parameter \"{name}\": {number}");
    Error::new(ErrorKind::InvalidParameterValue, message)
}

/// The place of the character of a number, counted from 1; none if it is past the end of the text.
pub fn place_of(text: &str, number: usize) -> Option<usize> {
    let before = number.checked_sub(1)?;
    let mut starts = text.char_indices().map(|(at, _)| at).chain(std::iter::once(text.len()));
    if text.is_ascii() { (before <= text.len()).then_some(before) } else { starts.nth(before) }
}
