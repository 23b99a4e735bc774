//! A namespace that is connected.

use crate::data::{EncodedArgs, Encoding};
use crate::engineio::{SessionHandle, frames};
use crate::error::Error;
use crate::handlers::{EventSource, PendingAcks, encode};
use crate::parser::{Form, Parser, Wire};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// A namespace of one session, from the server's CONNECT to its end.
#[derive(Debug)]
pub(super) struct NamespaceConnection {
    pub(super) namespace: Arc<str>,
    pub(super) sid: Box<str>,
    pub(super) session: Arc<SessionHandle>,
    pub(super) acks: PendingAcks,
    /// Bytes of one message that the server takes.
    max_payload: usize,
    max_attachments: usize,
    parser: Parser,
    form: Form,
    gone: AtomicBool,
}

impl NamespaceConnection {
    pub(super) fn new(
        namespace: Arc<str>,
        sid: &str,
        session: Arc<SessionHandle>,
        max_payload: usize,
        max_attachments: usize,
        parser: &Parser,
    ) -> NamespaceConnection {
        NamespaceConnection {
            form: parser.first_form(),
            parser: parser.clone(),
            namespace,
            max_payload,
            max_attachments,
            sid: sid.into(),
            session,
            acks: PendingAcks::default(),
            gone: AtomicBool::new(false),
        }
    }

    /// Refuses what is larger than the server takes: it would cost the connection.
    pub(super) fn check_size(&self, largest: usize, data: &EncodedArgs) -> Result<(), Error> {
        if self.form != Form::Text {
            return self.check(largest, largest);
        }
        let attachments = data.attachments.iter().map(|bytes| bytes.len());
        self.check(largest, attachments.max().unwrap_or(0))
    }

    /// Does the same for frames.
    pub(super) fn check_frames(&self, frames: &[u8]) -> Result<(), Error> {
        let (mut text, mut binary) = (0, 0);
        frames::each_frame(frames, |is_text, payload| {
            let longest = if is_text { &mut text } else { &mut binary };
            *longest = payload.len().max(*longest);
        });
        self.check(text.max(binary), binary)
    }

    fn check(&self, largest: usize, binary: usize) -> Result<(), Error> {
        let (size, what) = if self.session.is_polling_only() {
            // As base64, behind the letter b.
            let base64 = if binary > 0 {
                binary.div_ceil(3) * 4 + 1
            } else {
                0
            };
            if base64 > largest {
                (base64, " as base64")
            } else {
                (largest, "")
            }
        } else {
            (largest, "")
        };
        if size <= self.max_payload {
            return Ok(());
        }
        Err(Error::InvalidArgument(format!(
            "a message of {size} bytes{what}, for {}: the server takes {}",
            self.namespace, self.max_payload
        )))
    }

    /// Notes that its events are not to be acknowledged any more.
    pub(super) fn mark_gone(&self) {
        self.gone.store(true, Ordering::Release);
    }
}

impl EventSource for NamespaceConnection {
    fn namespace(&self) -> &Arc<str> {
        &self.namespace
    }

    fn sid(&self) -> &str {
        &self.sid
    }

    fn encoding(&self) -> Encoding {
        self.form.encoding()
    }

    fn acknowledge(&self, id: u64, answer: &EncodedArgs) -> Result<(), Error> {
        if self.gone.load(Ordering::Acquire) {
            return Err(Error::Disconnected);
        }
        answer.check(self.max_attachments)?;
        // What is too large is not written first.
        self.check_size(answer.items.len(), answer)?;
        self.session.send_written(|buffer| {
            let wire = Wire::new(&self.parser, self.form);
            let largest = encode::write_ack(wire, &self.namespace, id, answer, buffer)?;
            self.check_size(largest, answer)
        })
    }
}
