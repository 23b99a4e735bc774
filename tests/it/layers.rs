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
    let mut heads = HashMap::new();
    let mut edges: HashMap<PathBuf, HashSet<PathBuf>> = HashMap::new();
    visit(Path::new("src"), &mut |path, text| {
        let file = path.with_extension("");
        let module = if file.ends_with("mod") {
            file.parent().unwrap().to_owned()
        } else {
            file
        };
        for (node, used) in siblings(&module, text) {
            edges.entry(node).or_default().insert(used);
        }
        heads.insert(module, text.to_owned());
    });
    // What a path names may also be an item of the folder's own file.
    for used in edges.values_mut() {
        used.retain(|module| heads.contains_key(module));
    }
    let mut silent = Vec::new();
    for (module, text) in &heads {
        // Not for readers of the documentation where the module is public.
        let marks = ["\n//! In a circle with ", "\n// In a circle with "];
        let is_said = marks.iter().any(|mark| text.contains(mark));
        if is_said != reaches(&edges, module, module) {
            let what = if is_said { "no" } else { "a" };
            silent.push(format!("{} is in {what} circle", module.display()));
        }
    }
    assert!(silent.is_empty(), "{silent:#?}");
}

/// Returns what a module uses beside itself, and beside each folder that it lies in: pairs of
/// neighbours. The files of a layer's root are the matter of the layers.
fn siblings(module: &Path, text: &str) -> Vec<(PathBuf, PathBuf)> {
    let code = code(text);
    let mut pairs = Vec::new();
    for prefix in ["crate::", "super::"] {
        for (at, _) in code.match_indices(prefix) {
            if code[..at].ends_with("super::") {
                continue;
            }
            let mut behind = &code[at..];
            let mut base = module;
            while let Some(rest) = behind.strip_prefix("super::") {
                (behind, base) = (rest, base.parent().unwrap_or(base));
            }
            if let Some(rest) = behind.strip_prefix("crate::") {
                (behind, base) = (rest, Path::new("src"));
            }
            for path in paths(behind) {
                let used = base.join(path);
                pairs.extend(neighbours(module, &used));
            }
        }
    }
    pairs
}

/// Returns where the ways to two modules part, below a layer.
fn neighbours(module: &Path, used: &Path) -> Option<(PathBuf, PathBuf)> {
    let both = module.components().zip(used.components());
    let common = both.take_while(|(one, other)| one == other).count();
    let part = |path: &Path| -> Option<PathBuf> {
        (path.components().count() > common).then(|| path.components().take(common + 1).collect())
    };
    (common >= 2).then_some(())?;
    Some((part(module)?, part(used)?))
}

/// Returns the paths of a `use`, or the one of an expression.
fn paths(behind: &str) -> Vec<PathBuf> {
    let is_word = |it: char| it.is_alphanumeric() || it == '_';
    let Some(list) = behind.strip_prefix('{') else {
        let end = behind.find(|it| !is_word(it)).unwrap_or(behind.len());
        let (name, rest) = behind.split_at(end);
        let below = rest.strip_prefix("::").map(paths).unwrap_or_default();
        if below.is_empty() {
            return vec![PathBuf::from(name)];
        }
        return below.iter().map(|it| Path::new(name).join(it)).collect();
    };
    let mut depth = 1;
    let mut begin = 0;
    let mut found = Vec::new();
    for (at, it) in list.char_indices() {
        match it {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        if depth == 0 || depth == 1 && it == ',' {
            found.extend(paths(list[begin..at].trim()));
            begin = at + 1;
        }
        if depth == 0 {
            break;
        }
    }
    found
}

/// Returns whether a module leads to another, through others beside it.
fn reaches(edges: &HashMap<PathBuf, HashSet<PathBuf>>, from: &PathBuf, to: &PathBuf) -> bool {
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
    let paths = code.split("crate::").skip(1).flat_map(paths);
    let first = |path: PathBuf| Some(path.iter().next()?.to_str()?.to_owned());
    paths.filter_map(first).collect()
}

/// A file without its comments and unit tests.
fn code(text: &str) -> String {
    let code = text.split("#[cfg(test)]\nmod tests").next();
    let lines = code.unwrap_or_default().lines();
    let lines = lines.filter(|line| !line.trim_start().starts_with("//"));
    lines.collect::<Vec<_>>().join("\n")
}
