//! The native core of dsql-fast.
//!
//! Aurora DSQL takes no passwords: every connection presents a token, a SigV4-presigned URL for the
//! cluster's host. This crate makes tokens ([`token`], [`sigv4`], [`credentials`]) and keeps them
//! ([`cache`]). It reads no environment, opens no socket, starts no thread, logs nothing, and takes
//! the time as a parameter; the Python face is one module behind the feature `python`.

pub mod cache;
pub mod credentials;
mod error;
#[cfg(feature = "python")]
mod python;
pub mod sigv4;
pub mod token;

pub use error::Error;
