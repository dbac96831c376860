//! Files of which each uses the other, directly or through others: nobody can read one of them first.
//!
//! A `use`, and a path such as `super::name`, is an arrow from its file to the one that defines the name, also through
//! `pub use`, which by itself is none: `mod.rs` shows what its folder holds.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use petgraph::{algo::tarjan_scc, graphmap::DiGraphMap};
use syn::{Attribute, Item, Path, UseTree, Visibility, visit::Visit};

use super::{none, sources};

/// Circles that there are, each as its files below `src/`, in order. It can only shrink.
const EXCEPTIONS: &[&[&str]] = &[
    &["checkpoint/log.rs", "checkpoint/manifest.rs", "checkpoint/record.rs"],
    &["cli/check.rs", "cli/demo/mod.rs", "cli/mod.rs", "cli/run.rs", "cli/server.rs"],
    &["config/memory.rs", "config/mod.rs"],
    &["config/pipeline/mod.rs", "config/plan.rs"],
    &[
        "connectors/datagen/mod.rs",
        "connectors/directory/discovery.rs",
        "connectors/directory/log/checkpoint.rs",
        "connectors/directory/log/follow.rs",
        "connectors/directory/log/types.rs",
        "connectors/directory/mod.rs",
        "connectors/directory/retained.rs",
        "connectors/directory/scan.rs",
        "connectors/directory/watch.rs",
        "connectors/generator.rs",
        "connectors/kafka/mod.rs",
        "connectors/kafka/scan.rs",
        "connectors/mod.rs",
        "connectors/nexmark/mod.rs",
        "connectors/on_error.rs",
        "connectors/replay.rs",
        "connectors/socket/lines.rs",
        "connectors/socket/link.rs",
        "connectors/socket/mod.rs",
        "connectors/socket/received.rs",
        "connectors/socket/scan.rs",
    ],
    &[
        "connectors/directory/sink/mod.rs",
        "connectors/kafka/messages.rs",
        "connectors/kafka/producer.rs",
        "connectors/kafka/sink.rs",
        "connectors/postgres/sink.rs",
        "connectors/postgres/table.rs",
        "connectors/sink/blackhole.rs",
        "connectors/sink/console.rs",
        "connectors/sink/memory.rs",
        "connectors/sink/options.rs",
    ],
    &[
        "connectors/kafka/client.rs",
        "connectors/kafka/columns.rs",
        "connectors/kafka/connection.rs",
        "connectors/kafka/cursor.rs",
        "connectors/kafka/options.rs",
    ],
    &[
        "engine/build.rs",
        "engine/continuous.rs",
        "engine/dml.rs",
        "engine/literals.rs",
        "engine/mod.rs",
        "engine/names.rs",
        "engine/objects.rs",
        "engine/read.rs",
        "engine/replay.rs",
        "engine/sinks.rs",
        "engine/system.rs",
        "engine/tables.rs",
    ],
    &["engine/ddl.rs", "engine/recovery.rs"],
    &["error.rs", "error/planning.rs"],
    &[
        "formats/avro.rs",
        "formats/avro/blocks.rs",
        "formats/avro/container.rs",
        "formats/columns.rs",
        "formats/csv.rs",
        "formats/debezium.rs",
        "formats/decoder.rs",
        "formats/infer.rs",
        "formats/input.rs",
        "formats/json.rs",
        "formats/mod.rs",
        "formats/named.rs",
        "formats/packed.rs",
        "formats/parquet.rs",
        "formats/positions.rs",
        "formats/raw.rs",
        "formats/rescue.rs",
        "formats/text.rs",
        "formats/upsert.rs",
    ],
    &["formats/avro/encode.rs", "formats/encode.rs", "formats/encode/avro.rs"],
    &["operators/epoch_context.rs", "operators/event_times.rs"],
    &["operators/exec.rs", "operators/group_plan/mod.rs", "operators/row_errors.rs"],
    &["operators/fold/accumulator.rs", "operators/fold/mod.rs"],
    &["operators/join/delta.rs", "operators/join/mod.rs", "operators/join/pairs.rs"],
    &[
        "pg_catalog/functions.rs",
        "pg_catalog/information.rs",
        "pg_catalog/mod.rs",
        "pg_catalog/objects.rs",
        "pg_catalog/routines.rs",
        "pg_catalog/schema.rs",
        "pg_catalog/static_tables.rs",
        "pg_catalog/tables.rs",
        "pg_catalog/texts.rs",
    ],
    &["pg_catalog/idioms.rs", "pg_catalog/rewrite.rs"],
    &[
        "query/epoch.rs",
        "query/letters.rs",
        "query/prefetch.rs",
        "query/progress.rs",
        "query/reading.rs",
        "query/saving.rs",
        "query/sink_driver.rs",
    ],
    &[
        "sql/functions/define.rs",
        "sql/incremental/physical.rs",
        "sql/incremental/refuse.rs",
        "sql/incremental/rewrite.rs",
        "sql/plan.rs",
    ],
    &["sql/functions/sized/growth.rs", "sql/functions/sized/mod.rs"],
    &["sql/functions/sums/distinct.rs", "sql/functions/sums/mod.rs", "sql/functions/sums/totals.rs"],
    &["sql/incremental/first.rs", "sql/incremental/group_plan.rs"],
    &[
        "sql/normalize/mod.rs",
        "sql/normalize/subqueries/correlation.rs",
        "sql/normalize/subqueries/hoist.rs",
        "sql/normalize/subqueries/mod.rs",
        "sql/normalize/subqueries/one_row.rs",
        "sql/normalize/subqueries/pulled.rs",
    ],
    &[
        "sql/parse/create.rs",
        "sql/parse/cursors.rs",
        "sql/parse/functions.rs",
        "sql/parse/mod.rs",
        "sql/parse/objects.rs",
        "sql/parse/show.rs",
    ],
    &[
        "sql/windows.rs",
        "sql/windows/asof.rs",
        "sql/windows/session.rs",
        "sql/windows/spark.rs",
        "sql/windows/table.rs",
    ],
    &["wire/connection.rs", "wire/server.rs", "wire/startup.rs"],
    &["wire/live.rs", "wire/work.rs"],
];

/// A module's path from the root of the crate.
type Module = Vec<String>;

/// What one file says.
#[derive(Default)]
struct File {
    path: String,
    module: Module,
    /// Names that are defined in it.
    items: HashSet<String>,
    /// Names that are brought in, each with its path.
    imports: HashMap<String, Vec<String>>,
    globs: Vec<Vec<String>>,
    /// What it uses.
    uses: BTreeSet<Vec<String>>,
}

/// The files of a crate, by module.
struct Crate(BTreeMap<Module, File>);

impl Crate {
    /// From the path below `src/` and the text of each file.
    fn of<'a>(files: impl Iterator<Item = (&'a str, &'a str)>) -> Crate {
        let read = |(path, text): (&str, &str)| {
            let inside = path.trim_end_matches(".rs");
            let inside = inside.strip_suffix("/mod").unwrap_or(inside);
            let module = if inside == "lib" { Vec::new() } else { inside.split('/').map(String::from).collect() };
            let mut file = File { path: path.to_string(), module: module.clone(), ..File::default() };
            let parsed = syn::parse_file(text).unwrap_or_else(|error| panic!("{path}: {error}"));
            parsed.items.iter().for_each(|item| file.define(item));
            file.visit_file(&parsed);
            (module, file)
        };
        Crate(files.map(read).collect())
    }

    /// The file that defines what a path means in a module.
    fn file_of(&self, module: &[String], path: &[String], seen: &mut HashSet<(Module, Vec<String>)>) -> Option<&File> {
        let (first, rest) = path.split_first()?;
        // A path that only grows is of another crate.
        if seen.len() > 64 || !seen.insert((module.to_vec(), path.to_vec())) {
            return None;
        }
        let parent = || &module[..module.len().saturating_sub(1)];
        match first.as_str() {
            "crate" => self.within(&[], rest, seen),
            "self" => self.within(module, rest, seen),
            "super" => self.within(parent(), rest, seen),
            _ => self.within(module, path, seen),
        }
    }

    /// The same of a path whose first name is one of the module's own.
    fn within(&self, module: &[String], path: &[String], seen: &mut HashSet<(Module, Vec<String>)>) -> Option<&File> {
        let file = self.0.get(module)?;
        let Some((name, rest)) = path.split_first() else { return Some(file) };
        if name == "super" || name == "self" {
            return self.file_of(module, path, seen);
        }
        let child = [module, std::slice::from_ref(name)].concat();
        if self.0.contains_key(&child) {
            return self.within(&child, rest, seen);
        }
        if file.items.contains(name) {
            return Some(file);
        }
        if let Some(import) = file.imports.get(name) {
            return self.file_of(module, &[import, rest].concat(), seen);
        }
        file.globs.iter().find_map(|glob| {
            let all_of = self.file_of(module, glob, seen)?;
            self.within(&all_of.module, path, seen)
        })
    }

    fn circles(&self) -> Vec<Vec<&str>> {
        let mut arrows = DiGraphMap::<&str, ()>::new();
        for (module, file) in &self.0 {
            for used in &file.uses {
                match self.file_of(module, used, &mut HashSet::new()) {
                    Some(other) if other.path != file.path => _ = arrows.add_edge(&*file.path, &*other.path, ()),
                    _ => {}
                }
            }
        }
        let mut circles: Vec<_> = tarjan_scc(&arrows).into_iter().filter(|files| files.len() > 1).collect();
        circles.iter_mut().for_each(|files| files.sort_unstable());
        circles.sort_unstable();
        circles
    }
}

fn is_of_tests(attributes: &[Attribute]) -> bool {
    let says_test = |attribute: &Attribute| {
        attribute.path().is_ident("cfg") && attribute.parse_args::<Path>().is_ok_and(|path| path.is_ident("test"))
    };
    attributes.iter().any(says_test)
}

impl File {
    fn define(&mut self, item: &Item) {
        let name = match item {
            Item::Const(item) => &item.ident,
            Item::Enum(item) => &item.ident,
            Item::Fn(item) => &item.sig.ident,
            Item::Static(item) => &item.ident,
            Item::Struct(item) => &item.ident,
            Item::Trait(item) => &item.ident,
            Item::TraitAlias(item) => &item.ident,
            Item::Type(item) => &item.ident,
            Item::Union(item) => &item.ident,
            Item::Macro(item) => match &item.ident {
                Some(name) => name,
                None => return,
            },
            _ => return,
        };
        self.items.insert(name.to_string());
    }

    fn import(&mut self, tree: &UseTree, before: &mut Vec<String>, shows: bool) {
        let mut add = |name: String, path: Vec<String>| {
            if !shows {
                self.uses.insert(path.clone());
            }
            self.imports.insert(name, path);
        };
        match tree {
            UseTree::Path(path) => {
                before.push(path.ident.to_string());
                self.import(&path.tree, before, shows);
                before.pop();
            }
            UseTree::Group(group) => group.items.iter().for_each(|tree| self.import(tree, before, shows)),
            UseTree::Name(name) if name.ident == "self" => {
                add(before.last().cloned().unwrap_or_default(), before.clone())
            }
            UseTree::Name(name) => add(name.ident.to_string(), [&before[..], &[name.ident.to_string()]].concat()),
            UseTree::Rename(name) => add(name.rename.to_string(), [&before[..], &[name.ident.to_string()]].concat()),
            UseTree::Glob(_) => self.globs.push(before.clone()),
        }
    }
}

impl Visit<'_> for File {
    fn visit_item(&mut self, item: &Item) {
        let attributes = match item {
            Item::Mod(item) => &item.attrs,
            Item::Fn(item) => &item.attrs,
            Item::Use(item) => &item.attrs,
            Item::Impl(item) => &item.attrs,
            Item::Struct(item) => &item.attrs,
            _ => return syn::visit::visit_item(self, item),
        };
        if is_of_tests(attributes) {
            return;
        }
        match item {
            Item::Use(item) => self.import(&item.tree, &mut Vec::new(), !matches!(item.vis, Visibility::Inherited)),
            _ => syn::visit::visit_item(self, item),
        }
    }

    fn visit_path(&mut self, path: &Path) {
        if path.segments.len() > 1 && path.leading_colon.is_none() {
            self.uses.insert(path.segments.iter().map(|segment| segment.ident.to_string()).collect());
        }
        syn::visit::visit_path(self, path);
    }
}

#[test]
fn files_use_each_other_in_one_direction() {
    let all = sources("src");
    let files = all.iter().filter(|source| !source.production.is_empty());
    let all = Crate::of(files.map(|source| (source.path.trim_start_matches("src/"), source.text.as_str())));
    let circles = all.circles();
    let new = circles.iter().filter(|circle| !EXCEPTIONS.contains(&&circle[..])).map(|circle| circle.join(" ↔ "));
    none(new.collect(), "files that use each other: cut the circle, or the list of exceptions has it smaller");
    let gone = EXCEPTIONS.iter().filter(|circle| !circles.iter().any(|other| other == *circle));
    none(gone.map(|circle| circle.join(" ↔ ")).collect(), "exceptions that are not needed any more");
}

#[test]
fn circles_are_found_through_what_a_folder_shows() {
    let of = |files: &[(&'static str, &'static str)]| -> Vec<Vec<String>> {
        let all = Crate::of(files.iter().copied());
        all.circles().into_iter().map(|circle| circle.into_iter().map(String::from).collect()).collect()
    };
    let show = ("a/mod.rs", "mod b; mod c; pub use b::B; pub use c::*;");
    let root = ("lib.rs", "pub mod a;");
    let straight = [root, show, ("a/b.rs", "use super::C; pub struct B(C);"), ("a/c.rs", "pub struct C;")];
    assert!(of(&straight).is_empty());
    let there = [root, show, ("a/b.rs", "pub struct B(super::C);"), ("a/c.rs", "use crate::a::B; pub struct C(B);")];
    assert_eq!(of(&there), [["a/b.rs", "a/c.rs"]]);
    let parent =
        [root, ("a/mod.rs", "mod b; pub use b::B; fn f() { b::g() }"), ("a/b.rs", "use super::f; pub fn g() {}")];
    assert_eq!(of(&parent), [["a/b.rs", "a/mod.rs"]]);
    let tests = [
        root,
        show,
        ("a/b.rs", "use super::C;"),
        ("a/c.rs", "#[cfg(test)] mod tests { use crate::a::B; } pub struct C;"),
    ];
    assert!(of(&tests).is_empty());
}
