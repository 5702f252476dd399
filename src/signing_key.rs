//! The key that `SigV4` derives from a secret key for one day, region and service.

use std::time::{Duration, UNIX_EPOCH};

use aws_sigv4::sign::v4::generate_signing_key;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

use crate::timestamp::SECONDS_A_DAY;

pub(crate) const SERVICE: &str = "dsql";

/// The key that signs for one day in one region.
///
/// Kept as a keyed HMAC, both of whose first blocks are already hashed; the `zeroize` features of
/// `hmac` and `sha2` wipe it on drop. (The four intermediate keys live in buffers of the aws-sigv4
/// crate that nobody wipes, for about a microsecond, once a day.)
pub(crate) struct SigningKey {
    day: i64,
    region: Box<str>,
    mac: Hmac<Sha256>,
}

impl SigningKey {
    pub(crate) fn derive(secret: &str, day: i64, region: &str) -> Self {
        Self::derive_for(secret, day, region, SERVICE)
    }

    pub(crate) fn derive_for(secret: &str, day: i64, region: &str, service: &str) -> Self {
        // A day is one of `Timestamp`'s, so neither conversion nor product can overflow.
        let seconds = u64::try_from(day.saturating_mul(SECONDS_A_DAY)).unwrap_or_default();
        let time = UNIX_EPOCH + Duration::from_secs(seconds);
        let key = generate_signing_key(secret, time, region, service);
        Self {
            day,
            region: region.into(),
            mac: keyed(key.as_ref()),
        }
    }

    pub(crate) fn is_for(&self, day: i64, region: &str) -> bool {
        self.day == day && *self.region == *region
    }

    /// HMAC-SHA-256 of the string to sign.
    pub(crate) fn sign(&self, text: &[u8]) -> [u8; 32] {
        let mut mac = self.mac.clone();
        mac.update(text);
        mac.finalize().into_bytes().into()
    }
}

fn keyed(key: &[u8]) -> Hmac<Sha256> {
    match Hmac::new_from_slice(key) {
        Ok(mac) => mac,
        Err(_) => unreachable!("HMAC takes a key of any length (RFC 2104)"),
    }
}
