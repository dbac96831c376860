//! A set of characters, as ranges of code points.

/// The last code point that a text can have.
const LAST: u32 = char::MAX as u32;

/// Code points up to U+10FFFF, as ranges in order that neither touch nor overlap.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct CharacterSet {
    ranges: Vec<(u32, u32)>,
}

impl CharacterSet {
    /// The characters from `first` to `last`, both included; those that no text can have are left out.
    pub fn of_range(first: u32, last: u32) -> Self {
        let ranges = if first > last || first > LAST { Vec::new() } else { vec![(first, last.min(LAST))] };
        CharacterSet { ranges }
    }

    pub fn of_character(character: u32) -> Self {
        CharacterSet::of_range(character, character)
    }

    pub fn all() -> Self {
        CharacterSet::of_range(0, LAST)
    }

    /// The union of ranges in any order.
    pub fn of_ranges(mut ranges: Vec<(u32, u32)>) -> Self {
        ranges.sort_unstable();
        let mut merged: Vec<(u32, u32)> = Vec::with_capacity(ranges.len());
        for (first, last) in ranges {
            match merged.last_mut() {
                Some((_, end)) if first <= end.saturating_add(1) => *end = last.max(*end),
                _ => merged.push((first, last)),
            }
        }
        CharacterSet { ranges: merged }
    }

    pub fn ranges(&self) -> &[(u32, u32)] {
        &self.ranges
    }

    pub fn contains(&self, character: u32) -> bool {
        let after = self.ranges.partition_point(|&(first, _)| first <= character);
        after.checked_sub(1).and_then(|at| self.ranges.get(at)).is_some_and(|&(_, last)| character <= last)
    }

    /// The only character of the set, if it has one.
    pub fn single(&self) -> Option<char> {
        match self.ranges.as_slice() {
            [(first, last)] if first == last => char::from_u32(*first),
            _ => None,
        }
    }

    pub fn union(self, other: &CharacterSet) -> Self {
        let mut ranges = self.ranges;
        ranges.extend_from_slice(&other.ranges);
        CharacterSet::of_ranges(ranges)
    }

    /// All other characters.
    pub fn complement(&self) -> Self {
        let mut next = 0;
        let mut ranges = Vec::with_capacity(self.ranges.len() + 1);
        for &(first, last) in &self.ranges {
            if next < first {
                ranges.push((next, first - 1));
            }
            next = last + 1;
        }
        if next <= LAST {
            ranges.push((next, LAST));
        }
        CharacterSet { ranges }
    }

    pub fn without(&self, other: &CharacterSet) -> Self {
        self.complement().union(other).complement()
    }
}
