//! Ctrl-C and SIGTERM, for whoever in the process wants to end in order.

use crate::error::Error;
use crate::util::sync::Mutex;
use crossbeam_channel::{Receiver, Sender};
use std::sync::Weak;

/// Exit status of a process that was ended by SIGINT.
const INTERRUPTED: i32 = 130;

/// Listeners of a signal.
struct Told {
    installed: bool,
    /// Servers, which end, and then let the program go on.
    waiting: Vec<Sender<()>>,
    /// Clients, which end before the process does.
    ending: Vec<Weak<dyn Ending>>,
}

static TOLD: Mutex<Told> = Mutex::new(Told {
    installed: false,
    waiting: Vec::new(),
    ending: Vec::new(),
});

/// Held while what is to end before the process does so.
static ENDING: Mutex<()> = Mutex::new(());

/// Does not return while a signal is ending the process: the program is not to go on with what was
/// broken off by that.
pub(crate) fn let_end() {
    drop(ENDING.lock());
}

/// Something that wants to end in order.
pub(crate) trait Ending: Send + Sync {
    /// Does not block.
    fn begin_to_end(&self);

    /// May block for a few seconds.
    fn wait_for_end(&self);
}

/// Returns a channel that gets a message with the next signal; the process goes on.
pub(crate) fn wait() -> Result<Receiver<()>, Error> {
    let (sender, signal) = crossbeam_channel::bounded(1);
    let mut told = TOLD.lock();
    told.install()?;
    told.waiting.push(sender);
    Ok(signal)
}

/// Ends something before a signal ends the process.
pub(crate) fn end_before(ending: Weak<dyn Ending>) -> Result<(), Error> {
    let mut told = TOLD.lock();
    told.install()?;
    told.ending.retain(|known| known.strong_count() > 0);
    told.ending.push(ending);
    Ok(())
}

impl Told {
    fn install(&mut self) -> Result<(), Error> {
        if !self.installed {
            ctrlc::set_handler(on_signal)
                .map_err(|error| Error::Io(std::io::Error::other(error)))?;
            self.installed = true;
        }
        Ok(())
    }
}

/// Runs on a thread of its own.
fn on_signal() {
    let _guard = ENDING.lock();
    let (waiting, ending) = {
        let mut told = TOLD.lock();
        let ending: Vec<_> = told.ending.iter().filter_map(Weak::upgrade).collect();
        (std::mem::take(&mut told.waiting), ending)
    };
    ending.iter().for_each(|ending| ending.begin_to_end());
    ending.iter().for_each(|ending| ending.wait_for_end());
    // One whose server has ended by itself has nobody who listens.
    let told = waiting
        .iter()
        .filter(|waiting| waiting.try_send(()).is_ok())
        .count();
    if told == 0 {
        std::process::exit(INTERRUPTED);
    }
}
