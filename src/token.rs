//! What a token is asked for, and the token.

use std::borrow::Cow;
use std::fmt;

use crate::action::Action;
use crate::credentials::Credentials;
use crate::error::{Error, Kind};
use crate::sigv4::Presign;
use crate::timestamp::Timestamp;

/// The longest life that DSQL accepts: a week, in seconds.
pub const MAX_EXPIRES_IN: u32 = 604_800;

/// A DNS name has at most 253 characters (RFC 1035, section 2.3.4, less the root's dot and length).
const MAX_HOST: usize = 253;

/// A token to be made: checked, so that signing cannot be led to put anything else into the text.
#[derive(Clone, Debug)]
pub struct TokenRequest<'a> {
    host: Cow<'a, str>,
    region: &'a str,
    action: Action,
    expires_in: u32,
}

impl<'a> TokenRequest<'a> {
    /// Checks a request. `host` is lower-cased; `expires_in` is in seconds, 1 to [`MAX_EXPIRES_IN`].
    ///
    /// # Errors
    ///
    /// A host that is not one bare DNS name, a region with anything but `a-z`, `0-9` and `-` in it,
    /// a life outside its bounds.
    pub fn new(
        host: &'a str,
        region: &'a str,
        action: Action,
        expires_in: i64,
    ) -> Result<Self, Error> {
        let host = checked_host(host)?;
        let region_ok = |byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-');
        if region.is_empty() || !region.bytes().all(region_ok) {
            return Err(Error::new(
                Kind::InvalidRequest,
                "region is not one: give its code, such as us-east-1",
            ));
        }
        let expires_in = u32::try_from(expires_in)
            .ok()
            .filter(|seconds| (1..=MAX_EXPIRES_IN).contains(seconds))
            .ok_or_else(|| {
                Error::new(
                    Kind::InvalidRequest,
                    "a token's life must be 1 to 604800 seconds (a week)",
                )
            })?;
        Ok(Self {
            host,
            region,
            action,
            expires_in,
        })
    }

    /// Signs the token as of `now` (Unix time in seconds).
    ///
    /// Credentials that end sooner cut the token's life to the whole seconds that they have left,
    /// as the AWS SDK for Go does: DSQL refuses a token whose credentials have ended, whatever the
    /// token says.
    ///
    /// # Errors
    ///
    /// Credentials with less than a second left; a time outside the years 1970 to 9999.
    pub fn sign(&self, credentials: &Credentials, now: i64) -> Result<Token, Error> {
        let signed_at = Timestamp::from_unix(now)?;
        let expires_in = match credentials.expires_at() {
            None => self.expires_in,
            Some(end) => {
                let left = end.div_euclid(1_000_000).saturating_sub(now);
                if left < 1 {
                    return Err(Error::new(
                        Kind::CredentialsExpired,
                        "the AWS credentials have expired or are about to: get new ones",
                    ));
                }
                u32::try_from(left).map_or(self.expires_in, |left| left.min(self.expires_in))
            }
        };
        let presign = Presign {
            host: &self.host,
            region: self.region,
            action: self.action,
            expires_in,
            signed_at,
        };
        Ok(Token {
            text: presign.sign(credentials),
            signed_at: now,
            expires_at: now + i64::from(expires_in),
        })
    }
}

/// Lower-cases the host and holds it against `[a-z0-9]([a-z0-9.-]*[a-z0-9])?`.
fn checked_host(host: &str) -> Result<Cow<'_, str>, Error> {
    let inner = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-');
    let bytes = host.as_bytes();
    // Without a way out, so that sixteen bytes are looked at in one go.
    let (all_ok, any_upper) = bytes.iter().fold((true, false), |(ok, upper), &byte| {
        (ok & inner(byte), upper | byte.is_ascii_uppercase())
    });
    let ends_ok = [bytes.first(), bytes.last()]
        .into_iter()
        .all(|end| end.is_some_and(u8::is_ascii_alphanumeric));
    if !ends_ok || !all_ok || bytes.len() > MAX_HOST {
        return Err(Error::new(
            Kind::InvalidRequest,
            "host must be one bare DNS name, such as <cluster id>.dsql.us-east-1.on.aws, \
             without scheme, port, path or user",
        ));
    }
    Ok(if any_upper {
        Cow::Owned(host.to_ascii_lowercase())
    } else {
        Cow::Borrowed(host)
    })
}

/// A signed token. Whoever holds the text may connect until it expires.
#[derive(Clone, PartialEq, Eq)]
pub struct Token {
    text: String,
    signed_at: i64,
    expires_at: i64,
}

impl Token {
    /// What is sent as the password.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// When it was signed: Unix time in seconds.
    #[must_use]
    pub fn signed_at(&self) -> i64 {
        self.signed_at
    }

    /// When it ends: Unix time in seconds.
    #[must_use]
    pub fn expires_at(&self) -> i64 {
        self.expires_at
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Token")
            .field("text", &"****")
            .field("signed_at", &self.signed_at)
            .field("expires_at", &self.expires_at)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOST: &str = "peccy.dsql.us-east-1.on.aws";
    const NOW: i64 = 1_724_716_800; // 2024-08-27T00:00:00Z

    fn request(host: &str, region: &str, expires_in: i64) -> Result<String, Error> {
        let credentials = Credentials::new("akid", "secret", None, None).unwrap();
        let request = TokenRequest::new(host, region, Action::DbConnect, expires_in)?;
        Ok(request.sign(&credentials, NOW)?.text().to_owned())
    }

    #[test]
    fn the_host_is_lower_cased_before_it_is_signed() {
        assert_eq!(
            request("PECCY.dsql.us-East-1.on.aws", "us-east-1", 450),
            request(HOST, "us-east-1", 450)
        );
    }

    #[test]
    fn refuses_anything_but_one_bare_host() {
        let long = "a".repeat(254);
        for host in [
            "",
            " ",
            ".",
            "-a",
            "a-",
            "a.",
            ".a",
            "a,b",
            "a:5432",
            "https://a",
            "a/",
            "a?b",
            "user@a",
            "a b",
            "a\n",
            "a\0",
            "ä",
            "a_b",
            "[::1]",
            "a%2e",
            long.as_str(),
        ] {
            let error = request(host, "us-east-1", 450).unwrap_err();
            assert_eq!(error.kind(), Kind::InvalidRequest, "{host:?}");
        }
        assert!(request("a", "us-east-1", 450).is_ok());
        assert!(request(&"a".repeat(253), "us-east-1", 450).is_ok());
    }

    #[test]
    fn refuses_bad_regions_actions_and_lives() {
        for region in ["", "us east", "US-EAST-1", "us-east-1/", "é", "a\n"] {
            assert!(request(HOST, region, 450).is_err(), "{region:?}");
        }
        for life in [0, -1, i64::MIN, 604_801, i64::MAX, (1 << 32) + 1] {
            assert!(request(HOST, "us-east-1", life).is_err(), "{life}");
        }
        for life in [1, 604_800] {
            assert!(request(HOST, "us-east-1", life).is_ok(), "{life}");
        }
        for action in ["", "dbconnect", "DbConnect ", "DbConnectAdminX"] {
            assert!(action.parse::<Action>().is_err(), "{action:?}");
        }
        for action in [Action::DbConnect, Action::DbConnectAdmin] {
            assert_eq!(action.as_str().parse::<Action>(), Ok(action));
        }
    }

    #[test]
    fn refuses_times_without_a_four_digit_year() {
        let credentials = Credentials::new("akid", "secret", None, None).unwrap();
        let request = TokenRequest::new(HOST, "us-east-1", Action::DbConnect, 1).unwrap();
        for time in [-1, i64::MIN, 253_402_300_800, i64::MAX] {
            assert!(request.sign(&credentials, time).is_err(), "{time}");
        }
        for time in [0, 253_402_300_799] {
            assert!(request.sign(&credentials, time).is_ok(), "{time}");
        }
    }

    #[test]
    fn never_outlives_its_credentials() {
        let request = TokenRequest::new(HOST, "us-east-1", Action::DbConnect, 900).unwrap();
        let sign = |left_us: i64| {
            let end = NOW * 1_000_000 + left_us;
            let credentials = Credentials::new("akid", "secret", None, Some(end)).unwrap();
            request.sign(&credentials, NOW)
        };
        for (left_us, life) in [
            (1_000_000, 1),
            (1_999_999, 1),
            (450_000_000, 450),
            (899_999_999, 899),
            (900_000_000, 900),
            (3_600_000_000, 900),
            (i64::MAX - NOW * 1_000_000, 900),
        ] {
            let token = sign(left_us).unwrap();
            assert_eq!(token.expires_at() - token.signed_at(), life);
            assert!(token.text().contains(&format!("&X-Amz-Expires={life}&")));
        }
        for left_us in [999_999, 0, -1, -3_600_000_000] {
            assert_eq!(
                sign(left_us).unwrap_err().kind(),
                Kind::CredentialsExpired,
                "{left_us}"
            );
        }
    }

    #[test]
    fn debug_hides_the_text() {
        let credentials = Credentials::new("akid", "secret", None, None).unwrap();
        let request = TokenRequest::new(HOST, "us-east-1", Action::DbConnect, 900).unwrap();
        let token = request.sign(&credentials, NOW).unwrap();
        assert!(!format!("{token:?}").contains("Signature"));
    }
}
