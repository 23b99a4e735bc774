//! Places that are counted, in all and for each address.

use crate::util::sync::Mutex;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::IpAddr;
use std::sync::Arc;

/// Places that are taken until their [`Slot`] is dropped.
#[derive(Debug, Default)]
pub(crate) struct Slots {
    taken: Mutex<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    count: usize,
    by_address: HashMap<IpAddr, usize>,
}

/// A place, which is free again when this is dropped.
#[derive(Debug)]
pub(crate) struct Slot {
    slots: Arc<Slots>,
    address: Option<IpAddr>,
}

/// Reason why there is no place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoSlot {
    /// As many are taken as may be.
    Full,
    /// As many are taken by this address as may be.
    FullForAddress,
}

impl Slots {
    /// Takes a place, for an address if it counts.
    pub(crate) fn take(
        self: &Arc<Self>,
        address: Option<IpAddr>,
        limit: usize,
        limit_for_address: usize,
    ) -> Result<Slot, NoSlot> {
        let mut taken = self.taken.lock();
        if taken.count >= limit {
            return Err(NoSlot::Full);
        }
        if let Some(address) = address {
            let own = taken.by_address.get(&address).copied().unwrap_or(0);
            if own >= limit_for_address {
                return Err(NoSlot::FullForAddress);
            }
            taken.by_address.insert(address, own + 1);
        }
        taken.count += 1;
        drop(taken);
        Ok(Slot {
            slots: Arc::clone(self),
            address,
        })
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut taken = self.slots.taken.lock();
        taken.count -= 1;
        if let Some(address) = self.address
            && let Entry::Occupied(mut own) = taken.by_address.entry(address)
        {
            *own.get_mut() -= 1;
            if *own.get() == 0 {
                own.remove();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_counted_in_all_and_for_each_address() {
        let slots = Arc::new(Slots::default());
        let address = |last| Some(IpAddr::from([127, 0, 0, last]));
        let take = |address| slots.take(address, 4, 2);
        let first = take(address(1)).unwrap();
        let _second = take(address(1)).unwrap();
        assert_eq!(take(address(1)).unwrap_err(), NoSlot::FullForAddress);
        let _third = take(address(2)).unwrap();
        let _fourth = take(None).unwrap();
        assert_eq!(take(None).unwrap_err(), NoSlot::Full);
        drop(first);
        drop(take(address(1)).unwrap());
        assert_eq!(slots.taken.lock().by_address.len(), 2);
    }

    #[test]
    fn an_address_that_is_refused_is_not_kept() {
        let slots = Arc::new(Slots::default());
        let address = Some(IpAddr::from([127, 0, 0, 1]));
        assert_eq!(
            slots.take(address, 4, 0).unwrap_err(),
            NoSlot::FullForAddress
        );
        assert!(slots.taken.lock().by_address.is_empty());
    }
}
