//! The Python face: `dsql_fast._native`.
//!
//! No lock of [`crate::cache`] is held while Python runs, and no `Py` is dropped under one: a
//! finaliser may call anything, the cache included. Nothing here detaches from the interpreter,
//! for nothing here takes longer than microseconds, so a daemon thread that the interpreter stops at
//! exit is never inside this crate, but for [`TokenCache::token`] in `_on_miss`: see [`crate::presence`].
//!
//! Doc comments on what Python sees are Python's docstrings, in its style.
#![allow(clippy::doc_markdown, reason = "docstrings for Python, not rustdoc")]
#![allow(clippy::unused_self, reason = "Python's methods take it, used or not")]

use pyo3::exceptions::{PyNotImplementedError, PyOverflowError, PyTypeError};
use pyo3::prelude::*;
use pyo3::types::{
    PyBool, PyDateTime, PyDelta, PyDeltaAccess, PyDict, PyString, PyTuple, PyTzInfo,
};
use pyo3::{PyTraverseError, PyTypeInfo, PyVisit, intern};

use std::sync::Arc;
use std::time::SystemTime;

use crate::cache::{self, Cache, Lookup, Millis};
use crate::error::{Error, Kind};
use crate::front::Front;
use crate::presence;
use crate::timestamp::civil_from_days;
use crate::token::TokenRequest;

mod errors {
    pyo3::import_exception!(dsql_fast._errors, ConfigError);
    pyo3::import_exception!(dsql_fast._errors, CredentialsError);
    pyo3::import_exception!(dsql_fast._errors, CredentialsExpired);
}

impl From<Error> for PyErr {
    fn from(error: Error) -> Self {
        let message = error.to_string();
        match error.kind() {
            Kind::InvalidCredentials => errors::CredentialsError::new_err(message),
            Kind::CredentialsExpired => errors::CredentialsExpired::new_err(message),
            Kind::InvalidRequest => errors::ConfigError::new_err(message),
        }
    }
}

/// Signs Aurora DSQL tokens and keeps them.
#[pymodule(gil_used = false)]
mod _native {
    #[pymodule_export]
    #[allow(non_upper_case_globals)]
    const __version__: &str = env!("CARGO_PKG_VERSION");

    #[pymodule_export]
    use super::{Credentials, Lease, Stats, TokenCache, begin_exit, inside, sign_token};
    #[pymodule_export]
    use crate::plain::sign_plain;
}

/// AWS credentials: an access key, its secret, and a session token where the key is temporary.
///
/// Equal and hashed by every field. The secrets are in no `repr` and no public attribute, and are
/// overwritten when the object goes.
///
/// Args:
///     access_key_id: The access key's id.
///     secret_access_key: Its secret.
///     session_token: The session token of a temporary key; an empty one is none.
///     expires_at: When the credentials end, a timezone-aware datetime; None is never.
///
/// Raises:
///     CredentialsError: A key is empty, or has white space around it or control characters in it.
///     ConfigError: `expires_at` is naive.
#[pyclass(frozen, eq, hash, weakref, module = "dsql_fast._native")]
#[derive(PartialEq, Eq, Hash)]
pub(crate) struct Credentials(pub(crate) crate::credentials::Credentials);

#[pymethods]
impl Credentials {
    #[new]
    #[pyo3(signature = (access_key_id, secret_access_key, session_token=None, expires_at=None))]
    fn new(
        access_key_id: &str,
        secret_access_key: &str,
        session_token: Option<&str>,
        expires_at: Option<&Bound<'_, PyDateTime>>,
    ) -> PyResult<Self> {
        let expires_at = match expires_at {
            None => None,
            Some(end) => Some(timestamp("expires_at", end)?),
        };
        let credentials = crate::credentials::Credentials::new(
            access_key_id,
            secret_access_key,
            session_token,
            expires_at,
        )?;
        Ok(Self(credentials))
    }

    /// The access key's id.
    #[getter]
    fn access_key_id(&self) -> &str {
        self.0.access_key_id()
    }

    /// The access key's id, its secret and the session token: for the package's own request that
    /// assumes a role, and for nothing else.
    fn _reveal(&self) -> (&str, &str, Option<String>) {
        let (access_key_id, secret_access_key, session_token) = self.0.reveal();
        let session_token = session_token.map(|token| token.as_str().to_owned());
        (access_key_id, secret_access_key, session_token)
    }

    /// When the credentials end (UTC); None is never.
    #[getter]
    fn expires_at<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyDateTime>>> {
        self.0.expires_at().map(|end| utc(py, end)).transpose()
    }

    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        let session_token = if self.0.has_session_token() {
            "'****'"
        } else {
            "None"
        };
        let expires_at = match self.expires_at(py)? {
            None => "None".to_owned(),
            Some(end) => end.str()?.to_string(),
        };
        Ok(format!(
            "Credentials(access_key_id='{}', secret_access_key='****', \
             session_token={session_token}, expires_at={expires_at})",
            self.0.redacted_access_key_id()
        ))
    }

    /// Frozen, so a copy is the object itself.
    fn __copy__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    /// Frozen, so a copy is the object itself.
    fn __deepcopy__(slf: Py<Self>, _memo: &Bound<'_, PyAny>) -> Py<Self> {
        slf
    }

    /// Raises TypeError: a pickle would carry the secrets to wherever it is stored.
    fn __reduce_ex__(&self, _protocol: &Bound<'_, PyAny>) -> PyResult<()> {
        Err(PyTypeError::new_err(
            "Credentials are not pickled, for a pickle would hold the secrets in clear: \
             let each process get its own",
        ))
    }
}

/// Signs one token.
///
/// Args:
///     credentials: Who signs. They cap the token's life to what is left of their own.
///     host: The cluster's host, one bare name; lower-cased.
///     region: The region's code.
///     action: `DbConnectAdmin` for the user admin, `DbConnect` for all others.
///     expires_in: The token's life in seconds, 1 to 604800.
///     now: The time to sign for, a timezone-aware datetime or Unix seconds; None is the clock's.
///
/// Returns:
///     The token, when it was signed and when it ends (Unix seconds).
///
/// Raises:
///     ConfigError: An argument that cannot be signed, a naive datetime, a bool as a number.
///     CredentialsExpired: The credentials have less than a second left.
#[pyfunction]
#[pyo3(signature = (credentials, host, region, action, expires_in, now=None))]
fn sign_token<'py>(
    py: Python<'py>,
    credentials: &Bound<'py, Credentials>,
    host: &str,
    region: &str,
    action: &str,
    expires_in: &Bound<'py, PyAny>,
    now: Option<&Bound<'py, PyAny>>,
) -> PyResult<(Bound<'py, PyString>, f64, f64)> {
    let request = TokenRequest::new(host, region, action.parse()?, whole_seconds(expires_in)?)?;
    let now = match now {
        None => system_clock().div_euclid(1_000),
        Some(now) => point_in_time(now)?,
    };
    let token = request.sign(&credentials.get().0, now)?;
    // The text is a secret as well, but the str made from it cannot be wiped: wiping the original
    // would cost more than signing and protect nothing.
    Ok((
        PyString::new(py, token.text()),
        seconds(token.signed_at()),
        seconds(token.expires_at()),
    ))
}

/// Lets nobody but this thread into what calls Python from native code: the interpreter ends.
#[pyfunction]
fn begin_exit(py: Python<'_>) {
    presence::end();
    // Made once now: whoever is refused must not have to import it, for that may give up the interpreter's lock.
    let _ = interpreter_is_exiting().value(py);
}

/// How many threads of this process are inside native code that calls Python.
#[pyfunction]
fn inside() -> u32 {
    presence::inside()
}

fn interpreter_is_exiting() -> PyErr {
    errors::CredentialsError::new_err("the interpreter is exiting")
}

type Token = Py<PyString>;
/// Shared, because the cache clones it under its lock, where no reference count of Python's is touched.
type Waiter = Arc<Py<PyAny>>;

/// Keeps one token: the native half of a token source.
///
/// A subclass overrides `_on_miss`. Positional and further keyword arguments are the subclass's: they are
/// ignored here.
///
/// Args:
///     clock: Returns Unix seconds; None is the system's clock.
///     lease_timeout: After so many seconds a lease is taken over by another caller.
///     async_only: Whether `token()` leaves every call to `_on_miss`, for it to refuse.
#[pyclass(subclass, frozen, weakref, module = "dsql_fast._native")]
struct TokenCache {
    cache: Cache<Token, Waiter>,
    /// Stays empty where hits are not to be read from it: with a clock of the caller's, and if `async_only`.
    front: Front,
    clock: Clock,
    async_only: bool,
}

#[pymethods]
impl TokenCache {
    #[new]
    #[pyo3(signature = (*_args, clock=None, lease_timeout=60.0, async_only=false, **_kwargs))]
    fn new(
        py: Python<'_>,
        _args: &Bound<'_, PyTuple>,
        clock: Option<Py<PyAny>>,
        lease_timeout: f64,
        async_only: bool,
        _kwargs: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<Self> {
        if lease_timeout.is_nan() || lease_timeout <= 0.0 {
            return Err(errors::ConfigError::new_err(
                "lease_timeout must be a positive number of seconds",
            ));
        }
        Ok(Self {
            cache: Cache::new(to_millis(lease_timeout)),
            front: Front::new(py)?,
            clock: Clock(clock),
            async_only,
        })
    }

    /// The token; the same str object until it is renewed.
    ///
    /// On anything but a hit, what `_on_miss(stale_token_or_None, lease_or_None)` returns.
    fn token<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        let this = slf.get();
        let generation = this.cache.generation();
        match this.front.hit(slf.py(), generation, coarse_seconds) {
            Some(token) => Ok(token),
            None => Self::token_from_cache(slf),
        }
    }

    /// The same decision without the call: (token, None) is a hit, (token, lease) stale,
    /// (None, lease) a miss, (None, None) asks to wait.
    fn _get<'py>(
        &self,
        py: Python<'py>,
    ) -> PyResult<(Option<Bound<'py, PyString>>, Option<Lease>)> {
        Ok(match self.lookup(py)? {
            Lookup::Hit(token) => (Some(token), None),
            Lookup::Stale(token, lease) => (Some(token), Some(self.lease(py, lease))),
            Lookup::Miss(lease) => (None, Some(self.lease(py, lease))),
            Lookup::Wait => (None, None),
        })
    }

    /// Waits for the lease that is out: the future to wait on, which is the one given if it is the first.
    ///
    /// None if no lease is out any more: look again.
    fn _join(&self, py: Python<'_>, future: Py<PyAny>) -> Option<Py<PyAny>> {
        let joined = self.cache.join(&Arc::new(future))?;
        Some(joined.clone_ref(py))
    }

    /// What `token()` does without a hit. A subclass must override it.
    #[pyo3(signature = (stale, lease, /))]
    fn _on_miss(&self, stale: Option<Py<PyAny>>, lease: Option<Py<PyAny>>) -> PyResult<String> {
        drop((stale, lease));
        Err(PyNotImplementedError::new_err(
            "a subclass of TokenCache must override _on_miss",
        ))
    }

    /// Forgets the token: the next call makes a new one.
    fn invalidate(&self, py: Python<'_>) -> PyResult<()> {
        self.cache.invalidate();
        self.front.clear(py)
    }

    /// What was issued, renewed and failed in this process, and the present token's end.
    fn stats(&self) -> Stats {
        Stats(self.cache.stats())
    }

    /// Does nothing: what a native call costs, for the benchmark.
    fn _noop(&self) {}

    /// Shows the garbage collector the clock, which may well be a method of what holds this cache.
    ///
    /// Not the waiters' future: a lease and the cache share that one reference, and the collector would
    /// count it twice. It is let go when its lease is settled or lost.
    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.clock.0)
    }
}

impl TokenCache {
    #[cold]
    #[inline(never)]
    fn token_from_cache<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        let py = slf.py();
        let this = slf.get();
        // Python is called from here on.
        let Some(_stay) = presence::enter() else {
            return Err(interpreter_is_exiting());
        };
        let (stale, lease) = if this.async_only {
            (None, None)
        } else {
            match this.lookup(py)? {
                Lookup::Hit(token) => {
                    this.keep_in_front(py)?;
                    return Ok(token.into_any());
                }
                Lookup::Stale(token, lease) => (Some(token), Some(this.lease(py, lease))),
                Lookup::Miss(lease) => (None, Some(this.lease(py, lease))),
                Lookup::Wait => (None, None),
            }
        };
        slf.call_method1(intern!(py, "_on_miss"), (stale, lease))
    }

    /// Lets the next hits be read from the front, if there is something new to be read.
    fn keep_in_front(&self, py: Python<'_>) -> PyResult<()> {
        let generation = self.cache.generation(); // before what is read
        if self.clock.0.is_some() || self.front.is_of(generation) {
            return Ok(());
        }
        let kept = |token: &Token, fresh| (token.bind(py).clone(), fresh);
        match self.cache.fresh(kept) {
            Some((token, fresh)) => self.front.keep(py, generation, &token, &fresh),
            None => Ok(()),
        }
    }

    fn lookup<'py>(
        &self,
        py: Python<'py>,
    ) -> PyResult<Lookup<Bound<'py, PyString>, Token, Waiter>> {
        let now = self.clock.now(py)?;
        Ok(self.cache.get(now, |token| token.bind(py).clone()))
    }

    fn lease(&self, py: Python<'_>, lease: cache::Lease<Token, Waiter>) -> Lease {
        Lease {
            lease,
            clock: self.clock.clone_ref(py),
        }
    }
}

/// The duty to make a token.
///
/// Settled by exactly one of its methods, each of which returns the future of those who wait, for the caller
/// to complete, or None. A lease that goes unsettled is abandoned and that future cancelled.
#[pyclass(frozen, weakref, module = "dsql_fast._native")]
struct Lease {
    lease: cache::Lease<Token, Waiter>,
    clock: Clock,
}

#[pymethods]
impl Lease {
    /// Publishes the token; times in Unix seconds.
    fn fulfil(
        &self,
        py: Python<'_>,
        token: Py<PyString>,
        signed_at: f64,
        expires_at: f64,
    ) -> Option<Py<PyAny>> {
        let waiter = self
            .lease
            .fulfil(token, to_millis(signed_at), to_millis(expires_at));
        waiter.map(|waiter| waiter.clone_ref(py))
    }

    /// Gives up: the old token serves on, and the next try waits for `jitter` (0 to 1) of the back-off.
    fn fail(&self, py: Python<'_>, jitter: f64) -> PyResult<Option<Py<PyAny>>> {
        let now = self.clock.now(py)?;
        let waiter = self.lease.fail(now, jitter);
        Ok(waiter.map(|waiter| waiter.clone_ref(py)))
    }

    /// Gives the lease back for the next caller to take at once, as when its holder was cancelled.
    fn abandon(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        self.lease.abandon().map(|waiter| waiter.clone_ref(py))
    }
}

impl Drop for Lease {
    /// Whoever waits for a lease that was lost must not wait for ever.
    fn drop(&mut self) {
        if let Some(waiter) = self.lease.abandon() {
            Python::try_attach(|py| {
                if let Err(error) = waiter.call_method0(py, intern!(py, "cancel")) {
                    error.write_unraisable(py, Some(waiter.bind(py)));
                }
            });
        }
    }
}

/// Counts since the process began (a forked child counts from nought).
#[pyclass(frozen, eq, module = "dsql_fast._native")]
#[derive(PartialEq)]
struct Stats(cache::Stats);

#[pymethods]
impl Stats {
    /// Tokens published.
    #[getter]
    fn issued(&self) -> u64 {
        self.0.issued
    }

    /// Tokens published after the first.
    #[getter]
    fn renewals(&self) -> u64 {
        self.0.renewals()
    }

    /// Attempts that failed.
    #[getter]
    fn failures(&self) -> u64 {
        self.0.failures
    }

    /// When the present token ends (UTC); None without one.
    #[getter]
    fn expires_at<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyDateTime>>> {
        let end = self.0.expires_at.map(|end| end.saturating_mul(1_000));
        end.map(|end| utc(py, end)).transpose()
    }

    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        let expires_at = match self.expires_at(py)? {
            None => "None".to_owned(),
            Some(end) => end.str()?.to_string(),
        };
        Ok(format!(
            "Stats(issued={}, renewals={}, failures={}, expires_at={expires_at})",
            self.issued(),
            self.renewals(),
            self.failures()
        ))
    }
}

/// The clock that a cache goes by: a callable that returns Unix seconds, or the system's.
struct Clock(Option<Py<PyAny>>);

impl Clock {
    #[inline]
    fn now(&self, py: Python<'_>) -> PyResult<Millis> {
        match &self.0 {
            None => Ok(coarse_clock()),
            Some(clock) => {
                let now: f64 = clock.call0(py)?.extract(py)?;
                if now.is_finite() {
                    Ok(to_millis(now))
                } else {
                    Err(errors::ConfigError::new_err(
                        "clock must return a finite number of seconds",
                    ))
                }
            }
        }
    }

    fn clone_ref(&self, py: Python<'_>) -> Self {
        Self(self.0.as_ref().map(|clock| clock.clone_ref(py)))
    }
}

/// The system's clock to a few milliseconds, at half the price of the exact one.
#[cfg(target_os = "linux")]
fn coarse_clock() -> Millis {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::RealtimeCoarse);
    now.tv_sec * 1_000 + now.tv_nsec / 1_000_000
}

/// Its whole seconds.
#[cfg(target_os = "linux")]
#[inline]
fn coarse_seconds() -> i64 {
    rustix::time::clock_gettime(rustix::time::ClockId::RealtimeCoarse).tv_sec
}

/// The system's clock.
#[cfg(not(target_os = "linux"))]
fn coarse_clock() -> Millis {
    system_clock()
}

/// Its whole seconds.
#[cfg(not(target_os = "linux"))]
fn coarse_seconds() -> i64 {
    system_clock().div_euclid(1_000)
}

/// The system's clock.
fn system_clock() -> Millis {
    // A clock before 1970 is refused when it is signed for.
    SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .map_or(-1, |since| {
            i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
        })
}

/// Unix microseconds of an aware datetime, exactly (`datetime.timestamp()` is a float).
fn timestamp(name: &str, moment: &Bound<'_, PyDateTime>) -> PyResult<i64> {
    let py = moment.py();
    if moment.call_method0(intern!(py, "utcoffset"))?.is_none() {
        return Err(errors::ConfigError::new_err(format!(
            "{name} must be a timezone-aware datetime: \
             a naive one means another moment on another machine"
        )));
    }
    let since = moment.sub(utc(py, 0)?)?.cast_into::<PyDelta>()?;
    let seconds = i64::from(since.get_days()) * 86_400 + i64::from(since.get_seconds());
    Ok(seconds * 1_000_000 + i64::from(since.get_microseconds()))
}

/// The whole seconds of a datetime or a number of seconds.
pub(crate) fn point_in_time(now: &Bound<'_, PyAny>) -> PyResult<i64> {
    if let Ok(moment) = now.cast::<PyDateTime>() {
        return Ok(timestamp("now", moment)?.div_euclid(1_000_000));
    }
    let seconds: f64 = now.extract()?;
    if now.is_instance_of::<PyBool>() || !seconds.is_finite() {
        return Err(errors::ConfigError::new_err(
            "now must be a timezone-aware datetime or Unix seconds",
        ));
    }
    #[allow(clippy::cast_possible_truncation, reason = "the cast saturates")]
    let whole = seconds.floor() as i64;
    Ok(whole)
}

fn whole_seconds(number: &Bound<'_, PyAny>) -> PyResult<i64> {
    let py = number.py();
    if number.is_instance_of::<PyBool>() {
        return Err(errors::ConfigError::new_err(
            "a token's life is a number of seconds, not a bool",
        ));
    }
    // One that does not fit is refused like any other that is out of bounds.
    number.extract().or_else(|error: PyErr| {
        if error.get_type(py).is(PyOverflowError::type_object(py)) {
            Ok(i64::MAX)
        } else {
            Err(error)
        }
    })
}

/// A UTC datetime from Unix microseconds.
fn utc(py: Python<'_>, micros: i64) -> PyResult<Bound<'_, PyDateTime>> {
    const SECOND: i64 = 1_000_000;
    const DAY: i64 = 86_400 * SECOND;
    let (year, month, day) = civil_from_days(micros.div_euclid(DAY));
    let rest = micros.rem_euclid(DAY);
    let zone = PyTzInfo::utc(py)?;
    PyDateTime::new(
        py,
        i32::try_from(year)?,
        u8::try_from(month)?,
        u8::try_from(day)?,
        u8::try_from(rest / (3_600 * SECOND))?,
        u8::try_from(rest / (60 * SECOND) % 60)?,
        u8::try_from(rest / SECOND % 60)?,
        u32::try_from(rest % SECOND)?,
        Some(&zone.to_owned()),
    )
}

#[allow(
    clippy::cast_possible_truncation,
    reason = "casts saturate, and NaN becomes 0"
)]
fn to_millis(seconds: f64) -> Millis {
    (seconds * 1e3).round() as Millis
}

#[allow(clippy::cast_precision_loss, reason = "exact below 2^53")]
fn seconds(whole: i64) -> f64 {
    whole as f64
}
