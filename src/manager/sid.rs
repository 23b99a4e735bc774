//! The sids of clients, which every server of a cluster tells from the names of rooms.
//!
//! A sid names one client of the whole cluster, and no other client may enter the room of that name
//! and hear what is meant for it. A server knows only its own clients, so a sid shows what it is:
//! its last characters are a checksum of the others. Of the names that programs give to rooms one
//! in sixteen million looks like a sid by chance, if it has 20 characters of base64url.
//!
//! Clients of python-socketio's servers, those of Engine.IO 3 and those whose ids are the program's
//! own have sids without a checksum; their rooms can be entered by clients of other servers.

use crate::error::Error;
use crate::util::random;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use std::sync::Arc;

/// Bytes of a sid that are random, and those of their checksum.
const RANDOM_BYTES: usize = 12;
const CHECKSUM_BYTES: usize = 3;
const BYTES: usize = RANDOM_BYTES + CHECKSUM_BYTES;
/// Characters, as many as the reference implementation's.
const CHARACTERS: usize = BYTES / 3 * 4;

/// Returns a new sid; none without random bytes.
pub(crate) fn new_sid() -> Option<Arc<str>> {
    let mut bytes = [0; BYTES];
    random::fill(&mut bytes[..RANDOM_BYTES])?;
    let checksum = checksum(&bytes[..RANDOM_BYTES]);
    bytes[RANDOM_BYTES..].copy_from_slice(&checksum);
    Some(URL_SAFE_NO_PAD.encode(bytes).into())
}

/// Returns whether a name is the sid of a client, here or on another server, now or once.
pub(crate) fn is_sid(name: &str) -> bool {
    let mut bytes = [0; BYTES];
    name.len() == CHARACTERS
        && URL_SAFE_NO_PAD.decode_slice(name, &mut bytes) == Ok(BYTES)
        && bytes[RANDOM_BYTES..] == checksum(&bytes[..RANDOM_BYTES])
}

/// Returns an error if a room is another client's own.
pub(crate) fn check_room(sid: &str, room: &str) -> Result<(), Error> {
    if room != sid && is_sid(room) {
        let why = "a client's own room cannot be entered by others";
        return Err(Error::InvalidArgument(why.into()));
    }
    Ok(())
}

/// The polynomial of RFC 9580's checksum of 24 bits.
const POLYNOMIAL: u32 = 0x0186_4cfb;

fn checksum(bytes: &[u8]) -> [u8; CHECKSUM_BYTES] {
    let mut crc: u32 = 0x00b7_04ce;
    for byte in bytes {
        crc ^= u32::from(*byte) << 16;
        for _ in 0..8 {
            crc <<= 1;
            if crc & 0x0100_0000 != 0 {
                crc ^= POLYNOMIAL;
            }
        }
    }
    let [_, high, middle, low] = crc.to_be_bytes();
    [high, middle, low]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sid_is_told_from_other_names() {
        // The check value of RFC 9580's checksum.
        assert_eq!(checksum(b"123456789"), [0x21, 0xcf, 0x02]);
        for _ in 0..1_000 {
            let sid = new_sid().unwrap();
            assert!(sid.len() == CHARACTERS && is_sid(&sid));
            assert!(check_room(&sid, &sid).is_ok());
            assert!(matches!(
                check_room("x", &sid),
                Err(Error::InvalidArgument(_))
            ));
            let mut other = sid.to_string();
            let last = if other.pop() == Some('A') { 'B' } else { 'A' };
            other.push(last);
            assert!(!is_sid(&other));
        }
        for name in ["", "lobby", "aaaaaaaaaaaaaaaaaaaa", "ein raum mit umlaut "] {
            assert!(!is_sid(name), "{name}");
        }
    }
}
