//! Beside the inbox, which is also compiled for `tests/loom`.

use super::inbox::*;

#[test]
fn one_worker_at_a_time_takes_everything_in_order() {
    let inbox = Inbox::new();
    assert!(inbox.push(vec![(1, 10), (2, 10)]).schedule);
    assert_eq!(
        inbox.push(vec![(3, 10)]),
        PushOutcome {
            schedule: false,
            bytes: 30
        }
    );
    assert_eq!(inbox.take(2), [(1, 10), (2, 10)]);
    assert!(!inbox.push(vec![(4, 10)]).schedule);
    assert_eq!(inbox.take(9), [(3, 10), (4, 10)]);
    assert_eq!(inbox.queue_state(), QueueState::Running);
    assert_eq!(inbox.take(9), []);
    assert_eq!(inbox.queue_state(), QueueState::Idle);
    assert_eq!(
        inbox.push(vec![(5, 10)]),
        PushOutcome {
            schedule: true,
            bytes: 10
        }
    );
}

#[test]
fn who_stopped_reading_is_told_once() {
    let inbox = Inbox::new();
    inbox.push(vec![((), 100)]);
    assert!(inbox.arm_low_watermark(50));
    assert!(!inbox.take_low_watermark(50));
    inbox.take(1);
    assert!(inbox.take_low_watermark(50));
    assert!(!inbox.take_low_watermark(50));
    assert!(!inbox.arm_low_watermark(50));
}

#[test]
fn a_worker_takes_no_more_bytes_than_it_must() {
    let inbox = Inbox::new();
    inbox.push(vec![(1, 50_000), (2, 15_000), (3, 1_000), (4, 500_000)]);
    assert_eq!(inbox.take(9), [(1, 50_000), (2, 15_000)]);
    assert_eq!((inbox.bytes(), inbox.held()), (501_000, 566_000));
    assert_eq!(inbox.take(9), [(3, 1_000)]);
    assert_eq!(inbox.take(9), [(4, 500_000)]);
    assert_eq!((inbox.bytes(), inbox.held()), (0, 500_000));
    assert_eq!(inbox.take(9), []);
    assert_eq!(inbox.held(), 0);
}
