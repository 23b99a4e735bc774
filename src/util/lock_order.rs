//! Locks that know their order: what builds with debug assertions have in the place of
//! parking_lot's.
//!
//! Locks that were created at the same place of the code are of one class. A thread that holds one
//! class while it takes another fixes the order of the two for the rest of the process; the first
//! that takes them the other way round panics, and names both places. So every test that runs looks
//! for inversions, also where no two threads happen to meet. A class is not taken inside itself:
//! two connections' locks, in two orders, would be a deadlock.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::fmt;
use std::ops::{Deref, DerefMut};
use std::panic::Location;
use std::time::{Duration, Instant};

type Class = &'static Location<'static>;

thread_local! {
    /// The classes that this thread holds, in the order in which it took them.
    static HELD: RefCell<Vec<Class>> = const { RefCell::new(Vec::new()) };
    /// The pairs that it has looked at before.
    static KNOWN: RefCell<HashSet<(Class, Class)>> = RefCell::default();
}

/// For each class those that were taken inside it.
static ORDER: parking_lot::Mutex<Option<HashMap<Class, HashSet<Class>>>> =
    parking_lot::Mutex::new(None);

/// Checks that a class may be taken now.
fn check(class: Class) {
    // A thread that ends has no thread-locals left, and takes little.
    let _ = HELD.try_with(|held| {
        for outer in held.borrow().iter() {
            let is_known = KNOWN.try_with(|it| it.borrow().contains(&(*outer, class)));
            if is_known != Ok(false) {
                continue;
            }
            if let Err(inverted) = order(outer, class) {
                assert!(std::thread::panicking(), "{inverted}");
            }
            let _ = KNOWN.try_with(|it| it.borrow_mut().insert((outer, class)));
        }
    });
}

/// Checks that the thread holds no lock: a function of the program is about to be called.
pub(crate) fn assert_unlocked() {
    let _ = HELD.try_with(|held| {
        let held = held.borrow();
        assert!(
            held.is_empty() || std::thread::panicking(),
            "a function of the program is called under the locks of {held:?}"
        );
    });
}

/// Notes that a class is taken inside another.
fn order(outer: Class, inner: Class) -> Result<(), String> {
    let mut order = ORDER.lock();
    let order = order.get_or_insert_default();
    if outer == inner || leads(order, inner, outer) {
        return Err(format!(
            "the lock of {inner} is taken inside that of {outer}, and elsewhere the other way round"
        ));
    }
    order.entry(outer).or_default().insert(inner);
    Ok(())
}

/// Returns whether one class is taken inside another, or inside what is taken there.
fn leads(order: &HashMap<Class, HashSet<Class>>, from: Class, to: Class) -> bool {
    let mut left = vec![from];
    let mut seen = HashSet::new();
    while let Some(class) = left.pop() {
        if class == to {
            return true;
        }
        if seen.insert(class) {
            left.extend(order.get(class).into_iter().flatten());
        }
    }
    false
}

/// A class that the thread holds, until this is dropped.
struct Held(Class);

impl Held {
    fn hold(class: Class) -> Held {
        let _ = HELD.try_with(|held| held.borrow_mut().push(class));
        Held(class)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let _ = HELD.try_with(|held| {
            let mut held = held.borrow_mut();
            if let Some(at) = held.iter().rposition(|class| *class == self.0) {
                held.remove(at);
            }
        });
    }
}

pub(crate) struct Mutex<T: ?Sized> {
    class: Class,
    inner: parking_lot::Mutex<T>,
}

impl<T> Mutex<T> {
    #[track_caller]
    pub(crate) const fn new(value: T) -> Mutex<T> {
        Mutex {
            class: Location::caller(),
            inner: parking_lot::Mutex::new(value),
        }
    }
}

impl<T: ?Sized> Mutex<T> {
    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        check(self.class);
        MutexGuard {
            inner: self.inner.lock(),
            held: Held::hold(self.class),
        }
    }

    #[cfg(test)]
    pub(crate) fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
        let inner = self.inner.try_lock()?;
        let held = Held::hold(self.class);
        Some(MutexGuard { inner, held })
    }
}

impl<T: Default> Default for Mutex<T> {
    #[track_caller]
    fn default() -> Self {
        Mutex::new(T::default())
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for Mutex<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(formatter)
    }
}

pub(crate) struct MutexGuard<'a, T: ?Sized> {
    inner: parking_lot::MutexGuard<'a, T>,
    held: Held,
}

impl<T: ?Sized> MutexGuard<'_, T> {
    pub(crate) fn unlocked<U>(guard: &mut Self, run: impl FnOnce() -> U) -> U {
        let class = guard.held.0;
        drop(std::mem::replace(&mut guard.held, Held(class)));
        let result = parking_lot::MutexGuard::unlocked(&mut guard.inner, run);
        std::mem::forget(std::mem::replace(&mut guard.held, Held::hold(class)));
        result
    }
}

impl<T: ?Sized> Deref for MutexGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.inner
    }
}

impl<T: ?Sized> DerefMut for MutexGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.inner
    }
}

pub(crate) struct RwLock<T> {
    class: Class,
    inner: parking_lot::RwLock<T>,
}

impl<T> RwLock<T> {
    #[track_caller]
    pub(crate) const fn new(value: T) -> RwLock<T> {
        RwLock {
            class: Location::caller(),
            inner: parking_lot::RwLock::new(value),
        }
    }

    pub(crate) fn read(&self) -> RwLockGuard<parking_lot::RwLockReadGuard<'_, T>> {
        check(self.class);
        RwLockGuard {
            inner: self.inner.read(),
            _held: Held::hold(self.class),
        }
    }

    pub(crate) fn write(&self) -> RwLockGuard<parking_lot::RwLockWriteGuard<'_, T>> {
        check(self.class);
        RwLockGuard {
            inner: self.inner.write(),
            _held: Held::hold(self.class),
        }
    }
}

impl<T: Default> Default for RwLock<T> {
    #[track_caller]
    fn default() -> Self {
        RwLock::new(T::default())
    }
}

impl<T: fmt::Debug> fmt::Debug for RwLock<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(formatter)
    }
}

pub(crate) struct RwLockGuard<G> {
    inner: G,
    _held: Held,
}

impl<G: Deref> Deref for RwLockGuard<G> {
    type Target = G::Target;

    fn deref(&self) -> &G::Target {
        &self.inner
    }
}

impl<G: DerefMut> DerefMut for RwLockGuard<G> {
    fn deref_mut(&mut self) -> &mut G::Target {
        &mut self.inner
    }
}

/// A condition that the state of a mutex fulfils. Who waits holds the mutex as far as the order is
/// concerned: it is taken again inside whatever else is held.
#[derive(Debug, Default)]
pub(crate) struct Condvar(parking_lot::Condvar);

impl Condvar {
    pub(crate) const fn new() -> Condvar {
        Condvar(parking_lot::Condvar::new())
    }

    pub(crate) fn wait<T>(&self, guard: &mut MutexGuard<'_, T>) {
        self.0.wait(&mut guard.inner);
    }

    pub(crate) fn wait_for<T>(
        &self,
        guard: &mut MutexGuard<'_, T>,
        timeout: Duration,
    ) -> parking_lot::WaitTimeoutResult {
        self.0.wait_for(&mut guard.inner, timeout)
    }

    pub(crate) fn wait_until<T>(
        &self,
        guard: &mut MutexGuard<'_, T>,
        time: Instant,
    ) -> parking_lot::WaitTimeoutResult {
        self.0.wait_until(&mut guard.inner, time)
    }

    pub(crate) fn notify_one(&self) {
        self.0.notify_one();
    }

    pub(crate) fn notify_all(&self) {
        self.0.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::panic::{AssertUnwindSafe, catch_unwind};

    #[test]
    fn an_inversion_is_found_without_two_threads_that_meet() {
        let (one, other, third) = (Mutex::new(1), RwLock::new(2), Mutex::new(3));
        assert_eq!((*one.lock(), *other.read()), (1, 2));
        let guards = (other.write(), third.lock());
        drop(guards);
        // Over two steps: the third inside the other, and that inside the first.
        let guard = third.lock();
        let inverted = catch_unwind(AssertUnwindSafe(|| drop(one.lock())));
        let why = *inverted.unwrap_err().downcast::<String>().unwrap();
        assert!(why.contains("the other way round"), "{why}");
        drop(guard);
        drop(one.lock());
    }

    #[test]
    fn a_class_is_not_taken_inside_itself() {
        let both: Vec<_> = (0..2).map(Mutex::new).collect();
        let guard = both[0].lock();
        assert!(catch_unwind(AssertUnwindSafe(|| drop(both[1].lock()))).is_err());
        drop(guard);
        drop(both[1].lock());
    }

    #[test]
    fn a_lock_that_is_given_back_for_a_moment_is_not_held() {
        let (one, other) = (Mutex::new(()), Mutex::new(()));
        let mut guard = one.lock();
        MutexGuard::unlocked(&mut guard, || drop(other.lock()));
        drop(guard);
        let _other = other.lock();
        drop(one.lock());
    }
}
