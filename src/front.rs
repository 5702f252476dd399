//! The token where Python's hits read it: beside the cache, under the guard of its generation.
//!
//! A reader of [`crate::cache`] leaves a mark there and takes it off again, so that nobody frees what it
//! reads: two locked instructions, a third of what a hit costs. Here nothing is marked. The one reference
//! to the token stands in a Python list, from which Python itself takes a new reference safely, by
//! the interpreter's lock or, in a build without one, by the list's own means; all else is plain numbers.
//! What belongs together is told by a stamp, as in a sequence lock whose readers never try twice:
//! whoever finds anything but what it expects goes to the cache.

use std::ops::Range;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering, fence};

use pyo3::prelude::*;
use pyo3::types::{PyList, PyString};

use crate::cache::Millis;

/// The stamp while the front is written. No generation is as large.
const WRITING: u64 = u64::MAX;
/// The stamp of an empty front.
const EMPTY: u64 = u64::MAX - 1;

pub(crate) struct Front {
    /// The cache's generation that the rest is from.
    stamp: AtomicU64,
    /// Unix seconds, and a number of them: whole seconds in which the token is fresh to the last
    /// millisecond.
    fresh_from: AtomicI64,
    fresh_for: AtomicU64,
    /// Has one item. Nothing else refers to it.
    token: Py<PyList>,
}

impl Front {
    pub(crate) fn new(py: Python<'_>) -> PyResult<Self> {
        Ok(Self {
            stamp: AtomicU64::new(EMPTY),
            fresh_from: AtomicI64::new(0),
            fresh_for: AtomicU64::new(0),
            token: PyList::new(py, [py.None()])?.unbind(),
        })
    }

    /// The token, if it is of that generation of the cache and fresh at that Unix second.
    #[inline]
    pub(crate) fn hit<'py>(
        &self,
        py: Python<'py>,
        generation: u64,
        now: impl FnOnce() -> i64,
    ) -> Option<Bound<'py, PyAny>> {
        if self.stamp.load(Ordering::Acquire) != generation {
            return None;
        }
        let since = now().wrapping_sub(self.fresh_from.load(Ordering::Relaxed));
        // Before `fresh_from` the difference is a huge number.
        if since.cast_unsigned() >= self.fresh_for.load(Ordering::Relaxed) {
            return None;
        }
        let token = self.token.bind(py).get_item(0).ok()?;
        // Whether the numbers and the token belonged together.
        fence(Ordering::Acquire);
        (self.stamp.load(Ordering::Relaxed) == generation).then_some(token)
    }

    /// Whether it holds what there is of that generation.
    pub(crate) fn is_of(&self, generation: u64) -> bool {
        self.stamp.load(Ordering::Relaxed) == generation
    }

    /// Puts a token here that is fresh in those milliseconds. Whoever comes while another does it goes away.
    pub(crate) fn keep(
        &self,
        py: Python<'_>,
        generation: u64,
        token: &Bound<'_, PyString>,
        fresh: &Range<Millis>,
    ) -> PyResult<()> {
        // Inward to whole seconds; the cache decides about the broken ones.
        let from = fresh.start.div_euclid(1_000) + 1;
        let seconds = fresh.end.div_euclid(1_000).saturating_sub(from).max(0);
        self.write(py, generation, token.as_any(), from, seconds)
    }

    /// Lets go of the token.
    pub(crate) fn clear(&self, py: Python<'_>) -> PyResult<()> {
        self.write(py, EMPTY, py.None().bind(py), 0, 0)
    }

    fn write(
        &self,
        py: Python<'_>,
        stamp: u64,
        token: &Bound<'_, PyAny>,
        fresh_from: i64,
        seconds: i64,
    ) -> PyResult<()> {
        let before = self.stamp.load(Ordering::Relaxed);
        let relaxed = Ordering::Relaxed;
        let is_mine = before != WRITING
            && self
                .stamp
                .compare_exchange(before, WRITING, Ordering::Acquire, relaxed)
                .is_ok();
        if !is_mine {
            return Ok(());
        }
        // No reader sees what follows under the old stamp.
        fence(Ordering::Release);
        self.fresh_from.store(fresh_from, relaxed);
        self.fresh_for.store(seconds.cast_unsigned(), relaxed);
        let written = self.token.bind(py).set_item(0, token);
        let stamp = if written.is_ok() { stamp } else { EMPTY };
        self.stamp.store(stamp, Ordering::Release);
        written
    }
}
