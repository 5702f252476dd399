//! What a token is for, as IAM names it.

use std::str::FromStr;

use crate::error::{Error, Kind};

/// What the token allows its bearer to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Connect as any user but `admin`.
    DbConnect,
    /// Connect as `admin`.
    DbConnectAdmin,
}

impl Action {
    /// The name in IAM policies and in the token.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::DbConnect => "DbConnect",
            Self::DbConnectAdmin => "DbConnectAdmin",
        }
    }
}

impl FromStr for Action {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self, Error> {
        match name {
            "DbConnect" => Ok(Self::DbConnect),
            "DbConnectAdmin" => Ok(Self::DbConnectAdmin),
            _ => Err(Error::new(
                Kind::InvalidRequest,
                "action must be DbConnectAdmin (for the user admin) or DbConnect (for all others)",
            )),
        }
    }
}
