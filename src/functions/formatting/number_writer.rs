//! Writes a number by a template, place by place.

use super::date_patterns::LetterCase;
use super::number_layout::{NumberLayout, SignPlace};
use super::number_template::{NumberNode, NumberTemplate};
use super::number_words::NumberWord;
use super::ordinal::ordinal_suffix;
use super::roman::roman_number;
use crate::error::Result;

/// How wide roman numbers are.
const ROMAN_WIDTH: usize = 15;

/// A number that is ready to be written.
#[derive(Debug)]
pub struct WritableNumber {
    /// Without sign; `####.##` for one that does not fit.
    text: String,
    is_negative: bool,
    /// How many places of the template are before its first digit.
    blanks: usize,
}

impl WritableNumber {
    /// Of a decimal text, which the layout has too few places for, or blanks before it.
    pub fn new(text: &str, layout: &NumberLayout) -> WritableNumber {
        let unsigned = text.strip_prefix('-').unwrap_or(text);
        let width = unsigned.find('.').unwrap_or(unsigned.len());
        let is_negative = unsigned.len() < text.len();
        let (text, blanks) = match layout.before_point.checked_sub(width) {
            Some(blanks) => (unsigned.to_string(), blanks),
            None => {
                let (before, after) = (layout.before_point, layout.after_point);
                (format!("{}.{}", "#".repeat(before), "#".repeat(after)), 0)
            }
        };
        WritableNumber { text, is_negative, blanks }
    }
}

/// What a template says of a number that is not written by its digits: the roman one at each `RN`, literal text, and
/// little else.
pub fn write_roman(template: &NumberTemplate, number: i32) -> String {
    let roman = roman_number(number);
    let is_unpadded = template.layout.is_unpadded;
    let mut out = String::new();
    for node in &template.nodes {
        let space = match node {
            NumberNode::Text(character) => {
                out.push(*character);
                continue;
            }
            NumberNode::Word(NumberWord::Roman(case)) => {
                let roman = if *case == LetterCase::Lower { roman.to_ascii_lowercase() } else { roman.clone() };
                let width = if is_unpadded { 0 } else { ROMAN_WIDTH };
                out.push_str(&format!("{roman:>width$}"));
                continue;
            }
            // A sign that there is not ends the text.
            NumberNode::Word(NumberWord::AnySign) => break,
            NumberNode::Word(NumberWord::Currency) => true,
            NumberNode::Word(word) => {
                let is_space =
                    matches!(word, NumberWord::Comma | NumberWord::Group | NumberWord::Minus | NumberWord::Plus);
                is_space && !is_unpadded
            }
        };
        if space {
            out.push(' ');
        }
    }
    out
}

/// The number by the template, whose layout may have been changed for it. Error 22P02 for ordinals of no number.
pub fn write_number(template: &NumberTemplate, layout: NumberLayout, number: &WritableNumber) -> Result<String> {
    let mut writer = NumberWriter::new(layout, number);
    for node in &template.nodes {
        match node {
            NumberNode::Word(word) => writer.write_word(*word)?,
            NumberNode::Text(character) => writer.out.push(*character),
        }
    }
    // A place behind the last digit ends the text.
    writer.out.truncate(writer.out.find('\0').unwrap_or(writer.out.len()));
    Ok(writer.out)
}

struct NumberWriter<'a> {
    layout: NumberLayout,
    number: &'a WritableNumber,
    out: String,
    /// How many characters of the number are done.
    done: usize,
    /// The place of the template, from 0, and how many there are.
    place: usize,
    place_count: usize,
    is_sign_done: bool,
    /// Whether the last place has a digit.
    is_in_digits: bool,
    /// The last character of the number that counts, without trailing zeros behind the point.
    last_relevant: Option<usize>,
}

impl<'a> NumberWriter<'a> {
    fn new(layout: NumberLayout, number: &'a WritableNumber) -> Self {
        let mut writer = NumberWriter {
            last_relevant: last_relevant(&layout, number),
            place_count: layout.before_point + layout.after_point,
            layout,
            number,
            out: String::new(),
            done: 0,
            place: 0,
            is_sign_done: false,
            is_in_digits: false,
        };
        let layout = &mut writer.layout;
        if layout.has_plus || layout.has_minus {
            writer.is_sign_done = layout.has_minus;
        } else {
            let is_free = !number.is_negative && layout.is_unpadded;
            layout.has_brackets &= !is_free;
            writer.is_sign_done = is_free && layout.sign.is_none();
            if layout.sign == Some(SignPlace::Front) && layout.before_point == layout.before_sign {
                layout.sign = Some(SignPlace::Back);
            }
        }
        if !writer.is_sign_done && number.blanks == 0 {
            writer.place_count += 1;
        }
        writer
    }

    fn write_word(&mut self, word: NumberWord) -> Result<()> {
        let is_unpadded = self.layout.is_unpadded;
        let is_negative = self.number.is_negative;
        let written = match word {
            NumberWord::Nine | NumberWord::Point => return self.write_place(false),
            NumberWord::Zero => return self.write_place(true),
            NumberWord::Comma | NumberWord::Group if self.is_in_digits => ",",
            NumberWord::Currency => " ",
            NumberWord::Minus | NumberWord::AnySign if is_negative => "-",
            NumberWord::AnySign => "+",
            NumberWord::Plus if !is_negative => "+",
            NumberWord::Comma | NumberWord::Group | NumberWord::Minus | NumberWord::Plus if !is_unpadded => " ",
            NumberWord::Ordinal(case) => return self.write_ordinal(case),
            _ => "",
        };
        self.out.push_str(written);
        Ok(())
    }

    fn write_ordinal(&mut self, case: LetterCase) -> Result<()> {
        let number = self.number;
        if !number.text.starts_with('#') && !number.is_negative && !self.layout.has_point {
            self.out.push_str(ordinal_suffix(&number.text, case)?);
        }
        Ok(())
    }

    fn ends_at_point(&self) -> bool {
        self.last_relevant.is_some_and(|place| self.number.text.as_bytes().get(place) == Some(&b'.'))
    }

    /// The 0 before the point is left out, unless the template has a `0`.
    fn is_lone_zero(&self) -> bool {
        let is_zero = self.done == 0 && self.number.text.starts_with('0');
        is_zero && self.layout.zero_start.is_none() && self.layout.after_point != 0
    }

    fn write_place(&mut self, is_zero: bool) -> Result<()> {
        self.is_in_digits = false;
        let is_started = self.place >= self.number.blanks || self.layout.zero_start == Some(self.place);
        if !self.is_sign_done && is_started && (!self.is_lone_zero() || self.ends_at_point()) {
            self.write_front_sign();
        }
        if self.place >= self.number.blanks {
            self.write_character(is_zero);
        } else if self.layout.zero_start.is_some_and(|start| start <= self.place) {
            self.out.push('0');
            self.is_in_digits = true;
        } else if !self.layout.is_unpadded {
            self.out.push(' ');
        }
        let is_last = match self.last_relevant {
            Some(last) if last == self.done => false,
            _ => {
                self.place + 2
                    == self.place_count + usize::from(self.number.blanks > 0) + usize::from(self.layout.has_point)
            }
        };
        if is_last {
            self.write_back_sign();
        }
        self.place += 1;
        Ok(())
    }

    fn write_front_sign(&mut self) {
        let is_negative = self.number.is_negative;
        let sign = match (self.layout.sign, is_negative) {
            (Some(SignPlace::Back), _) => return,
            (Some(SignPlace::Front), false) => "+",
            (None, true) if self.layout.has_brackets => "<",
            (_, true) => "-",
            (None, false) if self.layout.is_unpadded && !self.layout.has_brackets => "",
            (None, false) => " ",
        };
        self.out.push_str(sign);
        self.is_sign_done = true;
    }

    fn write_back_sign(&mut self) {
        let is_negative = self.number.is_negative;
        if self.is_sign_done && self.layout.has_brackets {
            self.out.push(if is_negative { '>' } else { ' ' });
        } else if self.layout.sign == Some(SignPlace::Back) {
            self.out.push(if is_negative { '-' } else { '+' });
        }
    }

    /// The next character of the number.
    fn write_character(&mut self, is_zero: bool) {
        let next = self.number.text.as_bytes().get(self.done).copied();
        let is_unpadded = self.layout.is_unpadded;
        if next == Some(b'.') {
            if !self.ends_at_point() || is_unpadded {
                self.out.push('.');
            }
        } else if !is_zero && self.last_relevant.is_some_and(|last| self.done > last) {
            // A zero at the end is left out.
        } else if self.is_lone_zero() {
            if !is_unpadded {
                self.out.push(' ');
            } else if self.ends_at_point() {
                self.out.push('0');
            }
        } else {
            self.out.push(char::from(next.unwrap_or_default()));
            self.is_in_digits = true;
        }
        self.done += usize::from(next.is_some());
    }
}

/// The point, or the last digit behind it that is not 0 or has a `0` in the template; `None` if all digits count.
fn last_relevant(layout: &NumberLayout, number: &WritableNumber) -> Option<usize> {
    if !layout.is_unpadded || !layout.has_point {
        return None;
    }
    let text = number.text.as_str();
    let point = text.find('.')?;
    let last = text.trim_end_matches('0').len().saturating_sub(1).max(point);
    match layout.zero_end.checked_sub(number.blanks) {
        Some(zeros) if zeros > 0 => Some(last.max(zeros.min(text.len().saturating_sub(1)))),
        _ => Some(last),
    }
}
