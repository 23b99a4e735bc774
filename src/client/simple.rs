//! A client without handlers, for scripts.

use crate::client::{Client, ClientBuilder, ClientItem, ConnectOptions, EventSink, Overflow};
use crate::data::EncodedArgs;
use crate::engineio::{Transport, block_in_place};
use crate::error::{Error, LimitExceeded};
use crate::handlers::Event;
use crate::limits::clamp_duration;
use crate::util::sync::{Condvar, Mutex, MutexGuard};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Time that `emit` and `call` wait for a reconnection.
const RECONNECT_TIMEOUT: Duration = Duration::from_secs(60);
/// Bytes of events that may wait to be received.
const MAX_RECEIVED_BYTES: usize = 16_000_000;

/// A client without handlers, for scripts: it connects to one namespace, emits, calls, and receives
/// one event after the other.
///
/// ```no_run
/// use socketio::SimpleClient;
/// use std::time::Duration;
///
/// let client = SimpleClient::connect("http://localhost:5000")?;
/// client.emit("chat message", "hello")?;
/// let sum: i64 = client.call("sum", (1, 2), Duration::from_secs(5))?;
/// let event = client.receive(Duration::from_secs(5))?;
/// let text: String = event.arg(0)?;
/// println!("{}: {text}", event.name());
/// # Ok::<(), socketio::Error>(())
/// ```
///
/// It reconnects by itself after a loss, and not after the server has disconnected it. What was
/// received before a loss can still be received after it; what the server sent in between is lost.
/// Events that ask for an acknowledgement are acknowledged with nothing as they come. Several
/// threads may share it by reference. Dropping it disconnects.
pub struct SimpleClient {
    client: Client,
    inner: Arc<SimpleInner>,
    reconnect_timeout: Duration,
}

struct SimpleInner {
    state: Mutex<ReceivedState>,
    changed: Condvar,
    max_bytes: usize,
}

#[derive(Default)]
struct ReceivedState {
    /// Each with the bytes that it holds.
    events: VecDeque<(Event, usize)>,
    bytes: usize,
    connection: SimplePhase,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum SimplePhase {
    /// There is none, and there may be one.
    #[default]
    Awaited,
    Connected,
    /// There will be no other.
    Ended,
    /// There will be no other, since too much waited to be received.
    Overflowed,
}

impl SimpleClient {
    /// Connects to a server: a URL, or [`ConnectOptions`] with one namespace, or none for `/`.
    /// Blocks until the namespace is connected.
    ///
    /// # Errors
    /// [`Error::Connection`] if the server is not reached, or refuses; [`Error::InvalidArgument`]
    /// if the options name several namespaces; [`Error::Io`] if the system gives no threads.
    pub fn connect(options: impl Into<ConnectOptions>) -> Result<SimpleClient, Error> {
        SimpleClient::builder().connect(options)
    }

    /// Returns a builder with the default options.
    #[must_use]
    pub fn builder() -> SimpleClientBuilder {
        SimpleClientBuilder {
            client: Client::builder(),
            reconnect_timeout: RECONNECT_TIMEOUT,
            max_bytes: MAX_RECEIVED_BYTES,
        }
    }

    /// Sends an event: a tuple is several arguments, `()` none. Blocks while the connection is
    /// lost, until it is there again or the
    /// [`reconnect_timeout`](SimpleClientBuilder::reconnect_timeout) is over, and while more waits
    /// for the server than [`max_outbox_size`](crate::ClientBuilder::max_outbox_size).
    ///
    /// What the server has not read when a connection is lost is lost with it: a
    /// [`call`](SimpleClient::call) behind it tells that it was handled.
    ///
    /// # Errors
    /// [`Error::Disconnected`] if there will be no other connection, [`Error::LimitExceeded`] if
    /// that is so because too much waited to be received, [`Error::Timeout`] if there was none in
    /// time, and those of [`Client::emit`].
    pub fn emit(&self, event: &str, data: impl Serialize) -> Result<(), Error> {
        let by = Instant::now() + self.reconnect_timeout;
        loop {
            self.wait_for_connection(by)?;
            match self.client.emit(event, &data) {
                Err(Error::Disconnected | Error::BadNamespace(_)) => {
                    self.inner.refresh(&self.client);
                }
                sent => return sent,
            }
        }
    }

    /// Sends the event `message`.
    ///
    /// # Errors
    /// Those of [`emit`](SimpleClient::emit).
    pub fn send(&self, data: impl Serialize) -> Result<(), Error> {
        self.emit("message", data)
    }

    /// Sends an event and waits for the server's answer: no value is null, several are a tuple.
    /// Blocks, for at most `timeout`, waiting for a reconnection included.
    ///
    /// # Errors
    /// [`Error::Timeout`]; [`Error::Disconnected`] if there will be no other connection, or this
    /// one ended before the answer came: whether the server has acted on the event is not known
    /// then; [`Error::Decode`] if the answer is of another type; and those of [`Client::emit`].
    pub fn call<T: DeserializeOwned>(
        &self,
        event: &str,
        data: impl Serialize,
        timeout: Duration,
    ) -> Result<T, Error> {
        let by = Instant::now() + clamp_duration(timeout);
        loop {
            self.wait_for_connection(by.min(Instant::now() + self.reconnect_timeout))?;
            let left = by.saturating_duration_since(Instant::now());
            match self.client.call(event, &data, left) {
                Err(Error::BadNamespace(_)) => self.inner.refresh(&self.client),
                answer => return answer,
            }
        }
    }

    /// Returns the next event. Blocks until there is one, for at most `timeout`, or for ever
    /// without one.
    ///
    /// # Errors
    /// [`Error::Timeout`]; [`Error::Disconnected`] once everything was received and there will be
    /// no other connection; [`Error::LimitExceeded`] if that is so because too much waited to be
    /// received.
    pub fn receive(&self, timeout: impl Into<Option<Duration>>) -> Result<Event, Error> {
        self.receive_that(timeout.into(), |_| true)
    }

    fn receive_that(
        &self,
        timeout: Option<Duration>,
        wanted: impl Fn(&Event) -> bool,
    ) -> Result<Event, Error> {
        let by = timeout.map(|timeout| Instant::now() + clamp_duration(timeout));
        let received = block_in_place(|| self.inner.receive(by, wanted));
        match received {
            Err(Error::Timeout) | Ok(_) => {}
            Err(_) => self.client.park_if_exiting(),
        }
        received
    }

    /// Returns an iterator over the events as they come. It blocks until the next one, and ends
    /// when there will be no more.
    ///
    /// ```no_run
    /// # let client = socketio::SimpleClient::connect("http://localhost:5000")?;
    /// for event in client.events() {
    ///     println!("{} {:?}", event.name(), event.args());
    /// }
    /// # Ok::<(), socketio::Error>(())
    /// ```
    pub fn events(&self) -> impl Iterator<Item = Event> + '_ {
        std::iter::from_fn(|| self.receive(None).ok())
    }

    /// Returns an iterator over the events as they come, which ends when none comes for `timeout`,
    /// or there will be no more.
    ///
    /// ```no_run
    /// # use std::time::Duration;
    /// # let client = socketio::SimpleClient::connect("http://localhost:5000")?;
    /// let news: Vec<_> = client.events_within(Duration::from_secs(1)).collect();
    /// # Ok::<(), socketio::Error>(())
    /// ```
    pub fn events_within(&self, timeout: Duration) -> impl Iterator<Item = Event> + '_ {
        std::iter::from_fn(move || self.receive(timeout).ok())
    }

    /// Returns the next event of this name, and leaves the others for [`receive`](Self::receive).
    /// Blocks until there is one, for at most `timeout`, or for ever without one.
    ///
    /// # Errors
    /// Those of [`receive`](SimpleClient::receive).
    pub fn receive_named(
        &self,
        event: &str,
        timeout: impl Into<Option<Duration>>,
    ) -> Result<Event, Error> {
        self.receive_that(timeout.into(), |it| it.name() == event)
    }

    /// Waits until it is connected, after a loss for example. Blocks, for at most `timeout`.
    ///
    /// # Errors
    /// [`Error::Timeout`], and [`Error::Disconnected`] if there will be no other connection.
    pub fn wait_connected(&self, timeout: Duration) -> Result<(), Error> {
        self.wait_for_connection(Instant::now() + clamp_duration(timeout))
    }

    /// Disconnects. Blocks until the server has read what was sent before, for at most twice the
    /// `request_timeout`. What was received can still be received.
    pub fn disconnect(&self) {
        self.client.disconnect();
        self.inner.change(|state| {
            state.end();
        });
    }

    /// Returns whether it is connected now.
    pub fn is_connected(&self) -> bool {
        self.client.is_connected()
    }

    /// Returns the id that the server has given to the connection, if it is connected. A new one
    /// with each connection.
    pub fn sid(&self) -> Option<String> {
        self.client.sid()
    }

    /// Returns the transport of the packets now, if the server is reached.
    pub fn transport(&self) -> Option<Transport> {
        self.client.transport()
    }

    fn wait_for_connection(&self, by: Instant) -> Result<(), Error> {
        let connected = self.inner.wait_for_connection(by);
        if let Err(Error::Disconnected) = connected {
            self.client.park_if_exiting();
        }
        connected
    }

    /// Returns the client behind it: for `emit_with_ack`, other namespaces' sids and the like. Its
    /// handlers are never called: what happens goes to this one.
    pub fn client(&self) -> &Client {
        &self.client
    }
}

impl Drop for SimpleClient {
    fn drop(&mut self) {
        self.client.shutdown();
    }
}

impl fmt::Debug for SimpleClient {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("SimpleClient")
            .field("client", &self.client)
            .field("waiting", &self.inner.state.lock().events.len())
            .finish_non_exhaustive()
    }
}

/// Builder of a [`SimpleClient`], with its options.
///
/// ```no_run
/// use socketio::{Client, SimpleClient};
/// use std::time::Duration;
///
/// let client = SimpleClient::builder()
///     .client(Client::builder().reconnection_attempts(3))
///     .reconnect_timeout(Duration::from_secs(10))
///     .connect("http://localhost:5000")?;
/// # Ok::<(), socketio::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct SimpleClientBuilder {
    client: ClientBuilder,
    reconnect_timeout: Duration,
    max_bytes: usize,
}

impl SimpleClientBuilder {
    /// Connects. See [`SimpleClient::connect`].
    ///
    /// # Errors
    /// Those of [`SimpleClient::connect`].
    pub fn connect(self, options: impl Into<ConnectOptions>) -> Result<SimpleClient, Error> {
        let options = options.into();
        let namespace = options.single_namespace()?;
        let inner = Arc::new(SimpleInner {
            state: Mutex::default(),
            changed: Condvar::new(),
            max_bytes: self.max_bytes,
        });
        let sink = Arc::clone(&inner) as Arc<dyn EventSink>;
        let client = self.client.build_with(Some(sink)).of(&namespace);
        let simple = SimpleClient {
            client,
            inner,
            reconnect_timeout: self.reconnect_timeout,
        };
        simple.client.connect(options.namespaces(&[&namespace]))?;
        Ok(simple)
    }

    /// Sets the options of the client behind it: reconnection, TLS, proxies and more. Defaults to
    /// [`Client::builder`].
    #[must_use]
    pub fn client(mut self, client: ClientBuilder) -> Self {
        self.client = client;
        self
    }

    /// Sets how long `emit` and `call` wait for a connection that was lost. Defaults to 60 s.
    #[must_use]
    pub fn reconnect_timeout(mut self, timeout: Duration) -> Self {
        self.reconnect_timeout = clamp_duration(timeout);
        self
    }

    /// Sets the bytes of events that may wait to be received, unless a single one has more; more
    /// ends the connection, once and for all, and is the error of
    /// [`receive`](SimpleClient::receive) after them. Defaults to 16 MB.
    #[must_use]
    pub fn max_buffer_size(mut self, bytes: usize) -> Self {
        self.max_bytes = bytes;
        self
    }
}

impl EventSink for SimpleInner {
    fn take(&self, items: Vec<(ClientItem, usize)>) -> Overflow {
        let mut state = self.state.lock();
        let before = state.connection;
        for (item, bytes) in items {
            match item {
                ClientItem::Event(event) => {
                    // The sender must not wait for a program that may never look at it.
                    let _ = event.acknowledge(&EncodedArgs::default());
                    // A single one may be of any size.
                    if state.bytes > 0 && state.bytes + bytes > self.max_bytes {
                        state.connection = SimplePhase::Overflowed;
                    }
                    if state.connection != SimplePhase::Overflowed {
                        state.bytes += bytes;
                        state.events.push_back((event, bytes));
                    }
                }
                ClientItem::Connect(_) => state.change(SimplePhase::Connected),
                ClientItem::Disconnect(..) => state.change(SimplePhase::Awaited),
                ClientItem::Ended => state.end(),
                ClientItem::ConnectError(..)
                | ClientItem::ReconnectAttempt(..)
                | ClientItem::ReconnectFailed(_) => {}
            }
        }
        let overflowed = state.connection == SimplePhase::Overflowed;
        drop(state);
        self.changed.notify_all();
        if overflowed && before != SimplePhase::Overflowed {
            log::error!(target: "socketio", "disconnected: more than {} bytes wait for receive (max_buffer_size, or a Client with handlers)", self.max_bytes);
        }
        if overflowed {
            Overflow::Yes
        } else {
            Overflow::No
        }
    }
}

impl SimpleInner {
    fn change(&self, change: impl FnOnce(&mut ReceivedState)) {
        change(&mut self.state.lock());
        self.changed.notify_all();
    }

    fn wait_for_connection(&self, by: Instant) -> Result<(), Error> {
        let connected = |mut state: MutexGuard<'_, ReceivedState>| {
            while state.connection == SimplePhase::Awaited {
                if !self.wait(&mut state, Some(by)) {
                    return Err(Error::Timeout);
                }
            }
            self.check(&state)
        };
        let state = self.state.lock();
        if state.connection != SimplePhase::Awaited {
            return connected(state);
        }
        drop(state);
        block_in_place(|| connected(self.state.lock()))
    }

    /// Waits for an event that is wanted, or the end.
    fn receive(
        &self,
        by: Option<Instant>,
        wanted: impl Fn(&Event) -> bool,
    ) -> Result<Event, Error> {
        let mut state = self.state.lock();
        loop {
            let found = state.events.iter().position(|(event, _)| wanted(event));
            if let Some((event, bytes)) = found.and_then(|at| state.events.remove(at)) {
                state.bytes -= bytes;
                return Ok(event);
            }
            self.check(&state)?;
            if !self.wait(&mut state, by) {
                return Err(Error::Timeout);
            }
        }
    }

    /// Returns why there will be no other connection, if that is so.
    fn check(&self, state: &ReceivedState) -> Result<(), Error> {
        match state.connection {
            SimplePhase::Awaited | SimplePhase::Connected => Ok(()),
            SimplePhase::Ended => Err(Error::Disconnected),
            SimplePhase::Overflowed => {
                let what = "bytes of events wait to be received";
                Err(LimitExceeded::new(what, "max_buffer_size", self.max_bytes).into())
            }
        }
    }

    /// Notes that the client was found to be disconnected before its handler could say so.
    fn refresh(&self, client: &Client) {
        let connection = if client.is_connected() {
            SimplePhase::Connected
        } else {
            SimplePhase::Awaited
        };
        self.change(|state| state.change(connection));
    }

    /// Returns whether something has happened in time.
    fn wait(&self, state: &mut MutexGuard<'_, ReceivedState>, by: Option<Instant>) -> bool {
        match by {
            Some(by) => !self.changed.wait_until(state, by).timed_out(),
            None => {
                self.changed.wait(state);
                true
            }
        }
    }
}

impl ReceivedState {
    /// Notes that there is a connection, or none, unless there will be no other.
    fn change(&mut self, connection: SimplePhase) {
        if let SimplePhase::Awaited | SimplePhase::Connected = self.connection {
            self.connection = connection;
        }
    }

    fn end(&mut self) {
        self.change(SimplePhase::Ended);
    }
}
