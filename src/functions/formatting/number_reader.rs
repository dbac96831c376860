//! Reads a number from a text by a template.

use super::number_layout::{NumberLayout, SignPlace};
use super::number_template::{NumberNode, NumberTemplate};
use super::number_words::NumberWord;
use crate::error::{Error, ErrorKind, Result};

/// A number as it was read.
#[derive(Debug)]
pub struct ReadDigits {
    /// A sign or a space, digits and a point.
    pub text: String,
    /// How many digits are behind the point.
    pub scale: usize,
}

/// What the template has no place for is not read. Error 0A000 for roman and scientific templates.
pub fn read_digits(template: &NumberTemplate, text: &str) -> Result<ReadDigits> {
    let layout = &template.layout;
    for (is_used, name) in [(layout.is_scientific, "EEEE"), (layout.is_roman, "RN")] {
        if is_used {
            return Err(Error::new(ErrorKind::Unsupported, format!("\"{name}\" not supported for input")));
        }
    }
    let mut reader = NumberReader {
        layout,
        text: text.as_bytes(),
        place: 0,
        sign: None,
        digits: String::new(),
        before_point: 0,
        after_point: 0,
        has_point: false,
    };
    for node in &template.nodes {
        if reader.place >= reader.text.len() {
            break;
        }
        match node {
            NumberNode::Word(word) => reader.read_word(*word),
            NumberNode::Text(_) => reader.skip_character(),
        }
    }
    let digits = reader.digits.strip_suffix('.').unwrap_or(&reader.digits);
    Ok(ReadDigits { text: format!("{}{digits}", reader.sign.unwrap_or(' ')), scale: reader.after_point })
}

struct NumberReader<'a> {
    layout: &'a NumberLayout,
    /// Bytes: a place that finds no digit is left by one byte.
    text: &'a [u8],
    place: usize,
    sign: Option<char>,
    digits: String,
    before_point: usize,
    after_point: usize,
    has_point: bool,
}

impl NumberReader<'_> {
    fn next(&self) -> Option<u8> {
        self.text.get(self.place).copied()
    }

    fn sign_at(&self, place: usize) -> Option<char> {
        self.text.get(place).copied().map(char::from).filter(|next| matches!(next, '-' | '+'))
    }

    /// A byte within a character counts as one.
    fn skip_character(&mut self) {
        self.place += match self.next().unwrap_or_default() {
            0xf0..0xf8 => 4,
            0xe0..0xf0 => 3,
            0xc0..0xe0 => 2,
            _ => 1,
        };
    }

    /// Skips up to so many characters, but nothing that may belong to a number.
    fn skip_others(&mut self, count: usize) {
        for _ in 0..count {
            match self.next() {
                None | Some(b'0'..=b'9' | b'.' | b',' | b'+' | b'-') => return,
                Some(_) => self.skip_character(),
            }
        }
    }

    fn read_word(&mut self, word: NumberWord) {
        match word {
            NumberWord::Nine | NumberWord::Zero => self.read_place(true),
            NumberWord::Point => self.read_place(false),
            NumberWord::Comma | NumberWord::Group => {
                let is_comma = !self.layout.is_unpadded && self.next() == Some(b',');
                self.place += usize::from(is_comma);
            }
            NumberWord::Currency => self.skip_others(1),
            NumberWord::Ordinal(_) if !self.layout.has_point => self.skip_others(2),
            NumberWord::Minus => self.read_sign(&['-']),
            NumberWord::Plus => self.read_sign(&['+']),
            NumberWord::AnySign => self.read_sign(&['-', '+']),
            _ => {}
        }
    }

    fn read_sign(&mut self, signs: &[char]) {
        match self.sign_at(self.place).filter(|sign| signs.contains(sign)) {
            Some(sign) => {
                self.sign = Some(sign);
                self.place += 1;
            }
            None => self.skip_others(1),
        }
    }

    fn read_place(&mut self, is_digit: bool) {
        self.read_character(is_digit);
        self.place += 1;
    }

    /// A sign, then a digit or the point, then a sign. Stops at its last byte.
    fn read_character(&mut self, is_digit: bool) {
        if self.next() == Some(b' ') {
            self.place += 1;
        }
        let is_first = self.before_point + self.after_point == 0;
        if self.sign.is_none() && is_digit && is_first && self.next().is_some() {
            self.read_front_sign();
        }
        let Some(next) = self.next() else { return };
        let mut is_read = true;
        if next.is_ascii_digit() {
            if self.has_point && self.after_point == self.layout.after_point {
                return;
            }
            self.digits.push(char::from(next));
            *(if self.has_point { &mut self.after_point } else { &mut self.before_point }) += 1;
        } else if next == b'.' && self.layout.has_point && !self.has_point {
            self.digits.push('.');
            self.has_point = true;
        } else {
            is_read = false;
        }
        if self.sign.is_none() && self.before_point + self.after_point > 0 {
            self.read_back_sign(is_read);
        }
    }

    fn read_front_sign(&mut self) {
        let is_anchored = self.layout.sign == Some(SignPlace::Front);
        let is_bracket = !is_anchored && self.layout.has_brackets && self.next() == Some(b'<');
        let sign = if is_bracket { Some('-') } else { self.sign_at(self.place) };
        if sign.is_some() {
            self.sign = sign;
            self.place += 1;
        }
    }

    /// `S` is right behind the last digit; the place of the other signs is not certain.
    fn read_back_sign(&mut self, is_read: bool) {
        if self.layout.sign.is_some() {
            if is_read && let Some(sign) = self.sign_at(self.place + 1) {
                self.sign = Some(sign);
                self.place += 1;
            }
        } else if !is_read && (self.layout.has_plus || self.layout.has_minus) {
            self.sign = self.sign_at(self.place);
        }
    }
}
