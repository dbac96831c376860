//! Files of which each uses the other, directly or through others: nobody can read one of them first.
//!
//! A `use`, and a path such as `super::name`, is an arrow from its file to the one that defines the name, also through
//! `pub use`, which by itself is none: `mod.rs` shows what its folder holds.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use petgraph::{algo::tarjan_scc, graphmap::DiGraphMap};
use syn::{Attribute, Item, Path, UseTree, Visibility, visit::Visit};

use super::{none, sources};

/// Circles that there are, each as its files below `src/`, in order. It can only shrink.
const EXCEPTIONS: &[&[&str]] = &[];

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
fn source_files_have_no_dependency_cycles() {
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
fn cycles_are_found_through_reexports() {
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
