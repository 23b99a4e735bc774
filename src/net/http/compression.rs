//! gzip and deflate of answers.

use flate2::Compression;
use flate2::write::{GzEncoder, ZlibEncoder};
use std::io::Write;

/// A coding that both sides know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ContentCoding {
    Gzip,
    Deflate,
}

impl ContentCoding {
    /// Returns the first coding of `Accept-Encoding` that is known and not refused by `q=0`.
    pub(crate) fn negotiate(accepted: &str) -> Option<ContentCoding> {
        accepted.split(',').find_map(|item| {
            let mut parts = item.split(';').map(str::trim);
            let encoding = match parts.next()? {
                name if name.eq_ignore_ascii_case("gzip") => ContentCoding::Gzip,
                name if name.eq_ignore_ascii_case("deflate") => ContentCoding::Deflate,
                _ => return None,
            };
            let refused = parts
                .filter_map(|part| part.strip_prefix("q="))
                .any(|weight| weight.parse::<f32>().is_ok_and(|weight| weight <= 0.0));
            (!refused).then_some(encoding)
        })
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            ContentCoding::Gzip => "gzip",
            ContentCoding::Deflate => "deflate",
        }
    }

    /// Compresses a body; returns `None` only if memory could not be written to.
    pub(crate) fn encode(self, body: &[u8]) -> Option<Vec<u8>> {
        match self {
            ContentCoding::Gzip => {
                let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
                encoder.write_all(body).ok()?;
                encoder.finish().ok()
            }
            ContentCoding::Deflate => {
                let mut encoder = ZlibEncoder::new(Vec::new(), Compression::fast());
                encoder.write_all(body).ok()?;
                encoder.finish().ok()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    #[test]
    fn the_client_s_order_decides() {
        assert_eq!(
            ContentCoding::negotiate("gzip, deflate, br"),
            Some(ContentCoding::Gzip)
        );
        assert_eq!(
            ContentCoding::negotiate("br, deflate, gzip"),
            Some(ContentCoding::Deflate)
        );
        assert_eq!(
            ContentCoding::negotiate("gzip;q=0, deflate;q=0.5"),
            Some(ContentCoding::Deflate)
        );
        assert_eq!(ContentCoding::negotiate("br"), None);
        assert_eq!(ContentCoding::negotiate(""), None);
    }

    #[test]
    fn what_is_compressed_can_be_read_again() {
        let body = "hello ".repeat(1_000);
        let (mut gzip, mut deflate) = (String::new(), String::new());
        let bytes = ContentCoding::Gzip.encode(body.as_bytes()).unwrap();
        flate2::read::GzDecoder::new(&bytes[..])
            .read_to_string(&mut gzip)
            .unwrap();
        let bytes = ContentCoding::Deflate.encode(body.as_bytes()).unwrap();
        flate2::read::ZlibDecoder::new(&bytes[..])
            .read_to_string(&mut deflate)
            .unwrap();
        assert_eq!((gzip, deflate), (body.clone(), body));
    }
}
