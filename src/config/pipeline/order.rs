//! The order in which definitions can be created: each after its inputs.

use super::definition::{Definition, normalised};

/// Moves each definition after those that its text names, and otherwise keeps the order. Definitions in a cycle keep
/// their order, and the engine reports the error.
pub(super) fn in_order(definitions: Vec<Definition>) -> Vec<Definition> {
    let names: Vec<String> = definitions.iter().map(|d| d.name.clone()).collect();
    let mentions: Vec<Vec<usize>> = definitions
        .iter()
        .map(|d| {
            let text = normalised(&d.statement.text);
            let words: Vec<&str> = text.split_whitespace().map(|w| w.trim_matches('"')).collect();
            (0..names.len()).filter(|i| names[*i] != d.name && words.contains(&names[*i].as_str())).collect()
        })
        .collect();
    let mut waiting: Vec<Option<Definition>> = definitions.into_iter().map(Some).collect();
    let mut ordered = Vec::new();
    while let Some(first) = waiting.iter().position(Option::is_some) {
        let ready = |i: &usize| waiting[*i].is_some() && mentions[*i].iter().all(|m| waiting[*m].is_none());
        let next = (0..waiting.len()).find(ready).unwrap_or(first);
        ordered.extend(waiting[next].take());
    }
    ordered
}
