//! The layers of the crate: a file uses only what lies below it.

use std::fs;
use std::path::Path;

/// The folders and files of `src`, lowest first. Each uses those before it, and no others.
const LAYERS: [&str; 14] = [
    "limits", "error", "reason", "util", "protocol", "data", "net", "pool", "engineio", "handlers",
    "manager", "client", "server", "app",
];
/// What stands beside the layers: the crate's root, its guide, and what the benches reach.
const BESIDE: [&str; 3] = ["lib", "guide", "bench_support"];

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
                Some(other) if other <= rank => {}
                Some(_) => upward.push(format!("{} uses {used}", path.display())),
                // A name of the root: its module says where it lies.
                None => upward.push(format!("{} uses crate::{used}", path.display())),
            }
        }
    });
    assert!(files > 100, "{files}");
    assert!(upward.is_empty(), "{upward:#?}");
}

fn rank(layer: &str) -> Option<usize> {
    LAYERS.iter().position(|it| *it == layer)
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
    let code = text
        .split("#[cfg(test)]\nmod tests")
        .next()
        .unwrap_or_default();
    let lines = code
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"));
    let code: String = lines.collect::<Vec<_>>().join("\n");
    let mut used = Vec::new();
    for behind in code.split("crate::").skip(1) {
        let names = match behind.strip_prefix('{') {
            Some(list) => list.split('}').next().unwrap_or_default(),
            None => behind,
        };
        let is_list = names.len() < behind.len();
        for name in names.split(',') {
            let word = name
                .trim()
                .split(|it: char| !it.is_alphanumeric() && it != '_');
            used.extend(word.take(1).filter(|it| !it.is_empty()).map(str::to_owned));
            if !is_list {
                break;
            }
        }
    }
    used
}
