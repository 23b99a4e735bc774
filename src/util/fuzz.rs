//! Cases that look random, the same each time: what the tests of the codecs and of the session
//! machines feed them with.
//!
//! A run has a fixed number of cases. With `SOCKETIO_FUZZ_SECONDS` each target goes on with new
//! ones for so long. A case that fails names its number: `SOCKETIO_FUZZ_CASE` runs it alone.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::time::{Duration, Instant};

/// Cases of each target in an ordinary run.
const CASES_PER_TEST: u64 = 3_000;

/// Runs a target with one case after the other.
pub(crate) fn run(target: impl Fn(&mut Source)) {
    let setting = |name: &str| {
        std::env::var(name)
            .ok()
            .and_then(|it| it.parse::<u64>().ok())
    };
    if let Some(case) = setting("SOCKETIO_FUZZ_CASE") {
        return target(&mut Source::new(case));
    }
    let time = Duration::from_secs(setting("SOCKETIO_FUZZ_SECONDS").unwrap_or(0));
    let until = Instant::now() + time;
    let mut case = 0;
    while case < CASES_PER_TEST || Instant::now() < until {
        let run = || target(&mut Source::new(case));
        if let Err(panic) = catch_unwind(AssertUnwindSafe(run)) {
            eprintln!("case {case} failed");
            resume_unwind(panic);
        }
        case += 1;
    }
}

/// Source of a case's choices.
pub(crate) struct Source(u64);

impl Source {
    fn new(case: u64) -> Source {
        // Neighbours are to have nothing in common.
        let mut source = Source(case.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        for _ in 0..4 {
            source.next();
        }
        source
    }

    fn next(&mut self) -> u64 {
        // Marsaglia's xorshift.
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// Returns a number below a bound that is not 0.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        (self.next() >> 16) as usize % bound
    }

    /// Returns true once in so many calls, on average.
    pub(crate) fn one_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }

    pub(crate) fn pick<'a, T: ?Sized>(&mut self, choices: &[&'a T]) -> &'a T {
        choices[self.below(choices.len())]
    }

    /// Returns one of the examples, spoilt in a few places: bytes changed, cut out, repeated, or
    /// taken from another example.
    pub(crate) fn mutate(&mut self, examples: &[&[u8]]) -> Vec<u8> {
        const INTERESTING_BYTES: &[u8] = b"\0\x01\x1e\x7f\x80\xff\"\\[]{}:,/-+ 0249e%\r\n";
        let mut bytes = self.pick(examples).to_vec();
        for _ in 0..self.below(6) {
            let at = self.below(bytes.len() + 1);
            let end = (at + self.below(16)).min(bytes.len());
            match self.below(6) {
                0 => bytes.truncate(at),
                1 => drop(bytes.drain(at..end)),
                2 => {
                    let part = bytes[at..end].to_vec();
                    let times = 1 << self.below(8);
                    bytes.splice(at..at, part.repeat(times));
                }
                3 => {
                    let other = self.pick(examples);
                    let from = self.below(other.len() + 1);
                    bytes.splice(at..at, other[from..].iter().copied());
                }
                4 => bytes.insert(at, INTERESTING_BYTES[self.below(INTERESTING_BYTES.len())]),
                _ if at < bytes.len() => bytes[at] = self.next() as u8,
                _ => bytes.push(self.next() as u8),
            }
        }
        bytes.truncate(1 << 16);
        bytes
    }

    /// Cuts bytes into pieces.
    pub(crate) fn cut<'a>(&mut self, bytes: &'a [u8]) -> Vec<&'a [u8]> {
        let mut pieces = Vec::new();
        let mut rest = bytes;
        while !rest.is_empty() {
            let most = if self.one_in(2) { 4 } else { rest.len() };
            let (piece, after) = rest.split_at(1 + self.below(most.min(rest.len())));
            pieces.push(piece);
            rest = after;
        }
        pieces
    }
}
