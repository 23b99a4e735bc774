//! Figures of a running server, for machines.

use super::ServerInner;
use super::rooms::RoomIndex;
use crate::engineio::Transport;
use crate::parser::Form;
use crate::protocol::engineio::Revision;
use crate::reason::Reason;
use crate::util::counters::Counters;
use std::fmt::Write as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Upper bounds of the buckets of handlers' times, in microseconds; the last bucket has none.
const BUCKET_BOUNDS_MICROS: [u64; 9] = [
    100, 500, 1_000, 5_000, 10_000, 50_000, 100_000, 1_000_000, 10_000_000,
];

// Numbers of the counters.
const EVENTS_IN: usize = 0;
const EVENTS_OUT: usize = 1;
const MESSAGES_IN: usize = 2;
const PACKETS_OUT: usize = 3;
const BYTES_IN: usize = 4;
const BYTES_OUT: usize = 5;
const OPENED: usize = 6;
const POLLING: usize = 7;
const WEBSOCKET: usize = 8;
const EIO3: usize = 9;
const HANDLER_NANOS: usize = 10;
const FORMS: usize = 11;
const CLOSED: usize = FORMS + Form::COUNT;
const HANDLERS: usize = CLOSED + Reason::ALL.len();
const COUNT: usize = HANDLERS + BUCKET_BOUNDS_MICROS.len() + 1;

/// The counters of one server.
pub(crate) struct ServerCounters {
    counters: Counters<COUNT>,
    /// Handlers are timed: two looks at the clock for each event, which nobody pays who never asks.
    is_timed: AtomicBool,
}

/// The session that is counted.
#[derive(Clone, Copy, Debug)]
pub(super) struct Counted {
    transport: Transport,
    is_old: bool,
    form: Form,
}

impl ServerCounters {
    pub(super) fn new() -> ServerCounters {
        ServerCounters {
            counters: Counters::new(),
            is_timed: AtomicBool::new(false),
        }
    }

    pub(super) fn received(&self, messages: u64, events: u64, bytes: u64) {
        self.counters.add(&[
            (MESSAGES_IN, messages),
            (EVENTS_IN, events),
            (BYTES_IN, bytes),
        ]);
    }

    /// Counts an event that is sent to several clients, by its packets and all of their bytes.
    pub(super) fn broadcast(&self, packets: u64, bytes: u64) {
        self.counters.add(&[
            (PACKETS_OUT, packets),
            (EVENTS_OUT, packets),
            (BYTES_OUT, bytes),
        ]);
    }

    /// Counts a packet that is sent, of so many bytes.
    pub(super) fn sent(&self, is_event: bool, bytes: usize) {
        self.counters.add(&[
            (PACKETS_OUT, 1),
            (EVENTS_OUT, u64::from(is_event)),
            (BYTES_OUT, bytes as u64),
        ]);
    }

    pub(super) fn opened(&self, transport: Transport, revision: Revision, form: Form) -> Counted {
        let counted = Counted {
            transport,
            is_old: revision == Revision::V3,
            form,
        };
        self.counters.add(&[(OPENED, 1)]);
        self.count(counted, 1);
        counted
    }

    pub(super) fn changed(&self, counted: &mut Counted, change: impl FnOnce(&mut Counted)) {
        self.count(*counted, u64::MAX);
        change(counted);
        self.count(*counted, 1);
    }

    pub(super) fn closed(&self, counted: Counted, reason: Reason) {
        self.count(counted, u64::MAX);
        let place = Reason::ALL.iter().position(|it| *it == reason);
        self.counters.add(&[(CLOSED + place.unwrap_or(0), 1)]);
    }

    fn count(&self, counted: Counted, one: u64) {
        let transport = match counted.transport {
            Transport::Polling => POLLING,
            Transport::WebSocket => WEBSOCKET,
        };
        let old = if counted.is_old { one } else { 0 };
        self.counters.add(&[
            (transport, one),
            (EIO3, old),
            (FORMS + counted.form as usize, one),
        ]);
    }

    pub(super) fn time(&self) {
        self.is_timed.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_timed(&self) -> bool {
        self.is_timed.load(Ordering::Relaxed)
    }

    pub(super) fn handled(&self, took: Duration) {
        let micros = took.as_micros();
        let bucket = BUCKET_BOUNDS_MICROS
            .iter()
            .position(|limit| micros <= u128::from(*limit));
        let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        let bucket = HANDLERS + bucket.unwrap_or(BUCKET_BOUNDS_MICROS.len());
        self.counters.add(&[(HANDLER_NANOS, nanos), (bucket, 1)]);
    }
}

impl Counted {
    pub(super) fn set_transport(&mut self, transport: Transport) {
        self.transport = transport;
    }

    pub(super) fn set_form(&mut self, form: Form) {
        self.form = form;
    }
}

/// Figures of a server at one moment. What is called a total has been counted since the server was
/// built; everything else is what there is now.
///
/// [`to_prometheus`](Metrics::to_prometheus) writes them as text; the guide's chapter `monitoring` has
/// the names there, and what each figure tells.
///
/// ```
/// use socketio::Server;
///
/// let io = Server::new();
/// let metrics = io.metrics();
/// println!("{} sessions over WebSockets", metrics.sessions_websocket);
/// print!("{}", metrics.to_prometheus());
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Metrics {
    /// Engine.IO sessions on polling.
    pub sessions_polling: u64,
    /// Engine.IO sessions on WebSocket.
    pub sessions_websocket: u64,
    /// Those of both that speak Engine.IO 3.
    pub sessions_eio3: u64,
    /// Sessions by the form of their packets; `text` before a first packet tells.
    pub sessions_by_parser: Vec<(&'static str, u64)>,
    /// Sessions that were opened, in total.
    pub sessions_opened_total: u64,
    /// Sessions that were closed, by the reason, in total.
    pub sessions_closed_total: Vec<(Reason, u64)>,
    /// Clients on each namespace.
    pub clients: Vec<(String, u64)>,
    /// Rooms of each namespace, without those of the clients' sids.
    pub rooms: Vec<(String, u64)>,
    /// Events that came, in total.
    pub events_received_total: u64,
    /// Events that were sent, one for each recipient, in total.
    pub events_sent_total: u64,
    /// Engine.IO messages that came, in total.
    pub messages_received_total: u64,
    /// Socket.IO packets that were sent, in total.
    pub packets_sent_total: u64,
    /// Bytes of the messages that came, in total.
    pub bytes_received_total: u64,
    /// Bytes of the packets that were sent, with the headers of their frames, in total.
    pub bytes_sent_total: u64,
    /// Handlers of events that have run, in total. They are counted from the first call of
    /// [`Server::metrics`](crate::Server::metrics) on, or from the start with
    /// [`slow_handler`](crate::ServerBuilder::slow_handler).
    pub handlers_total: u64,
    /// The seconds that these took, in total.
    pub handler_seconds_total: f64,
    /// Counts of those that took at most so many seconds; the last bound is infinite.
    pub handler_buckets: Vec<(f64, u64)>,
    /// Worker threads.
    pub workers: u64,
    /// Those that run something of the program's.
    pub workers_busy: u64,
    /// Turns and jobs that wait for a worker.
    pub queue_depth: u64,
    /// Counts of what was refused, dropped or closed because of a limit, by the name of that field of
    /// [`Limits`](crate::Limits), or of the option `max_http_buffer_size`, in total.
    pub refused_total: Vec<(&'static str, u64)>,
    /// Messages that were published to other servers, in total.
    pub manager_published_total: u64,
    /// Messages that were heard of other servers, in total.
    pub manager_heard_total: u64,
    /// Messages that were given up: refused by the broker, or not understood, in total.
    pub manager_dropped_total: u64,
    /// Connections to the broker that were lost, in total.
    pub manager_reconnections_total: u64,
    /// Records that an admin watcher was too slow for, in total.
    pub admin_dropped_total: u64,
}

impl Metrics {
    pub(super) fn of(inner: &ServerInner) -> Metrics {
        inner.counters.time();
        Metrics::sums_of(inner)
    }

    /// Returns the same, and times no handlers because of it.
    pub(super) fn sums_of(inner: &ServerInner) -> Metrics {
        let sums = inner.counters.counters.sums();
        let by_place = |start: usize, at: usize| sums[start + at];
        let closed = Reason::ALL.iter().enumerate();
        let forms = Form::NAMES.iter().enumerate();
        let mut total = 0;
        let buckets = (0..=BUCKET_BOUNDS_MICROS.len()).map(|at| {
            total += sums[HANDLERS + at];
            let bound = BUCKET_BOUNDS_MICROS
                .get(at)
                .map_or(f64::INFINITY, |it| *it as f64 / 1e6);
            (bound, total)
        });
        let buckets: Vec<_> = buckets.collect();
        let workers = inner.workers.lock().upgrade();
        let load = workers.map(|workers| workers.load()).unwrap_or_default();
        let manager = inner.manager.figures();
        Metrics {
            sessions_polling: sums[POLLING],
            sessions_websocket: sums[WEBSOCKET],
            sessions_eio3: sums[EIO3],
            sessions_by_parser: forms
                .map(|(at, name)| (*name, by_place(FORMS, at)))
                .collect(),
            sessions_opened_total: sums[OPENED],
            sessions_closed_total: closed
                .map(|(at, reason)| (*reason, by_place(CLOSED, at)))
                .collect(),
            clients: inner.spaces.counts(RoomIndex::clients),
            rooms: inner.spaces.counts(RoomIndex::count),
            events_received_total: sums[EVENTS_IN],
            events_sent_total: sums[EVENTS_OUT],
            messages_received_total: sums[MESSAGES_IN],
            packets_sent_total: sums[PACKETS_OUT],
            bytes_received_total: sums[BYTES_IN],
            bytes_sent_total: sums[BYTES_OUT],
            handlers_total: total,
            handler_seconds_total: sums[HANDLER_NANOS] as f64 / 1e9,
            handler_buckets: buckets,
            workers: load.workers as u64,
            workers_busy: load.busy as u64,
            queue_depth: load.waiting as u64,
            refused_total: inner.engine().limits.refused.counts(),
            manager_published_total: manager.published,
            manager_heard_total: manager.heard,
            manager_dropped_total: manager.dropped,
            manager_reconnections_total: manager.reconnections,
            admin_dropped_total: inner.watch.dropped(),
        }
    }

    /// Returns the figures in Prometheus' text format, each name with `socketio_` in front.
    ///
    /// ```
    /// let io = socketio::Server::new();
    /// assert!(io.metrics().to_prometheus().contains("socketio_events_received_total 0\n"));
    /// ```
    pub fn to_prometheus(&self) -> String {
        let mut page = Page(String::new());
        self.write_gauges(&mut page);
        self.write_totals(&mut page);
        self.write_handler_times(&mut page);
        page.0
    }

    fn write_gauges(&self, page: &mut Page) {
        let transports = [
            ("polling", self.sessions_polling),
            ("websocket", self.sessions_websocket),
        ];
        page.family("sessions", "gauge", "Engine.IO sessions, by transport");
        page.labelled("sessions", "transport", &transports);
        let forms = &self.sessions_by_parser;
        page.family(
            "sessions_by_parser",
            "gauge",
            "Sessions, by the form of their packets",
        );
        page.labelled("sessions_by_parser", "parser", forms);
        page.family("clients", "gauge", "Clients, by namespace");
        page.labelled("clients", "namespace", &self.clients);
        page.family("rooms", "gauge", "Rooms, by namespace");
        page.labelled("rooms", "namespace", &self.rooms);
        for (name, help, value) in [
            (
                "sessions_eio3",
                "Sessions that speak Engine.IO 3",
                self.sessions_eio3,
            ),
            ("workers", "Worker threads", self.workers),
            (
                "workers_busy",
                "Worker threads that run something of the program",
                self.workers_busy,
            ),
            (
                "queue_depth",
                "Turns and jobs that wait for a worker",
                self.queue_depth,
            ),
        ] {
            page.family(name, "gauge", help);
            page.sample(name, value as f64);
        }
    }

    fn write_totals(&self, page: &mut Page) {
        let closed = &self.sessions_closed_total;
        page.family(
            "sessions_closed_total",
            "counter",
            "Sessions that were closed, by reason",
        );
        page.labelled("sessions_closed_total", "reason", closed);
        let refused = &self.refused_total;
        page.family(
            "refused_total",
            "counter",
            "Refused, dropped or closed, by the limit",
        );
        page.labelled("refused_total", "limit", refused);
        for (name, help, value) in [
            (
                "sessions_opened_total",
                "Sessions that were opened",
                self.sessions_opened_total,
            ),
            (
                "events_received_total",
                "Events that came",
                self.events_received_total,
            ),
            (
                "events_sent_total",
                "Events that were sent, for each recipient",
                self.events_sent_total,
            ),
            (
                "messages_received_total",
                "Engine.IO messages that came",
                self.messages_received_total,
            ),
            (
                "packets_sent_total",
                "Socket.IO packets that were sent",
                self.packets_sent_total,
            ),
            (
                "bytes_received_total",
                "Bytes of messages that came",
                self.bytes_received_total,
            ),
            (
                "bytes_sent_total",
                "Bytes of packets that were sent",
                self.bytes_sent_total,
            ),
            (
                "manager_published_total",
                "Messages published to other servers",
                self.manager_published_total,
            ),
            (
                "manager_heard_total",
                "Messages heard of other servers",
                self.manager_heard_total,
            ),
            (
                "manager_dropped_total",
                "Messages given up",
                self.manager_dropped_total,
            ),
            (
                "manager_reconnections_total",
                "Connections to the broker that were lost",
                self.manager_reconnections_total,
            ),
            (
                "admin_dropped_total",
                "Records that an admin watcher was too slow for",
                self.admin_dropped_total,
            ),
        ] {
            page.family(name, "counter", help);
            page.sample(name, value as f64);
        }
    }

    fn write_handler_times(&self, page: &mut Page) {
        page.family(
            "handler_seconds",
            "histogram",
            "Seconds that handlers of events took",
        );
        for (bound, count) in &self.handler_buckets {
            let bound = if bound.is_finite() {
                bound.to_string()
            } else {
                "+Inf".to_owned()
            };
            page.labelled("handler_seconds_bucket", "le", &[(bound, *count)]);
        }
        page.sample("handler_seconds_sum", self.handler_seconds_total);
        page.sample("handler_seconds_count", self.handlers_total as f64);
    }
}

/// A page in the text format.
struct Page(String);

impl Page {
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        // Writing to a String does not fail.
        let _ = writeln!(
            self.0,
            "# HELP socketio_{name} {help}.\n# TYPE socketio_{name} {kind}"
        );
    }

    fn sample(&mut self, name: &str, value: f64) {
        let _ = writeln!(self.0, "socketio_{name} {value}");
    }

    fn labelled(&mut self, name: &str, label: &str, values: &[(impl ToString, u64)]) {
        for (of, value) in values {
            let of = of.to_string();
            let of = of
                .replace('\\', "\\\\")
                .replace('"', "\\\"")
                .replace('\n', "\\n");
            let _ = writeln!(self.0, "socketio_{name}{{{label}=\"{of}\"}} {value}");
        }
    }
}
