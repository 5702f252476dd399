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

use sha2::{Digest as _, Sha256};

use crate::action::Action;
use crate::credentials::Credentials;
use crate::percent::percent_encode;
use crate::timestamp::Timestamp;

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
