//! What a client costs: CPU time for each event received, each event emitted, and each call.
//!
//! `bench_client URL [COUNT]`
//!
//! The server answers `echo`, sends `burst`, and counts `in`.

use socketio::engineio::Transport;
use socketio::{ConnectOptions, Error, SimpleClient};
use std::time::{Duration, Instant};

const SOON: Duration = Duration::from_secs(60);
const TEXT: &str = "0123456789abcdef0123456789abcdef";

fn main() -> Result<(), Error> {
    let mut arguments = std::env::args().skip(1);
    let (Some(url), count) = (arguments.next(), arguments.next()) else {
        eprintln!("usage: bench_client URL [COUNT]");
        std::process::exit(2);
    };
    let count: usize = count.and_then(|it| it.parse().ok()).unwrap_or(200_000);
    let options = ConnectOptions::new(url).transports([Transport::WebSocket]);
    let client = SimpleClient::builder()
        .max_buffer_size(1 << 30)
        .connect(options)?;
    client.call::<String>("echo", TEXT, SOON)?;

    measure("received", count, || {
        client.emit("burst", count)?;
        (0..count).try_for_each(|_| client.receive(SOON).map(drop))
    })?;
    measure("emitted", count, || {
        (0..count).try_for_each(|_| client.emit("in", TEXT))?;
        let counted: usize = client.call("count", (), SOON)?;
        assert_eq!(counted, count, "all of them arrived");
        Ok(())
    })?;
    measure("called", count / 10, || {
        (0..count / 10).try_for_each(|_| client.call::<String>("echo", TEXT, SOON).map(drop))
    })
}

/// Runs something that does `count` things, and prints what each of them costs.
fn measure(what: &str, count: usize, run: impl FnOnce() -> Result<(), Error>) -> Result<(), Error> {
    let (since, before) = (Instant::now(), cpu_time());
    run()?;
    let each = |time: Duration| time.as_secs_f64() * 1e6 / count as f64;
    println!(
        "{what}: {:.2} us of CPU, {:.2} us each",
        each(cpu_time() - before),
        each(since.elapsed())
    );
    Ok(())
}

/// What the threads of this process have used.
fn cpu_time() -> Duration {
    // Those that have ended are not in it; none ends here.
    let tasks = std::fs::read_dir("/proc/self/task").into_iter().flatten();
    let each = tasks.flatten().filter_map(|task| {
        let text = std::fs::read_to_string(task.path().join("schedstat")).ok()?;
        text.split(' ').next()?.parse::<u64>().ok()
    });
    Duration::from_nanos(each.sum())
}
