//! Operations on tables of many clients, for counting instructions: `benches/scale.sh`.
//!
//! `scale CLIENTS WHAT TIMES`, where WHAT is `one`, `room` or `rooms`.

use socketio::bench_support::RoomTable;
use std::hint::black_box;

fn main() {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let [clients, what, times] = &arguments[..] else {
        // `cargo bench` runs it too, for which there is nothing to do.
        return;
    };
    let number = |text: &str| text.parse::<u32>().unwrap_or(0);
    let clients = number(clients);
    // Ten of them in the room that is addressed, and each in `rooms` others.
    let table = match what.as_str() {
        "rooms" => RoomTable::in_rooms(clients, 10, 100),
        _ => RoomTable::new(clients, 10),
    };
    let name = if what == "one" { "7" } else { "some" };
    for _ in 0..number(times) {
        black_box(table.select(black_box(name)));
    }
}
