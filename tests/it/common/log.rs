//! What this process logs, for tests that promise a record.

use parking_lot::Mutex;
use std::sync::Once;

/// Records of WARN and above, and those of INFO, with their targets.
static RECORDS: Mutex<Vec<String>> = Mutex::new(Vec::new());

struct Capture;

impl log::Log for Capture {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        if record.level() <= log::Level::Info {
            let text = format!("{}: {}", record.target(), record.args());
            RECORDS.lock().push(text);
        }
    }

    fn flush(&self) {}
}

/// Begins to keep records.
pub(crate) fn capture() {
    static LOGGER: Once = Once::new();
    LOGGER.call_once(|| {
        log::set_logger(&Capture).unwrap();
        log::set_max_level(log::LevelFilter::Info);
    });
}

/// Returns the last records, for a test that fails.
pub(crate) fn last(count: usize) -> String {
    let records = RECORDS.lock();
    records[records.len().saturating_sub(count)..].join("\n")
}

/// Counts the records that hold all of these words.
pub(crate) fn count(words: &[&str]) -> usize {
    let records = RECORDS.lock();
    let holds = |record: &&String| words.iter().all(|word| record.contains(word));
    records.iter().filter(holds).count()
}
