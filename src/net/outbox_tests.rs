//! Beside the outbox, which is also compiled for `tests/loom`.

use super::outbox::*;
use super::websocket::{self, Role};
use crate::util::budget::Share;
use bytes::Bytes;
use std::time::Duration;

fn frames(texts: &[&str]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for text in texts {
        websocket::write_frame(true, text.as_bytes(), &mut bytes);
    }
    bytes
}

fn take(outbox: &Outbox, mut count: usize) -> Vec<String> {
    let mut taken = Vec::new();
    outbox.drain_frames(|_, payload| {
        let more = count > 0;
        count = count.saturating_sub(1);
        if more {
            taken.push(String::from_utf8_lossy(payload).into_owned());
        }
        more
    });
    taken
}

#[test]
fn frames_are_taken_out_in_order_as_they_went_in() {
    let outbox = Outbox::detached(Role::Server, 1_000_000, Share::default());
    let shared = Bytes::from(frames(&["a", &"b".repeat(2_000)]));
    outbox.append(&frames(&["1", "2"]), Flush::Now).unwrap();
    outbox.append_shared(&shared, Flush::Now).unwrap();
    outbox.append(&frames(&["3"]), Flush::Now).unwrap();
    assert_eq!(take(&outbox, 1), ["1"]);
    assert_eq!(take(&outbox, 9), ["2", "a", &"b".repeat(2_000), "3"]);
    assert_eq!(outbox.waiting_bytes(), 0);
    assert!(!outbox.keeps_buffers());
}

#[test]
fn a_waiting_poll_is_told_once() {
    let outbox = Outbox::detached(Role::Server, 1_000, Share::default());
    assert!(outbox.set_poll_waiting());
    assert_eq!(
        outbox.append(&frames(&["1"]), Flush::Now),
        Ok(Appended::WakePoll)
    );
    assert_eq!(
        outbox.append(&frames(&["2"]), Flush::Now),
        Ok(Appended::Queued)
    );
    assert!(!outbox.set_poll_waiting());
}

#[test]
fn a_reader_that_is_too_slow_is_told_apart_once() {
    let outbox = Outbox::detached(Role::Server, 10, Share::default());
    assert_eq!(outbox.append(&[0; 9], Flush::Now), Ok(Appended::Queued));
    assert_eq!(outbox.append(&[0; 2], Flush::Now), Err(AppendError::Full));
    assert_eq!(outbox.append(&[0; 1], Flush::Now), Err(AppendError::Closed));
    assert_eq!(outbox.waiting_bytes(), 0);
}

#[test]
fn nothing_follows_the_last_bytes() {
    let outbox = Outbox::detached(Role::Server, 1_000, Share::default());
    outbox.append(&frames(&["a"]), Flush::Now).unwrap();
    let mut close = Vec::new();
    websocket::write_close(Some(1000), &mut close);
    for _ in 0..2 {
        outbox.close_with(&close);
        let behind = outbox.append(&frames(&["b"]), Flush::Now);
        assert_eq!(behind, Err(AppendError::Closed));
    }
    assert_eq!(outbox.waiting_bytes(), frames(&["a"]).len() + close.len());
}

#[test]
fn one_message_at_a_time_may_be_larger_than_what_may_wait() {
    let large = frames(&[&"x".repeat(50)]);
    let small = frames(&["a"]);
    let outbox = Outbox::detached(Role::Server, 20, Share::default());
    assert_eq!(outbox.append(&small, Flush::Now), Ok(Appended::Queued));
    assert_eq!(outbox.append(&large, Flush::Now), Ok(Appended::Queued));
    assert_eq!(outbox.append(&small, Flush::Now), Ok(Appended::Queued));
    assert_eq!(
        outbox.append(&large, Flush::Now),
        Err(AppendError::TooLarge)
    );
    let mut taken = 0;
    outbox.drain_frames(|_, _| {
        taken += 1;
        taken <= 2
    });
    assert_eq!(
        outbox.append(&large, Flush::Now),
        Ok(Appended::Queued),
        "the first has left"
    );
    let smalls = (0..9).map(|_| outbox.append(&small, Flush::Now));
    assert_eq!(
        smalls.last(),
        Some(Err(AppendError::Closed)),
        "the others count"
    );
}

#[test]
fn a_client_that_sends_too_much_is_asked_to_wait_and_then_ended() {
    const EVER: Duration = Duration::from_secs(3600);
    let outbox = Outbox::detached(Role::Client, 100, Share::default());
    let frame = frames(&[&"x".repeat(48)]);
    outbox.append(&frame, Flush::Now).unwrap();
    outbox.append(&frame, Flush::Now).unwrap();
    assert!(!outbox.is_over_limit(), "the limit is not passed");
    outbox.append(&frame, Flush::Now).unwrap();
    assert!(outbox.is_over_limit());
    assert!(
        !outbox.wait_for_capacity(Duration::ZERO),
        "nobody has read it"
    );
    std::thread::scope(|scope| {
        scope.spawn(|| assert!(outbox.wait_for_capacity(EVER)));
        let mut taken = 0;
        outbox.drain_frames(|_, _| {
            taken += 1;
            taken <= 2
        });
    });
    assert!(!outbox.is_over_limit(), "half of it has left");
    // A large message may be of any size, also beside a few bytes.
    outbox.append(&[0; 1_000], Flush::Now).unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| assert!(outbox.wait_for_capacity(EVER)));
        outbox.append(&[0; 140], Flush::Now).unwrap();
        assert_eq!(outbox.append(&[0; 40], Flush::Now), Err(AppendError::Full));
    });
    assert!(!outbox.is_over_limit(), "nothing waits for what has ended");
}

#[test]
fn volatile_frames_need_somebody_who_waits() {
    let outbox = Outbox::detached(Role::Server, 1_000, Share::default());
    let frame = Bytes::from(frames(&["v"]));
    assert_eq!(outbox.append_volatile(&frame), Ok(Appended::Queued));
    assert_eq!(outbox.waiting_bytes(), 0);
    outbox.set_poll_waiting();
    assert_eq!(outbox.append_volatile(&frame), Ok(Appended::WakePoll));
}
