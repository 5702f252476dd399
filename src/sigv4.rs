//! `SigV4` presigning of the one request that is a DSQL token.
//!
//! The request is `GET https://<host>/?Action=<action>` for the service `dsql`, with the header
//! `host` alone and an empty body; its presigned URL without the scheme is the token. Because the
//! shape never changes, there is nothing to sort, and nothing but the token's own buffer is allocated.
//!
//! The text is byte for byte what botocore's `SigV4QueryAuth` makes. Order and encoding matter to
//! that, not to the server: it sorts and decodes before it verifies.
//!
//! Source of the format: "Signature Version 4 signing process" in the AWS General Reference, and
//! `botocore/auth.py`.

use sha2::{Digest as _, Sha256};

use crate::action::Action;
use crate::credentials::Credentials;
use crate::timestamp::Timestamp;

const AFTER_HOST: &str = "/?Action=";
const AFTER_ACTION: &str = "&X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=";
/// `/dsql/aws4_request` percent-encoded, and the next key.
const AFTER_REGION: &str = "%2Fdsql%2Faws4_request&X-Amz-Date=";
const EXPIRES: &str = "&X-Amz-Expires=";
const SIGNED_HEADERS: &str = "&X-Amz-SignedHeaders=host";
const SECURITY_TOKEN: &str = "&X-Amz-Security-Token=";
const SIGNATURE: &str = "&X-Amz-Signature=";
/// The first lines of the canonical request: the method and the path.
const CANONICAL_START: &str = "GET\n/\n";
const BEFORE_CANONICAL_HOST: &str = "\nhost:";
/// What follows the host's value in the canonical request: end of the headers, their names, and the
/// SHA-256 of an empty body.
const CANONICAL_END: &str =
    "\n\nhost\ne3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
/// The string to sign begins with it; the time, the scope and the request's hash follow.
const ALGORITHM: &str = "AWS4-HMAC-SHA256\n";
const SCOPE_END: &str = "/dsql/aws4_request\n";

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
    ///
    /// What is hashed and what is signed are written behind the text, in the same buffer, and cut off
    /// again: two runs of bytes, each hashed in one go, cost less than a dozen pieces that the hash
    /// has to put together, and nothing else is allocated.
    pub(crate) fn sign(&self, credentials: &Credentials) -> String {
        let session_token = credentials.session_token_encoded();
        let mut text = Vec::with_capacity(self.capacity(credentials));
        push(&mut text, self.host);
        push(&mut text, AFTER_HOST);
        // From `Action` on.
        let query = self.host.len() + 2..self.write_query(credentials, &mut text);
        push(&mut text, SIGNED_HEADERS);
        if let Some(token) = session_token {
            push(&mut text, SECURITY_TOKEN);
            push(&mut text, token);
        }
        push(&mut text, SIGNATURE);
        let end = text.len();

        push(&mut text, CANONICAL_START);
        text.extend_from_within(query);
        if let Some(token) = session_token {
            // Sorted: here it stands before `X-Amz-SignedHeaders`, in botocore's URL after it.
            push(&mut text, SECURITY_TOKEN);
            push(&mut text, token);
        }
        push(&mut text, SIGNED_HEADERS);
        push(&mut text, BEFORE_CANONICAL_HOST);
        push(&mut text, self.host);
        push(&mut text, CANONICAL_END);
        let hash = Sha256::digest(&text[end..]);

        text.truncate(end);
        push(&mut text, ALGORITHM);
        push(&mut text, self.signed_at.date_time());
        push(&mut text, "\n");
        push(&mut text, self.signed_at.date());
        push(&mut text, "/");
        push(&mut text, self.region);
        push(&mut text, SCOPE_END);
        push_hex(&mut text, &hash.into());
        let signature = credentials.sign(self.signed_at.day, self.region, &text[end..]);

        text.truncate(end);
        push_hex(&mut text, &signature);
        // All of it came from text or is ASCII.
        String::from_utf8(text).unwrap_or_default()
    }

    /// The query up to where canonical form and token part ways; returns where that is.
    fn write_query(&self, credentials: &Credentials, text: &mut Vec<u8>) -> usize {
        push(text, self.action.as_str());
        push(text, AFTER_ACTION);
        push(text, credentials.access_key_id_encoded());
        push(text, "%2F");
        push(text, self.signed_at.date());
        push(text, "%2F");
        push(text, self.region);
        push(text, AFTER_REGION);
        push(text, self.signed_at.date_time());
        push(text, EXPIRES);
        push_number(text, self.expires_in);
        text.len()
    }

    /// Room for the whole text and, behind it, for the canonical request, which is the longer of the
    /// two that are written there: so that it is allocated once.
    fn capacity(&self, credentials: &Credentials) -> usize {
        /// All the fixed pieces, the longest action, dates, lifetime and signature, rounded up.
        const FIXED: usize = 320;
        let token = credentials.session_token_encoded().unwrap_or_default();
        2 * (FIXED
            + self.host.len()
            + self.region.len()
            + credentials.access_key_id_encoded().len()
            + token.len())
    }
}

/// Lower-case hexadecimal.
fn push_hex(text: &mut Vec<u8>, bytes: &[u8; 32]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut hex = [0; 64];
    for (pair, byte) in hex.chunks_exact_mut(2).zip(bytes) {
        pair[0] = DIGITS[usize::from(byte >> 4)];
        pair[1] = DIGITS[usize::from(byte & 15)];
    }
    text.extend_from_slice(&hex);
}

/// Decimal; a quarter of what `write!` takes.
fn push_number(text: &mut Vec<u8>, mut number: u32) {
    const LONGEST: usize = 10; // u32::MAX
    let mut digits = [0; LONGEST];
    let mut start = LONGEST;
    loop {
        start -= 1;
        // A remainder of ten fits in a byte.
        digits[start] = b'0' + u8::try_from(number % 10).unwrap_or_default();
        number /= 10;
        if number == 0 || start == 0 {
            break;
        }
    }
    text.extend_from_slice(&digits[start..]);
}

fn push(text: &mut Vec<u8>, piece: impl AsRef<[u8]>) {
    text.extend_from_slice(piece.as_ref());
}

#[cfg(test)]
mod tests;
