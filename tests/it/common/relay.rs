//! A relay between a client and a server: it writes down what the client says, and can cut.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Relays connections, of itself or as an HTTP proxy that knows CONNECT.
pub(crate) struct Relay {
    pub(crate) address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    heads: Mutex<Vec<String>>,
    live: Mutex<Vec<TcpStream>>,
    /// After so many bytes to the client, everything is cut, once.
    cut_after: Mutex<Option<usize>>,
    /// Bytes a second to the server, and to the client; none for as many as come.
    rates: Mutex<[Option<usize>; 2]>,
    /// Times that all connections were forgotten.
    forgotten: AtomicUsize,
}

impl Relay {
    /// Relays everything to one server.
    pub(crate) fn to(server: SocketAddr) -> Relay {
        Relay::start(move |client, shared| {
            let server = TcpStream::connect(server)?;
            pump(client, server, shared);
            Ok(())
        })
    }

    /// Relays to whom the client asks for by CONNECT.
    pub(crate) fn proxy() -> Relay {
        Relay::start(|mut client, shared| {
            let head = read_head(&mut client)?;
            let mut words = head.split(' ');
            let (method, target) = (words.next(), words.next().unwrap_or_default());
            let is_connect = method == Some("CONNECT");
            let server = TcpStream::connect(target).ok().filter(|_| is_connect);
            shared.heads.lock().unwrap().push(head.clone());
            match server {
                Some(server) => {
                    client.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n")?;
                    pump(client, server, shared);
                }
                None => client.write_all(b"HTTP/1.1 403 Forbidden\r\n\r\n")?,
            }
            Ok(())
        })
    }

    fn start(
        serve: impl Fn(TcpStream, Arc<Shared>) -> std::io::Result<()> + Send + Sync + 'static,
    ) -> Relay {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let shared: Arc<Shared> = Arc::default();
        let relay = Relay {
            address,
            shared: Arc::clone(&shared),
        };
        let serve = Arc::new(serve);
        // It ends with the process of the tests.
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let (serve, shared) = (Arc::clone(&serve), Arc::clone(&shared));
                std::thread::spawn(move || serve(client, shared));
            }
        });
        relay
    }

    /// The heads of the requests so far.
    pub(crate) fn heads(&self) -> Vec<String> {
        self.shared.heads.lock().unwrap().clone()
    }

    /// Cuts everything that is connected.
    pub(crate) fn cut(&self) {
        self.shared.cut();
    }

    /// Cuts everything once so many more bytes have gone to the client.
    pub(crate) fn cut_after(&self, bytes: usize) {
        *self.shared.cut_after.lock().unwrap() = Some(bytes);
    }
}

impl Relay {
    /// Lets so many bytes a second through to the server.
    pub(crate) fn slow_down(&self, bytes_per_second: usize) {
        self.shared.rates.lock().unwrap()[0] = Some(bytes_per_second);
    }

    /// Lets so many bytes a second through to the client.
    pub(crate) fn slow_down_answers(&self, bytes_per_second: usize) {
        self.shared.rates.lock().unwrap()[1] = Some(bytes_per_second);
    }

    /// Drops what comes over the connections that there are from now on, and closes none: as a
    /// router does that has forgotten them.
    pub(crate) fn forget(&self) {
        self.shared.forgotten.fetch_add(1, Ordering::SeqCst);
    }

    /// Lets everything through again.
    pub(crate) fn speed_up(&self) {
        *self.shared.rates.lock().unwrap() = [None; 2];
    }
}

impl Shared {
    /// Waits as long as so many bytes take.
    fn take_time(&self, bytes: usize, direction: usize) {
        let rate = self.rates.lock().unwrap()[direction];
        if let Some(rate) = rate {
            std::thread::sleep(Duration::from_secs_f64(bytes as f64 / rate as f64));
        }
    }

    fn cut(&self) {
        for stream in self.live.lock().unwrap().drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    /// How many of these bytes may pass.
    fn allow(&self, bytes: usize) -> usize {
        let mut cut_after = self.cut_after.lock().unwrap();
        match &mut *cut_after {
            Some(left) if *left <= bytes => cut_after.take().unwrap_or_default(),
            Some(left) => {
                *left -= bytes;
                bytes
            }
            None => bytes,
        }
    }
}

fn pump(client: TcpStream, server: TcpStream, shared: Arc<Shared>) {
    let both = [client.try_clone().unwrap(), server.try_clone().unwrap()];
    shared.live.lock().unwrap().extend(both);
    let (mut from, mut to) = (client.try_clone().unwrap(), server.try_clone().unwrap());
    let recording = Arc::clone(&shared);
    let forgotten = shared.forgotten.load(Ordering::SeqCst);
    std::thread::spawn(move || {
        let mut buffer = [0; 65_536];
        while let Ok(count @ 1..) = from.read(&mut buffer) {
            let text = String::from_utf8_lossy(&buffer[..count]);
            if text.starts_with("GET ") || text.starts_with("POST ") {
                recording.heads.lock().unwrap().push(text.into_owned());
            }
            recording.take_time(count, 0);
            if recording.forgotten.load(Ordering::SeqCst) != forgotten {
                continue;
            }
            if to.write_all(&buffer[..count]).is_err() {
                break;
            }
        }
        let _ = to.shutdown(Shutdown::Write);
    });
    let (mut from, mut to) = (server, client);
    let mut buffer = [0; 65_536];
    while let Ok(count @ 1..) = from.read(&mut buffer) {
        shared.take_time(count, 1);
        if shared.forgotten.load(Ordering::SeqCst) != forgotten {
            continue;
        }
        let allowed = shared.allow(count);
        if to.write_all(&buffer[..allowed]).is_err() {
            break;
        }
        if allowed < count {
            shared.cut();
        }
    }
    let _ = to.shutdown(Shutdown::Write);
}

fn read_head(stream: &mut TcpStream) -> std::io::Result<String> {
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    Ok(String::from_utf8_lossy(&head).into_owned())
}
