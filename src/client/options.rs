//! Options of connecting: the server, and the way to it.

use crate::engineio::client::{CookieJar, Endpoint};
use crate::engineio::{Transport, copied};
use crate::error::{ConnectError, Error};
use crate::limits::clamp_duration;
use crate::protocol::socketio::ROOT;
use serde::Serialize;
use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// Options of a connection: a URL, and what goes with it.
///
/// ```no_run
/// use socketio::{Client, ConnectOptions, Value};
/// use std::collections::BTreeMap;
///
/// let client = Client::new();
/// let options = ConnectOptions::new("https://example.com")
///     .auth(BTreeMap::from([("token", "secret")]))
///     .header("X-Region", "eu")
///     .namespaces(&["/", "/chat"])
///     .retry(true);
/// client.connect(options)?;
/// # Ok::<(), socketio::Error>(())
/// ```
///
/// A URL alone does as well: `client.connect("http://localhost:5000")`. Without a scheme it is one
/// of `http`. Its path is ignored, its query goes with every request.
#[derive(Clone)]
pub struct ConnectOptions {
    url: Provider<String>,
    query: Vec<(String, String)>,
    headers: Provider<Vec<(String, String)>>,
    auth: Provider<Result<String, String>>,
    pub(super) transports: Vec<Transport>,
    pub(super) tries_all: bool,
    pub(super) cookies: Option<CookieJar>,
    pub(super) namespaces: Option<Vec<String>>,
    pub(super) path: String,
    pub(super) wait: bool,
    pub(super) wait_timeout: Duration,
    pub(super) retry: bool,
    pub(super) protocol: Protocol,
}

/// Generation of the servers that a client connects to.
///
/// ```no_run
/// use socketio::{Client, ConnectOptions, Protocol};
///
/// let client = Client::new();
/// let options = ConnectOptions::new("http://localhost:5000").protocol(Protocol::Detect);
/// client.connect(options)?;
/// # Ok::<(), socketio::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Protocol {
    /// Servers of Engine.IO 4: socket.io since version 3, python-socketio since 5.
    #[default]
    Newest,
    /// Servers of Engine.IO 3: socket.io 1 and 2, python-socketio before 5.
    Eio3,
    /// Either: a first answer of the other generation is followed by one more attempt, at once.
    Detect,
}

/// A value, or a function that is asked for it at every attempt.
#[derive(Clone)]
enum Provider<T> {
    Value(T),
    Function(Arc<dyn Fn() -> T + Send + Sync>),
}

impl<T: Clone> Provider<T> {
    fn get(&self) -> T {
        match self {
            Provider::Value(value) => value.clone(),
            Provider::Function(function) => function(),
        }
    }
}

impl ConnectOptions {
    /// Creates options for the server at a URL of the scheme `http`, `https`, `ws` or `wss`, or at
    /// a Unix socket: `unix:///run/chat.sock`.
    pub fn new(url: impl Into<String>) -> ConnectOptions {
        ConnectOptions::with(Provider::Value(url.into()))
    }

    /// Creates options for a server whose URL a function returns, anew at every attempt. It may
    /// block; no handler waits for it.
    pub fn with_url(url: impl Fn() -> String + Send + Sync + 'static) -> ConnectOptions {
        ConnectOptions::with(Provider::Function(Arc::new(url)))
    }

    fn with(url: Provider<String>) -> ConnectOptions {
        ConnectOptions {
            url,
            query: Vec::new(),
            headers: Provider::Value(Vec::new()),
            auth: Provider::Value(Ok(String::new())),
            transports: vec![Transport::Polling, Transport::WebSocket],
            tries_all: false,
            cookies: None,
            namespaces: None,
            path: "socket.io".into(),
            wait: true,
            wait_timeout: Duration::from_secs(1),
            retry: false,
            protocol: Protocol::default(),
        }
    }

    /// Adds parameters to the query of every request, encoded as they need to be; the URL's own
    /// query goes before them. Defaults to none.
    ///
    /// ```
    /// # use socketio::ConnectOptions;
    /// let options = ConnectOptions::new("http://localhost:5000").query([("room", "café & bar")]);
    /// ```
    #[must_use]
    pub fn query<K: Into<String>, V: Into<String>>(
        mut self,
        parameters: impl IntoIterator<Item = (K, V)>,
    ) -> Self {
        let parameters = parameters.into_iter();
        self.query
            .extend(parameters.map(|(name, value)| (name.into(), value.into())));
        self
    }

    /// Adds a header to every request. Defaults to none.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        let mut headers = match self.headers {
            Provider::Value(headers) => headers,
            Provider::Function(_) => Vec::new(),
        };
        headers.push((name.to_owned(), value.to_owned()));
        self.headers = Provider::Value(headers);
        self
    }

    /// Sets a function that returns all headers, called at every attempt. Replaces those that were
    /// added.
    #[must_use]
    pub fn headers_with(
        mut self,
        headers: impl Fn() -> Vec<(String, String)> + Send + Sync + 'static,
    ) -> Self {
        self.headers = Provider::Function(Arc::new(headers));
        self
    }

    /// Sets what the server's connect handlers get as `auth`: something that is an object in JSON,
    /// such as a map or a struct, since servers take nothing else. Defaults to nothing.
    #[must_use]
    pub fn auth(mut self, auth: impl Serialize) -> Self {
        self.auth = Provider::Value(encode(&auth));
        self
    }

    /// Sets a function that returns `auth`, called at every attempt. Defaults to none.
    #[must_use]
    pub fn auth_with<T: Serialize>(mut self, auth: impl Fn() -> T + Send + Sync + 'static) -> Self {
        self.auth = Provider::Function(Arc::new(move || encode(&auth())));
        self
    }

    /// Sets the transports to use: the first opens the connection, and polling is upgraded if
    /// WebSocket is among them. Defaults to polling and WebSocket.
    ///
    /// # Panics
    /// If there is none.
    #[must_use]
    pub fn transports(mut self, transports: impl IntoIterator<Item: Borrow<Transport>>) -> Self {
        self.transports = copied(transports);
        let is_empty = self.transports.is_empty();
        assert!(!is_empty, "a client needs a transport");
        self
    }

    /// Sets whether the other transports are tried, in their order, if the first does not lead to
    /// the server: WebSocket first, and polling where a proxy is in its way. A connection that
    /// polling has begun in that way stays on it. Each transport has the whole
    /// [`request_timeout`](crate::ClientBuilder::request_timeout). Defaults to `false`.
    ///
    /// ```
    /// # use socketio::ConnectOptions;
    /// # use socketio::engineio::Transport::{Polling, WebSocket};
    /// let options = ConnectOptions::new("https://example.com")
    ///     .transports([WebSocket, Polling])
    ///     .try_all_transports(true);
    /// ```
    #[must_use]
    pub fn try_all_transports(mut self, tries_all: bool) -> Self {
        self.tries_all = tries_all;
        self
    }

    /// Sets the cookies of its requests, which are kept from one connection to the next. Defaults
    /// to a jar of each connection's own, which keeps what the server sets as long as it lasts.
    #[must_use]
    pub fn cookie_jar(mut self, jar: &CookieJar) -> Self {
        self.cookies = Some(jar.clone());
        self
    }

    /// Sets the namespaces to connect to. Defaults to those with handlers, or `/` if there are
    /// none.
    #[must_use]
    pub fn namespaces<I>(mut self, namespaces: I) -> Self
    where
        I: IntoIterator<Item: AsRef<str>>,
    {
        let namespaces = namespaces.into_iter();
        self.namespaces = Some(namespaces.map(|name| with_slash(name.as_ref())).collect());
        self
    }

    /// Sets the path of the server's endpoint. Defaults to `socket.io`.
    #[must_use]
    pub fn socketio_path(mut self, path: &str) -> Self {
        self.path = path.to_owned();
        self
    }

    /// Sets whether to wait until the namespaces are connected, all of them: one that is not ends
    /// the connection. Else `connect` returns as soon as the server is reached; for one that does
    /// not wait for that either see
    /// [`connect_in_background`](crate::Client::connect_in_background). Defaults to `true`.
    #[must_use]
    pub fn wait(mut self, wait: bool) -> Self {
        self.wait = wait;
        self
    }

    /// Sets how long the server may take to answer for a namespace, after it was reached or has
    /// answered for another one. Defaults to 1 s.
    #[must_use]
    pub fn wait_timeout(mut self, timeout: Duration) -> Self {
        self.wait_timeout = clamp_duration(timeout);
        self
    }

    /// Sets whether a first attempt that fails is followed by others, with the delays of a
    /// reconnection; also one that the server has refused. Defaults to `false`.
    #[must_use]
    pub fn retry(mut self, retry: bool) -> Self {
        self.retry = retry;
        self
    }

    /// Sets the generation of the server. To one of Engine.IO 3, `auth` goes as the query of each
    /// namespace's CONNECT, its values as text, and to the namespace `/` not at all: what such a
    /// server is to know there stands in [`query`](ConnectOptions::query). A client's sid is that
    /// of the session there. Defaults to [`Protocol::Newest`].
    #[must_use]
    pub fn protocol(mut self, protocol: Protocol) -> Self {
        self.protocol = protocol;
        self
    }

    /// Returns the namespace for a client that has only one.
    pub(crate) fn single_namespace(&self) -> Result<String, Error> {
        match self.namespaces.as_deref() {
            None => Ok(ROOT.to_owned()),
            Some([namespace]) => Ok(namespace.clone()),
            Some(_) => Err(Error::InvalidArgument(
                "a SimpleClient has one namespace".into(),
            )),
        }
    }

    /// Returns where to connect to. Asks the program's functions.
    pub(super) fn endpoint(&self) -> Result<Endpoint, ConnectError> {
        let endpoint = Endpoint::new(&self.url.get(), &self.path, self.headers.get())?;
        endpoint.with_query(&self.query)
    }

    /// Returns JSON text, or nothing. Asks the program's function.
    pub(super) fn auth_text(&self) -> Result<String, ConnectError> {
        let auth = self.auth.get();
        auth.map_err(|error| ConnectError::new(error).invalid())
    }

    /// Finds the mistakes that no attempt could mend, in what is known before the first one.
    pub(super) fn check(&self) -> Result<(), Error> {
        if let (Provider::Value(url), Provider::Value(_)) = (&self.url, &self.headers) {
            self.endpoint()?;
            if let Some(path) = Endpoint::path_of(url) {
                log::warn!(target: "socketio", "the path {path:?} of the URL is ignored: namespaces([{path:?}]) would name a namespace, socketio_path({path:?}) the server's endpoint");
            }
        }
        if let Provider::Value(_) = self.auth {
            self.auth_text()?;
        }
        let names = self.namespaces.as_deref();
        if names.is_some_and(<[String]>::is_empty) {
            return Err(Error::InvalidArgument(
                "namespaces is empty: a client needs one".into(),
            ));
        }
        if let Some(name) = names.unwrap_or_default().iter().find(|it| it.contains(',')) {
            let why = format!("{name:?} is no namespace: a name ends at its first comma");
            return Err(Error::InvalidArgument(why));
        }
        Ok(())
    }
}

fn encode(auth: &impl Serialize) -> Result<String, String> {
    match serde_json::to_string(auth) {
        Ok(null) if null == "null" => Ok(String::new()),
        Ok(json) if json.starts_with('{') => Ok(json),
        Ok(_) => Err("auth must be an object in JSON, such as a map or a struct: servers close the connection on anything else".into()),
        Err(error) => Err(format!("auth cannot be sent: {error}")),
    }
}

/// Returns a namespace's name with the slash that was forgotten.
pub(super) fn with_slash(name: &str) -> String {
    if name.starts_with('/') {
        name.to_owned()
    } else if name.is_empty() {
        ROOT.to_owned()
    } else {
        format!("/{name}")
    }
}

impl From<&str> for ConnectOptions {
    fn from(url: &str) -> Self {
        ConnectOptions::new(url)
    }
}

impl From<String> for ConnectOptions {
    fn from(url: String) -> Self {
        ConnectOptions::new(url)
    }
}

impl From<&String> for ConnectOptions {
    fn from(url: &String) -> Self {
        ConnectOptions::new(url)
    }
}

impl fmt::Debug for ConnectOptions {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        // What else there is may be a secret.
        formatter
            .debug_struct("ConnectOptions")
            .field("transports", &self.transports)
            .field("namespaces", &self.namespaces)
            .finish_non_exhaustive()
    }
}
