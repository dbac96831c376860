//! Upper and lower case, as the C library has them for the locale `C.UTF-8`: a character becomes one character, by
//! Unicode 14. The standard library knows later versions, so what came after is listed here.

/// Cased characters, and those of which one case came after Unicode 14. They have no case.
const LATER_CASED: [(u32, u32); 8] = [
    (0x19b, 0x19b),
    (0x264, 0x264),
    (0x1c89, 0x1c8a),
    (0xa7cb, 0xa7cf),
    (0xa7d2, 0xa7d5),
    (0xa7da, 0xa7dc),
    (0x10d50, 0x10d85),
    (0x16ea0, 0x16ed3),
];

/// Characters that are no letters and digits for the C library, but are alphanumeric for the standard library: numbers
/// that are no digits, some marks, and what came after Unicode 14. In order.
#[rustfmt::skip]
const NOT_ALPHANUMERIC: [(u32, u32); 97] = [
    (0xb2, 0xb3), (0xb9, 0xb9), (0xbc, 0xbe), (0x363, 0x36f), (0x88f, 0x897), (0x9f4, 0x9f9), (0xb72, 0xb77),
    (0xbf0, 0xbf2), (0xc04, 0xc04), (0xc5c, 0xc5c), (0xc78, 0xc7e), (0xcdc, 0xcdc), (0xcf3, 0xcf3), (0xd58, 0xd5e),
    (0xd70, 0xd78), (0xf2a, 0xf33), (0xf82, 0xf83), (0x1369, 0x137c), (0x17f0, 0x17f9), (0x19da, 0x19da),
    (0x1c89, 0x1c8a), (0x1dd3, 0x1de6), (0x2070, 0x2070), (0x2074, 0x2079), (0x2080, 0x2089), (0x2150, 0x215f),
    (0x2189, 0x249b), (0x24ea, 0x2793), (0x2cfd, 0x2cfd), (0x3192, 0x3195), (0x3220, 0x32bf), (0xa7cb, 0xa7cf),
    (0xa7d2, 0xa7d2), (0xa7d4, 0xa7d4), (0xa7da, 0xa7f1), (0xa830, 0xa835), (0x10107, 0x10133), (0x10175, 0x1018b),
    (0x102e1, 0x102fb), (0x10320, 0x10323), (0x105c0, 0x105f3), (0x10858, 0x1085f), (0x10879, 0x1087f),
    (0x108a7, 0x108af), (0x108fb, 0x108ff), (0x10916, 0x1091b), (0x10940, 0x10959), (0x109bc, 0x109bd),
    (0x109c0, 0x109ff), (0x10a40, 0x10a48), (0x10a7d, 0x10a7e), (0x10a9d, 0x10a9f), (0x10aeb, 0x10aef),
    (0x10b58, 0x10b5f), (0x10b78, 0x10b7f), (0x10ba9, 0x10baf), (0x10cfa, 0x10cff), (0x10d40, 0x10e7e),
    (0x10ec2, 0x10efc), (0x10f1d, 0x10f26), (0x10f51, 0x10f54), (0x10fc5, 0x10fcb), (0x11052, 0x11065),
    (0x11080, 0x11081), (0x111e1, 0x111f4), (0x1123f, 0x11241), (0x11380, 0x113d3), (0x116d0, 0x116e3),
    (0x1173a, 0x1173b), (0x118ea, 0x118f2), (0x11b60, 0x11bf9), (0x11c5a, 0x11c6c), (0x11db0, 0x11de9),
    (0x11f00, 0x11f59), (0x11fc0, 0x11fd4), (0x1342f, 0x143fa), (0x16100, 0x16139), (0x16b5b, 0x16b61),
    (0x16d40, 0x16d79), (0x16e80, 0x16ed3), (0x16ff2, 0x16ff6), (0x187f8, 0x187ff), (0x18cff, 0x18cff),
    (0x18d09, 0x18df2), (0x1b132, 0x1b132), (0x1b155, 0x1b155), (0x1ccf0, 0x1d378), (0x1df25, 0x1df2a),
    (0x1e030, 0x1e08f), (0x1e4d0, 0x1e6ff), (0x1e8c7, 0x1e8cf), (0x1ec71, 0x1ed3d), (0x1f100, 0x1f10c),
    (0x2b739, 0x2b73f), (0x2cea2, 0x2cead), (0x2ebf0, 0x2ee5d), (0x31350, 0x33479),
];

fn is_in(ranges: &[(u32, u32)], c: char) -> bool {
    let c = u32::from(c);
    let next = ranges.partition_point(|(_, last)| *last < c);
    ranges.get(next).is_some_and(|(first, _)| *first <= c)
}

fn is_alphanumeric(c: char) -> bool {
    match c.is_ascii() {
        true => c.is_ascii_alphanumeric(),
        false => c.is_alphanumeric() && !is_in(&NOT_ALPHANUMERIC, c),
    }
}

/// A mapping of a character, if it is one character.
fn single(mut mapped: impl ExactSizeIterator<Item = char>) -> Option<char> {
    if mapped.len() == 1 { mapped.next() } else { None }
}

/// The character so far behind another.
fn behind(c: char, distance: u32) -> char {
    char::from_u32(u32::from(c).saturating_add(distance)).unwrap_or(c)
}

fn upper_character(c: char) -> char {
    match c {
        c if c.is_ascii() => c.to_ascii_uppercase(),
        // Greek letters with an iota below: the upper case of each in one character is its title case.
        '\u{1f80}'..='\u{1f87}' | '\u{1f90}'..='\u{1f97}' | '\u{1fa0}'..='\u{1fa7}' => behind(c, 8),
        '\u{1fb3}' | '\u{1fc3}' | '\u{1ff3}' => behind(c, 9),
        c if is_in(&LATER_CASED, c) => c,
        c => single(c.to_uppercase()).unwrap_or(c),
    }
}

fn lower_character(c: char) -> char {
    match c {
        c if c.is_ascii() => c.to_ascii_lowercase(),
        'İ' => 'i',
        c if is_in(&LATER_CASED, c) => c,
        c => single(c.to_lowercase()).unwrap_or(c),
    }
}

/// All letters in upper case: `ß` has none, and stays.
pub fn upper(text: &str) -> String {
    match text.is_ascii() {
        true => text.to_ascii_uppercase(),
        false => text.chars().map(upper_character).collect(),
    }
}

/// All letters in lower case.
pub fn lower(text: &str) -> String {
    match text.is_ascii() {
        true => text.to_ascii_lowercase(),
        false => text.chars().map(lower_character).collect(),
    }
}

/// The first letter of each word in upper case, the others in lower case. A word is of letters and digits.
pub fn initcap(text: &str) -> String {
    let mut in_word = false;
    let cased = text.chars().map(|c| {
        let cased = if in_word { lower_character(c) } else { upper_character(c) };
        in_word = is_alphanumeric(cased);
        cased
    });
    cased.collect()
}

#[cfg(test)]
mod tests {
    use super::{is_alphanumeric, lower_character, upper_character};

    /// A later version of Unicode in the standard library shows here: what came with it belongs in the lists above.
    #[test]
    fn characters_have_the_case_of_unicode_14() {
        let count = |is: &dyn Fn(char) -> bool| ('\0'..=char::MAX).filter(|c| is(*c)).count();
        assert_eq!(count(&|c| upper_character(c) != c), 1450);
        assert_eq!(count(&|c| lower_character(c) != c), 1433);
        assert_eq!(count(&is_alphanumeric), 134_056);
    }
}
