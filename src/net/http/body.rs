//! Bodies of requests (RFC 9112, 6).

use std::fmt;

/// The longest line of a chunk's size, extensions included, and of one trailer field.
const MAX_LINE: usize = 1024;
/// The most trailer lines.
const MAX_TRAILERS: usize = 100;

/// Framing of a request's body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RequestFraming {
    None,
    Length(u64),
    Chunked,
}

/// A body that is being read.
#[derive(Debug)]
pub(crate) struct BodyDecoder {
    state: BodyState,
    bytes: Vec<u8>,
    /// Bytes that were read, also those that were taken out.
    count: usize,
    limit: usize,
}

#[derive(Debug)]
enum BodyState {
    /// So much is missing.
    Length(u64),
    Size(Vec<u8>),
    Chunk(u64),
    ChunkEnd(usize),
    /// Bytes of the line that is being read, whether the last was a carriage return, and lines.
    Trailers {
        line: usize,
        returned: bool,
        count: usize,
    },
    Done,
}

/// Reason why a body is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BodyError {
    TooLarge,
    Malformed,
}

impl fmt::Display for BodyError {
    /// Formats it for the log.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            BodyError::TooLarge => "too large (max_http_buffer_size, Limits::http_body_bytes)",
            BodyError::Malformed => "malformed",
        })
    }
}

impl BodyDecoder {
    /// Creates a reader for a body of at most `limit` bytes.
    pub(crate) fn new(framing: RequestFraming, limit: usize) -> Result<BodyDecoder, BodyError> {
        let state = match framing {
            RequestFraming::None | RequestFraming::Length(0) => BodyState::Done,
            RequestFraming::Length(length) if length > limit as u64 => {
                return Err(BodyError::TooLarge);
            }
            RequestFraming::Length(length) => BodyState::Length(length),
            RequestFraming::Chunked => BodyState::Size(Vec::new()),
        };
        Ok(BodyDecoder {
            state,
            bytes: Vec::new(),
            count: 0,
            limit,
        })
    }

    /// Takes what belongs to the body; returns how much that was.
    pub(crate) fn read(&mut self, input: &[u8]) -> Result<usize, BodyError> {
        let mut rest = input;
        while !rest.is_empty() && !self.is_done() {
            let taken = self.step(rest)?;
            rest = &rest[taken..];
        }
        Ok(input.len() - rest.len())
    }

    /// Returns the bytes that it keeps.
    pub(crate) fn kept(&self) -> usize {
        self.bytes.len()
    }

    pub(crate) fn is_done(&self) -> bool {
        matches!(self.state, BodyState::Done)
    }

    /// Takes out what has been read.
    pub(crate) fn take_bytes(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.bytes)
    }

    pub(crate) fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    fn step(&mut self, input: &[u8]) -> Result<usize, BodyError> {
        match &mut self.state {
            BodyState::Length(missing) | BodyState::Chunk(missing) => {
                let taken = usize::try_from(*missing)
                    .unwrap_or(usize::MAX)
                    .min(input.len());
                *missing -= taken as u64;
                let ended = *missing == 0;
                self.bytes.extend_from_slice(&input[..taken]);
                self.count += taken;
                if ended {
                    self.state = match self.state {
                        BodyState::Chunk(_) => BodyState::ChunkEnd(0),
                        _ => BodyState::Done,
                    };
                }
                Ok(taken)
            }
            BodyState::Size(line) => {
                if input[0] != b'\n' {
                    line.push(input[0]);
                    return if line.len() > MAX_LINE {
                        Err(BodyError::Malformed)
                    } else {
                        Ok(1)
                    };
                }
                let size = chunk_size(line).ok_or(BodyError::Malformed)?;
                if size > (self.limit - self.count) as u64 {
                    return Err(BodyError::TooLarge);
                }
                self.state = match size {
                    0 => BodyState::Trailers {
                        line: 0,
                        returned: false,
                        count: 0,
                    },
                    size => BodyState::Chunk(size),
                };
                Ok(1)
            }
            BodyState::ChunkEnd(seen) => {
                if input[0] != b"\r\n"[*seen] {
                    return Err(BodyError::Malformed);
                }
                *seen += 1;
                if *seen == 2 {
                    self.state = BodyState::Size(Vec::new());
                }
                Ok(1)
            }
            BodyState::Trailers {
                line,
                returned,
                count,
            } => {
                match (input[0], *returned) {
                    (b'\n', true) if *line == 0 => self.state = BodyState::Done,
                    (b'\n', true) => (*line, *returned, *count) = (0, false, *count + 1),
                    (b'\r', false) => *returned = true,
                    // A line ends with both (RFC 9112, 2.2), here as for a proxy in front.
                    (b'\n', false) | (_, true) => return Err(BodyError::Malformed),
                    _ => *line += 1,
                }
                match &self.state {
                    BodyState::Trailers { line, count, .. }
                        if *line > MAX_LINE || *count > MAX_TRAILERS =>
                    {
                        Err(BodyError::Malformed)
                    }
                    _ => Ok(1),
                }
            }
            BodyState::Done => Ok(0),
        }
    }
}

/// Returns the number before a chunk's extensions.
fn chunk_size(line: &[u8]) -> Option<u64> {
    let line = line.strip_suffix(b"\r")?;
    let digits = line.split(|byte| *byte == b';').next()?;
    let digits = std::str::from_utf8(digits).ok()?;
    let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_number
        .then(|| u64::from_str_radix(digits, 16).ok())
        .flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::Limits;
    use crate::net::http::head::{Head, HeadError};
    use proptest::prelude::*;
    use std::net::SocketAddr;

    fn framing(fields: &str) -> Result<RequestFraming, u16> {
        let text = format!("POST / HTTP/1.1\r\nHost: x\r\n{fields}\r\n");
        let peer = SocketAddr::from(([127, 0, 0, 1], 1)).into();
        match Head::parse(text.as_bytes(), &Limits::default(), peer, false) {
            Ok(Some(head)) => Ok(head.framing),
            Ok(None) => panic!("incomplete"),
            Err(HeadError(status, _)) => Err(status),
        }
    }

    fn read(body: &[u8], pieces: usize) -> Result<(Vec<u8>, usize), BodyError> {
        let mut reader = BodyDecoder::new(RequestFraming::Chunked, 1_000)?;
        let mut taken = 0;
        for piece in body.chunks(pieces) {
            taken += reader.read(piece)?;
        }
        assert!(reader.is_done());
        Ok((reader.into_bytes(), taken))
    }

    #[test]
    fn what_could_be_read_in_two_ways_is_refused() {
        assert_eq!(framing(""), Ok(RequestFraming::None));
        assert_eq!(
            framing("Content-Length: 5\r\n"),
            Ok(RequestFraming::Length(5))
        );
        assert_eq!(
            framing("Content-Length: 5\r\nContent-Length: 5\r\n"),
            Ok(RequestFraming::Length(5))
        );
        assert_eq!(
            framing("Transfer-Encoding: Chunked\r\n"),
            Ok(RequestFraming::Chunked)
        );
        for fields in [
            "Content-Length: 5\r\nContent-Length: 6\r\n",
            "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
            "Content-Length: -1\r\n",
            "Content-Length: +1\r\n",
            "Content-Length: 5, 5\r\n",
            "Content-Length: 99999999999999999999\r\n",
        ] {
            assert_eq!(framing(fields), Err(400), "{fields}");
        }
        assert_eq!(framing("Transfer-Encoding: gzip, chunked\r\n"), Err(501));
    }

    #[test]
    fn chunks_are_joined_however_they_are_cut() {
        let body = b"5;x=y\r\nhello\r\n1\r\n \r\nA\r\n0123456789\r\n0\r\nTrailer: x\r\n\r\nGET /";
        for pieces in 1..body.len() {
            let (bytes, taken) = read(body, pieces).unwrap();
            assert_eq!(bytes, b"hello 0123456789");
            assert_eq!(&body[taken..], b"GET /");
        }
    }

    #[test]
    fn a_body_has_a_limit() {
        assert_eq!(
            BodyDecoder::new(RequestFraming::Length(1_001), 1_000).unwrap_err(),
            BodyError::TooLarge
        );
        assert_eq!(read(b"3e9\r\n", 9), Err(BodyError::TooLarge));
        assert_eq!(read(b"ffffffffffffffff\r\n", 99), Err(BodyError::TooLarge));
        for body in [
            "-1\r\n",
            "\r\n",
            "1\r\nab",
            "fffffffffffffffff\r\n",
            "x\r\n",
            " 1\r\n",
            "1 \r\n",
            "0\r\n\n",
            "0\r\nX: y\n",
            "0\r\nX: y\rz",
        ] {
            assert_eq!(
                read(body.as_bytes(), 99),
                Err(BodyError::Malformed),
                "{body:?}"
            );
        }
        assert_eq!(read(&[b'1'; 2_000], 99), Err(BodyError::Malformed));
    }

    proptest! {
        #[test]
        fn no_chunks_panic(bytes in any::<Vec<u8>>()) {
            let _ = BodyDecoder::new(RequestFraming::Chunked, 100).unwrap().read(&bytes);
        }
    }
}
