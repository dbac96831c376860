//! Reads the fields of a date and a time from a text, by a template.

use super::date_fields::{TemplateFields, assign};
use super::date_names::{DAY_ABBREVIATIONS, DAYS, MONTH_ABBREVIATIONS, MONTHS, ROMAN_MONTHS, eras, meridiems};
use super::date_numbers::{nearest_to_2020, read_grouped_year, read_number};
use super::date_patterns::DatePattern;
use super::date_template::{DateField, DateTimeTemplate, TemplateNode, is_separator, is_space};
use crate::error::{Error, ErrorKind, Result};

/// What of the template is beyond the end of the text is not said, and what of the text is beyond the end of the
/// template is not read. Errors 22007 for what does not fit, 22008 for numbers out of range, 0A000 for `TZ` and `OF`.
pub fn read_date(template: &DateTimeTemplate, text: &str) -> Result<TemplateFields> {
    let mut reader = TemplateReader { text, place: 0, is_exact: false, skipped: 0, fields: TemplateFields::default() };
    for (index, node) in template.nodes.iter().enumerate() {
        if reader.rest().is_empty() {
            break;
        }
        reader.read_node(node, index == 0)?;
    }
    Ok(reader.fields)
}

struct TemplateReader<'a> {
    text: &'a str,
    place: usize,
    /// After `FX`.
    is_exact: bool,
    /// How many more characters were skipped than the template has.
    skipped: i32,
    fields: TemplateFields,
}

impl<'a> TemplateReader<'a> {
    fn rest(&self) -> &'a str {
        self.text.get(self.place..).unwrap_or_default()
    }

    fn skip_spaces(&mut self) {
        let rest = self.rest();
        let spaces = rest.len() - rest.trim_start_matches(is_space).len();
        self.place += spaces;
        self.skipped = self.skipped.saturating_add(i32::try_from(spaces).unwrap_or(i32::MAX));
    }

    fn skip_character(&mut self) {
        self.place += self.rest().chars().next().map_or(0, char::len_utf8);
    }

    fn read_node(&mut self, node: &TemplateNode, is_first: bool) -> Result<()> {
        let is_mark = matches!(node, TemplateNode::Field(field) if field.pattern() == DatePattern::Exact);
        if !self.is_exact && !is_mark && (is_first || matches!(node, TemplateNode::Field(_))) {
            self.skip_spaces();
        }
        match node {
            TemplateNode::Field(field) => {
                self.fields.follow(field.word)?;
                self.read_field(field)?;
                if !self.is_exact {
                    self.skipped = 0;
                    self.skip_spaces();
                }
                return Ok(());
            }
            _ if self.is_exact => self.skip_character(),
            // A separator stands for one of any kind, or for none.
            TemplateNode::Space(_) | TemplateNode::Separator(_) => {
                if self.rest().starts_with(|next| is_space(next) || is_separator(next)) {
                    self.place += 1;
                } else {
                    self.skipped -= 1;
                }
            }
            TemplateNode::Text(_) if self.skipped > 0 => self.skipped -= 1,
            TemplateNode::Text(_) => self.skip_character(),
        }
        Ok(())
    }

    fn read_field(&mut self, field: &DateField) -> Result<()> {
        match field.pattern() {
            DatePattern::Exact => self.is_exact = true,
            DatePattern::ZoneName | DatePattern::Offset => {
                let name = field.word.text();
                let message = format!("formatting field \"{name}\" is only supported in to_char");
                return Err(Error::new(ErrorKind::Unsupported, message));
            }
            DatePattern::ZoneHour => self.read_zone_hour(field)?,
            DatePattern::ZoneMinute => {
                if self.fields.zone_sign == 0 {
                    self.fields.zone_sign = 1;
                }
                self.read_into(field, 2, |fields| &mut fields.zone_minutes)?;
            }
            pattern if !pattern.is_number() => self.read_name(field)?,
            _ => {
                self.read_digits(field)?;
                if field.ordinal.is_some() {
                    self.skip_character();
                    self.skip_character();
                }
            }
        }
        Ok(())
    }

    /// Sets a field to the number that follows; returns how many bytes it took.
    fn read_into(
        &mut self,
        field: &DateField,
        width: usize,
        slot: impl FnOnce(&mut TemplateFields) -> &mut i32,
    ) -> Result<usize> {
        let number = read_number(self.rest(), field, width)?;
        self.place += number.length;
        assign(slot(&mut self.fields), number.value, field.word)?;
        Ok(number.length)
    }

    fn read_digits(&mut self, field: &DateField) -> Result<()> {
        let width = field.word.text().len();
        match field.pattern() {
            DatePattern::Hour => self.read_into(field, 2, |fields| &mut fields.hour)?,
            DatePattern::HalfDayHour => {
                let length = self.read_into(field, 2, |fields| &mut fields.hour)?;
                self.fields.is_half_day = true;
                length
            }
            DatePattern::Minute => self.read_into(field, width, |fields| &mut fields.minute)?,
            DatePattern::Second => self.read_into(field, width, |fields| &mut fields.second)?,
            DatePattern::SecondOfDay => self.read_into(field, width, |fields| &mut fields.second_of_day)?,
            DatePattern::Millisecond | DatePattern::Microsecond | DatePattern::Fraction(_) => {
                return self.read_fraction(field);
            }
            DatePattern::DayOfMonth => self.read_into(field, width, |fields| &mut fields.day)?,
            DatePattern::DayOfYear => self.read_into(field, width, |fields| &mut fields.day_of_year)?,
            DatePattern::IsoDayOfYear => self.read_into(field, 3, |fields| &mut fields.day_of_year)?,
            DatePattern::DayOfWeek => self.read_into(field, width, |fields| &mut fields.day_of_week)?,
            DatePattern::IsoDayOfWeek => {
                let length = self.read_into(field, 1, |fields| &mut fields.day_of_week)?;
                let next = self.fields.day_of_week.wrapping_add(1);
                self.fields.day_of_week = if next > 7 { 1 } else { next };
                length
            }
            DatePattern::Week | DatePattern::IsoWeek => self.read_into(field, width, |fields| &mut fields.week)?,
            DatePattern::WeekOfMonth => self.read_into(field, width, |fields| &mut fields.week_of_month)?,
            DatePattern::Month => self.read_into(field, width, |fields| &mut fields.month)?,
            DatePattern::Century => self.read_into(field, width, |fields| &mut fields.century)?,
            DatePattern::JulianDay => self.read_into(field, width, |fields| &mut fields.julian_day)?,
            DatePattern::Quarter => {
                // Which of its days is meant is not clear: it is read and left.
                let length = read_number(self.rest(), field, width)?.length;
                self.place += length;
                length
            }
            _ => return self.read_year(field),
        };
        Ok(())
    }

    /// A number of fewer digits counts tenths, or hundredths and so on.
    fn read_fraction(&mut self, field: &DateField) -> Result<()> {
        let digits = match field.pattern() {
            DatePattern::Millisecond => 3,
            DatePattern::Fraction(digits) => {
                self.fields.fraction_digits = digits;
                usize::from(digits)
            }
            _ => 6,
        };
        let is_milli = field.pattern() == DatePattern::Millisecond;
        let slot: fn(&mut TemplateFields) -> &mut i32 =
            if is_milli { |fields| &mut fields.millisecond } else { |fields| &mut fields.microsecond };
        let length = self.read_into(field, digits, slot)?;
        let unit_digits = if is_milli { 3_usize } else { 6 };
        let missing = u32::try_from(unit_digits.saturating_sub(length)).unwrap_or_default();
        let value = slot(&mut self.fields);
        *value = value.wrapping_mul(10_i32.wrapping_pow(missing));
        Ok(())
    }

    fn read_year(&mut self, field: &DateField) -> Result<()> {
        let digits = match field.pattern() {
            DatePattern::Year(digits) | DatePattern::IsoYear(digits) => digits,
            _ => {
                let number = read_grouped_year(self.rest())?;
                assign(&mut self.fields.year, number.value, field.word)?;
                self.fields.year_digits = 4;
                self.place += number.length;
                return Ok(());
            }
        };
        let length = self.read_into(field, field.word.text().len(), |fields| &mut fields.year)?;
        if digits < 4 && length < 4 {
            self.fields.year = nearest_to_2020(self.fields.year);
        }
        self.fields.year_digits = digits;
        Ok(())
    }

    /// A minus sign may have been taken for a separator.
    fn read_zone_hour(&mut self, field: &DateField) -> Result<()> {
        let sign = self.rest().chars().next().filter(|first| matches!(first, '+' | '-' | ' '));
        let is_behind_minus = self.skipped > 0 && self.text.get(..self.place).is_some_and(|text| text.ends_with('-'));
        let is_negative = if sign.is_some() { sign == Some('-') } else { is_behind_minus };
        self.place += usize::from(sign.is_some());
        self.fields.zone_sign = if is_negative { -1 } else { 1 };
        self.read_into(field, 2, |fields| &mut fields.zone_hours)?;
        Ok(())
    }

    fn read_name(&mut self, field: &DateField) -> Result<()> {
        let word = field.word;
        match word.pattern {
            DatePattern::Meridiem { is_dotted } => {
                let half = self.find_name(field, &meridiems(is_dotted))?;
                assign(&mut self.fields.meridiem, half, word)?;
                self.fields.is_half_day = true;
            }
            DatePattern::Era { is_dotted } => {
                let era = self.find_name(field, &eras(is_dotted))?;
                assign(&mut self.fields.era, era, word)?;
            }
            DatePattern::MonthName | DatePattern::MonthAbbreviation => {
                let is_full = word.pattern == DatePattern::MonthName;
                let month = self.find_name(field, if is_full { &MONTHS } else { &MONTH_ABBREVIATIONS })?;
                assign(&mut self.fields.month, month + 1, word)?;
            }
            DatePattern::RomanMonth => {
                let mut names = ROMAN_MONTHS;
                names.reverse();
                let before_end = self.find_name(field, &names)?;
                assign(&mut self.fields.month, 12 - before_end, word)?;
            }
            _ => {
                let is_full = word.pattern == DatePattern::DayName;
                let day = self.find_name(field, if is_full { &DAYS } else { &DAY_ABBREVIATIONS })?;
                assign(&mut self.fields.day_of_week, day, word)?;
                self.fields.day_of_week += 1;
            }
        }
        Ok(())
    }

    /// The place in a list of the first name that the text goes on with, in any case of letters: with `TM`, of those
    /// beyond ASCII too, and then as many bytes are taken as the name has. Error 22007 if there is none.
    fn find_name(&mut self, field: &DateField, names: &[&str]) -> Result<i32> {
        let rest = self.rest();
        let is_next = |name: &str| {
            let mut next = rest.chars().map(|letter| if field.is_localized { unified(letter) } else { letter });
            name.chars().all(|letter| next.next().is_some_and(|next| next.eq_ignore_ascii_case(&letter)))
        };
        if let Some((place, name)) = (0..).zip(names).find(|(_, name)| is_next(name)) {
            self.place += name.len();
            return Ok(place);
        }
        let end = rest.find([' ', '\t', '\n', '\r', '\x0c']).unwrap_or(rest.len());
        let shown = rest.get(..end).unwrap_or_default();
        let message = format!("invalid value \"{shown}\" for \"{}\"", field.word.text());
        Err(Error::new(ErrorKind::InvalidDatetime, message)
            .detail("The given value did not match any of the allowed values for this field."))
    }
}

/// The letter of ASCII that has the same capital letter.
fn unified(letter: char) -> char {
    match letter {
        'ı' => 'i',
        'ſ' => 's',
        _ => letter,
    }
}
