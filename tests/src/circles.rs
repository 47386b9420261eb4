//! Circles of files that import each other, found in the sources.
//!
//! A file that stands in a folder beside its `mod.rs` may name what that file declares and the other way round: what `mod.rs` only hands on
//! (`pub use`) leads to the file that has it.

use std::collections::{BTreeMap, BTreeSet};

use crate::floors::{inline, uses};

type Path = Vec<String>;

/// The files of a crate, and what each of them imports.
#[derive(Debug)]
pub struct Imports {
    /// The modules and their files.
    modules: BTreeMap<Path, String>,
    /// What a file hands on under a name.
    handed: BTreeMap<(String, String), Path>,
    edges: BTreeMap<String, BTreeSet<String>>,
}

impl Imports {
    /// By the code of the files (without comments and unit tests) by their paths below `src`.
    #[must_use]
    pub fn of(files: &BTreeMap<String, String>) -> Imports {
        let modules = files.keys().map(|file| (module(file), file.clone())).collect();
        let mut imports = Imports { modules, handed: BTreeMap::new(), edges: BTreeMap::new() };
        let mut named = Vec::new();
        for (file, code) in files {
            let (public, private) = code_in_two(code);
            for path in uses(&public) {
                if let (Some(name), Some(full)) = (path.last().cloned(), imports.absolute(file, &path)) {
                    imports.handed.insert((file.clone(), name), full.clone());
                    // What a folder's file hands on is not its own.
                    if !is_folder(file) {
                        named.push((file.clone(), full));
                    }
                }
            }
            for path in uses(&private).into_iter().chain(inline(code)).chain(children(&private)) {
                named.extend(imports.absolute(file, &path).map(|full| (file.clone(), full)));
            }
        }
        for (file, path) in named {
            if let Some(target) = imports.target(&path, 0).filter(|target| *target != file && *target != "lib.rs") {
                imports.edges.entry(file).or_default().insert(target);
            }
        }
        imports
    }

    /// Without the imports of these files from these folders.
    pub fn forget(&mut self, exceptions: &[(&str, &str)]) {
        for (file, folder) in exceptions {
            if let Some(targets) = self.edges.get_mut(*file) {
                targets.retain(|target| target.split('/').next() != Some(folder));
            }
        }
    }

    /// The largest sets of files each of which reaches all others of its set; those of more than one.
    #[must_use]
    pub fn circles(&self) -> Vec<BTreeSet<String>> {
        let reach: BTreeMap<&String, BTreeSet<&String>> =
            self.edges.keys().map(|file| (file, self.reached(file))).collect();
        let mut circles = BTreeSet::new();
        for (file, reached) in &reach {
            let back = reached.iter().filter(|other| reach.get(**other).is_some_and(|theirs| theirs.contains(*file)));
            let circle: BTreeSet<String> = back.map(|other| (**other).clone()).collect();
            if circle.len() > 1 {
                circles.insert(circle);
            }
        }
        circles.into_iter().collect()
    }

    fn reached(&self, from: &String) -> BTreeSet<&String> {
        let mut found = BTreeSet::new();
        let mut next: Vec<&String> = self.edges.get(from).into_iter().flatten().collect();
        while let Some(file) = next.pop() {
            if found.insert(file) {
                next.extend(self.edges.get(file).into_iter().flatten());
            }
        }
        found
    }

    /// From the crate's root.
    fn absolute(&self, file: &str, path: &[String]) -> Option<Path> {
        let own = module(file);
        let up = path.iter().take_while(|part| *part == "super").count();
        match path.first().map(String::as_str)? {
            "crate" => Some(path[1..].to_vec()),
            "self" => Some([&own[..], &path[1..]].concat()),
            "super" if up <= own.len() => Some([&own[..own.len() - up], &path[up..]].concat()),
            first => {
                let child = [&own[..], &[first.to_owned()]].concat();
                self.modules.contains_key(&child).then(|| [&own[..], path].concat())
            }
        }
    }

    fn target(&self, path: &[String], depth: usize) -> Option<String> {
        let (len, file) = (0..=path.len()).rev().find_map(|len| Some((len, self.modules.get(&path[..len])?)))?;
        let handed = path.get(len).and_then(|name| self.handed.get(&(file.clone(), name.clone())));
        match handed {
            Some(other) if depth < 8 && other[..] != path[..=len] => {
                self.target(&[&other[..], &path[len + 1..]].concat(), depth + 1)
            }
            _ => Some(file.clone()),
        }
    }
}

fn module(file: &str) -> Path {
    let parts = file.trim_end_matches(".rs").split('/').map(str::to_owned);
    parts.filter(|part| part != "mod" && part != "lib").collect()
}

fn is_folder(file: &str) -> bool {
    file == "lib.rs" || file.ends_with("/mod.rs")
}

/// The `pub use` items, and the rest.
fn code_in_two(code: &str) -> (String, String) {
    let (mut public, mut private) = (String::new(), String::new());
    for item in code.split_inclusive(';') {
        let at = item.rfind("use ").unwrap_or(0);
        let line = item[..at].rsplit('\n').next().unwrap_or_default();
        if line.trim_start().starts_with("pub") { public.push_str(item) } else { private.push_str(item) }
    }
    (public, private)
}

/// Paths that begin with any name: that of a child module may be among them.
fn children(code: &str) -> Vec<Path> {
    let words = code.split(|c: char| !c.is_alphanumeric() && !"_:".contains(c));
    let paths = words.filter(|word| word.contains("::") && !word.starts_with(':'));
    paths.map(|word| word.split("::").filter(|part| !part.is_empty()).map(str::to_owned).collect()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn circles(files: &[(&str, &str)]) -> Vec<Vec<String>> {
        let files = files.iter().map(|(file, code)| ((*file).to_owned(), (*code).to_owned())).collect();
        Imports::of(&files).circles().into_iter().map(|circle| circle.into_iter().collect()).collect()
    }

    #[test]
    fn circles_are_found_through_what_is_handed_on() {
        let files = [
            ("lib.rs", "mod a; mod b; pub use b::c::C;"),
            ("a.rs", "use crate::C;"),
            ("b/mod.rs", "mod c; mod d; pub(crate) use d::D;"),
            ("b/c.rs", "use super::D;"),
            ("b/d.rs", "fn f() { crate::a::g() }"),
        ];
        assert_eq!(circles(&files), [["a.rs", "b/c.rs", "b/d.rs"]]);
        assert!(circles(&files[..4]).is_empty());
    }

    #[test]
    fn a_folder_may_use_its_files() {
        let folder = ("a/mod.rs", "mod b; fn f() { b::g() }");
        assert!(circles(&[folder, ("a/b.rs", "")]).is_empty());
        assert_eq!(circles(&[folder, ("a/b.rs", "use super::f;")]), [["a/b.rs", "a/mod.rs"]]);
    }
}
