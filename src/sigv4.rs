//! `SigV4` presigning of the one request that is a DSQL token.
//!
//! The request is `GET https://<host>/?Action=<action>` for the service `dsql`, with the header
//! `host` alone and an empty body; its presigned URL without the scheme is the token. Because the
//! shape never changes, the canonical request is fed to the hash piece by piece, most of it taken
//! from the token's own text, and nothing but the token is allocated.
//!
//! The text is byte for byte what botocore's `SigV4QueryAuth` makes. Order and encoding matter to
//! that, not to the server: it sorts and decodes before it verifies.
//!
//! Source of the format: "Signature Version 4 signing process" in the AWS General Reference, and
//! `botocore/auth.py`.

use std::fmt::Write as _;
use std::time::{Duration, UNIX_EPOCH};

use aws_sigv4::sign::v4::generate_signing_key;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::{Digest as _, Sha256};

use crate::credentials::Credentials;
use crate::error::{Error, Kind};
use crate::token::Action;

const SERVICE: &str = "dsql";
const SECONDS_A_DAY: i64 = 86_400;
/// 10000-01-01T00:00:00Z: the date has four digits for the year.
const END_OF_TIME: i64 = 253_402_300_800;

const AFTER_HOST: &str = "/?Action=";
const AFTER_ACTION: &str = "&X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=";
/// `/dsql/aws4_request` percent-encoded, and the next key.
const AFTER_REGION: &str = "%2Fdsql%2Faws4_request&X-Amz-Date=";
const EXPIRES: &str = "&X-Amz-Expires=";
const SIGNED_HEADERS: &str = "&X-Amz-SignedHeaders=host";
const SECURITY_TOKEN: &str = "&X-Amz-Security-Token=";
const SIGNATURE: &str = "&X-Amz-Signature=";
/// What follows the host's value in the canonical request: end of the headers, their names, and the
/// SHA-256 of an empty body.
const CANONICAL_END: &str =
    "\n\nhost\ne3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

/// What one token is signed for. The caller has checked it: see
/// [`TokenRequest`](crate::token::TokenRequest).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Presign<'a> {
    pub(crate) host: &'a str,
    pub(crate) region: &'a str,
    pub(crate) action: Action,
    pub(crate) expires_in: u32,
    pub(crate) signed_at: Timestamp,
}

impl Presign<'_> {
    /// The token's text.
    pub(crate) fn sign(&self, credentials: &Credentials) -> String {
        let mut text = String::with_capacity(self.capacity(credentials));
        text.push_str(self.host);
        text.push_str(AFTER_HOST);
        self.write_query(credentials, &mut text);

        let session_token = credentials.session_token_encoded();
        let hash = self.canonical_hash(&text[self.host.len() + 2..], session_token);

        text.push_str(SIGNED_HEADERS);
        if let Some(token) = session_token {
            text.push_str(SECURITY_TOKEN);
            text.push_str(token);
        }
        text.push_str(SIGNATURE);
        let date_time = self.signed_at.date_time();
        let key = credentials.signing_key(self.signed_at.day, self.region);
        let signature = key.sign(&[
            b"AWS4-HMAC-SHA256\n",
            date_time.as_bytes(),
            b"\n",
            self.signed_at.date().as_bytes(),
            b"/",
            self.region.as_bytes(),
            b"/dsql/aws4_request\n",
            &hex(&hash),
        ]);
        push_ascii(&mut text, &hex(&signature));
        text
    }

    /// The query up to where canonical form and token part ways: the canonical one has the session
    /// token before `X-Amz-SignedHeaders` (it is sorted), botocore's URL has it after.
    fn write_query(&self, credentials: &Credentials, text: &mut String) {
        text.push_str(self.action.as_str());
        text.push_str(AFTER_ACTION);
        percent_encode(credentials.access_key_id(), text);
        text.push_str("%2F");
        text.push_str(self.signed_at.date());
        text.push_str("%2F");
        text.push_str(self.region);
        text.push_str(AFTER_REGION);
        text.push_str(self.signed_at.date_time());
        text.push_str(EXPIRES);
        // Writing to a String cannot fail.
        let _ = write!(text, "{}", self.expires_in);
    }

    /// The hash of the canonical request, whose query begins with `query`.
    fn canonical_hash(&self, query: &str, session_token: Option<&str>) -> [u8; 32] {
        let mut hash = Sha256::new();
        hash.update("GET\n/\n");
        hash.update(query);
        if let Some(token) = session_token {
            hash.update(SECURITY_TOKEN);
            hash.update(token);
        }
        hash.update(SIGNED_HEADERS);
        hash.update("\nhost:");
        hash.update(self.host);
        hash.update(CANONICAL_END);
        hash.finalize().into()
    }

    /// Room for the whole text, so that it is allocated once.
    fn capacity(&self, credentials: &Credentials) -> usize {
        /// All the fixed pieces, the longest action, dates, lifetime and signature, rounded up.
        const FIXED: usize = 320;
        /// One byte becomes `%XX` at worst.
        const ENCODED: usize = 3;
        let token = credentials.session_token_encoded().unwrap_or_default();
        FIXED
            + self.host.len()
            + self.region.len()
            + ENCODED * credentials.access_key_id().len()
            + token.len()
    }
}

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

    fn derive_for(secret: &str, day: i64, region: &str, service: &str) -> Self {
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

    /// HMAC-SHA-256 of the pieces of the string to sign.
    fn sign(&self, pieces: &[&[u8]]) -> [u8; 32] {
        let mut mac = self.mac.clone();
        for piece in pieces {
            mac.update(piece);
        }
        mac.finalize().into_bytes().into()
    }
}

fn keyed(key: &[u8]) -> Hmac<Sha256> {
    match Hmac::new_from_slice(key) {
        Ok(mac) => mac,
        Err(_) => unreachable!("HMAC takes a key of any length (RFC 2104)"),
    }
}

/// A second in UTC between 1970 and 9999, with its text.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Timestamp {
    day: i64,
    text: [u8; 16],
}

impl Timestamp {
    pub(crate) fn from_unix(seconds: i64) -> Result<Self, Error> {
        if !(0..END_OF_TIME).contains(&seconds) {
            return Err(Error::new(
                Kind::InvalidRequest,
                "the time to sign for must lie between the years 1970 and 9999: check the clock",
            ));
        }
        let day = seconds.div_euclid(SECONDS_A_DAY);
        let second = seconds.rem_euclid(SECONDS_A_DAY);
        let (year, month, month_day) = civil_from_days(day);
        let mut text = *b"YYYYMMDDThhmmssZ";
        write_digits(&mut text[0..4], year);
        write_digits(&mut text[4..6], month);
        write_digits(&mut text[6..8], month_day);
        write_digits(&mut text[9..11], second / 3600);
        write_digits(&mut text[11..13], second / 60 % 60);
        write_digits(&mut text[13..15], second % 60);
        Ok(Self { day, text })
    }

    /// `20240827`
    fn date(&self) -> &str {
        self.date_time().get(..8).unwrap_or_default()
    }

    /// `20240827T000000Z`
    fn date_time(&self) -> &str {
        // Digits and two letters: always valid.
        std::str::from_utf8(&self.text).unwrap_or_default()
    }
}

/// Year, month and day of the days since 1970-01-01.
///
/// Howard Hinnant's `civil_from_days` ("chrono-Compatible Low-Level Date Algorithms"): the year is
/// taken to begin in March, so that the leap day is its last; `DAYS` of 400 years repeat.
pub(crate) fn civil_from_days(day: i64) -> (i64, i64, i64) {
    const DAYS: i64 = 146_097;
    let shifted = day + 719_468; // from 0000-03-01
    let era = shifted.div_euclid(DAYS);
    let day_of_era = shifted.rem_euclid(DAYS);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day_of_month = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = (month_from_march + 2) % 12 + 1;
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, day_of_month)
}

fn write_digits(field: &mut [u8], mut number: i64) {
    for place in field.iter_mut().rev() {
        // A remainder of ten fits in a byte.
        *place = b'0' + u8::try_from(number % 10).unwrap_or_default();
        number /= 10;
    }
}

/// Percent-encodes as botocore does (`quote(text, safe='-_.~')`): everything but RFC 3986's
/// unreserved characters, byte by byte, in capitals.
pub(crate) fn percent_encode(text: &str, out: &mut String) {
    for &byte in text.as_bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~') {
            out.push(char::from(byte));
        } else {
            const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
            out.push('%');
            out.push(char::from(DIGITS[usize::from(byte >> 4)]));
            out.push(char::from(DIGITS[usize::from(byte & 15)]));
        }
    }
}

pub(crate) fn percent_encoded(text: &str) -> String {
    // As long as it can get, so that no half of a secret is left behind by a growing buffer.
    let mut out = String::with_capacity(3 * text.len());
    percent_encode(text, &mut out);
    out
}

fn hex(bytes: &[u8; 32]) -> [u8; 64] {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut out = [0; 64];
    for (pair, byte) in out.chunks_exact_mut(2).zip(bytes) {
        pair[0] = DIGITS[usize::from(byte >> 4)];
        pair[1] = DIGITS[usize::from(byte & 15)];
    }
    out
}

fn push_ascii(text: &mut String, ascii: &[u8]) {
    text.push_str(std::str::from_utf8(ascii).unwrap_or_default());
}

#[cfg(test)]
mod tests;
