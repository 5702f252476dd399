//! `generate_token`'s plain case in one call: nothing to be looked up, nothing to be refused.
//!
//! This only ever agrees. Whatever is not plain, wrong, or even merely unusual is answered with `None`,
//! and decided where it is said what is wrong: in Python. So there is one place that words refusals, and
//! this one is held against it (`tests/native/test_plain.py`).

use std::ops::RangeInclusive;
use std::time::{SystemTime, UNIX_EPOCH};

use pyo3::prelude::*;
use pyo3::types::{PyInt, PyString};

use crate::action::Action;
use crate::python::{Credentials, point_in_time};
use crate::token::{MAX_EXPIRES_IN, TokenRequest};

/// Signs one token where all arguments are plain: a host whose Region it tells or is given, without
/// contradiction, texts and numbers of exactly those types, `Credentials`.
///
/// Args:
///     host, region, user, expires_in, credentials, now: As `dsql_fast.generate_token` has them.
///
/// Returns:
///     The token, or None: something is not plain, or cannot be signed.
#[pyfunction]
#[pyo3(signature = (host, region, user, expires_in, credentials, now, /))]
#[allow(clippy::doc_markdown, reason = "a docstring for Python, not rustdoc")]
pub(crate) fn sign_plain<'py>(
    host: &Bound<'py, PyAny>,
    region: &Bound<'py, PyAny>,
    user: &Bound<'py, PyAny>,
    expires_in: &Bound<'py, PyAny>,
    credentials: &Bound<'py, PyAny>,
    now: &Bound<'py, PyAny>,
) -> Option<Bound<'py, PyString>> {
    const LIVES: RangeInclusive<i64> = 1..=MAX_EXPIRES_IN as i64;
    let py = host.py();
    let credentials = credentials.cast_exact::<Credentials>().ok()?;
    let host = text(host)?;
    let region = if region.is_none() {
        None
    } else {
        Some(text(region)?)
    };
    let expires_in = expires_in.cast_exact::<PyInt>().ok()?.extract().ok()?;
    if !LIVES.contains(&expires_in) {
        return None;
    }
    let now = if now.is_none() {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).ok()?;
        i64::try_from(since.as_secs()).ok()?
    } else {
        point_in_time(now).ok()?
    };
    let action = action_for(text(user)?)?;
    let request = TokenRequest::new(host, region_of(host, region)?, action, expires_in).ok()?;
    let token = request.sign(&credentials.get().0, now).ok()?;
    Some(PyString::new(py, token.text()))
}

/// Text of exactly Python's own type that can be written in UTF-8.
fn text<'a>(value: &'a Bound<'_, PyAny>) -> Option<&'a str> {
    value.cast_exact::<PyString>().ok()?.to_str().ok()
}

fn action_for(user: &str) -> Option<Action> {
    match user {
        "admin" => Some(Action::DbConnectAdmin),
        _ if user.is_empty() || user.contains('\0') => None,
        _ => Some(Action::DbConnect),
    }
}

/// The Region of a host: its own, or the one given where the host does not tell.
fn region_of<'a>(host: &'a str, given: Option<&'a str>) -> Option<&'a str> {
    // A name of one label may be a cluster's id, one with an empty label is none, and one with capitals is
    // not as it will be signed.
    let any_upper = host
        .bytes()
        .fold(false, |any, byte| any | byte.is_ascii_uppercase());
    if any_upper || !host.contains('.') || host.contains("..") {
        return None;
    }
    let told = told_by(host);
    let Some(given) = given else { return told };
    let contradicts = told.is_some_and(|told| told != given);
    let is_code = !given.starts_with('-') && !given.ends_with('-');
    (is_code && !contradicts).then_some(given)
}

/// The Region that a host tells: `<id>.dsql.<region>.on.aws`, or `<id>.dsql-<suffix>.<region>.on.aws`.
fn told_by(host: &str) -> Option<&str> {
    let (_, rest) = host.strip_suffix(".on.aws")?.split_once('.')?;
    let (service, region) = rest.split_once('.')?;
    let is_ours = service == "dsql" || service.starts_with("dsql-");
    (is_ours && !region.contains('.')).then_some(region)
}
