//! Records of what happens, for those who watch.

use super::AdminShared;
use crate::data::{EncodedArgs, ReceivedArgs};
use crate::reason::Reason;
use crate::server::socket::Socket;
use crate::util::sync::RwLock;
use crossbeam_channel::Sender;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

/// Something that has happened to a client.
pub(in crate::server) enum Record {
    /// With the rooms that it was in: one that it enters afterwards has a record of its own, and a
    /// watcher that was told of it twice would count the client twice.
    Connected(Socket, Vec<String>),
    Upgraded(Socket),
    Disconnected(Socket, Reason, Vec<String>),
    Joined(Socket, String),
    Left(Socket, String),
    Received(Socket, String, Payload<ReceivedArgs>),
    Sent(Socket, String, Payload<EncodedArgs>),
}

/// Arguments, or the number of their bytes if they are too large to be shown.
pub(in crate::server) enum Payload<T> {
    Shown(T),
    Large(usize),
}

/// The watchers of a server, and what they are to be told.
#[derive(Default)]
pub(crate) struct Watch {
    /// Somebody watches. Nothing else is looked at when nobody does.
    is_on: AtomicBool,
    dropped: AtomicU64,
    state: RwLock<Option<WatchState>>,
}

struct WatchState {
    shared: Arc<AdminShared>,
    records: Sender<(SystemTime, Record)>,
    /// A watcher of another server is there until then.
    until: Option<Instant>,
}

impl Watch {
    /// Returns whether records are wanted.
    pub(in crate::server) fn is_on(&self) -> bool {
        self.is_on.load(Ordering::Relaxed)
    }

    /// Notes something, if anybody wants to know.
    pub(in crate::server) fn record(&self, make: impl FnOnce() -> Record) {
        if self.is_on() {
            self.push(make());
        }
    }

    /// Notes an event that has come.
    pub(in crate::server) fn received(&self, socket: &Socket, name: &str, args: &ReceivedArgs) {
        if let Some(max) = self.max_payload(socket) {
            let payload = match args.size() {
                size if size <= max => Payload::Shown(args.clone()),
                size => Payload::Large(size),
            };
            let record = Record::Received(socket.clone(), name.to_owned(), payload);
            self.push(record);
        }
    }

    /// Notes an event that was sent.
    pub(in crate::server) fn sent(&self, socket: &Socket, name: &str, args: &EncodedArgs) {
        if let Some(max) = self.max_payload(socket) {
            let attached = args.attachments.iter().map(|bytes| bytes.len());
            let payload = match args.items.len() + attached.sum::<usize>() {
                size if size <= max => Payload::Shown(args.clone()),
                size => Payload::Large(size),
            };
            self.push(Record::Sent(socket.clone(), name.to_owned(), payload));
        }
    }

    /// Returns the bytes that are shown of an event; none if its namespace is the administrators'.
    fn max_payload(&self, socket: &Socket) -> Option<usize> {
        let state = self.state.read();
        let admin = &state.as_ref()?.shared.admin;
        (socket.namespace_name() != admin.namespace).then_some(admin.max_payload)
    }

    /// Notes something; returns whether there was room for it.
    pub(super) fn push(&self, record: Record) -> bool {
        let state = self.state.read();
        let records = state.as_ref().map(|state| state.records.clone());
        drop(state);
        let Some(records) = records else {
            return false;
        };
        // What it holds may be the last handle of a client, and is dropped with no lock held.
        let is_full = records.try_send((SystemTime::now(), record)).is_err();
        if is_full {
            self.note_dropped();
        }
        !is_full
    }

    pub(super) fn note_dropped(&self) {
        self.dropped.fetch_add(1, Ordering::Relaxed);
    }

    pub(in crate::server) fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// Returns the path and the directory of the UI, if it is served.
    pub(crate) fn ui(&self) -> Option<(String, PathBuf)> {
        let state = self.state.read();
        state
            .as_ref()
            .and_then(|state| state.shared.admin.ui.clone())
    }

    /// Returns whether it was free.
    pub(super) fn install(
        &self,
        shared: &Arc<AdminShared>,
        records: Sender<(SystemTime, Record)>,
    ) -> bool {
        let mut state = self.state.write();
        if state.is_some() {
            return false;
        }
        *state = Some(WatchState {
            shared: Arc::clone(shared),
            records,
            until: None,
        });
        true
    }

    pub(super) fn remove(&self) {
        self.is_on.store(false, Ordering::Relaxed);
        let before = self.state.write().take();
        drop(before);
    }

    pub(super) fn shared(&self) -> Option<Arc<AdminShared>> {
        let state = self.state.read();
        state.as_ref().map(|state| Arc::clone(&state.shared))
    }

    /// Notes that a watcher has come to this server.
    pub(super) fn begin(&self) {
        let state = self.state.read();
        if state.as_ref().is_some_and(|it| it.shared.is_development()) {
            self.is_on.store(true, Ordering::Relaxed);
        }
    }

    /// Notes that another server has watchers, which says so once in an interval.
    pub(super) fn begin_for(&self, interval: Duration) {
        let mut state = self.state.write();
        if let Some(state) = state.as_mut() {
            let time = (interval * 3).max(Duration::from_secs(10));
            state.until = Some(Instant::now() + time);
        }
        drop(state);
        self.begin();
    }

    /// Ends it if neither this server nor another has watchers.
    pub(super) fn stop_if_unwatched(&self) {
        let state = self.state.read();
        let until = state.as_ref().and_then(|state| state.until);
        if until.is_none_or(|at| at <= Instant::now()) {
            self.is_on.store(false, Ordering::Relaxed);
        }
    }
}
