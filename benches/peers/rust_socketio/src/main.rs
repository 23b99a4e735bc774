//! What `bench_client` measures, with rust_socketio: `rust_socketio_bench URL COUNT`.

use rust_socketio::{ClientBuilder, Payload, RawClient, TransportType};
use serde_json::json;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::time::Duration;

const TEXT: &str = "0123456789abcdef0123456789abcdef";
const SOON: Duration = Duration::from_secs(60);

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let url = arguments.next().ok_or("usage: rust_socketio_bench URL COUNT")?;
    let count: usize = arguments.next().ok_or("COUNT is missing")?.parse()?;
    let received = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&received);
    let client = ClientBuilder::new(url)
        .transport_type(TransportType::Websocket)
        .on_any(move |_, _: Payload, _: RawClient| {
            counter.fetch_add(1, Ordering::Relaxed);
        })
        .connect()?;
    std::thread::sleep(Duration::from_millis(500));
    let call = |event: &str, data: serde_json::Value| -> Result<(), Box<dyn std::error::Error>> {
        let (sender, answer) = mpsc::channel();
        client.emit_with_ack(event, data, SOON, move |_: Payload, _: RawClient| {
            let _ = sender.send(());
        })?;
        Ok(answer.recv_timeout(SOON)?)
    };
    call("echo", json!(TEXT))?;
    measure("received", count, || {
        received.store(0, Ordering::Relaxed);
        client.emit("burst", json!(count))?;
        while received.load(Ordering::Relaxed) < count {
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    })?;
    measure("emitted", count, || {
        (0..count).try_for_each(|_| client.emit("in", json!(TEXT)))?;
        call("count", json!(null))
    })?;
    measure("called", count / 10, || (0..count / 10).try_for_each(|_| call("echo", json!(TEXT))))
}

fn measure(
    what: &str,
    count: usize,
    run: impl FnOnce() -> Result<(), Box<dyn std::error::Error>>,
) -> Result<(), Box<dyn std::error::Error>> {
    let before = cpu_time();
    run()?;
    let used = cpu_time() - before;
    println!("{what}: {:.2} us of CPU", used.as_secs_f64() * 1e6 / count as f64);
    Ok(())
}

/// What the threads of this process have used.
fn cpu_time() -> Duration {
    let tasks = std::fs::read_dir("/proc/self/task").into_iter().flatten();
    let each = tasks.flatten().filter_map(|task| {
        let text = std::fs::read_to_string(task.path().join("schedstat")).ok()?;
        text.split(' ').next()?.parse::<u64>().ok()
    });
    Duration::from_nanos(each.sum())
}
