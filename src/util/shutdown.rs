//! Ctrl-C and SIGTERM, for whoever in the process wants to end in order.

use crate::util::sync::Mutex;
use crossbeam_channel::{Receiver, Sender};
use std::io;
use std::sync::Weak;

/// Exit status of a process that was ended by SIGINT.
const INTERRUPTED_EXIT_STATUS: i32 = 130;

/// Listeners of a signal.
struct SignalListeners {
    installed: bool,
    /// Servers, which end, and then let the program go on.
    waiting: Vec<Sender<()>>,
    /// Clients, which end before the process does.
    ending: Vec<Weak<dyn OnShutdown>>,
}

static LISTENERS: Mutex<SignalListeners> = Mutex::new(SignalListeners {
    installed: false,
    waiting: Vec::new(),
    ending: Vec::new(),
});

/// Held while what is registered ends, before the process does.
static ENDING: Mutex<()> = Mutex::new(());

/// Blocks while a signal is ending the process, which then never returns: the program must not
/// continue with operations that the signal has aborted.
pub(crate) fn park_if_exiting() {
    drop(ENDING.lock());
}

/// Something that wants to end in order.
pub(crate) trait OnShutdown: Send + Sync {
    /// Does not block.
    fn start_shutdown(&self);

    /// Waits until it has ended: may block for a few seconds.
    fn wait_for_end(&self);
}

/// Returns a channel that gets a message with the next signal; the process goes on.
pub(crate) fn next_signal() -> io::Result<Receiver<()>> {
    let (sender, signal) = crossbeam_channel::bounded(1);
    let mut listeners = LISTENERS.lock();
    listeners.install()?;
    listeners.waiting.push(sender);
    Ok(signal)
}

/// Registers something that is to end before a signal ends the process.
pub(crate) fn register_shutdown(ending: Weak<dyn OnShutdown>) -> io::Result<()> {
    let mut listeners = LISTENERS.lock();
    listeners.install()?;
    listeners.ending.retain(|known| known.strong_count() > 0);
    listeners.ending.push(ending);
    Ok(())
}

impl SignalListeners {
    fn install(&mut self) -> io::Result<()> {
        if !self.installed {
            ctrlc::set_handler(on_signal).map_err(io::Error::other)?;
            self.installed = true;
        }
        Ok(())
    }
}

/// Runs on a thread of its own.
fn on_signal() {
    let _guard = ENDING.lock();
    let (waiting, ending) = {
        let mut listeners = LISTENERS.lock();
        let ending: Vec<_> = listeners.ending.iter().filter_map(Weak::upgrade).collect();
        (std::mem::take(&mut listeners.waiting), ending)
    };
    ending.iter().for_each(|ending| ending.start_shutdown());
    ending.iter().for_each(|ending| ending.wait_for_end());
    // One whose server has ended by itself has nobody who listens.
    let told = waiting
        .iter()
        .filter(|waiting| waiting.try_send(()).is_ok())
        .count();
    if told == 0 {
        std::process::exit(INTERRUPTED_EXIT_STATUS);
    }
}
