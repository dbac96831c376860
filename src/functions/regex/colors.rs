//! Characters as an expression tells them apart: those that are in the same of its sets have the same color.

use std::collections::{BTreeSet, HashMap};

use super::{character_set::CharacterSet, fault::RegexFault, language::SetId};

/// A group of characters that no set of the expression divides.
pub type Color = u16;

/// How many bits the table of sets and colors may have.
const TABLE_BITS_MAX: usize = 1 << 24;
/// As many colors as PostgreSQL allows.
const COLORS_MAX: usize = 32_767;
const ASCII: usize = 128;
/// Characters whose colors are found together.
const PAGE: usize = 256;

/// The color of each character, and which sets it is in.
pub struct ColorMap {
    ascii: [Color; ASCII],
    /// Where a color begins, in order, from code point 0 on.
    ranges: Vec<(u32, Color)>,
    /// Colors of pages of characters, by page; filled when one is met.
    pages: HashMap<u32, Box<[Color; PAGE]>>,
    count: usize,
    /// By set and color.
    membership: Vec<u64>,
    /// Words of a set's row in `membership`.
    row: usize,
}

/// The places where a set begins or ends, in order.
fn edges(sets: &[CharacterSet]) -> Vec<(u32, SetId)> {
    let mut edges = Vec::new();
    for (set, id) in sets.iter().zip(0..) {
        for &(first, last) in set.ranges() {
            edges.push((first, id));
            edges.push((last.saturating_add(1), id));
        }
    }
    edges.sort_unstable();
    edges
}

impl ColorMap {
    pub fn new(sets: &[CharacterSet]) -> Result<Self, RegexFault> {
        let mut inside = BTreeSet::new();
        let mut colors: HashMap<Vec<SetId>, Color> = HashMap::new();
        let mut ranges: Vec<(u32, Color)> = Vec::new();
        let edges = edges(sets);
        let mut rest = edges.as_slice();
        while let Some((start, _)) = rest.first() {
            let here = rest.partition_point(|(at, _)| at == start);
            let (toggled, after) = rest.split_at(here);
            for (_, id) in toggled {
                if !inside.remove(id) {
                    inside.insert(*id);
                }
            }
            let next = Color::try_from(colors.len()).map_err(|_| RegexFault::TooManyColors)?;
            let color = *colors.entry(inside.iter().copied().collect()).or_insert(next);
            if colors.len().saturating_mul(sets.len()) > TABLE_BITS_MAX {
                return Err(RegexFault::TooComplex);
            }
            ranges.push((*start, color));
            rest = after;
        }
        let count = colors.len();
        let row = count.div_ceil(64);
        if count > COLORS_MAX {
            return Err(RegexFault::TooManyColors);
        }
        let mut membership = vec![0; row * sets.len()];
        for (members, color) in &colors {
            for set in members {
                if let Some(word) = membership.get_mut(*set as usize * row + usize::from(*color) / 64) {
                    *word |= 1 << (color % 64);
                }
            }
        }
        let mut map = ColorMap { ascii: [0; ASCII], ranges, pages: HashMap::new(), count, membership, row };
        let ascii: Vec<Color> = (0..ASCII as u32).map(|character| map.find(character)).collect();
        map.ascii.copy_from_slice(&ascii);
        Ok(map)
    }

    /// How many colors there are. That number itself stands for the end of the text.
    pub fn count(&self) -> usize {
        self.count
    }

    pub fn contains(&self, set: SetId, color: Color) -> bool {
        let word = self.membership.get(set as usize * self.row + usize::from(color) / 64);
        word.is_some_and(|word| word >> (color % 64) & 1 == 1)
    }

    fn find(&self, character: u32) -> Color {
        let after = self.ranges.partition_point(|(start, _)| *start <= character);
        after.checked_sub(1).and_then(|at| self.ranges.get(at)).map_or(0, |(_, color)| *color)
    }

    pub fn color(&mut self, character: char) -> Color {
        let code = u32::from(character);
        if let Some(color) = self.ascii.get(code as usize) {
            return *color;
        }
        let page = code / PAGE as u32;
        if !self.pages.contains_key(&page) {
            let mut colors = Box::new([0; PAGE]);
            for (slot, character) in colors.iter_mut().zip(page * PAGE as u32..) {
                *slot = self.find(character);
            }
            self.pages.insert(page, colors);
        }
        let colors = self.pages.get(&page);
        colors.and_then(|colors| colors.get(code as usize % PAGE)).copied().unwrap_or_default()
    }

    /// The color of the character at a place in a text, and its length in bytes; at the end, [`Self::count`] and 0.
    #[inline]
    pub fn at(&mut self, text: &str, at: usize) -> (usize, usize) {
        match text.as_bytes().get(at) {
            None => (self.count, 0),
            Some(byte) => match self.ascii.get(usize::from(*byte)) {
                Some(color) => (usize::from(*color), 1),
                None => {
                    let character = text.get(at..).and_then(|rest| rest.chars().next()).unwrap_or_default();
                    (usize::from(self.color(character)), character.len_utf8())
                }
            },
        }
    }

    /// The color of the character before a place; none at the start.
    pub fn before(&mut self, text: &str, at: usize) -> Option<Color> {
        let character = text.get(..at)?.chars().next_back()?;
        Some(self.color(character))
    }
}
