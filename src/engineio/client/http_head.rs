//! Heads of answers, as the way to a WebSocket reads them.

use std::io::{self, ErrorKind, Read};

/// Fields of an answer's head. Its bytes bound them.
const MAX_FIELDS: usize = 1000;
/// Bytes of an answer's head.
const MAX_HEAD: usize = 64 << 10;

/// Fields of an answer's head that matter.
pub(super) struct ResponseHead {
    pub(super) status: u16,
    pub(super) accept: Option<String>,
    pub(super) length: Option<usize>,
    pub(super) chunked: bool,
    pub(super) location: Option<String>,
    pub(super) fields: Vec<(String, String)>,
}

pub(super) fn parse_head(bytes: &[u8]) -> Option<ResponseHead> {
    let mut fields = vec![httparse::EMPTY_HEADER; MAX_FIELDS];
    let mut response = httparse::Response::new(&mut fields);
    if !response.parse(bytes).ok()?.is_complete() {
        return None;
    }
    let field = |name: &str| {
        let field = response
            .headers
            .iter()
            .find(|it| it.name.eq_ignore_ascii_case(name))?;
        std::str::from_utf8(field.value).ok().map(str::trim)
    };
    let all: Vec<_> = response
        .headers
        .iter()
        .filter_map(|it| {
            let value = std::str::from_utf8(it.value).ok()?;
            Some((it.name.to_ascii_lowercase(), value.trim().to_owned()))
        })
        .collect();
    Some(ResponseHead {
        status: response.code?,
        accept: field("sec-websocket-accept").map(str::to_owned),
        length: field("content-length").and_then(|length| length.parse().ok()),
        chunked: field("transfer-encoding")
            .is_some_and(|it| it.to_ascii_lowercase().ends_with("chunked")),
        location: field("location").map(str::to_owned),
        fields: all,
    })
}

/// Reads an answer's head, past those that only inform (100, 103); `rest` is what came behind.
pub(super) fn read_final(
    stream: &mut impl Read,
    rest: &mut Vec<u8>,
) -> io::Result<Option<ResponseHead>> {
    loop {
        let (head, more) = read_head(stream, std::mem::take(rest))?;
        *rest = more;
        match parse_head(&head) {
            Some(head) if head.status < 200 && head.status != 101 => {}
            head => return Ok(head),
        }
    }
}

/// Reads an answer's head, of which `bytes` are known; returns it, and what came behind it.
pub(super) fn read_head(
    stream: &mut impl Read,
    mut bytes: Vec<u8>,
) -> io::Result<(Vec<u8>, Vec<u8>)> {
    let mut from = 0;
    loop {
        if let Some(at) = bytes[from..].windows(4).position(|it| it == b"\r\n\r\n") {
            let rest = bytes.split_off(from + at + 4);
            return Ok((bytes, rest));
        }
        if bytes.len() > MAX_HEAD {
            return Err(io::Error::other(
                "the head of the server's answer does not end",
            ));
        }
        from = bytes.len().saturating_sub(3);
        let mut buffer = [0; 4096];
        match stream.read(&mut buffer) {
            Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
            Ok(count) => bytes.extend_from_slice(&buffer[..count]),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// Reads a refusal's chunked body, to its last chunk or the end of the connection.
pub(super) fn read_chunked(stream: &mut impl Read, rest: &mut Vec<u8>, most: usize) {
    let mut buffer = [0; 4096];
    while rest.len() < most && !rest.windows(5).any(|it| it == b"0\r\n\r\n") {
        match stream.read(&mut buffer) {
            Ok(count) if count > 0 => rest.extend_from_slice(&buffer[..count]),
            _ => break,
        }
    }
}

/// Returns what there is of a body in chunks.
pub(super) fn dechunked(mut bytes: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    while let Ok(httparse::Status::Complete((at, size))) = httparse::parse_chunk_size(bytes) {
        let rest = &bytes[at..];
        let size = usize::try_from(size).unwrap_or(usize::MAX).min(rest.len());
        body.extend_from_slice(&rest[..size]);
        bytes = rest[size..].strip_prefix(b"\r\n").unwrap_or_default();
        if size == 0 {
            break;
        }
    }
    body
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_read_behind_those_that_only_inform() {
        let bytes = b"HTTP/1.1 103 Early\r\nA: b\r\n\r\nHTTP/1.1 403 No\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n";
        let (mut from, mut rest) = (&bytes[..], Vec::new());
        let head = read_final(&mut from, &mut rest).unwrap().unwrap();
        read_chunked(&mut from, &mut rest, 65_536);
        assert!(head.status == 403 && head.chunked);
        assert_eq!(dechunked(&rest), b"{}");
        let many: String = (0..500).map(|number| format!("h{number}: x\r\n")).collect();
        let head = parse_head(format!("HTTP/1.1 101 S\r\n{many}\r\n").as_bytes());
        assert_eq!(head.unwrap().status, 101);
    }
}
