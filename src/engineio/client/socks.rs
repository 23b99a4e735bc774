//! The SOCKS protocol (RFC 1928): a request to a proxy, and its answer.

use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr};

/// Target that a SOCKS proxy is to connect to.
pub(super) enum Goal<'a> {
    Name(&'a str, u16),
    Address(SocketAddr),
}

/// Opens a tunnel by SOCKS 4 or 4a, with the name that the proxy wants as the user.
pub(super) fn socks4(tcp: &mut (impl Read + Write), goal: &Goal<'_>, user: &str) -> io::Result<()> {
    let (ip, port, name) = match goal {
        Goal::Address(SocketAddr::V4(it)) => (it.ip().octets(), it.port(), None),
        Goal::Address(_) => return Err(io::Error::other("SOCKS4 knows no IPv6")),
        Goal::Name(name, port) => ([0, 0, 0, 1], *port, Some(name)),
    };
    let mut request = vec![4, 1];
    request.extend(port.to_be_bytes());
    request.extend(ip);
    request.extend(user.bytes().chain([0]));
    if let Some(name) = name {
        request.extend(name.bytes().chain([0]));
    }
    tcp.write_all(&request)?;
    let mut answer = [0; 8];
    tcp.read_exact(&mut answer)?;
    match answer[..2] {
        [0, 90] => Ok(()),
        _ => Err(io::Error::other(format!(
            "the proxy refused: SOCKS4 {}",
            answer[1]
        ))),
    }
}

/// Opens a tunnel by SOCKS 5 (RFC 1928, 1929).
pub(super) fn socks5(
    tcp: &mut (impl Read + Write),
    goal: &Goal<'_>,
    login: Option<(&str, &str)>,
) -> io::Result<()> {
    let refused = |why: &str| io::Error::other(format!("the proxy refused: SOCKS5 {why}"));
    tcp.write_all(if login.is_some() {
        &[5, 2, 0, 2]
    } else {
        &[5, 1, 0]
    })?;
    let mut two = [0; 2];
    tcp.read_exact(&mut two)?;
    match (two, login) {
        ([5, 0], _) => {}
        ([5, 2], Some((user, password))) => {
            let mut request = vec![1];
            for part in [user, password] {
                request
                    .push(u8::try_from(part.len()).map_err(|_| refused("the login is too long"))?);
                request.extend(part.bytes());
            }
            tcp.write_all(&request)?;
            tcp.read_exact(&mut two)?;
            if two[1] != 0 {
                return Err(refused("the login"));
            }
        }
        _ => return Err(refused("without a login that it knows")),
    }
    let mut request = vec![5, 1, 0];
    let port = match goal {
        Goal::Address(it) => {
            match it.ip() {
                IpAddr::V4(ip) => request.extend([1].into_iter().chain(ip.octets())),
                IpAddr::V6(ip) => request.extend([4].into_iter().chain(ip.octets())),
            }
            it.port()
        }
        Goal::Name(name, port) => {
            request.push(3);
            request.push(u8::try_from(name.len()).map_err(|_| refused("the name is too long"))?);
            request.extend(name.bytes());
            *port
        }
    };
    request.extend(port.to_be_bytes());
    tcp.write_all(&request)?;
    let mut head = [0; 4];
    tcp.read_exact(&mut head)?;
    if head[..2] != [5, 0] {
        return Err(refused(&head[1].to_string()));
    }
    let length = match head[3] {
        1 => 4,
        4 => 16,
        3 => {
            let mut one = [0];
            tcp.read_exact(&mut one)?;
            usize::from(one[0])
        }
        _ => return Err(refused("an address of no known kind")),
    };
    // Its own address, and port.
    tcp.read_exact(&mut vec![0; length + 2])
}

#[cfg(test)]
mod tests {
    use super::*;
    struct Script(io::Cursor<Vec<u8>>, Vec<u8>);
    impl Read for Script {
        fn read(&mut self, b: &mut [u8]) -> io::Result<usize> {
            self.0.read(b)
        }
    }
    impl Write for Script {
        fn write(&mut self, b: &[u8]) -> io::Result<usize> {
            self.1.extend(b);
            Ok(b.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    #[test]
    fn socks() {
        let mut s = Script(
            io::Cursor::new(b"\x05\x02\x01\x00\x05\x00\x00\x01\x01\x02\x03\x04\x00\x50".to_vec()),
            vec![],
        );
        socks5(&mut s, &Goal::Name("ex.com", 443), Some(("u", "pw"))).unwrap();
        assert_eq!(
            s.1,
            b"\x05\x02\x00\x02\x01\x01u\x02pw\x05\x01\x00\x03\x06ex.com\x01\xbb"
        );
        assert_eq!(s.0.position(), 14);
        let mut s = Script(
            io::Cursor::new(b"\x05\x00\x05\x05\x00\x01".to_vec()),
            vec![],
        );
        let refused =
            socks5(&mut s, &Goal::Address("[::1]:80".parse().unwrap()), None).unwrap_err();
        assert!(refused.to_string().contains("SOCKS5 5"), "{refused}");
        let mut s = Script(io::Cursor::new(vec![0, 90, 0, 0, 0, 0, 0, 0]), vec![]);
        socks4(&mut s, &Goal::Name("ex.com", 80), "").unwrap();
        assert_eq!(s.1, b"\x04\x01\x00\x50\x00\x00\x00\x01\x00ex.com\x00");
    }
}
