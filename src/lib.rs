//! The native core of dsql-fast.
//!
//! Aurora DSQL takes no passwords: every connection presents a token, a SigV4-presigned URL for the
//! cluster's host. This crate makes tokens ([`token`], [`sigv4`], [`credentials`]) and keeps them
//! ([`cache`]). Imports point one way: token > sigv4 > credentials > signing key > timestamp. It reads no environment, opens no socket, starts no thread, logs nothing, and takes
//! the time as a parameter; the Python face is one module behind the feature `python`.

pub mod action;
pub mod cache;
pub mod credentials;
mod error;
#[cfg(feature = "python")]
mod front;
mod percent;
#[cfg(feature = "python")]
mod plain;
pub mod presence;
#[cfg(feature = "python")]
mod python;
mod signing_key;
pub mod sigv4;
mod timestamp;
pub mod token;

pub use error::Error;
