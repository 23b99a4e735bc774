//! A connection, and the events that come over it.

use crate::arguments::{Arguments, ConnectionArgs};
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, unbounded};
use socketio::{Args, Client, ClientBuilder, ClientTls, ConnectOptions, Error, Event, Reason};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Time that a server may take to let the tool into a namespace.
const JOIN_TIMEOUT: Duration = Duration::from_secs(5);

/// What happens to a client.
pub(crate) enum Happening {
    Came(Arrived),
    Connected(String),
    Disconnected(String, Reason),
    /// Another attempt comes after this time.
    TriesAgain(Duration),
}

/// An event that has come.
pub(crate) struct Arrived {
    pub(crate) namespace: String,
    pub(crate) event: String,
    pub(crate) args: Args,
}

/// A connection of the tool.
pub(crate) struct Session {
    pub(crate) client: Client,
    pub(crate) namespaces: Vec<String>,
    pub(crate) happenings: Receiver<Happening>,
    sender: Sender<Happening>,
}

impl ConnectionArgs {
    /// Returns the namespaces, `/` if none is named.
    pub(crate) fn names(&self) -> Vec<String> {
        let names = self.namespaces.iter();
        let names: Vec<_> = names
            .map(|name| format!("/{}", name.trim_start_matches('/')))
            .collect();
        if names.is_empty() {
            return vec!["/".into()];
        }
        names
    }

    /// Returns the one namespace for a command that has only one.
    pub(crate) fn single_name(&self) -> Result<String, Error> {
        match self.names().as_slice() {
            [name] => Ok(name.clone()),
            _ => Err(Error::InvalidArgument(
                "this command has one namespace".into(),
            )),
        }
    }

    pub(crate) fn client(&self) -> Result<ClientBuilder, Error> {
        let mut tls = ClientTls::new();
        if let Some(file) = &self.ca {
            tls = tls.ca_file(file)?;
        }
        if self.insecure {
            tls = tls.danger_accept_any_certificate();
        }
        let client = Client::builder().tls(tls);
        Ok(match self.timeout {
            Some(timeout) => client.request_timeout(timeout),
            None => client,
        })
    }

    pub(crate) fn options(&self, url: &str) -> ConnectOptions {
        let mut options = ConnectOptions::new(url)
            .namespaces(self.names())
            .protocol(self.eio)
            .query(self.query.clone())
            .socketio_path(&self.path);
        if let Some(transport) = self.transport {
            options = options.transports([transport]);
        }
        if let Some(timeout) = self.timeout {
            options = options.wait_timeout(timeout);
        }
        for (name, value) in &self.headers {
            options = options.header(name, value);
        }
        match &self.auth {
            Some(auth) => options.auth(auth),
            None => options,
        }
    }
}

impl Session {
    /// Connects. One that does not reconnect ends with its connection.
    pub(crate) fn connect(arguments: &Arguments, reconnects: bool) -> Result<Session, Error> {
        let connection = &arguments.connection;
        let client = connection.client()?;
        let client = client.reconnection(reconnects).handle_sigint(true).build();
        let namespaces = connection.names();
        let (sender, happenings) = unbounded();
        for name in &namespaces {
            watch(&client.of(name), &sender);
        }
        client.connect(connection.options(arguments.url()))?;
        Ok(Session {
            client,
            namespaces,
            happenings,
            sender,
        })
    }

    /// Joins another namespace, and waits until the server has let the tool in.
    pub(crate) fn join(&self, name: &str) -> Result<Client, Error> {
        let client = self.client.of(name);
        watch(&client, &self.sender);
        client.join()?;
        client.wait_connected(JOIN_TIMEOUT)?;
        Ok(client)
    }

    /// Returns the client on the first namespace.
    pub(crate) fn first(&self) -> Client {
        self.client.of(&self.namespaces[0])
    }

    /// Waits for the next event.
    pub(crate) fn receive(&self, by: Option<Instant>) -> Result<Arrived, Error> {
        let mut gone = 0;
        loop {
            let next = match by {
                Some(by) => self.happenings.recv_deadline(by),
                None => self.happenings.recv().map_err(Into::into),
            };
            match next {
                Ok(Happening::Came(event)) => return Ok(event),
                Ok(Happening::Disconnected(..)) => {
                    gone += 1;
                    if gone == self.namespaces.len() {
                        return Err(Error::Disconnected);
                    }
                }
                Ok(Happening::Connected(_) | Happening::TriesAgain(_)) => {}
                Err(RecvTimeoutError::Timeout) => return Err(Error::Timeout),
                Err(RecvTimeoutError::Disconnected) => return Err(Error::Disconnected),
            }
        }
    }
}

/// Tells of everything that happens to a namespace. The tool answers nothing.
fn watch(client: &Client, sender: &Sender<Happening>) {
    let sender = Arc::new(sender.clone());
    let events = Arc::clone(&sender);
    client.on_any(move |event: &Event| {
        drop(event.take_ack());
        let _ = events.send(Happening::Came(Arrived {
            namespace: event.namespace().to_owned(),
            event: event.name().to_owned(),
            args: event.args().unwrap_or_default(),
        }));
    });
    let connected = Arc::clone(&sender);
    client.on_connect(move |client: &Client| {
        let _ = connected.send(Happening::Connected(client.namespace().to_owned()));
    });
    let tries = Arc::clone(&sender);
    client.on_reconnect_attempt(move |_: &Client, _: u32, delay: Duration| {
        let _ = tries.send(Happening::TriesAgain(delay));
    });
    client.on_disconnect(move |client: &Client, reason: Reason| {
        let name = client.namespace().to_owned();
        let _ = sender.send(Happening::Disconnected(name, reason));
    });
}
