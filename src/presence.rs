//! Who is inside a call of ours that calls Python, and whether the interpreter ends.
//!
//! Up to Python 3.13 the interpreter tears off a thread that wants its lock after it has begun to end, by
//! unwinding the thread's stack. A frame of Rust cannot be unwound like that: the process would abort. So at exit
//! no thread is let in any more but the one that ends the interpreter, and those inside are waited for. A thread
//! that only reads a hit never gives up the lock while it is here, and is not counted.
//!
//! A forked child begins anew: the threads that were inside are not in it. So everything here knows its process.

use std::cell::Cell;
use std::process;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// The process's id in the upper half, how many are inside in the lower.
static INSIDE: AtomicU64 = AtomicU64::new(0);
/// The process that ends; 0 for none.
static ENDING: AtomicU32 = AtomicU32::new(0);

thread_local! {
    static ENDS_IT: Cell<bool> = const { Cell::new(false) };
}

/// A thread's stay inside. One that is torn off after all leaves it counted, which nobody asks any more.
#[must_use]
pub struct Stay(());

/// Enters; `None` if the interpreter ends and this is not the thread that ends it.
#[must_use]
pub fn enter() -> Option<Stay> {
    let process = process::id();
    count(process, |inside| inside + 1);
    // Counted first: who ends the interpreter says so and then looks, so that one of the two sees the other.
    let stay = Stay(());
    let may_enter = ENDING.load(Ordering::SeqCst) != process || ENDS_IT.get();
    may_enter.then_some(stay)
}

impl Drop for Stay {
    fn drop(&mut self) {
        count(process::id(), |inside| inside.saturating_sub(1));
    }
}

/// How many are inside, in this process.
#[must_use]
pub fn inside() -> u32 {
    inside_of(process::id(), INSIDE.load(Ordering::SeqCst))
}

/// Lets nobody in from now on but this thread.
pub fn end() {
    ENDS_IT.set(true);
    ENDING.store(process::id(), Ordering::SeqCst);
}

fn count(process: u32, change: impl Fn(u32) -> u32) {
    let _ = INSIDE.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |state| {
        let inside = change(inside_of(process, state));
        Some(u64::from(process) << 32 | u64::from(inside))
    });
}

#[allow(clippy::cast_possible_truncation, reason = "the lower half is meant")]
fn inside_of(process: u32, state: u64) -> u32 {
    if state >> 32 == u64::from(process) {
        state as u32
    } else {
        0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // One test: the state is the process's.
    #[test]
    fn who_is_inside_is_counted_and_nobody_gets_in_at_the_end() {
        let Some(first) = enter() else {
            panic!("nobody ends it")
        };
        let second = enter();
        assert_eq!(inside(), 2);
        drop(first);
        assert_eq!(inside(), 1);
        end();
        assert!(enter().is_some(), "the thread that ends it");
        let other = std::thread::spawn(|| enter().is_none()).join();
        assert!(matches!(other, Ok(true)));
        assert_eq!(inside(), 1);
        drop(second);
        assert_eq!(inside(), 0);
        // What another process counted is nothing here.
        assert_eq!(inside_of(7, 8 << 32 | 3), 0);
        assert_eq!(inside_of(8, 8 << 32 | 3), 3);
    }
}
