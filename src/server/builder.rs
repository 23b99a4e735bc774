//! The options of a server.

use super::Server;
use crate::engineio::{self, engine_options};
use crate::limits::Limits;
use crate::limits::clamp_duration;
use crate::manager::{Manager, MemoryManager};
use crate::parser::Parser;
use crate::protocol::socketio::ROOT;
use std::sync::Arc;
use std::time::Duration;

/// Everything that a server can be told.
#[derive(Clone, Debug)]
pub(crate) struct ServerSettings {
    pub(crate) engine: engineio::EngineConfig,
    pub(crate) async_handlers: bool,
    pub(crate) always_connect: bool,
    pub(crate) namespaces: AllowedNamespaces,
    pub(crate) parser: Parser,
    pub(crate) slow_handler: Option<Duration>,
    pub(crate) shutdown_timeout: Duration,
    /// The engine's limits, shared by all connections.
    pub(crate) decode_limits: Arc<Limits>,
}

/// The namespaces that clients may connect to, besides those with handlers.
///
/// ```
/// use socketio::Server;
///
/// let few = Server::builder().namespaces(["/chat", "/news"]).build();
/// let any = Server::builder().namespaces("*").build();
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AllowedNamespaces {
    /// These.
    List(Vec<String>),
    /// Any that a client names.
    Any,
}

impl From<&str> for AllowedNamespaces {
    /// Takes one namespace, or `*` for any.
    fn from(namespace: &str) -> Self {
        AllowedNamespaces::from([namespace])
    }
}

impl<const N: usize> From<[&str; N]> for AllowedNamespaces {
    fn from(namespaces: [&str; N]) -> Self {
        AllowedNamespaces::from(namespaces.map(str::to_owned).to_vec())
    }
}

impl From<Vec<String>> for AllowedNamespaces {
    fn from(namespaces: Vec<String>) -> Self {
        if namespaces.iter().any(|namespace| namespace == "*") {
            return AllowedNamespaces::Any;
        }
        AllowedNamespaces::List(namespaces)
    }
}

impl AllowedNamespaces {
    pub(crate) fn include(&self, namespace: &str) -> bool {
        match self {
            AllowedNamespaces::List(list) => list.iter().any(|name| name == namespace),
            AllowedNamespaces::Any => true,
        }
    }
}

/// Builder of a [`Server`], with its options.
///
/// ```
/// use socketio::Server;
/// use std::time::Duration;
///
/// let io = Server::builder()
///     .ping_interval(Duration::from_secs(10))
///     .cors_allowed_origins("https://example.com")
///     .build();
/// ```
#[derive(Debug)]
pub struct ServerBuilder {
    config: ServerSettings,
    manager: Arc<dyn Manager>,
}

impl ServerBuilder {
    pub(crate) fn new() -> ServerBuilder {
        ServerBuilder {
            config: ServerSettings {
                engine: engineio::EngineConfig::default(),
                async_handlers: false,
                always_connect: false,
                namespaces: AllowedNamespaces::List(vec![ROOT.to_owned()]),
                parser: Parser::default(),
                slow_handler: None,
                shutdown_timeout: Duration::from_secs(10),
                decode_limits: Arc::default(),
            },
            manager: Arc::new(MemoryManager::new()),
        }
    }

    /// Builds the server.
    #[must_use]
    pub fn build(mut self) -> Server {
        self.config.decode_limits = Arc::new(self.config.engine.limits.clone());
        Server::with(self.config, self.manager)
    }

    /// Sets the manager that joins the server with others. Defaults to a [`MemoryManager`], for a
    /// server that is alone.
    #[must_use]
    pub fn manager(mut self, manager: impl Manager) -> Self {
        self.manager = Arc::new(manager);
        self
    }

    /// Sets the form of the packets, which clients must have too: python's `serializer`, the
    /// reference implementation's `parser`. Defaults to [`Parser::text`].
    #[must_use]
    pub fn parser(mut self, parser: Parser) -> Self {
        self.config.parser = parser;
        self
    }

    /// Sets whether the events of one client may overlap, each in a worker of its own. Defaults to
    /// `false`: they run in order, one at a time.
    #[must_use]
    pub fn async_handlers(mut self, overlap: bool) -> Self {
        self.config.async_handlers = overlap;
        self
    }

    /// Sets whether clients are told that they are connected before the connect handler runs, so
    /// that it can call them; a refusal then is a disconnection. Defaults to `false`.
    #[must_use]
    pub fn always_connect(mut self, always: bool) -> Self {
        self.config.always_connect = always;
        self
    }

    /// Sets the namespaces that clients may connect to, besides those with handlers; `"*"` for any.
    /// Defaults to `/`.
    #[must_use]
    pub fn namespaces(mut self, namespaces: impl Into<AllowedNamespaces>) -> Self {
        self.config.namespaces = namespaces.into();
        self
    }

    /// Sets how long a client may stay without having joined a namespace. Defaults to 45 s.
    #[must_use]
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.config.engine.limits.connect_timeout = clamp_duration(timeout);
        self
    }

    /// Sets how long a handler of an event may run before the log has a line about it. Handlers are
    /// timed then, which costs an event two looks at the clock. Defaults to no limit.
    #[must_use]
    pub fn slow_handler(mut self, limit: Duration) -> Self {
        self.config.slow_handler = Some(limit);
        self
    }

    /// Sets how long a shutdown waits for handlers that are running. Defaults to 10 s.
    #[must_use]
    pub fn shutdown_timeout(mut self, timeout: Duration) -> Self {
        self.config.shutdown_timeout = clamp_duration(timeout);
        self
    }
}

engine_options!(ServerBuilder, config.engine);
