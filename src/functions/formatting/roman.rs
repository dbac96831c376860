//! Roman numbers.

/// What stands for a number that has no roman form.
const NONE: &str = "###############";

const LETTERS: [(i32, &str); 13] = [
    (1000, "M"),
    (900, "CM"),
    (500, "D"),
    (400, "CD"),
    (100, "C"),
    (90, "XC"),
    (50, "L"),
    (40, "XL"),
    (10, "X"),
    (9, "IX"),
    (5, "V"),
    (4, "IV"),
    (1, "I"),
];

/// A number of 1 to 3999 in capitals, any other as fifteen `#`.
pub fn roman_number(number: i32) -> String {
    if !(1..=3999).contains(&number) {
        return NONE.to_string();
    }
    let (mut out, mut rest) = (String::new(), number);
    for (value, letters) in LETTERS {
        while rest >= value {
            out.push_str(letters);
            rest -= value;
        }
    }
    out
}
