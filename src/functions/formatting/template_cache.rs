//! Templates after parsing, found again by their text: a query formats all of its rows by the same few.

use std::rc::Rc;

use crate::error::Result;

const ENTRIES_MAX: usize = 32;

/// Longer templates are parsed anew each time, so that the cache stays small.
const TEXT_LENGTH_MAX: usize = 1024;

/// The templates used last, the latest first. Each thread has its own.
pub struct TemplateCache<T> {
    entries: Vec<(Box<str>, Rc<T>)>,
}

impl<T> TemplateCache<T> {
    pub const fn new() -> Self {
        TemplateCache { entries: Vec::new() }
    }

    /// The template of a text. A text that does not parse is not remembered.
    pub fn get(&mut self, text: &str, parse: impl FnOnce(&str) -> Result<T>) -> Result<Rc<T>> {
        if let Some(place) = self.entries.iter().position(|(known, _)| **known == *text) {
            if let Some(moved) = self.entries.get_mut(..=place) {
                moved.rotate_right(1);
            }
            if let Some((_, template)) = self.entries.first() {
                return Ok(Rc::clone(template));
            }
        }
        let template = Rc::new(parse(text)?);
        if text.len() <= TEXT_LENGTH_MAX {
            self.entries.truncate(ENTRIES_MAX - 1);
            self.entries.insert(0, (text.into(), Rc::clone(&template)));
        }
        Ok(template)
    }
}
