//! Files that nothing reads: Rust that no `mod` leads to, and data that no Rust names.

use std::{collections::BTreeSet, fs};

use super::{Source, everything, none, part, root, sources, word};

/// Folders that a test lists, or reads by number, with the ending of what it takes, and where it does. `*` is a name that
/// is said there, `**` all below.
const LISTED: &[(&str, &str, &str)] = &[
    ("tests/corpus/*", "", "src/fuzzing.rs"),
    ("tests/data_directories/**", "", "tests/data_directories.rs"),
    ("tests/seeds", ".seed", "tests/properties.rs"),
    ("tests/server/functions", ".txt", "tests/server/functions.rs"),
    ("tests/sql", ".slt", "tests/server/slt.rs"),
    ("tests/streams", ".st", "tests/streams.rs"),
    ("tests/tpch", ".sql", "tests/tpch.rs"),
];

/// What is no Rust and reads a file, or is run by hand to make one.
const SCRIPTS: &[&str] = &["tests/golden/make.py", "tests/kafka/start"];

/// A path less its `..`.
fn normal(path: &str) -> String {
    let mut steps: Vec<&str> = Vec::new();
    for step in path.split('/') {
        match step {
            ".." => _ = steps.pop(),
            step => steps.push(step),
        }
    }
    steps.join("/")
}

/// The files that a file may mean by its `mod name;`, and those of its `#[path = "…"]`.
fn modules(source: &Source, is_root: bool) -> Vec<String> {
    let (folder, name) = source.path.rsplit_once('/').unwrap();
    let below =
        if is_root || name == "mod.rs" { folder.to_string() } else { source.path.trim_end_matches(".rs").into() };
    let code = &source.code;
    let alone = |at: &usize| !code[..*at].ends_with(|c: char| c.is_ascii() && part(c as u8));
    let declared = code.match_indices("mod ").map(|(at, _)| at).filter(alone).flat_map(|at| {
        let rest = &code[at + "mod ".len()..];
        let name = word(rest);
        let files = [format!("{below}/{name}.rs"), format!("{below}/{name}/mod.rs")];
        files.into_iter().filter(move |_| rest[name.len()..].starts_with(';'))
    });
    let elsewhere = code.match_indices("#[path = ").filter_map(|(at, _)| {
        let path = source.text[at..].split('"').nth(1)?;
        Some(normal(&format!("{folder}/{path}")))
    });
    declared.chain(elsewhere).collect()
}

/// The Rust files that no declaration leads to from those that Cargo builds.
fn undeclared(all: &[Source], roots: &[String]) -> Vec<String> {
    let (mut found, mut next) = (BTreeSet::new(), roots.to_vec());
    while let Some(path) = next.pop() {
        if let Some(source) = all.iter().find(|source| source.path == path)
            && found.insert(path)
        {
            next.extend(modules(source, roots.contains(&source.path)));
        }
    }
    all.iter().map(|source| source.path.clone()).filter(|path| !found.contains(path)).collect()
}

/// The files that no text has at the end of a literal and no folder of `listed` takes.
fn unnamed(files: &[String], texts: &[(String, String)], listed: &[(&str, &str, &str)]) -> Vec<String> {
    let said = |name: &str, text: &str| {
        text.match_indices(&format!("{name}\"")).any(|(at, _)| text[..at].ends_with(['"', '/']))
    };
    let is_listed = |folder: &str, name: &str| {
        listed.iter().any(|(of, ending, reader)| {
            let Some((_, text)) = texts.iter().find(|(path, _)| path == reader) else { return false };
            let in_it = match (of.strip_suffix("**"), of.strip_suffix('*')) {
                (Some(above), _) => format!("{folder}/").starts_with(above),
                (_, Some(above)) => folder.strip_prefix(above).is_some_and(|below| said(below, text)),
                _ => folder == *of,
            };
            in_it && name.ends_with(ending)
        })
    };
    let is_dead = |file: &&String| {
        let (folder, name) = file.rsplit_once('/').unwrap();
        !is_listed(folder, name) && !texts.iter().any(|(_, text)| said(name, text))
    };
    files.iter().filter(is_dead).cloned().collect()
}

/// The files that a manifest names, from the root of the checkout.
fn targets(folder: &str) -> Vec<String> {
    let manifest = fs::read_to_string(root().join(folder).join("Cargo.toml")).unwrap();
    let paths = manifest.lines().filter_map(|line| line.strip_prefix("path = \"")?.strip_suffix(".rs\""));
    paths.map(|path| format!("{folder}{path}.rs")).collect()
}

#[test]
fn every_rust_file_is_built() {
    let all: Vec<Source> = ["src", "tests", "benches", "fuzz/fuzz_targets"].into_iter().flat_map(sources).collect();
    let roots = [vec!["src/lib.rs".to_string()], targets(""), targets("fuzz/")].concat();
    none(undeclared(&all, &roots), "Rust that no `mod` leads to");
}

#[test]
fn every_data_file_is_read() {
    let relative = |path: std::path::PathBuf| path.strip_prefix(root()).unwrap().display().to_string();
    let folders = ["src", "tests", "benches", "config", "sql"];
    let files: Vec<String> = folders.into_iter().flat_map(everything).map(relative).collect();
    let files = files.into_iter().filter(|path| !path.ends_with(".rs") && !SCRIPTS.contains(&path.as_str()));
    let rust = ["src", "tests", "benches"].into_iter().flat_map(sources).filter(|s| !s.path.starts_with("tests/tidy"));
    let scripts = SCRIPTS.iter().map(|path| (path.to_string(), fs::read_to_string(root().join(path)).unwrap()));
    let texts: Vec<_> = rust.map(|source| (source.path, source.text)).chain(scripts).collect();
    none(unnamed(&files.collect::<Vec<_>>(), &texts, LISTED), "data that no Rust names");
    let of = |reader: &str| texts.iter().find(|(path, _)| path == reader).map_or("", |(_, text)| text);
    let gone = LISTED.iter().filter(|(folder, _, reader)| !of(reader).contains(folder.trim_end_matches(['/', '*'])));
    none(gone.map(|(folder, _, reader)| format!("{folder} in {reader}")).collect(), "folders that are not read there");
}

#[test]
fn dead_files_are_found_and_living_ones_are_not() {
    let source = |(path, text): (&str, &str)| {
        let code = super::blank_literals(text);
        Source { path: path.into(), text: text.into(), production: code.clone(), code }
    };
    let all = [
        ("src/lib.rs", "pub mod a; // mod dead;\n#[path = \"../tests/shared.rs\"]\nmod shared;"),
        ("src/a/mod.rs", "mod b; mod inside { fn f() {} }"),
        ("src/a/b.rs", "#[cfg(test)]\nmod tests;"),
        ("src/a/b/tests.rs", ""),
        ("src/a/inside.rs", ""),
        ("src/dead.rs", "mod child;"),
        ("src/dead/child.rs", ""),
        ("tests/shared.rs", ""),
    ];
    let dead = undeclared(&all.map(source), &["src/lib.rs".to_string()]);
    assert_eq!(dead, ["src/a/inside.rs", "src/dead.rs", "src/dead/child.rs"]);

    let text = |path: &str, text: &str| (path.to_string(), text.to_string());
    let texts = [text("src/lib.rs", "read(\"in/a.csv\"); // in/b.csv\ntargets(\"json\")"), text("tests/all.rs", "")];
    let listed = [("tests/corpus/*", "", "src/lib.rs"), ("tests/sql", ".slt", "tests/all.rs"), ("x", "", "gone.rs")];
    let listed = [&listed[..], &[("tests/kept/**", "", "src/lib.rs")]].concat();
    let files = ["in/a.csv", "in/aa.csv", "in/b.csv", "tests/corpus/json/one", "tests/corpus/xml/one"];
    let files = [
        &files[..],
        &["tests/sql/t.slt", "tests/sql/t.txt", "tests/sql/old/t.slt", "x/y", "tests/kept/a", "tests/kept/b/c"],
    ]
    .concat();
    let dead = unnamed(&files.into_iter().map(String::from).collect::<Vec<_>>(), &texts, &listed);
    let expected = ["in/aa.csv", "in/b.csv", "tests/corpus/xml/one", "tests/sql/t.txt", "tests/sql/old/t.slt", "x/y"];
    assert_eq!(dead, expected);
}
