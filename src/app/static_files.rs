//! Static files, and no way out of their directories.

use crate::reactor::http::{Content, Response};
use std::borrow::Cow;
use std::fs::File;
use std::path::{Component, Path, PathBuf};

/// Which files are served where.
#[derive(Clone, Debug)]
pub(crate) struct StaticFiles {
    /// The longest path first.
    rules: Vec<Rule>,
    index: String,
}

#[derive(Clone, Debug)]
struct Rule {
    /// With a slash in front, and none behind: `/` is empty.
    path: String,
    target: PathBuf,
    content_type: Option<String>,
}

impl Default for StaticFiles {
    fn default() -> Self {
        StaticFiles {
            rules: Vec::new(),
            index: "index.html".into(),
        }
    }
}

impl StaticFiles {
    pub(super) fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    pub(super) fn add(&mut self, path: &str, target: PathBuf, content_type: Option<String>) {
        let trimmed = path.trim_matches('/');
        let path = if trimmed.is_empty() {
            String::new()
        } else {
            format!("/{trimmed}")
        };
        self.rules.push(Rule {
            path,
            target,
            content_type,
        });
        self.rules
            .sort_by_key(|rule| std::cmp::Reverse(rule.path.len()));
    }

    pub(super) fn set_index(&mut self, name: &str) {
        name.clone_into(&mut self.index);
    }

    /// The file at a decoded path, if there is one.
    pub(super) fn find(&self, path: &str) -> Option<Response> {
        let mut rules = self.rules.iter();
        rules.find_map(|rule| {
            let rest = path.strip_prefix(&rule.path)?;
            // `/ab` is not in `/a`.
            let rest = if rest.is_empty() {
                rest
            } else {
                rest.strip_prefix('/')?
            };
            let file = self.resolve(&rule.target, rest)?;
            open(&file, rule.content_type.as_deref())
        })
    }

    /// The file that a rule's target and the rest of a path name, if it lies where it may.
    fn resolve(&self, target: &Path, rest: &str) -> Option<PathBuf> {
        let root = target.canonicalize().ok()?;
        if root.is_file() {
            return rest.is_empty().then_some(root);
        }
        if rest.contains(['\\', '\0', ':']) {
            return None;
        }
        let relative = Path::new(rest);
        let stays = relative
            .components()
            .all(|part| matches!(part, Component::Normal(_)));
        if !stays {
            return None;
        }
        let mut file = root.join(relative);
        if file.is_dir() {
            file.push(&self.index);
        }
        // Links are followed here: where they lead decides.
        let file = file.canonicalize().ok()?;
        (file.starts_with(&root) && file.is_file()).then_some(file)
    }
}

fn open(path: &Path, content_type: Option<&str>) -> Option<Response> {
    let file = File::open(path).ok()?;
    let length = file.metadata().ok()?.len();
    let kind = content_type
        .unwrap_or_else(|| content_type_of(path))
        .to_owned();
    let mut response = Response::new(200).with_header(Cow::Borrowed("Content-Type"), kind);
    response.content = Content::Reader {
        reader: Box::new(file),
        length: Some(length),
    };
    Some(response)
}

fn content_type_of(path: &Path) -> &'static str {
    let extension = path.extension().and_then(|extension| extension.to_str());
    match extension.unwrap_or_default().to_ascii_lowercase().as_str() {
        "css" => "text/css",
        "gif" => "image/gif",
        "htm" | "html" => "text/html; charset=utf-8",
        "ico" => "image/x-icon",
        "jpeg" | "jpg" => "image/jpeg",
        "js" | "mjs" => "application/javascript",
        "json" | "map" => "application/json",
        "png" => "image/png",
        "svg" => "image/svg+xml",
        "txt" => "text/plain; charset=utf-8",
        "wasm" => "application/wasm",
        "webp" => "image/webp",
        "woff2" => "font/woff2",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A directory that vanishes with the test.
    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Folder {
            let path = std::env::temp_dir().join(format!("socketio-{name}-{}", std::process::id()));
            std::fs::create_dir_all(path.join("public/sub")).unwrap();
            std::fs::write(path.join("secret.txt"), "secret").unwrap();
            std::fs::write(path.join("public/a.js"), "a").unwrap();
            std::fs::write(path.join("public/sub/index.html"), "index").unwrap();
            std::fs::write(path.join("public/sub/index.md"), "other").unwrap();
            Folder(path)
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    fn content_type(response: Option<Response>) -> Option<String> {
        response.map(|response| response.headers[0].1.to_string())
    }

    #[test]
    fn files_are_found_by_the_longest_path_that_fits() {
        let folder = Folder::new("find");
        let mut files = StaticFiles::default();
        files.add("/", folder.0.join("public"), None);
        files.add("/one", folder.0.join("secret.txt"), Some("x/y".into()));
        assert_eq!(
            content_type(files.find("/a.js")).as_deref(),
            Some("application/javascript")
        );
        assert_eq!(content_type(files.find("/one")).as_deref(), Some("x/y"));
        assert!(files.find("/one/more").is_none());
        assert!(files.find("/onemore").is_none());
        assert!(files.find("/sub").is_some() && files.find("/sub/").is_some());
        assert!(files.find("/").is_none());
        files.set_index("index.md");
        let found = files.find("/sub/");
        assert_eq!(
            content_type(found).as_deref(),
            Some("application/octet-stream")
        );
    }

    #[test]
    fn there_is_no_way_out_of_the_directory() {
        let folder = Folder::new("out");
        #[cfg(unix)]
        std::os::unix::fs::symlink(folder.0.join("secret.txt"), folder.0.join("public/link"))
            .unwrap();
        let mut files = StaticFiles::default();
        files.add("/static", folder.0.join("public"), None);
        assert!(files.find("/static/a.js").is_some());
        for path in [
            "/static/../secret.txt",
            "/static/sub/../../secret.txt",
            "/static/sub/..",
            "/static/..\\secret.txt",
            "/static//etc/passwd",
            "/static/./a.js/../a.js",
            "/static/link",
            "/static/a.js\0",
            "/static",
        ] {
            assert!(files.find(path).is_none(), "{path}");
        }
    }
}
