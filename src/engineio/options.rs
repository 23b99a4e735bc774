//! The options that the builders of both servers have: Engine.IO's.

/// The options that both builders have.
macro_rules! engine_options {
    ($builder:ident, $config:ident $(. $path:ident)*) => {
        impl $builder {
            /// Sets how often clients are pinged. Defaults to 25 s.
            #[must_use]
            pub fn ping_interval(mut self, interval: std::time::Duration) -> Self {
                self.$config$(.$path)*.ping_interval = crate::limits::clamp_duration(interval).max(std::time::Duration::from_millis(1));
                self
            }

            /// Sets what is added to the interval that clients are told, so that they forgive a
            /// ping that is late by as much. Defaults to zero.
            #[must_use]
            pub fn ping_interval_grace(mut self, grace: std::time::Duration) -> Self {
                self.$config$(.$path)*.ping_grace = crate::limits::clamp_duration(grace);
                self
            }

            /// Sets how long a client may take to answer a ping before it counts as gone. Defaults
            /// to 20 s.
            #[must_use]
            pub fn ping_timeout(mut self, timeout: std::time::Duration) -> Self {
                self.$config$(.$path)*.ping_timeout = crate::limits::clamp_duration(timeout).max(std::time::Duration::from_millis(1));
                self
            }

            /// Sets how many bytes a request's body, or a WebSocket message, may have; clients are
            /// told. A larger body is answered with 413, a larger message closes the session.
            /// Defaults to 1,000,000.
            #[must_use]
            pub fn max_http_buffer_size(mut self, bytes: usize) -> Self {
                self.$config$(.$path)*.max_payload = bytes.max(1);
                self
            }

            /// Sets whether clients on polling are told that they may move to WebSocket. Defaults
            /// to `true`.
            #[must_use]
            pub fn allow_upgrades(mut self, allow: bool) -> Self {
                self.$config$(.$path)*.allow_upgrades = allow;
                self
            }

            /// Sets the transports that clients may use. Defaults to both.
            ///
            /// # Panics
            /// If there is none.
            #[must_use]
            pub fn transports(mut self, transports: impl IntoIterator<Item: std::borrow::Borrow<crate::engineio::Transport>>) -> Self {
                let transports = crate::engineio::copied(transports);
                assert!(!transports.is_empty(), "a server needs a transport");
                self.$config$(.$path)*.transports = transports;
                self
            }

            /// Sets whether answers to polls are compressed with gzip or deflate. Defaults to
            /// `true` with the feature `compression`.
            #[must_use]
            pub fn http_compression(mut self, compress: bool) -> Self {
                self.$config$(.$path)*.compression = compress;
                self
            }

            /// Sets the size in bytes from which on an answer is compressed. Defaults to 1024.
            #[must_use]
            pub fn compression_threshold(mut self, bytes: usize) -> Self {
                self.$config$(.$path)*.compression_threshold = bytes;
                self
            }

            /// Sets how many packets one answer to a poll carries at most. Defaults to as many as
            /// fit into a megabyte, and to 16 for clients whose `User-Agent` says that they are python's, which take
            /// no more.
            #[must_use]
            pub fn payload_packets(mut self, packets: usize) -> Self {
                self.$config$(.$path)*.payload_packets = Some(packets.max(1));
                self
            }

            /// Sets the cookie that the answer to a handshake sets to the session's id. Defaults to
            /// none.
            #[must_use]
            pub fn cookie(mut self, cookie: crate::engineio::Cookie) -> Self {
                self.$config$(.$path)*.cookie = Some(cookie);
                self
            }

            /// Sets the origins whose pages may connect. Defaults to the origin of the request
            /// itself.
            #[must_use]
            pub fn cors_allowed_origins(mut self, origins: impl Into<crate::net::http::cors::AllowedOrigins>) -> Self {
                self.$config$(.$path)*.cors.origins = origins.into().normalized();
                self
            }

            /// Sets whether pages of other origins may send credentials such as cookies. Defaults
            /// to `true`.
            #[must_use]
            pub fn cors_credentials(mut self, allow: bool) -> Self {
                self.$config$(.$path)*.cors.credentials = allow;
                self
            }

            /// Sets what one peer may cost, `connect_timeout` included. Defaults to
            /// [`Limits::default`](crate::Limits::default).
            #[must_use]
            pub fn limits(mut self, limits: crate::limits::Limits) -> Self {
                self.$config$(.$path)*.limits = limits.clamped();
                self
            }

            /// Sets the addresses of proxies before this server: what they say of a client's address
            /// (`X-Forwarded-For`, `Forwarded`) is believed, in
            /// [`Request::client_ip`](crate::Request::client_ip) and for the limits of addresses. If
            /// there are any, whoever connects over a Unix socket is believed too. Defaults to none.
            #[must_use]
            pub fn trusted_proxies(
                mut self,
                addresses: impl IntoIterator<Item: Into<std::net::IpAddr>>,
            ) -> Self {
                let addresses = addresses.into_iter().map(Into::into);
                self.$config$(.$path)*.trusted_proxies = addresses.collect();
                self
            }

            /// Sets whether clients of Engine.IO 3 are let in, on the same port as all others: those
            /// of the generations 1.x and 2.x, and python-socketio before 5. The session ids of such
            /// clients are no secret, since their `socket.id` is one: whoever learns it can use the
            /// session. So do not give their sids to others. Defaults to `false`.
            #[must_use]
            pub fn allow_eio3(mut self, allow: bool) -> Self {
                self.$config$(.$path)*.allow_eio3 = allow;
                self
            }

            /// Sets whether text that clients of Engine.IO 3 post over polling is repaired where it is
            /// surely encoded as UTF-8 twice, as JavaScript clients of the generation 1.x do. Text
            /// that only looks so, such as `Ã©`, is changed too. Defaults to `false`.
            #[must_use]
            pub fn repair_eio3_text(mut self, repair: bool) -> Self {
                self.$config$(.$path)*.repair_eio3_text = repair;
                self
            }

            /// Sets how many I/O threads serve a port. Defaults to one for each four cores, at
            /// least one and at most eight.
            #[must_use]
            pub fn io_threads(mut self, count: usize) -> Self {
                self.$config$(.$path)*.io_threads = Some(count.clamp(1, 256));
                self
            }
        }
    };
}

pub(crate) use engine_options;
