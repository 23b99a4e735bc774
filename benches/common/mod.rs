//! What the benches that load a whole server share: a lean client.

#![allow(dead_code, reason = "each bench uses a part of it")]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

pub(crate) type Failure = Box<dyn std::error::Error + Send + Sync>;

/// A client on the default namespace, as lean as can be.
pub(crate) fn connect(address: SocketAddr) -> Result<TcpStream, Failure> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    stream.write_all(
        b"GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\n\
          Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
          Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n",
    )?;
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte)?;
        head.extend(byte);
    }
    read_frame(&mut stream)?;
    stream.write_all(&frame("40"))?;
    read_frame(&mut stream)?;
    Ok(stream)
}

/// A frame as clients send it, masked with zeros.
pub(crate) fn frame(text: &str) -> Vec<u8> {
    let mut frame = vec![0x81, 0x80 | text.len() as u8, 0, 0, 0, 0];
    frame.extend(text.bytes());
    frame
}

/// Reads a frame of the server's, of up to 65,535 bytes.
pub(crate) fn read_frame(stream: &mut TcpStream) -> Result<(), Failure> {
    let mut header = [0; 2];
    stream.read_exact(&mut header)?;
    let mut length = usize::from(header[1]);
    if length == 126 {
        stream.read_exact(&mut header)?;
        length = usize::from(u16::from_be_bytes(header));
    }
    stream.read_exact(&mut vec![0; length])?;
    Ok(())
}

/// How many descriptors this process may have.
pub(crate) fn descriptors() -> Result<usize, Failure> {
    let limits = std::fs::read_to_string("/proc/self/limits")?;
    let line = limits
        .lines()
        .find(|line| line.starts_with("Max open files"));
    let soft = line.and_then(|line| line.split_whitespace().nth(3));
    Ok(soft.ok_or("no limit of descriptors")?.parse()?)
}
