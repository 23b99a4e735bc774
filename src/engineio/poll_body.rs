//! The body of an answer to a poll.

/// Body of an answer to a poll.
pub(super) struct PollBody {
    pub(super) bytes: Vec<u8>,
    /// The content type.
    pub(super) kind: &'static str,
}

impl PollBody {
    pub(super) fn text(bytes: Vec<u8>) -> PollBody {
        PollBody {
            bytes,
            kind: "text/plain; charset=UTF-8",
        }
    }
}
