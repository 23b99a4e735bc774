//! The handlers that a client has besides those of events.

use super::Client;
use super::service::ErasedService;
use crate::error::ConnectError;
use crate::handlers::registry;
use crate::reason::Reason;
use std::sync::Arc;

pub(super) type Handlers = registry::Handlers<Client, Lifecycle, dyn ErasedService>;
pub(super) type Set = registry::Set<Client, Lifecycle, dyn ErasedService>;

type OnConnect = dyn Fn(&Client) + Send + Sync;
type OnConnectError = dyn Fn(&Client, &ConnectError) + Send + Sync;
type OnDisconnect = dyn Fn(&Client, Reason) + Send + Sync;

/// Handlers that are called when the connection comes and goes.
#[derive(Clone, Default)]
pub(super) struct Lifecycle {
    pub(super) connect: Option<Arc<OnConnect>>,
    pub(super) connect_error: Option<Arc<OnConnectError>>,
    pub(super) disconnect: Option<Arc<OnDisconnect>>,
    pub(super) reconnect_failed: Option<Arc<OnConnect>>,
}

impl Handlers {
    pub(super) fn connect(&self, client: &Client) {
        let mut sets = self.sets(client.namespace());
        if let Some(handler) = sets.clone().find_map(|set| set.more.connect.as_ref()) {
            return handler(client);
        }
        if let Some(service) = sets.find_map(|set| set.service.as_ref()) {
            service.connect(client);
        }
    }

    pub(super) fn connect_error(&self, client: &Client, error: &ConnectError) {
        let mut sets = self.sets(client.namespace());
        let handler = sets.clone().find_map(|set| set.more.connect_error.as_ref());
        if let Some(handler) = handler {
            return handler(client, error);
        }
        if let Some(service) = sets.find_map(|set| set.service.as_ref()) {
            service.connect_error(client, error);
        }
    }

    pub(super) fn disconnect(&self, client: &Client, reason: Reason) {
        let mut sets = self.sets(client.namespace());
        if let Some(handler) = sets.clone().find_map(|set| set.more.disconnect.as_ref()) {
            return handler(client, reason);
        }
        if let Some(service) = sets.find_map(|set| set.service.as_ref()) {
            service.disconnect(client, reason);
        }
    }

    pub(super) fn reconnect_failed(&self, client: &Client) {
        let mut sets = self.sets(client.namespace());
        let handler = sets
            .clone()
            .find_map(|set| set.more.reconnect_failed.as_ref());
        if let Some(handler) = handler {
            return handler(client);
        }
        if let Some(service) = sets.find_map(|set| set.service.as_ref()) {
            service.reconnect_failed(client);
        }
    }
}
