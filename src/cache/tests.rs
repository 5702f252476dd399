//! Every transition, random histories against a plain model, and threads.
//!
//! No loom test: every decision that could interleave is made under the desk's one mutex, and the only
//! lock-free part is arc-swap's, which loom cannot see into; a stand-in for it would test the stand-in.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Barrier, Condvar};
use std::thread;

use proptest::prelude::*;

use super::*;

const TIMEOUT: Millis = 60_000;
const LIFE: Millis = 900_000;
const START: Millis = 1_700_000_000_000;

type TestCache = Cache<u32, Arc<str>>;
type TestLookup = Lookup<u32, u32, Arc<str>>;

fn look(cache: &TestCache, now: Millis) -> TestLookup {
    cache.get(now, |value| *value)
}

fn miss(cache: &TestCache, now: Millis) -> Lease<u32, Arc<str>> {
    match look(cache, now) {
        Lookup::Miss(lease) => lease,
        other => panic!("{other:?} is no miss"),
    }
}

fn stale(cache: &TestCache, now: Millis, value: u32) -> Lease<u32, Arc<str>> {
    match look(cache, now) {
        Lookup::Stale(found, lease) if found == value => lease,
        other => panic!("{other:?} is not stale {value}"),
    }
}

#[track_caller]
fn assert_hit(cache: &TestCache, now: Millis, value: u32) {
    let found = look(cache, now);
    assert!(
        matches!(found, Lookup::Hit(found) if found == value),
        "{found:?}"
    );
}

#[track_caller]
fn assert_wait(cache: &TestCache, now: Millis) {
    let found = look(cache, now);
    assert!(matches!(found, Lookup::Wait), "{found:?}");
}

fn handle(name: &str) -> Arc<str> {
    name.into()
}

/// A cache with the value 1, signed at `START` for `LIFE`.
fn filled() -> TestCache {
    let cache = Cache::new(TIMEOUT);
    let lease = miss(&cache, START);
    assert_eq!(lease.fulfil(1, START, START + LIFE), None);
    cache
}

#[test]
fn one_misses_and_the_others_wait() {
    let cache = TestCache::new(TIMEOUT);
    let lease = miss(&cache, START);
    assert_wait(&cache, START);
    assert_wait(&cache, START + 1);
    assert_eq!(lease.fulfil(1, START, START + LIFE), None);
    assert_hit(&cache, START, 1);
}

#[test]
fn fresh_to_four_fifths_then_stale_to_the_last_span() {
    let cache = filled();
    let renew_at = START + LIFE / 5 * 4;
    assert_hit(&cache, START - CLOCK_TOLERANCE, 1);
    assert_hit(&cache, renew_at - 1, 1);
    drop(stale(&cache, renew_at, 1));
    drop(stale(&cache, START + LIFE - LAST_SPAN - 1, 1));
    drop(miss(&cache, START + LIFE - LAST_SPAN));
    drop(miss(&cache, START + LIFE));
    drop(miss(&cache, Millis::MAX));
}

#[test]
fn the_last_span_of_a_short_life_is_a_tenth() {
    let cache = TestCache::new(TIMEOUT);
    let _ = miss(&cache, START).fulfil(1, START, START + 10_000);
    drop(stale(&cache, START + 8_999, 1));
    drop(miss(&cache, START + 9_000));
}

#[test]
fn a_life_that_is_over_is_never_served() {
    for life in [0, -1, -LIFE] {
        let cache = TestCache::new(TIMEOUT);
        let _ = miss(&cache, START).fulfil(1, START, START + life);
        drop(miss(&cache, START));
    }
}

#[test]
fn times_at_the_ends_of_the_range_do_not_overflow() {
    for (signed_at, expires_at) in [
        (Millis::MIN, Millis::MAX),
        (Millis::MIN, Millis::MIN),
        (Millis::MAX, Millis::MAX),
        (Millis::MAX, Millis::MIN),
        (0, Millis::MAX),
    ] {
        let cache = TestCache::new(Millis::MAX);
        for now in [Millis::MIN, 0, Millis::MAX] {
            if let Lookup::Miss(lease) | Lookup::Stale(_, lease) = look(&cache, now) {
                let _ = lease.fulfil(1, signed_at, expires_at);
            }
            if let Lookup::Stale(_, lease) = look(&cache, now) {
                let _ = lease.fail(now, 1.0);
            }
        }
    }
}

#[test]
fn one_renews_and_the_others_go_on_with_the_old_value() {
    let cache = filled();
    let now = START + 800_000;
    let lease = stale(&cache, now, 1);
    assert_hit(&cache, now, 1);
    assert_eq!(lease.fulfil(2, now, now + LIFE), None);
    assert_hit(&cache, now, 2);
    assert_eq!(cache.stats().issued, 2);
    assert_eq!(cache.stats().renewals(), 1);
}

#[test]
fn those_who_wait_while_the_value_ends_wait_for_the_renewal() {
    let cache = filled();
    let lease = stale(&cache, START + 890_000, 1);
    assert_wait(&cache, START + LIFE);
    assert_eq!(cache.join(&handle("w")), Some(handle("w")));
    assert_eq!(
        lease.fulfil(2, START + LIFE, START + 2 * LIFE),
        Some(handle("w"))
    );
}

#[test]
fn all_who_join_get_one_handle_and_settling_gives_it_back_once() {
    let cache = TestCache::new(TIMEOUT);
    assert_eq!(cache.join(&handle("nobody to wait for")), None);
    for settle in [
        |lease: &Lease<u32, Arc<str>>| lease.abandon(),
        |lease: &Lease<u32, Arc<str>>| lease.fail(START, 0.5),
        |lease: &Lease<u32, Arc<str>>| lease.fulfil(1, START, START + LIFE),
    ] {
        let lease = miss(&cache, START);
        assert_eq!(cache.join(&handle("first")), Some(handle("first")));
        assert_eq!(cache.join(&handle("second")), Some(handle("first")));
        assert_eq!(settle(&lease), Some(handle("first")));
        assert_eq!(cache.join(&handle("too late")), None);
        for again in [
            lease.abandon(),
            lease.fail(START, 1.0),
            lease.fulfil(2, 0, 0),
        ] {
            assert_eq!(again, None);
        }
    }
    assert_hit(&cache, START, 1);
    let stats = cache.stats();
    assert_eq!((stats.issued, stats.failures), (1, 1));
}

#[test]
fn a_lost_lease_is_given_to_the_next_caller_at_once() {
    let cache = filled();
    drop(stale(&cache, START + 800_000, 1));
    drop(stale(&cache, START + 800_000, 1));
    assert_eq!(cache.stats().failures, 0);
}

#[test]
fn a_failed_renewal_backs_off_longer_each_time_and_success_forgets_it() {
    let cache = TestCache::new(TIMEOUT);
    let life = 36_000_000;
    let _ = miss(&cache, START).fulfil(1, START, START + life);
    let mut now = START + life / 5 * 4;
    for most in [1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000] {
        let _ = stale(&cache, now, 1).fail(now, 1.0);
        assert_hit(&cache, now, 1);
        assert_hit(&cache, now + most - 1, 1);
        now += most;
    }
    let _ = stale(&cache, now, 1).fail(now, 0.25);
    assert_hit(&cache, now + 7_499, 1);
    let _ = stale(&cache, now + 7_500, 1).fulfil(2, START, START + life);
    let _ = stale(&cache, now, 2).fail(now, 1.0);
    drop(stale(&cache, now + 1_000, 2));
    assert_eq!(cache.stats().failures, 9);
}

#[test]
fn odd_jitter_is_brought_into_range() {
    for (jitter, most) in [
        (f64::NAN, 0),
        (-1.0, 0),
        (7.0, 1_000),
        (f64::INFINITY, 1_000),
    ] {
        let cache = filled();
        let now = START + 800_000;
        let _ = stale(&cache, now, 1).fail(now, jitter);
        drop(stale(&cache, now + most, 1));
    }
}

#[test]
fn nobody_backs_off_without_a_value() {
    let cache = TestCache::new(TIMEOUT);
    let _ = miss(&cache, START).fail(START, 1.0);
    drop(miss(&cache, START));
    let cache = filled();
    let now = START + 890_000;
    let _ = stale(&cache, now, 1).fail(now, 1.0);
    drop(miss(&cache, START + LIFE));
}

#[test]
fn a_hanging_lease_is_taken_over_and_then_publishes_nothing() {
    let cache = TestCache::new(TIMEOUT);
    let hanging = miss(&cache, START);
    assert_eq!(cache.join(&handle("old")), Some(handle("old")));
    assert_wait(&cache, START + TIMEOUT - 1);
    let successor = miss(&cache, START + TIMEOUT);
    assert_eq!(cache.join(&handle("new")), Some(handle("new")));

    assert_eq!(hanging.fulfil(1, START, START + LIFE), Some(handle("old")));
    assert_wait(&cache, START + TIMEOUT);
    assert_eq!(
        successor.fulfil(2, START, START + LIFE),
        Some(handle("new"))
    );
    assert_hit(&cache, START + TIMEOUT, 2);
    assert_eq!(cache.stats().issued, 1);

    // Nor does it count as a failure, or free its successor's place.
    let hanging = stale(&cache, START + 800_000, 2);
    let successor = stale(&cache, START + 800_000 + TIMEOUT, 2);
    assert_eq!(hanging.fail(START + LIFE, 1.0), None);
    drop(hanging);
    assert_wait(&cache, START + LIFE);
    assert_eq!(cache.stats().failures, 0);
    drop(successor);
}

#[test]
fn invalidate_forgets_the_value_and_disowns_the_lease() {
    let cache = filled();
    cache.invalidate();
    assert_eq!(cache.stats().expires_at, None);
    let old = miss(&cache, START);
    assert_eq!(cache.join(&handle("old")), Some(handle("old")));

    cache.invalidate();
    assert_eq!(cache.join(&handle("between")), None);
    let new = miss(&cache, START);
    assert_eq!(cache.join(&handle("new")), Some(handle("new")));
    assert_eq!(old.fulfil(2, START, START + LIFE), Some(handle("old")));
    assert_wait(&cache, START);
    assert_eq!(new.fulfil(3, START, START + LIFE), Some(handle("new")));
    assert_hit(&cache, START, 3);
}

#[test]
fn a_clock_set_back_makes_a_new_value() {
    let cache = filled();
    let before = START - CLOCK_TOLERANCE - 1;
    let lease = miss(&cache, before);
    assert_eq!(lease.fulfil(2, before, before + LIFE), None);
    assert_hit(&cache, before, 2);
}

#[test]
fn a_clock_set_back_does_not_prolong_leases_and_back_offs() {
    let cache = TestCache::new(TIMEOUT);
    let _kept = miss(&cache, START);
    // Threads read the clock before they take the lock: a little back is nothing.
    assert_wait(&cache, START - 1);
    assert_wait(&cache, START - CLOCK_TOLERANCE);
    drop(miss(&cache, START - CLOCK_TOLERANCE - 1));

    let cache = TestCache::new(TIMEOUT);
    let life = 36_000_000;
    let _ = miss(&cache, START).fulfil(1, START, START + life);
    let now = START + life / 5 * 4 + CLOCK_TOLERANCE + 1;
    let _ = stale(&cache, now, 1).fail(now, 1.0);
    assert_hit(&cache, now - CLOCK_TOLERANCE, 1);
    drop(stale(&cache, now - CLOCK_TOLERANCE - 1, 1));
}

#[test]
fn a_lease_outlives_its_cache() {
    let cache = TestCache::new(TIMEOUT);
    let lease = miss(&cache, START);
    assert_eq!(cache.join(&handle("w")), Some(handle("w")));
    drop(cache);
    assert_eq!(lease.fulfil(1, START, START + LIFE), Some(handle("w")));
}

#[test]
fn a_panic_under_the_lock_leaves_the_cache_usable() {
    let cache = Arc::new(filled());
    let poisoner = Arc::clone(&cache);
    thread::spawn(move || {
        let desk = poisoner.shared.desk();
        let _state = desk.state();
        panic!("poison");
    })
    .join()
    .unwrap_err();
    drop(stale(&cache, START + 800_000, 1));
    cache.invalidate();
    drop(miss(&cache, START));
}

/// A forked child, as far as one process can play it: the desk is another process's, its lock is held by
/// a thread that will never come back, and so is a lease. (The real fork is in `tests/native`.)
#[test]
fn a_desk_of_another_process_is_left_alone() {
    let cache = filled();
    let elsewhere = Arc::new(Desk {
        process: process::id() ^ 1,
        state: Mutex::new(State {
            lease: None,
            failures_in_a_row: 3,
            backoff: 0..Millis::MAX,
            issued: 7,
            failures: 3,
        }),
    });
    let ticket = Arc::new(Ticket {
        process: elsewhere.process,
        good: 0..Millis::MAX,
        waiter: Mutex::new(Some(handle("in the parent"))),
    });
    elsewhere.state().lease = Some(Arc::clone(&ticket));
    cache.shared.desk.store(Arc::clone(&elsewhere));
    let inherited = Lease {
        shared: Arc::clone(&cache.shared),
        ticket: Arc::clone(&ticket),
    };
    let _held = elsewhere.state();
    let _held_too = lock(&ticket.waiter);

    assert_hit(&cache, START, 1);
    assert_eq!(cache.stats().issued, 0);
    assert_eq!(cache.join(&handle("child")), None);
    let lease = stale(&cache, START + 800_000, 1);
    assert_eq!(cache.join(&handle("child")), Some(handle("child")));
    assert_eq!(inherited.fulfil(9, START, START + LIFE), None);
    drop(inherited);
    assert_hit(&cache, START + 800_000, 1);
    assert_eq!(
        lease.fulfil(2, START + 800_000, START + 2 * LIFE),
        Some(handle("child"))
    );
    assert_hit(&cache, START + 800_000, 2);
    cache.invalidate();
    drop(miss(&cache, START));
}

/// What is dropped may call back into the cache: nothing is dropped under its lock.
#[test]
fn values_and_waiters_are_dropped_outside_the_lock() {
    struct CallsBack(
        std::sync::Weak<Cache<CallsBack, Arc<CallsBack>>>,
        Arc<AtomicUsize>,
    );
    impl Drop for CallsBack {
        fn drop(&mut self) {
            if let Some(cache) = self.0.upgrade() {
                let _ = cache.stats(); // takes the lock
                self.1.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
    let drops = Arc::new(AtomicUsize::new(0));
    let cache = Arc::new(Cache::new(TIMEOUT));
    let thing = || CallsBack(Arc::downgrade(&cache), Arc::clone(&drops));
    let lease = |now| match cache.get(now, |_| ()) {
        Lookup::Miss(lease) | Lookup::Stale((), lease) => lease,
        Lookup::Hit(()) | Lookup::Wait => panic!("no lease"),
    };
    let join = || drop(cache.join(&Arc::new(thing())));

    let first = lease(START);
    join();
    join();
    drop(first.fulfil(thing(), START, START + LIFE));
    let renewal = lease(START + 800_000);
    join();
    drop(renewal.fulfil(thing(), START + 800_000, START + 2 * LIFE));
    cache.invalidate();
    let lost = lease(START);
    join();
    cache.invalidate();
    drop(lost.fulfil(thing(), START, START + LIFE));
    drop(lost);
    let hanging = lease(START);
    join();
    drop(hanging);
    assert_eq!(drops.load(Ordering::Relaxed), 8);
}

/// Many threads, a short life, a provider that sometimes fails, hangs or loses its lease: one
/// lease at a time but for takeovers, every waiter woken, no value older than its life served.
#[test]
fn hammered_by_threads() {
    type Gate = Arc<(Mutex<bool>, Condvar)>;
    const THREADS: usize = 8;
    const ROUNDS: u64 = 4_000;
    let cache: Cache<Millis, Gate> = Cache::new(1_000_000_000);
    let clock = AtomicU64::new(START.cast_unsigned());
    let holders = AtomicUsize::new(0);
    let barrier = Barrier::new(THREADS);
    let now = || clock.load(Ordering::SeqCst).cast_signed();
    let wake = |gate: Option<Gate>| {
        if let Some(gate) = gate {
            *lock(&gate.0) = true;
            gate.1.notify_all();
        }
    };
    let work = |seed: u64| {
        barrier.wait();
        let mut served = 0;
        for round in 0..ROUNDS {
            clock.fetch_add(1, Ordering::SeqCst);
            let at = now();
            let found = cache.get(at, |expires_at| *expires_at);
            if let Lookup::Hit(expires_at) | Lookup::Stale(expires_at, _) = &found {
                assert!(at < *expires_at);
                served += 1;
            }
            match found {
                Lookup::Hit(_) => {}
                Lookup::Stale(_, lease) | Lookup::Miss(lease) => {
                    assert_eq!(holders.fetch_add(1, Ordering::SeqCst), 0);
                    if round % 3 == seed % 3 {
                        thread::yield_now();
                    }
                    holders.fetch_sub(1, Ordering::SeqCst);
                    let at = now();
                    wake(match (round + seed) % 5 {
                        0 => lease.fail(at, 0.01),
                        1 => lease.abandon(),
                        _ => lease.fulfil(at + 500, at, at + 500),
                    });
                }
                Lookup::Wait => {
                    if let Some(gate) = cache.join(&Gate::default()) {
                        let open = lock(&gate.0);
                        drop(gate.1.wait_while(open, |open| !*open).unwrap());
                    }
                }
            }
        }
        served
    };
    let work = &work;
    let served: u64 = thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS as u64)
            .map(|seed| scope.spawn(move || work(seed)))
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .sum()
    });
    assert!(served > ROUNDS);
    assert!(cache.stats().issued > 1);
}

/// One step of a random history.
#[derive(Clone, Debug)]
enum Step {
    Advance(Millis),
    Get,
    Join,
    Fulfil(usize, Millis),
    Fail(usize),
    Abandon(usize),
    Invalidate,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (-100_000..400_000_i64).prop_map(Step::Advance),
        6 => Just(Step::Get),
        2 => Just(Step::Join),
        3 => (0..4_usize, 1..LIFE).prop_map(|(lease, life)| Step::Fulfil(lease, life)),
        1 => (0..4_usize).prop_map(Step::Fail),
        1 => (0..4_usize).prop_map(Step::Abandon),
        1 => Just(Step::Invalidate),
    ]
}

/// The cache as a reader would explain it: no arithmetic tricks, no atomics.
#[derive(Default)]
struct Model {
    value: Option<(u32, Millis, Millis)>,
    /// The lease that counts (its number), and when it was given out.
    lease: Option<(usize, Millis)>,
    /// Who waits, for every lease ever given out.
    waiters: Vec<Option<Arc<str>>>,
    failures_in_a_row: u32,
    failed_at: Option<Millis>,
    issued: u64,
    failures: u64,
}

impl Model {
    /// What `get` finds: the value served, and whether a lease comes with it.
    fn get(&mut self, now: Millis) -> (Option<u32>, bool) {
        let mut served = None;
        let mut wants_lease = true;
        if let Some((value, signed_at, expires_at)) = self.value {
            let life = expires_at - signed_at;
            let last = (life / 10).min(5_000);
            if now >= signed_at - 60_000 && now < expires_at - last {
                served = Some(value);
                let due = now >= signed_at + (life - life / 5);
                wants_lease = due && !self.backs_off(now);
            }
        }
        let free = match self.lease {
            None => true,
            Some((_, since)) => now - since >= TIMEOUT || since - now > 60_000,
        };
        let leased = wants_lease && free;
        if leased {
            self.lease = Some((self.waiters.len(), now));
            self.waiters.push(None);
        }
        (served, leased)
    }

    fn backs_off(&self, now: Millis) -> bool {
        self.failed_at.is_some_and(|failed_at| {
            let seconds = 2_i64.pow(self.failures_in_a_row.min(10) - 1).min(30);
            now < failed_at + seconds * 1_000 && failed_at - now <= 60_000
        })
    }

    /// Whether the lease counted; it does not any more.
    fn settle(&mut self, lease: usize) -> bool {
        let counts = self.lease.is_some_and(|(current, _)| current == lease);
        if counts {
            self.lease = None;
        }
        counts
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn behaves_as_its_model(steps in prop::collection::vec(step(), 1..60)) {
        let cache = TestCache::new(TIMEOUT);
        let mut model = Model::default();
        let mut leases: Vec<Lease<u32, Arc<str>>> = Vec::new();
        let mut now = START;
        for (number, step) in steps.into_iter().enumerate() {
            let name = handle(&number.to_string());
            match step {
                Step::Advance(by) => now += by,
                Step::Get => {
                    let (served, lease) = match look(&cache, now) {
                        Lookup::Hit(value) => (Some(value), None),
                        Lookup::Stale(value, lease) => (Some(value), Some(lease)),
                        Lookup::Miss(lease) => (None, Some(lease)),
                        Lookup::Wait => (None, None),
                    };
                    prop_assert_eq!((served, lease.is_some()), model.get(now));
                    leases.extend(lease);
                }
                Step::Join => {
                    let expected = model.lease.map(|(lease, _)| {
                        model.waiters[lease].get_or_insert(Arc::clone(&name)).clone()
                    });
                    prop_assert_eq!(cache.join(&name), expected);
                }
                Step::Fulfil(back, life) => {
                    let Some(lease) = leases.len().checked_sub(1 + back) else { continue };
                    let value = u32::try_from(number).unwrap();
                    let waiter = leases[lease].fulfil(value, now, now + life);
                    prop_assert_eq!(waiter, model.waiters[lease].take());
                    if model.settle(lease) {
                        model.value = Some((value, now, now + life));
                        model.issued += 1;
                        model.failures_in_a_row = 0;
                        model.failed_at = None;
                    }
                }
                Step::Fail(back) => {
                    let Some(lease) = leases.len().checked_sub(1 + back) else { continue };
                    prop_assert_eq!(leases[lease].fail(now, 1.0), model.waiters[lease].take());
                    if model.settle(lease) {
                        model.failures += 1;
                        model.failures_in_a_row += 1;
                        model.failed_at = Some(now);
                    }
                }
                Step::Abandon(back) => {
                    let Some(lease) = leases.len().checked_sub(1 + back) else { continue };
                    prop_assert_eq!(leases[lease].abandon(), model.waiters[lease].take());
                    model.settle(lease);
                }
                Step::Invalidate => {
                    cache.invalidate();
                    model.value = None;
                    model.lease = None;
                }
            }
            prop_assert_eq!(cache.stats(), Stats {
                issued: model.issued,
                failures: model.failures,
                expires_at: model.value.map(|(_, _, expires_at)| expires_at),
            });
        }
    }
}
