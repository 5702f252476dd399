use std::borrow::Cow;
use std::fmt;

/// Why a token could not be made.
///
/// The text says what to do next. It never quotes the input: a host that is refused may be a whole
/// URI with a password in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    kind: Kind,
    message: Cow<'static, str>,
}

/// What went wrong, for the one place that maps errors to Python's classes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The credentials could never sign anything.
    InvalidCredentials,
    /// The credentials are past their end, or within a second of it.
    CredentialsExpired,
    /// Host, region, action, lifetime or time is not one that can be signed.
    InvalidRequest,
}

impl Error {
    pub(crate) fn new(kind: Kind, message: impl Into<Cow<'static, str>>) -> Self {
        Self {
            kind,
            message: message.into(),
        }
    }

    #[cfg(any(feature = "python", test))]
    pub(crate) fn kind(&self) -> Kind {
        self.kind
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}
