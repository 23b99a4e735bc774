//! The program's say about requests that open a session, or move one to a WebSocket.

use crate::net::http::{Headers, Request};
use std::fmt;
use std::sync::Arc;

/// Code and text of the reference implementation for what `allowRequest` refuses.
const FORBIDDEN: (u8, &str) = (4, "Forbidden");

/// A request that would open a session, or move one to a WebSocket, and what is answered to it. See
/// [`Server::on_handshake`](crate::Server::on_handshake).
///
/// ```
/// use socketio::{Handshake, Request, Server};
///
/// let io = Server::new();
/// io.on_handshake(|request: &Request, handshake: &mut Handshake| {
///     if request.header("x-api-key").as_deref() != Some("secret") {
///         handshake.refuse(401, "no key");
///     }
///     handshake.header("x-served-by", "a");
/// });
/// ```
#[derive(Debug)]
pub struct Handshake {
    is_upgrade: bool,
    pub(super) headers: Headers,
    pub(super) session_headers: Headers,
    pub(super) refusal: Option<(u16, String)>,
    pub(super) session_id: Option<String>,
}

impl Handshake {
    pub(super) fn new(is_upgrade: bool) -> Handshake {
        Handshake {
            is_upgrade,
            headers: Headers::new(),
            session_headers: Headers::new(),
            refusal: None,
            session_id: None,
        }
    }

    /// Refuses a handshake because the program's function panicked.
    pub(super) fn refused(is_upgrade: bool) -> Handshake {
        let mut handshake = Handshake::new(is_upgrade);
        handshake.refuse(403, FORBIDDEN.1);
        handshake
    }

    /// Returns whether a session on polling is to move to a WebSocket: its first request was asked
    /// about before.
    pub fn is_upgrade(&self) -> bool {
        self.is_upgrade
    }

    /// Refuses the request with a status and a text: the client has it as `message` in the JSON
    /// that the reference server answers, and a WebSocket client as the body. The last call counts.
    pub fn refuse(&mut self, status: u16, text: impl Into<String>) {
        let is_status = (400..=599).contains(&status);
        self.refusal = Some((if is_status { status } else { 403 }, text.into()));
    }

    /// Sets the id of the session that is opened, in the place of a random one: the reference's
    /// `generateId`. Whoever knows it can use the session, so it must not be guessed, and no other
    /// session may have it: the request is refused then, and also if it has more than 64
    /// characters, or others than letters, digits, `-` and `_`. Where several I/O threads serve a
    /// port ([`io_threads`](crate::ServerBuilder::io_threads)) a dot and the number of one stands
    /// behind it.
    pub fn session_id(&mut self, id: impl Into<String>) {
        self.session_id = Some(id.into());
    }

    /// Adds a field to the answer to this request: the reference's `initial_headers`, a cookie for
    /// example. One with control characters is left out, with a record in the log.
    pub fn header(&mut self, name: impl Into<String>, value: impl Into<String>) {
        self.headers.push((name.into().into(), value.into().into()));
    }

    /// Adds a field to every answer of the session, this one included: the reference's `headers`.
    pub fn session_header(&mut self, name: impl Into<String>, value: impl Into<String>) {
        let (name, value) = (name.into(), value.into());
        self.headers
            .push((name.clone().into(), value.clone().into()));
        self.session_headers.push((name.into(), value.into()));
    }
}

/// Returns the body of the answer to a request that is refused.
pub(super) fn refusal_json(text: &str) -> String {
    let message = serde_json::Value::from(text);
    format!("{{\"code\":{},\"message\":{message}}}", FORBIDDEN.0)
}

type Function = dyn Fn(&Request, &mut Handshake) + Send + Sync;

/// The program's functions, in their order.
#[derive(Clone, Default)]
pub(crate) struct OnHandshake(Arc<[Arc<Function>]>);

impl OnHandshake {
    pub(crate) fn add(
        &mut self,
        function: impl Fn(&Request, &mut Handshake) + Send + Sync + 'static,
    ) {
        let before = self.0.iter().cloned();
        let function: Arc<Function> = Arc::new(function);
        self.0 = before.chain([function]).collect();
    }

    /// Returns them, if there are any.
    pub(crate) fn some(&self) -> Option<OnHandshake> {
        (!self.0.is_empty()).then(|| self.clone())
    }

    /// Asks them, until one refuses.
    pub(super) fn ask(&self, request: &Request, handshake: &mut Handshake) {
        for function in self.0.iter() {
            function(request, handshake);
            if handshake.refusal.is_some() {
                return;
            }
        }
    }
}

impl fmt::Debug for OnHandshake {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("OnHandshake")
    }
}
