//! AWS credentials, and the signing key derived from them.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::hint::black_box;
use std::sync::Arc;

use arc_swap::ArcSwapOption;
use zeroize::Zeroizing;

use crate::error::{Error, Kind};
use crate::percent::{percent_decoded, percent_encoded};
use crate::signing_key::SigningKey;

/// An access key, its secret, and a session token where the key is temporary.
///
/// Equality and hash cover every field: an access key id may get a new secret, and a signature must
/// never be made with a key that belongs to another. The secrets are overwritten on drop, `Debug`
/// hides them, and only `reveal` returns them.
///
/// The signing key of the last day and region is kept here, so that it lives exactly as long as the
/// credentials that it came from: the same value signs its second token with one keyed HMAC.
pub struct Credentials {
    access_key_id: String,
    /// As it stands in a query string.
    access_key_id_encoded: String,
    secret_access_key: Zeroizing<String>,
    /// As it stands in a query string; encoding is one to one, so it compares like the token itself.
    session_token: Option<Zeroizing<String>>,
    expires_at: Option<i64>,
    signing_key: ArcSwapOption<SigningKey>,
}

impl Credentials {
    /// Checks and takes over credentials.
    ///
    /// `expires_at` is Unix time in microseconds; `None` is a key that does not expire. An empty
    /// session token is none at all.
    ///
    /// # Errors
    ///
    /// A key that is empty, or has white space around it or a control character in it: the mark of
    /// a bad paste or a file's newline, which the server could only refuse as a wrong signature.
    pub fn new(
        access_key_id: &str,
        secret_access_key: &str,
        session_token: Option<&str>,
        expires_at: Option<i64>,
    ) -> Result<Self, Error> {
        check("access_key_id", access_key_id)?;
        check("secret_access_key", secret_access_key)?;
        let session_token = session_token.filter(|token| !token.is_empty());
        if let Some(token) = session_token {
            check("session_token", token)?;
        }
        Ok(Self {
            access_key_id: access_key_id.to_owned(),
            access_key_id_encoded: percent_encoded(access_key_id),
            secret_access_key: Zeroizing::new(secret_access_key.to_owned()),
            session_token: session_token.map(|token| Zeroizing::new(percent_encoded(token))),
            expires_at,
            signing_key: ArcSwapOption::empty(),
        })
    }

    /// The access key's id, which is no secret.
    #[must_use]
    pub fn access_key_id(&self) -> &str {
        &self.access_key_id
    }

    /// When the credentials end: Unix time in microseconds, `None` for never.
    #[must_use]
    pub fn expires_at(&self) -> Option<i64> {
        self.expires_at
    }

    /// Whether the key is a temporary one.
    #[must_use]
    pub fn has_session_token(&self) -> bool {
        self.session_token.is_some()
    }

    /// The access key's id, its secret and the session token, for a request that is signed elsewhere:
    /// the one in which a role is assumed.
    #[must_use]
    pub fn reveal(&self) -> (&str, &str, Option<Zeroizing<String>>) {
        let session_token = self.session_token_encoded().map(percent_decoded);
        (
            &self.access_key_id,
            &self.secret_access_key,
            session_token.map(Zeroizing::new),
        )
    }

    /// As much of the access key's id as may be shown: four characters of a real one, none of a
    /// short one, of which they would be most.
    #[must_use]
    pub fn redacted_access_key_id(&self) -> String {
        const SHOWN: usize = 4;
        const REAL: usize = 16;
        if self.access_key_id.chars().count() < REAL {
            return "****".to_owned();
        }
        let mut shown: String = self.access_key_id.chars().take(SHOWN).collect();
        shown.push_str("****");
        shown
    }

    pub(crate) fn session_token_encoded(&self) -> Option<&str> {
        self.session_token.as_ref().map(|token| token.as_str())
    }

    pub(crate) fn access_key_id_encoded(&self) -> &str {
        &self.access_key_id_encoded
    }

    /// Signs with the key of that day in that region.
    pub(crate) fn sign(&self, day: i64, region: &str, text: &[u8]) -> [u8; 32] {
        // Borrowed, not cloned: two locked instructions less.
        let kept = self.signing_key.load();
        match &*kept {
            Some(kept) if kept.is_for(day, region) => kept.sign(text),
            _ => self.derive(day, region).sign(text),
        }
    }

    #[cold]
    fn derive(&self, day: i64, region: &str) -> Arc<SigningKey> {
        // Two threads may derive it at once; both get the same key and the later store stays.
        let derived = Arc::new(SigningKey::derive(&self.secret_access_key, day, region));
        self.signing_key.store(Some(Arc::clone(&derived)));
        derived
    }
}

fn check(field: &str, value: &str) -> Result<(), Error> {
    let wrong = if value.trim().is_empty() {
        "is empty"
    } else if value.trim().len() != value.len() {
        "has white space around it"
    } else if value.chars().any(char::is_control) {
        "contains a control character"
    } else {
        return Ok(());
    };
    Err(Error::new(
        Kind::InvalidCredentials,
        format!("{field} {wrong}: check where the credentials come from"),
    ))
}

impl PartialEq for Credentials {
    fn eq(&self, other: &Self) -> bool {
        self.access_key_id == other.access_key_id
            && self.expires_at == other.expires_at
            && same_secret(&self.secret_access_key, &other.secret_access_key)
            && match (&self.session_token, &other.session_token) {
                (None, None) => true,
                (Some(one), Some(two)) => same_secret(one, two),
                _ => false,
            }
    }
}

impl Eq for Credentials {}

impl Hash for Credentials {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.access_key_id.hash(state);
        self.secret_access_key.hash(state);
        self.session_token_encoded().hash(state);
        self.expires_at.hash(state);
    }
}

/// Compares in time that depends on the lengths only.
fn same_secret(one: &str, two: &str) -> bool {
    let difference = one
        .bytes()
        .zip(two.bytes())
        .fold(0, |difference, (a, b)| difference | (a ^ b));
    one.len() == two.len() && black_box(difference) == 0
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials")
            .field("access_key_id", &self.redacted_access_key_id())
            .field("secret_access_key", &"****")
            .field(
                "session_token",
                &self.session_token.as_ref().map(|_| "****"),
            )
            .field("expires_at", &self.expires_at)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::hash::DefaultHasher;

    use super::*;

    const KEY: &str = "AKIAIOSFODNN7EXAMPLE";

    #[test]
    fn reveals_what_was_given() {
        let credentials = Credentials::new(KEY, "se/cret+", Some("to/ken+%7E=="), None).unwrap();
        let (key, secret, token) = credentials.reveal();
        assert_eq!((key, secret), (KEY, "se/cret+"));
        assert_eq!(token.unwrap().as_str(), "to/ken+%7E==");
        assert!(
            Credentials::new(KEY, "s", None, None)
                .unwrap()
                .reveal()
                .2
                .is_none()
        );
    }

    fn hash(credentials: &Credentials) -> u64 {
        let mut hasher = DefaultHasher::new();
        credentials.hash(&mut hasher);
        hasher.finish()
    }

    #[test]
    fn equal_only_if_every_field_is() {
        let made = |key, secret, token, end| Credentials::new(key, secret, token, end).unwrap();
        let one = made(KEY, "secret", Some("token"), Some(1));
        assert_eq!(one, made(KEY, "secret", Some("token"), Some(1)));
        assert_eq!(
            hash(&one),
            hash(&made(KEY, "secret", Some("token"), Some(1)))
        );
        for other in [
            made("AKIAIOSFODNN7EXAMPLF", "secret", Some("token"), Some(1)),
            made(KEY, "secreT", Some("token"), Some(1)),
            made(KEY, "secret2", Some("token"), Some(1)),
            made(KEY, "secret", Some("tokem"), Some(1)),
            made(KEY, "secret", None, Some(1)),
            made(KEY, "secret", Some("token"), Some(2)),
            made(KEY, "secret", Some("token"), None),
        ] {
            assert_ne!(one, other);
            assert_ne!(hash(&one), hash(&other));
        }
    }

    #[test]
    fn an_empty_session_token_is_none() {
        let credentials = Credentials::new(KEY, "secret", Some(""), None).unwrap();
        assert!(!credentials.has_session_token());
        assert_eq!(
            credentials,
            Credentials::new(KEY, "secret", None, None).unwrap()
        );
    }

    #[test]
    fn refuses_what_cannot_sign() {
        for bad in [
            "",
            " ",
            "\t\n",
            " key",
            "key ",
            "key\n",
            "k\0ey",
            "k\u{7f}ey",
        ] {
            for (key, secret, token) in [
                (bad, "secret", None),
                (KEY, bad, None),
                (KEY, "secret", Some(bad).filter(|token| !token.is_empty())),
            ] {
                if (key, secret, token) == (KEY, "secret", None) {
                    continue;
                }
                let error = Credentials::new(key, secret, token, None).unwrap_err();
                assert_eq!(error.kind(), Kind::InvalidCredentials);
                assert!(!error.to_string().contains("secret "), "{error}");
            }
        }
    }

    #[test]
    fn debug_shows_no_secret() {
        let shown = format!(
            "{:?}",
            Credentials::new(KEY, "hush-hush", Some("whisper"), None).unwrap()
        );
        assert!(shown.contains("AKIA****"), "{shown}");
        for secret in ["hush", "whisper", "IOSFODNN7"] {
            assert!(!shown.contains(secret), "{shown}");
        }
        let short = Credentials::new("akid", "hush", None, None).unwrap();
        assert!(!format!("{short:?}").contains("akid"));
    }

    #[test]
    fn keeps_one_signing_key_and_never_a_wrong_one() {
        let credentials = Credentials::new(KEY, "secret", None, None).unwrap();
        let kept = |day, region| {
            let signature = credentials.sign(day, region, b"text");
            let derived = SigningKey::derive("secret", day, region);
            assert_eq!(signature, derived.sign(b"text"));
            credentials.signing_key.load_full().unwrap()
        };
        let first = kept(0, "us-east-1");
        assert!(Arc::ptr_eq(&first, &kept(0, "us-east-1")));
        for (day, region) in [(1, "us-east-1"), (0, "us-east-2"), (0, "us-east-1")] {
            let key = kept(day, region);
            assert!(key.is_for(day, region));
            assert!(!Arc::ptr_eq(&first, &key));
        }
    }
}
