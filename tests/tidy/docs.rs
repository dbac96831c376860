//! What is written for who builds on this, in `docs/` and CHANGELOG.md: the files that it names are there, and each page is
//! found from its index.

use std::{collections::BTreeMap, fs};

use super::{files, none, root};

/// The folders in which a path between backticks may begin.
const FOLDERS: [&str; 8] = ["src/", "tests/", "benches/", "fuzz/", "docs/", "sql/", "config/", ".ci/"];

const DESIGN: &str = "docs/design/";
const DECISIONS: &str = "docs/decisions/";

/// Pages by their paths.
type Pages = BTreeMap<String, String>;

/// A page less its blocks of code, as its words and what stands between backticks.
fn parts(text: &str) -> (String, Vec<String>) {
    let (mut words, mut code) = (String::new(), Vec::new());
    for paragraph in text.split("```").step_by(2).flat_map(|prose| prose.split("\n\n")) {
        for (n, piece) in paragraph.split('`').enumerate() {
            match n % 2 {
                0 => words.push_str(piece),
                _ => code.push(piece.to_string()),
            }
        }
        words.push('\n');
    }
    (words, code)
}

/// The path that a link from a page leads to; `None` where it leads out of the checkout.
fn target(page: &str, link: &str) -> Option<String> {
    let mut path: Vec<&str> = page.split('/').collect();
    path.pop();
    for step in link.split('/').filter(|step| !step.is_empty() && *step != ".") {
        match step {
            ".." => _ = path.pop()?,
            step => path.push(step),
        }
    }
    Some(path.join("/"))
}

/// The links of a page's words within the checkout, as they are written.
fn links(words: &str) -> impl Iterator<Item = &str> {
    let all = words.match_indices("](").map(|(at, start)| {
        let rest = &words[at + start.len()..];
        rest.split([')', '#']).next().unwrap_or_default()
    });
    all.filter(|link| !link.is_empty() && !link.contains("://") && !link.starts_with("mailto:"))
}

/// What a page names that is not there. A path with a `*` or a placeholder counts up to there.
fn missing(page: &str, text: &str, is_there: &dyn Fn(&str) -> bool) -> Vec<String> {
    let (words, code) = parts(text);
    let linked = links(&words).filter(|link| !target(page, link).is_some_and(|path| is_there(&path)));
    let mut found: Vec<String> = linked.map(|link| format!("{page} links to {link}")).collect();
    for path in code.iter().filter(|code| FOLDERS.iter().any(|folder| code.starts_with(folder))) {
        let certain = match path.find(['*', '<', '{', '…']) {
            Some(at) => path[..at].rsplit_once('/').map_or("", |(folder, _)| folder),
            None => path.as_str(),
        };
        if !certain.contains(char::is_whitespace) && !is_there(certain.trim_end_matches('/')) {
            found.push(format!("{page} names {path}"));
        }
    }
    found
}

/// The pages of a folder that its README.md does not link to.
fn unlisted(pages: &Pages, folder: &str) -> Vec<String> {
    let index = format!("{folder}README.md");
    let (words, _) = parts(pages.get(&index).map_or("", String::as_str));
    let listed: Vec<_> = links(&words).filter_map(|link| target(&index, link)).collect();
    let own = pages.keys().filter(|page| page.starts_with(folder) && **page != index);
    own.filter(|page| !listed.contains(page)).map(|page| format!("{page} is not in {index}")).collect()
}

/// What is wrong with the numbers of the decisions: `0001-title.md`, and so on without a gap.
fn misnumbered(pages: &Pages) -> Vec<String> {
    let names = pages.keys().filter_map(|page| page.strip_prefix(DECISIONS)).filter(|name| *name != "README.md");
    let wrong = |(n, name): (usize, &str)| {
        let expected = format!("{:04}-", n + 1);
        (!name.starts_with(&expected)).then(|| format!("{DECISIONS}{name} is to begin with {expected}"))
    };
    names.enumerate().filter_map(wrong).collect()
}

fn complaints(pages: &Pages, is_there: &dyn Fn(&str) -> bool) -> Vec<String> {
    let mut found: Vec<String> = pages.iter().flat_map(|(page, text)| missing(page, text, is_there)).collect();
    found.extend(unlisted(pages, DESIGN));
    found.extend(unlisted(pages, DECISIONS));
    found.extend(misnumbered(pages));
    found
}

#[test]
fn docs_name_files_that_are_there() {
    let all = files("docs", "md").into_iter().chain([root().join("CHANGELOG.md")]);
    let page = |path: std::path::PathBuf| {
        let text = fs::read_to_string(&path).unwrap();
        (path.strip_prefix(root()).unwrap().display().to_string(), text)
    };
    let pages: Pages = all.map(page).collect();
    for folder in [DESIGN, DECISIONS] {
        assert!(pages.contains_key(&format!("{folder}README.md")), "{folder} has no index");
    }
    none(complaints(&pages, &|path| root().join(path).exists()), "docs that do not fit what is there");
}

#[test]
fn docs_with_faults_are_complained_of() {
    let is_there =
        |path: &str| ["src/a.rs", "src", "tests/sql", "docs/design/b.md", "docs/decisions/0001-x.md"].contains(&path);
    let of = |pages: &[(&str, &str)]| {
        let pages: Pages = pages.iter().map(|(page, text)| (page.to_string(), text.to_string())).collect();
        complaints(&pages, &is_there)
    };
    let design = ("docs/design/README.md", "[b](b.md#part), [a](../../src/a.rs), [c](https://c.org), [here](#here)");
    let decisions = ("docs/decisions/README.md", "[1](0001-x.md)\n\n```\n[no link](x.md) `src/gone.rs`\n```\n");
    let named = ("docs/design/b.md", "`src/a.rs`, `tests/sql/*.slt`, `src/`, `cargo test`, `state/<id>`, `[x](y)`");
    let good = [design, decisions, named, ("docs/decisions/0001-x.md", "")];
    assert!(of(&good).is_empty(), "{:?}", of(&good));
    let with = |page: &'static str, text: &'static str| of(&[&good[..], &[(page, text)]].concat());
    assert_eq!(with("docs/design/b.md", "see `src/gone.rs`"), ["docs/design/b.md names src/gone.rs"]);
    assert_eq!(with("docs/design/b.md", "`tests/gone/*.slt`"), ["docs/design/b.md names tests/gone/*.slt"]);
    assert_eq!(with("CHANGELOG.md", "[gone](docs/gone.md)"), ["CHANGELOG.md links to docs/gone.md"]);
    assert_eq!(with("CHANGELOG.md", "[out](../a.rs)"), ["CHANGELOG.md links to ../a.rs"]);
    assert_eq!(with("docs/design/c.md", ""), ["docs/design/c.md is not in docs/design/README.md"]);
    let gap = "docs/decisions/0003-y.md";
    let wrong = [format!("{gap} is not in docs/decisions/README.md"), format!("{gap} is to begin with 0002-")];
    assert_eq!(with(gap, ""), wrong);
}
