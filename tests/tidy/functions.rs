//! Functions that a screen does not hold.

use super::{none, part, sources, word};

/// From `fn` to the closing brace. Past it, some part of the function has a name of its own.
const LINES_MAX: usize = 80;

/// The name, the first line and the lines of each function that has more than `most`, also of those in macros. In the code
/// there are no comments and literals.
fn longer_than(most: usize, code: &str) -> Vec<(String, usize, usize)> {
    let lines = |code: &str| code.matches('\n').count() + 1;
    let starts = code.match_indices("fn ").filter(|(at, _)| !code[..*at].bytes().next_back().is_some_and(part));
    let functions = starts.filter_map(|(at, _)| {
        let name = Some(word(&code[at + "fn ".len()..])).filter(|name| !name.is_empty())?;
        let (rest, mut brackets, mut braces) = (&code[at..], 0, 0);
        let end = rest.bytes().position(|byte| {
            match byte {
                b'(' | b'[' => brackets += 1,
                b')' | b']' => brackets -= 1,
                b'{' => braces += 1,
                b'}' => braces -= 1,
                _ => {}
            }
            // Without a body, it ends with a semicolon.
            braces == 0 && (byte == b'}' || byte == b';' && brackets == 0)
        })?;
        let count = lines(&rest[..end]);
        (count > most).then(|| (name, lines(&code[..at]), count))
    });
    functions.collect()
}

#[test]
fn functions_fit_a_screen() {
    let mut found = Vec::new();
    for source in ["src", "tests", "benches", "fuzz/fuzz_targets"].into_iter().flat_map(sources) {
        let long = longer_than(LINES_MAX, &source.code).into_iter();
        found.extend(long.map(|(name, line, lines)| format!("{}:{line} {name} has {lines} lines", source.path)));
    }
    none(found, "functions longer than a screen");
}

#[test]
fn functions_are_counted_from_fn_to_their_brace() {
    let code = "trait T { fn short(&self, of: [u8; 2])\n; }\n\
                pub async fn a<F: Fn(u8) -> fn (u8)>(f: F)\nwhere\n    F: Copy,\n{\n    fn b() {}\n    if c { d }\n}\n\
                check! { fn e() { f(g);\n}\n}";
    let found = |most| longer_than(most, code).into_iter().map(|(_, line, lines)| (line, lines)).collect::<Vec<_>>();
    assert_eq!(found(1), [(1, 2), (3, 7), (10, 2)]);
    assert_eq!(found(6), [(3, 7)]);
    assert_eq!(found(7), []);
}
