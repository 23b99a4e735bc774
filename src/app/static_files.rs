//! Static files, and no way out of their directories.

use crate::net::http::{Content, Request, Response};
use std::borrow::Cow;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Component, Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Rules that map paths to files.
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

    /// Returns the file or directory of a rule that is not there.
    pub(super) fn missing(&self) -> Option<&Path> {
        let targets = self.rules.iter().map(|rule| &*rule.target);
        targets.into_iter().find(|target| !target.exists())
    }

    /// Returns the answer to a request for the file at a decoded path, if there is one.
    pub(super) fn answer(&self, request: &Request, path: &str) -> Option<Response> {
        let mut rules = self.rules.iter();
        rules.find_map(|rule| {
            let rest = path.strip_prefix(&rule.path)?;
            // `/ab` is not in `/a`.
            let rest = if rest.is_empty() {
                rest
            } else {
                rest.strip_prefix('/')?
            };
            match self.resolve(&rule.target, rest, path.ends_with('/'))? {
                Place::File(file) => open(request, &file, rule.content_type.as_deref()),
                Place::Directory => Some(redirect(request)),
            }
        })
    }

    /// Returns what a rule's target and the rest of a path name, if it lies where it may.
    fn resolve(&self, target: &Path, rest: &str, has_slash: bool) -> Option<Place> {
        let root = target.canonicalize().ok()?;
        if root.is_file() {
            return rest.is_empty().then_some(Place::File(root));
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
        let is_directory = file.is_dir();
        if is_directory {
            file.push(&self.index);
        }
        // Links are followed here: where they lead decides.
        let file = file.canonicalize().ok()?;
        if !file.starts_with(&root) || !file.is_file() {
            return None;
        }
        // Relative links of its page begin at the directory only behind a slash.
        Some(if is_directory && !has_slash {
            Place::Directory
        } else {
            Place::File(file)
        })
    }
}

/// The target of a path.
#[derive(Debug, PartialEq, Eq)]
enum Place {
    File(PathBuf),
    /// A directory with a page, named without its slash.
    Directory,
}

/// Sends the client to the same path with a slash.
fn redirect(request: &Request) -> Response {
    // Two slashes in front would name another host.
    let path = request.path().trim_matches('/');
    let query = match request.query() {
        "" => String::new(),
        query => format!("?{query}"),
    };
    Response::new(301).with_header("Location", format!("/{path}/{query}"))
}

/// Answers with a file, or a part of it, or nothing if the client has it (RFC 9110, 13 and 14).
fn open(request: &Request, path: &Path, content_type: Option<&str>) -> Option<Response> {
    let mut file = File::open(path).ok()?;
    let metadata = file.metadata().ok()?;
    let length = metadata.len();
    let modified = metadata.modified().ok();
    let stamp = modified.and_then(|at| at.duration_since(UNIX_EPOCH).ok());
    let tag = format!("\"{length:x}-{:x}\"", stamp.unwrap_or_default().as_nanos());
    let date = modified.map(httpdate::fmt_http_date);
    let validated = |status| {
        let response = Response::new(status)
            .with_header("ETag", tag.clone())
            .with_header("Accept-Ranges", "bytes");
        match &date {
            Some(date) => response.with_header("Last-Modified", date.clone()),
            None => response,
        }
    };
    if is_fresh(request, &tag, modified) {
        return Some(validated(304));
    }
    let kind = match content_type {
        Some(kind) => kind.to_owned(),
        None => content_type_of(path),
    };
    let (status, from, to) = match wanted_range(request, &tag, date.as_deref(), length) {
        Range::Whole => (200, 0, length),
        Range::Part(from, to) => (206, from, to),
        Range::Unsatisfiable => {
            let range = format!("bytes */{length}");
            return Some(validated(416).with_header("Content-Range", range));
        }
    };
    let mut response = validated(status).with_header(Cow::Borrowed("Content-Type"), kind);
    if status == 206 {
        let range = format!("bytes {from}-{}/{length}", to - 1);
        response = response.with_header("Content-Range", range);
        file.seek(SeekFrom::Start(from)).ok()?;
    }
    response.content = Content::Reader {
        reader: Box::new(file.take(to - from)),
        length: Some(to - from),
    };
    Some(response)
}

/// Returns whether the client has the file as it is.
fn is_fresh(request: &Request, tag: &str, modified: Option<SystemTime>) -> bool {
    if let Some(tags) = request.header("if-none-match") {
        let mut tags = tags.split(',').map(|it| it.trim().trim_start_matches("W/"));
        return tags.any(|it| it == "*" || it == tag);
    }
    let since = request.header("if-modified-since");
    let since = since.and_then(|date| httpdate::parse_http_date(&date).ok());
    match (since, modified) {
        // The field has whole seconds.
        (Some(since), Some(modified)) => modified < since + Duration::from_secs(1),
        _ => false,
    }
}

/// The range of bytes that a client asks for.
enum Range {
    Whole,
    /// From the first to before the second.
    Part(u64, u64),
    Unsatisfiable,
}

fn wanted_range(request: &Request, tag: &str, date: Option<&str>, length: u64) -> Range {
    let Some(field) = request.header("range") else {
        return Range::Whole;
    };
    // Of another version of the file a part is no use.
    if request
        .header("if-range")
        .is_some_and(|it| it != tag && Some(&*it) != date)
    {
        return Range::Whole;
    }
    // Several ranges, or what is none, may be answered with the whole.
    let Some((from, to)) = field
        .strip_prefix("bytes=")
        .and_then(|range| range.split_once('-'))
    else {
        return Range::Whole;
    };
    let number = |text: &str| text.trim().parse::<u64>();
    let (from, to) = match (number(from), number(to)) {
        (Ok(from), Ok(last)) if from <= last => (from, length.min(last.saturating_add(1))),
        (Ok(from), Err(_)) if to.trim().is_empty() => (from, length),
        (Err(_), Ok(count)) if from.trim().is_empty() => (length.saturating_sub(count), length),
        _ => return Range::Whole,
    };
    if from < to {
        Range::Part(from, to)
    } else {
        Range::Unsatisfiable
    }
}

/// Returns the content type of a file's name, text as UTF-8.
fn content_type_of(path: &Path) -> String {
    let kind = mime_guess::from_path(path).first_or_octet_stream();
    let is_text = kind.type_() == mime_guess::mime::TEXT && kind.get_param("charset").is_none();
    if is_text {
        format!("{kind}; charset=utf-8")
    } else {
        kind.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::Limits;
    use crate::net::http::Head;

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

    fn request(path: &str, fields: &str) -> Request {
        let text = format!("GET {path} HTTP/1.1\r\nHost: x\r\n{fields}\r\n");
        let peer = std::net::SocketAddr::from(([127, 0, 0, 1], 1)).into();
        let head = Head::parse(text.as_bytes(), &Limits::default(), peer, false);
        head.unwrap().expect("a whole head").request
    }

    fn find(files: &StaticFiles, path: &str) -> Option<Response> {
        files.answer(&request("/x", ""), path)
    }

    fn header(response: &Response, name: &str) -> Option<String> {
        let mut headers = response.headers.iter();
        headers.find(|it| it.0 == name).map(|it| it.1.to_string())
    }

    fn content_type(response: Option<Response>) -> Option<String> {
        header(&response?, "Content-Type")
    }

    #[test]
    fn files_are_found_by_the_longest_path_that_fits() {
        let folder = Folder::new("find");
        let mut files = StaticFiles::default();
        files.add("/", folder.0.join("public"), None);
        files.add("/one", folder.0.join("secret.txt"), Some("x/y".into()));
        assert_eq!(
            content_type(find(&files, "/a.js")).as_deref(),
            Some("text/javascript; charset=utf-8")
        );
        assert_eq!(content_type(find(&files, "/one")).as_deref(), Some("x/y"));
        assert!(find(&files, "/one/more").is_none());
        assert!(find(&files, "/onemore").is_none());
        assert_eq!(find(&files, "/sub/").unwrap().status, 200);
        assert!(find(&files, "/").is_none());
        files.set_index("index.md");
        let found = find(&files, "/sub/");
        assert_eq!(
            content_type(found).as_deref(),
            Some("text/markdown; charset=utf-8")
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
        assert!(find(&files, "/static/a.js").is_some());
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
            assert!(find(&files, path).is_none(), "{path}");
        }
    }

    #[test]
    fn a_directory_is_named_with_a_slash() {
        let folder = Folder::new("slash");
        let mut files = StaticFiles::default();
        files.add("/", folder.0.join("public"), None);
        for (path, location) in [("/sub?a=1", "/sub/?a=1"), ("//sub", "/sub/")] {
            let answer = files.answer(&request(path, ""), "/sub").unwrap();
            assert_eq!(answer.status, 301);
            assert_eq!(header(&answer, "Location").as_deref(), Some(location));
        }
    }

    #[test]
    fn a_client_gets_what_it_has_not() {
        let folder = Folder::new("fresh");
        std::fs::write(folder.0.join("public/ten.mp4"), "0123456789").unwrap();
        let mut files = StaticFiles::default();
        files.add("/", folder.0.join("public"), None);
        let ask = |fields: &str| {
            let mut answer = files
                .answer(&request("/ten.mp4", fields), "/ten.mp4")
                .unwrap();
            let mut body = String::new();
            if let Content::Reader { reader, .. } = &mut answer.content {
                reader.read_to_string(&mut body).unwrap();
            }
            (answer.status, body, answer)
        };
        let (status, body, answer) = ask("");
        assert_eq!((status, &*body), (200, "0123456789"));
        assert_eq!(
            header(&answer, "Content-Type").as_deref(),
            Some("video/mp4")
        );
        let tag = header(&answer, "ETag").unwrap();
        let date = header(&answer, "Last-Modified").unwrap();
        for (fields, status, wanted, range) in [
            (format!("If-None-Match: {tag}\r\n"), 304, "", None),
            (format!("If-None-Match: \"x\", W/{tag}\r\n"), 304, "", None),
            ("If-None-Match: \"x\"\r\n".into(), 200, "0123456789", None),
            (format!("If-Modified-Since: {date}\r\n"), 304, "", None),
            (
                "Range: bytes=2-4\r\n".into(),
                206,
                "234",
                Some("bytes 2-4/10"),
            ),
            (
                "Range: bytes=8-99\r\n".into(),
                206,
                "89",
                Some("bytes 8-9/10"),
            ),
            (
                "Range: bytes=7-\r\n".into(),
                206,
                "789",
                Some("bytes 7-9/10"),
            ),
            ("Range: bytes=-1\r\n".into(), 206, "9", Some("bytes 9-9/10")),
            ("Range: bytes=10-\r\n".into(), 416, "", Some("bytes */10")),
            ("Range: bytes=-0\r\n".into(), 416, "", Some("bytes */10")),
            ("Range: bytes=4-2\r\n".into(), 200, "0123456789", None),
            ("Range: bytes=0-1,3-4\r\n".into(), 200, "0123456789", None),
            (
                format!("Range: bytes=0-1\r\nIf-Range: {tag}\r\n"),
                206,
                "01",
                Some("bytes 0-1/10"),
            ),
            (
                "Range: bytes=0-1\r\nIf-Range: \"x\"\r\n".into(),
                200,
                "0123456789",
                None,
            ),
        ] {
            let (got, body, answer) = ask(&fields);
            assert_eq!((got, &*body), (status, wanted), "{fields}");
            assert_eq!(
                header(&answer, "Content-Range").as_deref(),
                range,
                "{fields}"
            );
        }
    }
}
