//! The forwarder between servers that share a `ZmqManager`.
//!
//! `zmq_broker [PUSH_PORT SUB_PORT] [HOST]`
//!
//! It takes what is pushed to the first port and publishes it on the second, 5555 and 5556 of
//! 127.0.0.1 if none are named; 0 lets the system choose. It prints the URL for the servers, and
//! runs until it is stopped.

use std::error::Error;
use zmq::{Context, SocketType};

/// Messages that may wait for one receiver; what comes after is dropped for it.
const HIGH_WATER: i32 = 100_000;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let (push, sub, host) = match &arguments[..] {
        [] => ("5555", "5556", "127.0.0.1"),
        [push, sub] => (&**push, &**sub, "127.0.0.1"),
        [push, sub, host] => (&**push, &**sub, &**host),
        _ => {
            eprintln!("usage: zmq_broker [PUSH_PORT SUB_PORT] [HOST]");
            std::process::exit(2);
        }
    };
    let context = Context::new();
    let pulling = context.socket(SocketType::PULL)?;
    let publishing = context.socket(SocketType::PUB)?;
    pulling.set_rcvhwm(HIGH_WATER)?;
    publishing.set_sndhwm(HIGH_WATER)?;
    let bind = |socket: &zmq::Socket, port: &str| -> Result<String, Box<dyn Error>> {
        let port = if port == "0" { "*" } else { port };
        socket.bind(&format!("tcp://{host}:{port}"))?;
        let endpoint = socket.get_last_endpoint()?.map_err(|_| "no endpoint")?;
        let port = endpoint.rsplit(':').next().unwrap_or_default();
        Ok(port.to_owned())
    };
    let (push, sub) = (bind(&pulling, push)?, bind(&publishing, sub)?);
    println!("forwarding for zmq+tcp://{host}:{push}+{sub}");
    zmq::proxy(&pulling, &publishing)?;
    Ok(())
}
