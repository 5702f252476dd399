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
use std::fs;
use std::hint::black_box;
use std::process::ExitCode;
use std::sync::Barrier;
use std::thread::{self, ScopedJoinHandle};
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

/// Does nothing but arithmetic in registers, in about the time of as many hits: nothing that threads could share.
fn compute(count: u32) {
    let mut number = u64::from(count);
    for _ in 0..count {
        for _ in 0..8 {
            number = black_box(
                number
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .rotate_left(7),
            );
        }
    }
    black_box(number);
}

/// Rounds of one thread and of two by turns: what disturbs one disturbs the other.
///
/// `ratio` is what two threads do in the time of one's; it needs two free cores. `ratio_of_arithmetic` is the same
/// for threads that share nothing at all: what this machine has of a second core. `ratio_by_cpu_time` counts
/// the time that the threads ran only: 2 where they do not hinder each other, on a busy machine too.
fn threads() {
    const ROUNDS: usize = 41;
    let cache = filled();
    let hits = |count| hit(&cache, count);
    let rounds: Vec<[Turn; 4]> = (0..ROUNDS)
        .map(|_| {
            [
                turn(&hits, 1),
                turn(&hits, 2),
                turn(&compute, 1),
                turn(&compute, 2),
            ]
        })
        .collect();
    let middle = |of: fn(&[Turn; 4]) -> f64| {
        let mut values: Vec<f64> = rounds.iter().map(of).collect();
        values.sort_by(f64::total_cmp);
        values[ROUNDS / 2]
    };
    println!(
        "{{\"one_thread_hits_per_s\": {:.0}, \"two_threads_hits_per_s\": {:.0}, \"ratio\": {:.3}, \
         \"ratio_of_arithmetic\": {:.3}, \"ratio_by_cpu_time\": {:.3}}}",
        middle(|[one, ..]| one.per_second),
        middle(|[_, two, ..]| two.per_second),
        middle(|[one, two, ..]| two.per_second / one.per_second),
        middle(|[.., one, two]| two.per_second / one.per_second),
        middle(|[one, two, ..]| 2.0 * two.per_cpu_second / one.per_cpu_second),
    );
}

/// What all threads together do, by the wall's clock and by the threads' own.
struct Turn {
    per_second: f64,
    per_cpu_second: f64,
}

fn turn(work: &(impl Fn(u32) + Sync), threads: u32) -> Turn {
    const TIMES: u32 = 1_000_000;
    let all_ready = Barrier::new(threads as usize);
    let one = || {
        all_ready.wait();
        let (began, ran) = (Instant::now(), cpu_seconds());
        work(TIMES);
        (began.elapsed().as_secs_f64(), cpu_seconds() - ran)
    };
    let times: Vec<(f64, f64)> = thread::scope(|scope| {
        let started: Vec<_> = (0..threads).map(|_| scope.spawn(one)).collect();
        let ended = started.into_iter().map(ScopedJoinHandle::join);
        ended.map(|times| times.expect("no panic")).collect()
    });
    let done = f64::from(TIMES) * f64::from(threads);
    Turn {
        per_second: done / times.iter().map(|(wall, _)| *wall).fold(0.0, f64::max),
        per_cpu_second: done / times.iter().map(|(_, ran)| *ran).sum::<f64>(),
    }
}

/// What this thread has run so far (Linux only: elsewhere not a number).
fn cpu_seconds() -> f64 {
    let told = fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let nanoseconds = told.split(' ').next().and_then(|first| first.parse().ok());
    nanoseconds.map_or(f64::NAN, |nanoseconds: f64| nanoseconds / 1e9)
}
