//! What the core does, without any Python: for the guard, which counts instructions, and for two threads.
//!
//! `native sign N`, `native hit N`: does it so many times and prints nothing.
//! `native threads`: hits a second of one thread and of two, as JSON.

#![allow(
    clippy::expect_used,
    clippy::print_stderr,
    clippy::print_stdout,
    reason = "a program of its own"
)]

use std::env;
use std::hint::black_box;
use std::process::ExitCode;
use std::sync::Barrier;
use std::thread;
use std::time::Instant;

use dsql_fast::action::Action;
use dsql_fast::cache::{Cache, Lookup};
use dsql_fast::credentials::Credentials;
use dsql_fast::token::TokenRequest;

const HOST: &str = "foo0bar1baz2quux3quuux4q00.dsql.us-east-1.on.aws";
/// Unix seconds; 2024-08-27. So that each run signs the same.
const NOW: i64 = 1_724_716_800;
const LIFE: i64 = 900;

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().collect();
    let what = arguments.get(1).map(String::as_str);
    let count = arguments.get(2).and_then(|count| count.parse().ok());
    match (what, count) {
        (Some("sign"), Some(count)) => sign(count),
        (Some("hit"), Some(count)) => hit(&filled(), count),
        (Some("threads"), None) => threads(),
        _ => {
            eprintln!("native sign N | native hit N | native threads");
            return ExitCode::from(2);
        }
    }
    ExitCode::SUCCESS
}

/// Checks a request and signs it, as one call from Python does.
fn sign(count: u32) {
    let made = Credentials::new("AKIAIOSFODNN7EXAMPLE", "made-up", None, None);
    let credentials = made.expect("good credentials");
    for number in 0..count {
        let request = TokenRequest::new(black_box(HOST), "us-east-1", Action::DbConnectAdmin, LIFE);
        // Within one day: the day's key is derived once.
        let now = NOW + i64::from(number % 80_000);
        let token = request.and_then(|request| request.sign(&credentials, now));
        black_box(token.expect("a good request"));
    }
}

fn filled() -> Cache<u64, ()> {
    let cache = Cache::new(60_000);
    if let Lookup::Miss(lease) = cache.get(NOW * 1_000, |value| *value) {
        let waiter = lease.fulfil(7, NOW * 1_000, (NOW + LIFE) * 1_000);
        assert!(waiter.is_none());
    }
    cache
}

fn hit(cache: &Cache<u64, ()>, count: u32) {
    for _ in 0..count {
        let value = cache.hit(black_box(NOW * 1_000), |value| *value);
        assert!(value.is_some());
    }
}

/// Rounds of one thread and of two by turns: what disturbs one disturbs the other.
fn threads() {
    const ROUNDS: usize = 41;
    const HITS: u32 = 1_000_000;
    let cache = filled();
    let rate = |threads: u32| {
        let all_ready = Barrier::new(threads as usize + 1);
        let all_done = Barrier::new(threads as usize + 1);
        let seconds = thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|| {
                    all_ready.wait();
                    hit(&cache, HITS);
                    all_done.wait();
                });
            }
            all_ready.wait();
            let began = Instant::now();
            all_done.wait();
            began.elapsed().as_secs_f64()
        });
        f64::from(HITS) * f64::from(threads) / seconds
    };
    let rounds: Vec<(f64, f64)> = (0..ROUNDS).map(|_| (rate(1), rate(2))).collect();
    let middle = |of: fn(&(f64, f64)) -> f64| {
        let mut values: Vec<f64> = rounds.iter().map(of).collect();
        values.sort_by(f64::total_cmp);
        values[ROUNDS / 2]
    };
    println!(
        "{{\"one_thread_hits_per_s\": {:.0}, \"two_threads_hits_per_s\": {:.0}, \"ratio\": {:.3}}}",
        middle(|(one, _)| *one),
        middle(|(_, two)| *two),
        middle(|(one, two)| two / one),
    );
}
