//! The layers of the crate: a file uses only what lies below it.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};

/// The folders and files of `src`, lowest first. Each uses those before it, and no others; what
/// stands together is side by side, and does not use each other.
const LAYERS: [&[&str]; 14] = [
    &["util"],
    &["limits"],
    &["error"],
    &["reason"],
    &["protocol"],
    &["data"],
    &["net"],
    &["pool"],
    &["engineio"],
    &["parser"],
    &["handlers"],
    &["manager"],
    &["client", "server"],
    &["app"],
];
/// What stands beside the layers: the tool, the crate's root, its guide, and what the benches reach.
const BESIDE: [&str; 5] = ["bin", "lib", "guide", "bench_support", "value_macro"];

#[test]
fn no_layer_uses_one_above_it() {
    let mut upward = Vec::new();
    let mut files = 0;
    visit(Path::new("src"), &mut |path, text| {
        files += 1;
        let own = layer_of(path);
        if BESIDE.contains(&own.as_str()) {
            return;
        }
        let rank = rank(&own).unwrap_or_else(|| panic!("{path:?} belongs to no layer"));
        for used in uses(text) {
            match self::rank(&used) {
                Some(other) if other < rank || used == own => {}
                Some(_) => upward.push(format!("{} uses {used}", path.display())),
                // A name of the root: its module says where it lies.
                None => upward.push(format!("{} uses crate::{used}", path.display())),
            }
        }
    });
    assert!(files > 100, "{files}");
    assert!(upward.is_empty(), "{upward:#?}");
}

#[test]
fn files_of_a_folder_that_use_each_other_say_why() {
    let mut files = HashMap::new();
    visit(Path::new("src"), &mut |path, text| {
        files.insert(path.with_extension(""), text.to_owned());
    });
    let edges: HashMap<&PathBuf, Vec<PathBuf>> = files
        .iter()
        .map(|(path, text)| (path, siblings(path, text)))
        .collect();
    let mut silent = Vec::new();
    for (path, text) in &files {
        let is_said = text.contains("\n//! In a circle with ");
        if is_said != reaches(&edges, path, path) {
            let what = if is_said { "no" } else { "a" };
            silent.push(format!("{} is in {what} circle", path.display()));
        }
    }
    assert!(silent.is_empty(), "{silent:#?}");
}

/// The files of its own folder that a file names.
fn siblings(path: &Path, text: &str) -> Vec<PathBuf> {
    if path.ends_with("mod") {
        return Vec::new();
    }
    let code = code(text);
    let names = code.split("super::").skip(1).flat_map(first_names);
    names.map(|name| path.with_file_name(name)).collect()
}

/// Returns whether a file leads to another, through others of its folder.
fn reaches(edges: &HashMap<&PathBuf, Vec<PathBuf>>, from: &PathBuf, to: &PathBuf) -> bool {
    let mut left = vec![from];
    let mut seen = HashSet::new();
    while let Some(path) = left.pop() {
        for next in edges.get(path).into_iter().flatten() {
            if next == to {
                return true;
            }
            if seen.insert(next) {
                left.push(next);
            }
        }
    }
    false
}

fn rank(layer: &str) -> Option<usize> {
    LAYERS.iter().position(|it| it.contains(&layer))
}

/// The folder below `src`, or the name of a file there.
fn layer_of(path: &Path) -> String {
    let below = path.strip_prefix("src").unwrap();
    let first = below
        .components()
        .next()
        .unwrap()
        .as_os_str()
        .to_str()
        .unwrap();
    first.trim_end_matches(".rs").to_owned()
}

fn visit(folder: &Path, look: &mut dyn FnMut(&Path, &str)) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            visit(&path, look);
        } else if path.extension().is_some_and(|it| it == "rs") {
            look(&path, &fs::read_to_string(&path).unwrap());
        }
    }
}

/// The modules that a file names behind `crate::`, without its comments and unit tests.
fn uses(text: &str) -> Vec<String> {
    let code = code(text);
    let mut used = Vec::new();
    for behind in code.split("crate::").skip(1) {
        used.extend(first_names(behind));
    }
    used
}

/// The names with which a path goes on, or those of the list there.
fn first_names(behind: &str) -> Vec<String> {
    let names = match behind.strip_prefix('{') {
        Some(list) => list
            .split('}')
            .next()
            .unwrap_or_default()
            .split(',')
            .collect(),
        None => vec![behind],
    };
    let is_word = |it: char| it.is_alphanumeric() || it == '_';
    let words = names.into_iter().map(|name| {
        let name = name.trim();
        name[..name.find(|it| !is_word(it)).unwrap_or(name.len())].to_owned()
    });
    words.filter(|word| !word.is_empty()).collect()
}

/// A file without its comments and unit tests.
fn code(text: &str) -> String {
    let code = text.split("#[cfg(test)]\nmod tests").next();
    let lines = code.unwrap_or_default().lines();
    let lines = lines.filter(|line| !line.trim_start().starts_with("//"));
    lines.collect::<Vec<_>>().join("\n")
}
