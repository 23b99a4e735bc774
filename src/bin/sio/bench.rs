//! Many clients that measure a server.

use crate::arguments::Arguments;
use crossbeam_channel::{Sender, unbounded};
use indicatif::{ProgressBar, ProgressStyle};
use socketio::{Args, Client, ConnectError, Error, Value};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Time that an answer may take.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// Time between two looks at the progress.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(100);
/// Connections that are begun at once.
const CONNECTIONS_AT_ONCE: usize = 100;

/// What all clients share.
struct Run {
    event: String,
    data: Args,
    ends: AtomicBool,
    answered: AtomicU64,
    failed: AtomicU64,
    /// Nanoseconds of each answer.
    times: Mutex<Vec<u64>>,
}

pub(crate) fn run(
    arguments: &Arguments,
    count: u32,
    duration: Duration,
    event: Option<(&str, Vec<Value>)>,
) -> Result<(), Error> {
    let (clients, took) = connect(arguments, count)?;
    let rate = clients.len() as f64 / took.as_secs_f64();
    println!(
        "connected {} clients in {took:.2?}: {rate:.0} a second",
        clients.len()
    );
    if let Some((event, data)) = event {
        let run = Arc::new(Run {
            event: event.to_owned(),
            data: Args(data),
            ends: AtomicBool::new(false),
            answered: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            times: Mutex::default(),
        });
        measure(&run, &clients, duration);
    }
    for client in &clients {
        client.disconnect();
    }
    Ok(())
}

/// Connects the clients, a few at once.
fn connect(arguments: &Arguments, count: u32) -> Result<(Vec<Client>, Duration), Error> {
    let connection = &arguments.connection;
    let name = connection.single_name()?;
    let builder = connection.client()?.reconnection(false);
    let bar = bar(u64::from(count), "connecting");
    let since = Instant::now();
    let (sender, outcomes) = unbounded();
    let mut clients = Vec::new();
    let (mut begun, mut done) = (0, 0);
    while done < count as usize {
        while begun < count as usize && begun - done < CONNECTIONS_AT_ONCE {
            let client = builder.clone().build().of(&name);
            tell_outcome(&client, &sender);
            client.connect_in_background(connection.options(arguments.url()))?;
            clients.push(client);
            begun += 1;
        }
        let outcome: Result<(), ConnectError> = outcomes.recv().map_err(|_| Error::Disconnected)?;
        outcome?;
        done += 1;
        bar.inc(1);
    }
    bar.finish_and_clear();
    Ok((clients, since.elapsed()))
}

fn tell_outcome(client: &Client, sender: &Sender<Result<(), ConnectError>>) {
    let (connected, failed) = (sender.clone(), sender.clone());
    client.on_connect(move |_: &Client| {
        let _ = connected.send(Ok(()));
    });
    client.on_connect_error(move |_: &Client, error: &ConnectError| {
        let _ = failed.send(Err(error.clone()));
    });
}

/// Lets each client send an event as soon as the last one is answered.
fn measure(run: &Arc<Run>, clients: &[Client], duration: Duration) {
    let ticks = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let bar = bar(ticks, &run.event);
    let since = Instant::now();
    for client in clients {
        ask(run, client);
    }
    while since.elapsed() < duration {
        std::thread::sleep(PROGRESS_INTERVAL.min(duration));
        let passed = since.elapsed().min(duration);
        bar.set_position(u64::try_from(passed.as_millis()).unwrap_or(ticks));
        let answered = run.answered.load(Ordering::Relaxed);
        let rate = answered as f64 / since.elapsed().as_secs_f64();
        bar.set_message(format!("{} {rate:.0} a second", run.event));
    }
    run.ends.store(true, Ordering::Relaxed);
    let (answered, took) = (run.answered.load(Ordering::Relaxed), since.elapsed());
    bar.finish_and_clear();
    let rate = answered as f64 / took.as_secs_f64();
    println!("{answered} answers in {took:.2?}: {rate:.0} a second");
    let failed = run.failed.load(Ordering::Relaxed);
    if failed > 0 {
        println!("{failed} answers did not come, or not in {ANSWER_TIMEOUT:?}");
    }
    let mut times = run.times.lock().unwrap_or_else(PoisonError::into_inner);
    times.sort_unstable();
    let Some(last) = times.len().checked_sub(1) else {
        return;
    };
    let at = |share: f64| Duration::from_nanos(times[(last as f64 * share) as usize]);
    println!(
        "p50 {:.2?}, p90 {:.2?}, p99 {:.2?}, p99.9 {:.2?}, longest {:.2?}",
        at(0.5),
        at(0.9),
        at(0.99),
        at(0.999),
        at(1.0)
    );
}

fn ask(run: &Arc<Run>, client: &Client) {
    let (asked, next, since) = (Arc::clone(run), client.clone(), Instant::now());
    let answered = move |answer: Result<Value, Error>| {
        if asked.ends.load(Ordering::Relaxed) {
            return;
        }
        match answer {
            Ok(_) => {
                let took = u64::try_from(since.elapsed().as_nanos()).unwrap_or(u64::MAX);
                let mut times = asked.times.lock().unwrap_or_else(PoisonError::into_inner);
                times.push(took);
                drop(times);
                asked.answered.fetch_add(1, Ordering::Relaxed);
                ask(&asked, &next);
            }
            Err(Error::Timeout) => {
                asked.failed.fetch_add(1, Ordering::Relaxed);
                ask(&asked, &next);
            }
            Err(_) => {
                asked.failed.fetch_add(1, Ordering::Relaxed);
            }
        }
    };
    if client
        .emit_with_ack(&run.event, &run.data, ANSWER_TIMEOUT, answered)
        .is_err()
    {
        run.failed.fetch_add(1, Ordering::Relaxed);
    }
}

fn bar(length: u64, what: &str) -> ProgressBar {
    let style = ProgressStyle::with_template("{bar:40} {percent:>3} % {msg}");
    let style = style.unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(length)
        .with_style(style)
        .with_message(what.to_owned())
}
