//! Connections, as an I/O thread takes them in.

use super::Driver;
use super::commands::{Command, TransferredConnection};
use super::context::TimerKey;
use super::event_loop::{ACCEPT_PAUSE, EventLoop, MAX_EVENTS};
use super::listener::{PeerAddr, SocketAcceptor};
use super::socket::StreamSocket;
use super::stream::Stream;
use super::websocket::Role;
use crate::util::slots::NoSlot;
use bytes::Bytes;
use std::io::{self, ErrorKind};
use std::sync::Arc;

impl<D: Driver> EventLoop<D> {
    /// Accepts what has come on all listeners, or so much that others do not wait for long.
    pub(super) fn accept(&mut self) {
        let mut has_more = false;
        for index in 0..self.listeners.len() {
            has_more |= self.accept_from(index);
        }
        self.accepting &= has_more;
    }

    /// Accepts from one listener; returns whether it may have more.
    fn accept_from(&mut self, index: usize) -> bool {
        for _ in 0..MAX_EVENTS {
            match self.listeners[index].accept() {
                Ok((stream, peer)) => self.accepted(index, stream, peer),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return false,
                Err(error) if is_of_one_connection(&error) => {}
                Err(error) => {
                    log::error!(target: "engineio", "accepting pauses: {error}");
                    let at = self.io.now + ACCEPT_PAUSE;
                    self.io
                        .timers
                        .set(&mut self.accept_timer, TimerKey::Accept, Some(at));
                    return false;
                }
            }
        }
        true
    }

    fn accepted(&mut self, listener: usize, stream: Stream, peer: PeerAddr) {
        match wrap(stream, &self.listeners[listener]) {
            Ok(socket) => self.on_accept(socket, peer, Vec::new()),
            Err(error) => log::warn!(target: "engineio", "{peer}: no TLS: {error}"),
        }
    }

    /// Takes a new connection in, with what was read of it, or hands it to the next thread.
    pub(super) fn on_accept(&mut self, socket: StreamSocket, peer: PeerAddr, unread: Vec<u8>) {
        let options = &self.io.options;
        let limits = &options.limits;
        let address = peer.ip().filter(|it| !options.trusted_proxies.contains(it));
        let of_address = limits.connections_per_address;
        let slot = match options
            .connections
            .take(address, limits.connections, of_address)
        {
            Ok(slot) => slot,
            Err(full) => {
                let (limit, count) = match full {
                    NoSlot::Full => ("connections", limits.connections),
                    NoSlot::FullForAddress => ("connections_per_address", of_address),
                };
                limits.refused.note(limit);
                // The first of many that are closed says enough.
                if self.accept_log.admits(peer) {
                    log::warn!(target: "engineio", "{peer}: closed, {count} connections are the limit (Limits::{limit})");
                }
                return;
            }
        };
        let handed = TransferredConnection {
            socket: Arc::new(socket),
            peer,
            unread,
            unwritten: Bytes::new(),
            slot: Some(slot),
            request: None,
        };
        let thread = self.next_thread;
        self.next_thread = (thread + 1) % self.io.senders.len();
        if thread == self.io.index {
            self.register(handed);
        } else {
            self.io.senders[thread].send(Command::Transfer(Box::new(handed)));
        }
    }

    pub(super) fn register(&mut self, handed: TransferredConnection) {
        if self.stop_by.is_some() {
            return;
        }
        let Some(id) = self.io.register(
            Role::Server,
            handed.socket,
            handed.peer,
            handed.unread,
            handed.slot,
        ) else {
            return;
        };
        if !handed.unwritten.is_empty() {
            self.io.append(id, &handed.unwritten);
        }
        let Some((meta, request)) = handed.request else {
            let deadline = self.io.now + self.io.options.limits.head_timeout;
            self.io.set_deadline(id, Some(deadline));
            // Of one that the program has accepted something may be read already.
            return self.process(id);
        };
        self.dispatch_request(id, meta, request);
    }
}

fn wrap(stream: Stream, listener: &SocketAcceptor) -> io::Result<StreamSocket> {
    #[cfg(feature = "tls")]
    if let Some(tls) = &listener.tls {
        return Ok(StreamSocket::secure(stream, tls.accept()?));
    }
    let _ = listener;
    Ok(StreamSocket::plain(stream))
}

/// Returns whether an error is of the connection that was to be accepted, not of accepting
/// (accept(2)).
fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::ConnectionAborted | ErrorKind::ConnectionReset | ErrorKind::Interrupted
    )
}
