//! Whom an event is for, and how it gets there.
//!
//! In a circle with the other handles of this folder: a socket leads to its server, its namespace
//! and its rooms, and each of these to sockets.

use super::namespaces::is_pattern;
use super::socket::Socket;
use super::{IntoRooms, Server, ServerInner, encode_data};
use crate::data::{EncodedArgs, Encoding};
use crate::engineio::{HeldBroadcasts, block_in_place};
use crate::error::Error;
use crate::handlers::encode;
use crate::handlers::{AckResponse, RecipientsCallback};
use crate::limits::clamp_duration;
use crate::manager::{AckRequest, Broadcast, BroadcastTarget, LocalNode as _};
use crate::util::oneshot::channel;
use crate::util::sync::Mutex;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// Recipients of events: rooms, clients, and those who are left out.
///
/// ```no_run
/// # use socketio::Server;
/// # let (io, sid) = (Server::new(), String::new());
/// io.to(["blue", "green"]).skip(&sid).emit("news", ("one", 2))?;
/// io.except("muted").emit("song", "la la la")?;
/// let names: Vec<_> = io.to("blue").sockets();
/// # Ok::<(), socketio::Error>(())
/// ```
#[derive(Clone, Debug)]
#[must_use = "nothing is sent before `emit`, `send` or `call`"]
pub struct BroadcastOperator {
    server: Server,
    namespace: Arc<str>,
    recipients: BroadcastTarget,
    volatile: bool,
    local: bool,
}

impl BroadcastOperator {
    pub(crate) fn new(server: &Server, namespace: &Arc<str>) -> BroadcastOperator {
        BroadcastOperator {
            server: server.clone(),
            namespace: Arc::clone(namespace),
            recipients: BroadcastTarget::default(),
            volatile: false,
            local: false,
        }
    }

    /// Adds the members of rooms, or clients by their sids. Who is in several gets it once.
    pub fn to(mut self, rooms: impl IntoRooms) -> BroadcastOperator {
        let names = self.recipients.rooms.get_or_insert_default();
        names.extend(rooms.into_names());
        self
    }

    /// Leaves clients out, by their sids.
    pub fn skip(mut self, sids: impl IntoRooms) -> BroadcastOperator {
        self.recipients.skip.extend(sids.into_names());
        self
    }

    /// Leaves the members of rooms out.
    pub fn except(mut self, rooms: impl IntoRooms) -> BroadcastOperator {
        self.recipients.except.extend(rooms.into_names());
        self
    }

    /// Makes what is sent volatile, for what is out of date a moment later: only those get it that
    /// can take it at once.
    pub fn volatile(mut self) -> BroadcastOperator {
        self.volatile = true;
        self
    }

    /// Addresses only clients of this server, not those of others that share a manager.
    pub fn local(mut self) -> BroadcastOperator {
        self.local = true;
        self
    }

    /// Sends an event. A tuple is several arguments, and so is an array of a fixed size, which
    /// serde does not tell from one; `()` is none, anything else one. Does not block; who is not
    /// there gets nothing.
    ///
    /// ```
    /// # fn main() -> Result<(), socketio::Error> {
    /// # let io = socketio::Server::new();
    /// # let room = io.to("room");
    /// room.emit("point", (1, 2))?; // two arguments
    /// room.emit("point", [1, 2])?; // two arguments
    /// room.emit("points", vec![1, 2])?; // one, which is a list
    /// room.emit("points", &[1, 2][..])?; // the same
    /// room.emit("point", ([1, 2],))?; // the same
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error::Encode`] if the data cannot be JSON, [`Error::InvalidArgument`] if the name is
    /// reserved or has more than 65,536 bytes, the data is nested deeper than 128 levels or has
    /// more than 100 MB, or there are more attachments than
    /// [`Limits::outgoing_attachments`](crate::Limits::outgoing_attachments). With a manager that
    /// knows other servers, [`Error::LimitExceeded`] if its queue has no room, or the message is
    /// larger than the broker takes. Whatever the error, nobody gets the event, and it can be tried
    /// again.
    pub fn emit(&self, event: &str, data: impl Serialize) -> Result<(), Error> {
        let data = encode_data(&self.server.inner, Encoding::Json, event, data)?;
        self.publish(&self.broadcast_of(event, data, None))
    }

    /// Sends the event `message`.
    ///
    /// # Errors
    /// Those of [`emit`](BroadcastOperator::emit).
    pub fn send(&self, data: impl Serialize) -> Result<(), Error> {
        self.emit("message", data)
    }

    /// Sends an event and calls a function with the answer of each recipient: once each, on a
    /// worker, with an error when the time is over, the client has gone, or owes too many answers.
    /// Where there is no recipient, it is called once, with [`Error::Disconnected`], or, with a
    /// manager that knows other servers, with [`Error::Timeout`] when the time is over.
    ///
    /// The function may ask which client has answered, or for nothing at all: see
    /// [`RecipientsCallback`].
    ///
    /// Recipients on other servers of this crate are reported as those of this one. Servers of
    /// python-socketio send answers alone: of a recipient there that does not answer nothing is
    /// heard, and if no other one is reported, the function is called once, with
    /// [`Error::Timeout`], at most a second after the time is over.
    ///
    /// # Errors
    /// Those of [`emit`](BroadcastOperator::emit). The function is not called then.
    ///
    /// ```no_run
    /// # use socketio::{Error, Server};
    /// # use std::time::Duration;
    /// # let io = Server::new();
    /// let (team, second) = (io.to("team"), Duration::from_secs(1));
    /// team.emit_with_ack("ready?", (), second, |answer: Result<bool, Error>| {
    ///     println!("one of them says {answer:?}");
    /// })?;
    /// team.emit_with_ack("ready?", (), second, |sid: Option<&str>, answer: Result<bool, Error>| {
    ///     println!("{sid:?} says {answer:?}");
    /// })?;
    /// team.emit_with_ack("ready?", (), second, || println!("one more has answered, or will not"))?;
    /// # Ok::<(), Error>(())
    /// ```
    pub fn emit_with_ack<S>(
        &self,
        event: &str,
        data: impl Serialize,
        timeout: Duration,
        callback: impl RecipientsCallback<S>,
    ) -> Result<(), Error> {
        let data = encode_data(&self.server.inner, Encoding::Json, event, data)?;
        let ack = AckRequest {
            callback: Arc::new(
                move |sid: Option<&str>, answer: Result<AckResponse, Error>| {
                    callback.call(sid, answer);
                },
            ),
            timeout,
            is_single: false,
            tells_of_nobody: self.local || self.server.inner.manager.is_single_node(),
        };
        self.publish(&self.broadcast_of(event, data, Some(ack)))
    }

    /// Sends an event to one client and waits for its answer: no value is null, several are a
    /// tuple. Blocks, for at most `timeout`; in a handler it occupies a worker.
    ///
    /// # Errors
    /// [`Error::Timeout`], [`Error::Disconnected`] at once when the client goes or is not there
    /// (with a manager that knows other servers [`Error::Timeout`] if it is nowhere),
    /// [`Error::Decode`] if the answer is of another type, [`Error::InvalidArgument`] if this
    /// addresses more than one client, and those of [`emit`](BroadcastOperator::emit).
    pub fn call<T: DeserializeOwned>(
        &self,
        event: &str,
        data: impl Serialize,
        timeout: Duration,
    ) -> Result<T, Error> {
        let several = || {
            Error::InvalidArgument(
                "call waits for one answer: address one client, by its sid".into(),
            )
        };
        if self
            .recipients
            .rooms
            .as_ref()
            .is_none_or(|rooms| rooms.len() != 1)
        {
            return Err(several());
        }
        let data = encode_data(&self.server.inner, Encoding::Json, event, data)?;
        match self.sockets_with_pending().as_slice() {
            [socket] => socket.call_encoded(event, &data, timeout)?.decode(),
            [] if self.local || self.server.inner.manager.is_single_node() => {
                Err(Error::Disconnected)
            }
            [] => {
                let by = Instant::now() + clamp_duration(timeout);
                let (sender, answer) = channel();
                let sender = Mutex::new(Some(sender));
                let answer_once = move |_: Option<&str>, answer| {
                    if let Some(sender) = sender.lock().take() {
                        sender.send(answer);
                    }
                };
                let ack = AckRequest {
                    callback: Arc::new(answer_once),
                    timeout,
                    is_single: true,
                    tells_of_nobody: false,
                };
                self.publish(&self.broadcast_of(event, data, Some(ack)))?;
                let answer = block_in_place(|| answer.recv_deadline(by));
                answer.ok_or(Error::Timeout)??.decode()
            }
            _ => Err(several()),
        }
    }

    /// Returns the clients of this server that this addresses.
    pub fn sockets(&self) -> Vec<Socket> {
        let mut sockets = self.sockets_with_pending();
        sockets.retain(Socket::is_connected);
        sockets
    }

    /// Disconnects the clients of this server that this addresses from the namespace.
    pub fn disconnect(&self) {
        for socket in self.sockets() {
            socket.disconnect();
        }
    }

    fn sockets_with_pending(&self) -> Vec<Socket> {
        let space = self.server.inner.spaces.get(&self.namespace);
        space
            .map(|space| space.rooms.select(&self.recipients))
            .unwrap_or_default()
    }

    fn broadcast_of(&self, event: &str, data: EncodedArgs, ack: Option<AckRequest>) -> Broadcast {
        Broadcast {
            namespace: Arc::clone(&self.namespace),
            event: event.to_owned(),
            data,
            recipients: self.recipients.clone(),
            volatile: self.volatile,
            ack,
        }
    }

    fn publish(&self, broadcast: &Broadcast) -> Result<(), Error> {
        if is_pattern(&self.namespace) {
            let why = "what `of_matching` returns is for handlers: name the namespace to send to";
            return Err(Error::InvalidArgument(why.into()));
        }
        if self.local {
            self.server.inner.emit(broadcast).map(|_| ())
        } else {
            self.server.inner.manager.emit(broadcast)
        }
    }
}

/// Sends an event to its recipients on this server. It is encoded once for all.
pub(super) fn emit_local(inner: &ServerInner, broadcast: &Broadcast) -> Result<usize, Error> {
    // Before the recipients are looked for: that may take longer than a row may have gaps.
    let begun = Instant::now();
    let space = inner.spaces.get(&broadcast.namespace);
    let sockets = space.map_or_else(Vec::new, |space| space.rooms.select(&broadcast.recipients));
    if sockets.is_empty() {
        if let Some(ack) = broadcast.ack.as_ref().filter(|ack| ack.tells_of_nobody) {
            // A function that never hears anything would be waited for.
            let callback = Arc::clone(&ack.callback);
            inner.execute(Box::new(move || callback(None, Err(Error::Disconnected))));
        }
        return Ok(0);
    }
    let id = broadcast
        .ack
        .as_ref()
        .map(|_| inner.next_ack.fetch_add(1, Ordering::Relaxed));
    let (namespace, event) = (&broadcast.namespace, &broadcast.event);
    let parser = &inner.config.parser;
    let mut shared = encode::SharedEvent::new(parser, namespace, event, id, &broadcast.data);
    let held = sockets.first().filter(|_| id.is_none()).and_then(|one| {
        let one = one.connection().handle();
        HeldBroadcasts::join(sockets.len(), begun, one)
    });
    let recipients = sockets.len();
    for socket in sockets {
        let expected = match (&broadcast.ack, id) {
            (Some(ack), Some(id)) => {
                let callback = (Arc::clone(&ack.callback), Arc::clone(socket.shared_sid()));
                let run = move |answer| callback.0(Some(&callback.1), answer);
                socket.register_ack(id, ack.timeout, Box::new(run))
            }
            _ => Ok(()),
        };
        let sent = match &expected {
            Ok(()) => socket.deliver(&mut shared, broadcast.volatile, held.as_deref()),
            Err(_) => Ok(()),
        };
        let failed = match (expected, sent) {
            (Err(error), _) => Some(error),
            // One that was expected is settled by who takes it out.
            (Ok(()), Err(error)) => id.is_none_or(|id| socket.forget_ack(id)).then_some(error),
            _ => None,
        };
        match (failed, &broadcast.ack) {
            (None, _) | (Some(Error::Disconnected), None) => {}
            (Some(error), Some(ack)) => {
                let callback = (Arc::clone(&ack.callback), Arc::clone(socket.shared_sid()));
                inner.execute(Box::new(move || callback.0(Some(&callback.1), Err(error))));
            }
            (Some(error), None) => {
                log::error!(target: "socketio", "{}: {event:?} was not sent: {error}", socket.sid());
            }
        }
    }
    inner.counters.broadcast(shared.packets, shared.bytes);
    if id.is_none() {
        HeldBroadcasts::note_delivered(recipients, begun, held.is_some());
    }
    Ok(recipients)
}
