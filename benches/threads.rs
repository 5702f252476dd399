//! The cache's hit path by one thread and by two at once, without any Python; prints JSON.
//!
//! ```text
//! cargo bench --locked --no-default-features --bench threads
//! ```
//!
//! `read` looks at the value and takes nothing: what the cache itself costs. `count` takes a
//! reference by one count that the threads share, the way a `str` is handed out: what any shared
//! atomic count costs. Rounds go in turns, and each ratio is of one round.
#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::cast_precision_loss,
    missing_docs,
    reason = "a bench prints, and ends with what it cannot do"
)]

use std::hint::black_box;
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::Instant;

use dsql_fast::cache::{Cache, Lookup};

const CALLS: u32 = 4_000_000;
const ROUNDS: usize = 15;
const NOW: i64 = 1_800_000_000_000;

fn main() {
    let cache: Cache<Arc<str>, ()> = Cache::new(60_000);
    let Lookup::Miss(lease) = cache.get(NOW, Arc::clone) else {
        unreachable!("an empty cache misses");
    };
    assert!(
        lease
            .fulfil(Arc::from("a token"), NOW, NOW + 900_000)
            .is_none()
    );

    let mut read = Vec::new();
    let mut count = Vec::new();
    for _ in 0..ROUNDS {
        read.push(round(|| {
            cache.hit(black_box(NOW), |token| token.len()).unwrap()
        }));
        count.push(round(|| {
            let token = cache.hit(black_box(NOW), Arc::clone).unwrap();
            token.len()
        }));
    }
    println!(
        "{{\"read\": {}, \"count\": {}}}",
        summary(&read),
        summary(&count)
    );
}

/// Calls per second by one thread, and by two at once.
fn round(call: impl Fn() -> usize + Sync) -> (f64, f64) {
    (rate(1, &call), rate(2, &call))
}

fn rate(threads: u32, call: &(impl Fn() -> usize + Sync)) -> f64 {
    let ready = Barrier::new(threads as usize);
    let spans: Vec<(Instant, Instant)> = thread::scope(|scope| {
        let running: Vec<_> = (0..threads)
            .map(|_| {
                scope.spawn(|| {
                    ready.wait();
                    let began = Instant::now();
                    for _ in 0..CALLS {
                        black_box(call());
                    }
                    (began, Instant::now())
                })
            })
            .collect();
        running.into_iter().map(|one| one.join().unwrap()).collect()
    });
    let began = spans.iter().map(|span| span.0).min().unwrap();
    let ended = spans.iter().map(|span| span.1).max().unwrap();
    f64::from(threads) * f64::from(CALLS) / (ended - began).as_secs_f64()
}

/// Medians over the rounds.
fn summary(rounds: &[(f64, f64)]) -> String {
    let median = |of: fn(&(f64, f64)) -> f64| {
        let mut values: Vec<f64> = rounds.iter().map(of).collect();
        values.sort_by(f64::total_cmp);
        values[values.len() / 2]
    };
    format!(
        "{{\"calls_per_second\": [{:.0}, {:.0}], \"scaling\": {:.3}}}",
        median(|round| round.0),
        median(|round| round.1),
        median(|round| round.1 / round.0)
    )
}
