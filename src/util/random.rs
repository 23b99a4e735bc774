//! Random bytes of the operating system.

/// Fills a buffer; none if the system gives no random bytes.
pub(crate) fn fill(bytes: &mut [u8]) -> Option<()> {
    getrandom::fill(bytes).ok()
}

/// Returns a number from 0 to below 1: the middle if the system gives no random bytes.
pub(crate) fn fraction() -> f64 {
    let mut bytes = [0; 4];
    match fill(&mut bytes) {
        Some(()) => f64::from(u32::from_le_bytes(bytes)) / (f64::from(u32::MAX) + 1.0),
        None => 0.5,
    }
}

/// Returns so many random bytes as digits; none if the system gives no random bytes.
pub(crate) fn hex<const N: usize>() -> Option<String> {
    let mut bytes = [0; N];
    fill(&mut bytes)?;
    Some(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}
