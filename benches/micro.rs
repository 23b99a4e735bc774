//! The pieces that every message passes: `cargo bench --bench micro --features _bench`.

use divan::{Bencher, black_box};
use socketio::bench_support as bench;
use socketio::{Limits, Parser, Value};

fn main() {
    divan::main();
}

const EVENT: &str = r#"212["echo","xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"]"#;
const OBJECT: &str = r#"2["move",{"player":"Ada","at":[12.5,-3.25],"keys":["left","jump"],"held":{"left":true,"right":false}}]"#;

#[divan::bench(args = [EVENT, OBJECT])]
fn decode_packet(bencher: Bencher<'_, '_>, text: &str) {
    let limits = Limits::default();
    bencher.bench(|| bench::decode_packet(black_box(text), &limits));
}

#[divan::bench]
fn encode_event() -> usize {
    bench::encode_event(
        black_box("echo"),
        &black_box("xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"),
    )
}

#[divan::bench]
fn decode_payload_of_16(bencher: Bencher<'_, '_>) {
    let body = vec![format!("4{EVENT}"); 16].join("\x1e");
    bencher.bench(|| bench::decode_payload(black_box(body.as_bytes())));
}

#[divan::bench]
fn dispatch_a_string(bencher: Bencher<'_, '_>) {
    let dispatch = bench::Dispatch::new(&EVENT[3..], |text: String| text);
    bencher.bench(|| dispatch.run());
}

#[divan::bench]
fn dispatch_a_value(bencher: Bencher<'_, '_>) {
    let dispatch = bench::Dispatch::new(&OBJECT[1..], |data: Value| data);
    bencher.bench(|| dispatch.run());
}

/// What a server does with an echo, but for the network: 32 bytes of text.
#[divan::bench(args = FORMS)]
fn echo_a_string(bencher: Bencher<'_, '_>, form: &str) {
    let echo = bench::Echo::new(parser(form), &"x".repeat(32), |text: String| text);
    let echo = echo.expect("an event");
    bencher.bench(|| echo.run());
}

/// The same with 128 numbers.
#[divan::bench(args = FORMS)]
fn echo_floats(bencher: Bencher<'_, '_>, form: &str) {
    let floats: Vec<f64> = (0..128).map(|it| f64::from(it) / 3.0).collect();
    let echo = bench::Echo::new(parser(form), &floats, |floats: Vec<f64>| floats);
    let echo = echo.expect("an event");
    bencher.bench(|| echo.run());
}

const FORMS: &[&str] = &[
    "text",
    #[cfg(feature = "msgpack")]
    "msgpack",
    #[cfg(feature = "cbor")]
    "cbor",
];

fn parser(form: &str) -> Parser {
    match form {
        #[cfg(feature = "msgpack")]
        "msgpack" => Parser::msgpack(),
        #[cfg(feature = "cbor")]
        "cbor" => Parser::cbor(),
        _ => Parser::text(),
    }
}

#[divan::bench(args = [100, 10_000])]
fn find_one_among(bencher: Bencher<'_, '_>, clients: u32) {
    let rooms = bench::RoomTable::new(clients, 10);
    bencher.bench(|| rooms.select(black_box("7")));
}

#[divan::bench(args = [100, 10_000])]
fn find_a_room_of_10_among(bencher: Bencher<'_, '_>, clients: u32) {
    let rooms = bench::RoomTable::new(clients, 10);
    bencher.bench(|| rooms.select(black_box("some")));
}

#[divan::bench(args = [100, 2_000])]
fn broadcast_to_1000_outboxes(bencher: Bencher<'_, '_>, bytes: usize) {
    let outboxes = bench::Outboxes::new(1_000);
    let text = "x".repeat(bytes);
    bencher.bench(|| outboxes.broadcast(black_box(&text)));
}

#[divan::bench]
fn unmask_64_kb(bencher: Bencher<'_, '_>) {
    let mut payload = vec![7; 64 << 10];
    bencher.bench_local(|| bench::unmask(black_box(&mut payload)));
}

#[divan::bench(threads = [1, 2, 4])]
fn find_a_room_with_others(bencher: Bencher<'_, '_>) {
    let rooms = bench::RoomTable::new(10_000, 10);
    bencher.bench(|| rooms.select(black_box("some")));
}

#[divan::bench(threads = [1, 2, 4])]
fn fill_an_outbox_with_others(bencher: Bencher<'_, '_>) {
    let outboxes = bench::Outboxes::new(1);
    let text = "x".repeat(100);
    bencher.bench(|| outboxes.broadcast(black_box(&text)));
}
