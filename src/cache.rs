//! One value that ends and is renewed: who serves it, who renews it, who waits.
//!
//! The module knows no clock, no thread and no Python. Times are Unix milliseconds that the caller
//! passes in; nothing here blocks but for a mutex held over a few assignments.
//!
//! ```text
//!          valid_from        renew_at           serve_until   expires_at
//!   miss ──────┼───── hit ───────┼───── stale ───────┼──── miss ────┼──
//! ```
//!
//! - A **hit** reads the published entry: no lock, no allocation, no counter, no look at the process
//!   id. All threads and all forks may do it at once.
//! - From `renew_at` (80 % of the life) on, one caller gets a [`Lease`] with the old value and renews;
//!   all others go on with the old value.
//! - Without a value that may be served, one caller gets a lease, the others wait: they
//!   [`join`](Cache::join), which gives all of them one handle to wait on.
//! - A lease is fulfilled, failed or abandoned. Each of these gives back the handle of those who
//!   wait, exactly once, to the one who has to wake them.
//!
//! **Fork.** A mutex that was locked at the fork stays locked in the child, and the thread that held
//! a lease is gone. So everything but the entry lives on a desk that knows the process that made
//! it, and whoever comes to a desk of another process puts a fresh one in its place, before
//! any lock. (Not `pthread_atfork` or Python's `register_at_fork`: a fork made in C need not run the
//! latter.) arc-swap itself is lock-free: a thread that vanished in the middle of a read leaks one
//! reference, no more.

use std::ops::Range;
use std::process;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::{ArcSwap, ArcSwapOption};

/// Unix time, or a span of time, in milliseconds.
pub type Millis = i64;

/// How far the clock may be set back before what it said earlier is no longer believed. Threads
/// read the clock at slightly different times and NTP steps it by less.
const CLOCK_TOLERANCE: Millis = 60_000;
/// Nothing is served in the last five seconds of its life, or the last tenth if that is less.
const LAST_SPAN: Millis = 5_000;
const FIRST_BACKOFF: Millis = 1_000;
const LONGEST_BACKOFF: Millis = 30_000;

/// What [`Cache::get`] found.
#[derive(Debug)]
pub enum Lookup<R, T, W> {
    /// A value to use.
    Hit(R),
    /// A value to use, and the duty to renew it.
    Stale(R, Lease<T, W>),
    /// No value, and the duty to make one.
    Miss(Lease<T, W>),
    /// No value, and somebody else is making one: [`Cache::join`] them.
    Wait,
}

/// Counts since the process began (a forked child counts from nought), and the present value's end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Values published.
    pub issued: u64,
    /// Leases that failed.
    pub failures: u64,
    /// When the present value ends; `None` without one.
    pub expires_at: Option<Millis>,
}

impl Stats {
    /// Values published after the first.
    #[must_use]
    pub fn renewals(&self) -> u64 {
        self.issued.saturating_sub(1)
    }
}

/// The cache of one value of type `T`. Those who wait for it wait on a `W`.
#[derive(Debug)]
pub struct Cache<T, W> {
    shared: Arc<Shared<T, W>>,
}

#[derive(Debug)]
struct Shared<T, W> {
    entry: ArcSwapOption<Entry<T>>,
    /// Grows after each change of `entry`.
    generation: AtomicU64,
    desk: ArcSwap<Desk<W>>,
    lease_timeout: Millis,
}

impl<T, W> Cache<T, W> {
    /// An empty cache. A lease older than `lease_timeout` is taken over: its holder hangs.
    #[must_use]
    pub fn new(lease_timeout: Millis) -> Self {
        Self {
            shared: Arc::new(Shared {
                entry: ArcSwapOption::empty(),
                generation: AtomicU64::new(0),
                desk: ArcSwap::from_pointee(Desk::new()),
                lease_timeout,
            }),
        }
    }

    /// The value, through `read`, if it is fresh at `now`: the hit path alone.
    ///
    /// [`get`](Cache::get) begins with it; a caller that counts nanoseconds calls it first, for its
    /// result fits in a register.
    #[inline]
    pub fn hit<R>(&self, now: Millis, read: impl FnOnce(&T) -> R) -> Option<R> {
        match &*self.shared.entry.load() {
            Some(entry) if entry.is_fresh(now) => Some(read(&entry.value)),
            _ => None,
        }
    }

    /// A number that changes with each value that is published or forgotten.
    ///
    /// What [`fresh`](Cache::fresh) gave *after* this number was read holds for as long as this number
    /// does, and may be kept outside until then.
    #[inline]
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.shared.generation.load(Ordering::Acquire)
    }

    /// The value, through `read`, which is also told from when to when it is fresh.
    pub fn fresh<R>(&self, read: impl FnOnce(&T, Range<Millis>) -> R) -> Option<R> {
        let entry = self.shared.entry.load_full()?;
        let renew_at = entry.valid_from.saturating_add_unsigned(entry.fresh_for);
        Some(read(&entry.value, entry.valid_from..renew_at))
    }

    /// The value for use at `now`, through `read`, or what to do about its absence.
    ///
    /// `read` is never called under a lock.
    pub fn get<R>(&self, now: Millis, read: impl Fn(&T) -> R) -> Lookup<R, T, W> {
        if let Some(value) = self.hit(now, &read) {
            return Lookup::Hit(value);
        }
        let desk = self.shared.desk();
        // Both are dropped after the lock is: either may be the last to hold a value or a waiter.
        let entry;
        let issued;
        {
            let mut state = desk.state();
            // Anew, for the lease may have been fulfilled since.
            entry = self.shared.entry.load_full();
            issued = match entry.as_deref().map(|entry| entry.standing(now)) {
                Some(Standing::Fresh) => None,
                Some(Standing::Stale) if state.backs_off(now) => None,
                _ => state.issue_lease(now, self.shared.lease_timeout),
            };
        }
        let lease = issued.map(|(ticket, _taken_over)| Lease {
            shared: Arc::clone(&self.shared),
            ticket,
        });
        match (entry.filter(|entry| entry.may_be_served(now)), lease) {
            (Some(entry), None) => Lookup::Hit(read(&entry.value)),
            (Some(entry), Some(lease)) => Lookup::Stale(read(&entry.value), lease),
            (None, Some(lease)) => Lookup::Miss(lease),
            (None, None) => Lookup::Wait,
        }
    }

    /// Waits with the others for the lease that is out: gives the handle to wait on, which is
    /// `offer` if it is the first. `None` if no lease is out any more: [`get`](Cache::get) again.
    ///
    /// Cloning `W` must be cheap and call nothing: it happens under the lock. So no wake-up is lost:
    /// whoever joined before the lease was settled is on the handle that settling gives back.
    pub fn join(&self, offer: &W) -> Option<W>
    where
        W: Clone,
    {
        let desk = self.shared.desk();
        let state = desk.state();
        let mut waiter = lock(&state.lease.as_ref()?.waiter);
        Some(waiter.get_or_insert_with(|| offer.clone()).clone())
    }

    /// Forgets the value and disowns a lease that is out: what it brings is for those who already
    /// wait for it, and is not kept. The next [`get`](Cache::get) is a miss with a new lease.
    pub fn invalidate(&self) {
        let desk = self.shared.desk();
        let forgotten = {
            let mut state = desk.state();
            (state.lease.take(), self.shared.publish(None))
        };
        drop(forgotten);
    }

    /// What happened so far.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let desk = self.shared.desk();
        let entry = self.shared.entry.load();
        let state = desk.state();
        Stats {
            issued: state.issued,
            failures: state.failures,
            expires_at: entry.as_ref().map(|entry| entry.expires_at),
        }
    }
}

impl<T, W> Shared<T, W> {
    /// Puts another entry in the place of the present one, which it returns. Called under the desk's lock.
    fn publish(&self, entry: Option<Arc<Entry<T>>>) -> Option<Arc<Entry<T>>> {
        let before = self.entry.swap(entry);
        // After it: whoever sees the new number finds the new entry.
        self.generation.fetch_add(1, Ordering::Release);
        before
    }

    /// This process's desk.
    fn desk(&self) -> Arc<Desk<W>> {
        loop {
            let desk = self.desk.load_full();
            if desk.is_ours() {
                return desk;
            }
            // The forked child's first visit. Another thread may be quicker; then its desk counts.
            self.desk.compare_and_swap(&desk, Arc::new(Desk::new()));
        }
    }
}

/// The duty to make a value. At most one is out at a time; a lease that was taken over, or disowned
/// by [`Cache::invalidate`], still gives back its own waiters but publishes nothing.
///
/// Settling it a second time does nothing. Dropping it unsettled [abandons](Lease::abandon) it.
#[derive(Debug)]
pub struct Lease<T, W> {
    shared: Arc<Shared<T, W>>,
    ticket: Arc<Ticket<W>>,
}

impl<T, W> Lease<T, W> {
    /// Publishes the value and returns the handle of those who wait, to be woken with it.
    #[must_use = "whoever waits on it must be woken"]
    pub fn fulfil(&self, value: T, signed_at: Millis, expires_at: Millis) -> Option<W> {
        let entry = Some(Arc::new(Entry::new(value, signed_at, expires_at)));
        self.settle(|state| {
            state.issued += 1;
            state.failures_in_a_row = 0;
            state.backoff = 0..0;
            self.shared.publish(entry)
        })
    }

    /// Gives up. The old value is served to its end; until a random part of the back-off is over
    /// (`jitter`, 0 to 1, of one second, doubled with each failure up to 30) nobody renews it.
    ///
    /// Full jitter, so that processes whose renewal failed together do not try again together.
    #[must_use = "whoever waits on it must be woken"]
    pub fn fail(&self, now: Millis, jitter: f64) -> Option<W> {
        self.settle(|state| {
            state.failures += 1;
            state.failures_in_a_row = state.failures_in_a_row.saturating_add(1);
            let doublings = (state.failures_in_a_row - 1).min(5);
            let most = LONGEST_BACKOFF.min(FIRST_BACKOFF << doublings);
            #[allow(
                clippy::cast_possible_truncation,
                clippy::cast_precision_loss,
                reason = "30,000 at most"
            )]
            let delay = (jitter.clamp(0.0, 1.0) * most as f64) as Millis;
            state.backoff = believed(now, delay);
        })
    }

    /// Gives the lease back, for the next caller to take at once.
    #[must_use = "whoever waits on it must be woken"]
    pub fn abandon(&self) -> Option<W> {
        self.settle(|_| ())
    }

    /// Ends the lease, with `conclude` under the lock if it still counts.
    fn settle<D>(&self, conclude: impl FnOnce(&mut State<W>) -> D) -> Option<W> {
        if self.ticket.process != process::id() {
            // Made by the parent of this fork, for waiters that exist only there, under a lock that
            // may never be released.
            return None;
        }
        let desk = self.shared.desk();
        // Dropped after the lock is, and so is `conclude` with all it holds if it is not called: no
        // closure may own it in there.
        let settled = {
            let mut state = desk.state();
            let mine = |lease: &mut Arc<_>| Arc::ptr_eq(lease, &self.ticket);
            let ticket = state.lease.take_if(mine);
            let mut concluded = None;
            if ticket.is_some() {
                concluded = Some(conclude(&mut state));
            }
            (ticket, concluded)
        };
        drop(settled);
        // Nobody can join this ticket any more: it is not on the desk.
        lock(&self.ticket.waiter).take()
    }
}

impl<T, W> Drop for Lease<T, W> {
    fn drop(&mut self) {
        drop(self.abandon());
    }
}

/// A published value and its times, as the hit path wants them.
#[derive(Debug)]
struct Entry<T> {
    valid_from: Millis,
    /// From `valid_from` to `renew_at`.
    fresh_for: u64,
    serve_until: Millis,
    expires_at: Millis,
    value: T,
}

#[derive(Debug, PartialEq)]
enum Standing {
    Fresh,
    Stale,
    Gone,
}

impl<T> Entry<T> {
    fn new(value: T, signed_at: Millis, expires_at: Millis) -> Self {
        let life = expires_at.saturating_sub(signed_at).max(0);
        let valid_from = signed_at.saturating_sub(CLOCK_TOLERANCE);
        // Four fifths, in an order that cannot overflow.
        let renew_at = signed_at.saturating_add(life - life / 5);
        Self {
            valid_from,
            fresh_for: renew_at.saturating_sub(valid_from).cast_unsigned(),
            serve_until: expires_at.saturating_sub(LAST_SPAN.min(life / 10)),
            expires_at,
            value,
        }
    }

    /// Whether `valid_from <= now < renew_at`: before `valid_from` the difference is a huge number.
    #[inline]
    fn is_fresh(&self, now: Millis) -> bool {
        now.wrapping_sub(self.valid_from).cast_unsigned() < self.fresh_for
    }

    fn may_be_served(&self, now: Millis) -> bool {
        (self.valid_from..self.serve_until).contains(&now)
    }

    fn standing(&self, now: Millis) -> Standing {
        if !self.may_be_served(now) {
            Standing::Gone
        } else if self.is_fresh(now) {
            Standing::Fresh
        } else {
            Standing::Stale
        }
    }
}

/// All that needs a lock, for one process.
#[derive(Debug)]
struct Desk<W> {
    process: u32,
    state: Mutex<State<W>>,
}

impl<W> Desk<W> {
    fn new() -> Self {
        Self {
            process: process::id(),
            state: Mutex::new(State {
                lease: None,
                failures_in_a_row: 0,
                backoff: 0..0,
                issued: 0,
                failures: 0,
            }),
        }
    }

    fn is_ours(&self) -> bool {
        self.process == process::id()
    }

    fn state(&self) -> MutexGuard<'_, State<W>> {
        lock(&self.state)
    }
}

#[derive(Debug)]
struct State<W> {
    lease: Option<Arc<Ticket<W>>>,
    failures_in_a_row: u32,
    backoff: Range<Millis>,
    issued: u64,
    failures: u64,
}

impl<W> State<W> {
    fn backs_off(&self, now: Millis) -> bool {
        self.backoff.contains(&now)
    }

    /// A new lease unless one is out, and the one it takes over.
    #[allow(clippy::type_complexity)]
    fn issue_lease(
        &mut self,
        now: Millis,
        timeout: Millis,
    ) -> Option<(Arc<Ticket<W>>, Option<Arc<Ticket<W>>>)> {
        if self
            .lease
            .as_ref()
            .is_some_and(|lease| lease.good.contains(&now))
        {
            return None;
        }
        let ticket = Arc::new(Ticket {
            process: process::id(),
            good: believed(now, timeout),
            waiter: Mutex::new(None),
        });
        let taken_over = self.lease.replace(Arc::clone(&ticket));
        Some((ticket, taken_over))
    }
}

/// A lease as its holder and the desk share it.
///
/// The waiters' handle is here and not on the desk, so that a lease that lost its place still
/// wakes its own. Lock order: desk, then ticket.
#[derive(Debug)]
struct Ticket<W> {
    process: u32,
    good: Range<Millis>,
    waiter: Mutex<Option<W>>,
}

/// From now on for `span`, unless the clock is set back by more than the tolerance.
fn believed(now: Millis, span: Millis) -> Range<Millis> {
    now.saturating_sub(CLOCK_TOLERANCE)..now.saturating_add(span)
}

/// A panic under one of these locks would leave every field valid: they are plain assignments.
fn lock<S>(mutex: &Mutex<S>) -> MutexGuard<'_, S> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
