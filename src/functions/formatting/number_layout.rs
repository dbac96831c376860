//! What a template for numbers says on the whole: how many digits, which sign, which special form.

use super::number_words::NumberWord;
use crate::error::{Error, ErrorKind, Result};

/// Where `S` puts the sign.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SignPlace {
    Front,
    Back,
}

/// Counts are of digits.
#[derive(Debug, Clone, Default)]
pub struct NumberLayout {
    pub before_point: usize,
    pub after_point: usize,
    /// `V`.
    pub is_shifted: bool,
    /// After `V`: the number is multiplied by this power of ten.
    pub shift: usize,
    pub has_point: bool,
    /// `0` before the point; it is the digit of this place, from 0.
    pub zero_start: Option<usize>,
    /// Up to the last `0`, before or after the point.
    pub zero_end: usize,
    pub is_blank: bool,
    /// `FM`.
    pub is_unpadded: bool,
    pub sign: Option<SignPlace>,
    /// Digits before an `S` in front.
    pub before_sign: usize,
    /// `PR`.
    pub has_brackets: bool,
    /// `MI` or `SG`.
    pub has_minus: bool,
    /// `PL` or `SG`.
    pub has_plus: bool,
    pub is_roman: bool,
    /// `EEEE`.
    pub is_scientific: bool,
}

fn misuse(message: &str) -> Error {
    Error::new(ErrorKind::Syntax, message)
}

impl NumberLayout {
    /// Takes the next word of a template. Error 42601 if it does not go with those before it.
    pub fn add(&mut self, word: NumberWord) -> Result<()> {
        if self.is_scientific && word != NumberWord::Scientific {
            return Err(misuse("\"EEEE\" must be the last pattern used"));
        }
        match word {
            NumberWord::Nine => self.add_nine(),
            NumberWord::Zero => self.add_zero(),
            NumberWord::Blank => {
                self.is_blank |= self.before_point == 0 && self.after_point == 0 && self.zero_start.is_none();
                Ok(())
            }
            NumberWord::Point => self.add_point(),
            NumberWord::Unpadded => {
                self.is_unpadded = true;
                Ok(())
            }
            NumberWord::AnchoredSign => self.add_anchored_sign(),
            NumberWord::Minus => self.add_sign("MI", true, false),
            NumberWord::Plus => self.add_sign("PL", false, true),
            NumberWord::AnySign => self.add_sign("SG", true, true),
            NumberWord::Brackets => self.add_brackets(),
            NumberWord::Roman(_) => {
                self.is_roman = true;
                Ok(())
            }
            NumberWord::Shift => self.add_shift(),
            NumberWord::Scientific => self.add_scientific(),
            NumberWord::Comma | NumberWord::Group | NumberWord::Currency => Ok(()),
            NumberWord::Ordinal(_) | NumberWord::Ignored => Ok(()),
        }
    }

    fn add_nine(&mut self) -> Result<()> {
        if self.has_brackets {
            return Err(misuse("\"9\" must be ahead of \"PR\""));
        }
        match (self.is_shifted, self.has_point) {
            (true, _) => self.shift += 1,
            (_, true) => self.after_point += 1,
            _ => self.before_point += 1,
        }
        Ok(())
    }

    fn add_zero(&mut self) -> Result<()> {
        if self.has_brackets {
            return Err(misuse("\"0\" must be ahead of \"PR\""));
        }
        if self.has_point {
            self.after_point += 1;
        } else {
            self.zero_start.get_or_insert(self.before_point);
            self.before_point += 1;
        }
        self.zero_end = self.before_point + self.after_point;
        Ok(())
    }

    fn add_point(&mut self) -> Result<()> {
        if self.has_point {
            return Err(misuse("multiple decimal points"));
        }
        if self.is_shifted {
            return Err(misuse("cannot use \"V\" and decimal point together"));
        }
        self.has_point = true;
        Ok(())
    }

    fn add_anchored_sign(&mut self) -> Result<()> {
        if self.sign.is_some() {
            return Err(misuse("cannot use \"S\" twice"));
        }
        if self.has_plus || self.has_minus || self.has_brackets {
            return Err(misuse("cannot use \"S\" and \"PL\"/\"MI\"/\"SG\"/\"PR\" together"));
        }
        if self.has_point {
            self.sign = Some(SignPlace::Back);
        } else {
            self.sign = Some(SignPlace::Front);
            self.before_sign = self.before_point;
        }
        Ok(())
    }

    fn add_sign(&mut self, name: &str, is_minus: bool, is_plus: bool) -> Result<()> {
        if self.sign.is_some() {
            return Err(misuse(&format!("cannot use \"S\" and \"{name}\" together")));
        }
        self.has_minus |= is_minus;
        self.has_plus |= is_plus;
        Ok(())
    }

    fn add_brackets(&mut self) -> Result<()> {
        if self.sign.is_some() || self.has_plus || self.has_minus {
            return Err(misuse("cannot use \"PR\" and \"S\"/\"PL\"/\"MI\"/\"SG\" together"));
        }
        self.has_brackets = true;
        Ok(())
    }

    fn add_shift(&mut self) -> Result<()> {
        if self.has_point {
            return Err(misuse("cannot use \"V\" and decimal point together"));
        }
        self.is_shifted = true;
        Ok(())
    }

    fn add_scientific(&mut self) -> Result<()> {
        if self.is_scientific {
            return Err(misuse("cannot use \"EEEE\" twice"));
        }
        let has_sign = self.sign.is_some() || self.has_brackets || self.has_minus || self.has_plus;
        if self.is_blank || self.is_unpadded || has_sign || self.is_roman || self.is_shifted {
            return Err(misuse("\"EEEE\" is incompatible with other formats")
                .detail("\"EEEE\" may only be used together with digit and decimal point patterns."));
        }
        self.is_scientific = true;
        Ok(())
    }
}
