//! Oracles: published known answers, the aws-sigv4 crate's general signer, AWS's signing suite, and
//! an independent calendar. (botocore, whose very text we copy, is asked in `tests/native`.)

use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, UNIX_EPOCH};

use aws_sigv4::http_request::{
    SignableBody, SignableRequest, SignatureLocation, SigningSettings, sign,
};
use aws_sigv4::sign::v4;
use proptest::prelude::*;
use time::OffsetDateTime;

use super::*;
use crate::percent::percent_encoded;
use crate::signing_key::{SERVICE, SigningKey};
use crate::timestamp::{END_OF_TIME, SECONDS_A_DAY, civil_from_days};
use crate::token::TokenRequest;

fn text_of(ascii: &[u8]) -> &str {
    std::str::from_utf8(ascii).unwrap()
}

fn token(
    keys: (&str, &str, Option<&str>),
    host: &str,
    action: Action,
    expires_in: i64,
    now: i64,
) -> String {
    let credentials = Credentials::new(keys.0, keys.1, keys.2, None).unwrap();
    let request = TokenRequest::new(host, "us-east-1", action, expires_in).unwrap();
    request.sign(&credentials, now).unwrap().text().to_owned()
}

/// Signatures that the AWS SDKs' own tests expect.
#[test]
fn known_answers() {
    const DAY: i64 = 1_724_716_800; // 20240827T000000Z
    const SECOND: i64 = 1_731_001_173; // 20241107T173933Z
    let peccy = "peccy.dsql.us-east-1.on.aws";
    let test = "test.dsql.us-east-1.on.aws";
    for (keys, host, now, expires_in, connect, admin) in [
        (
            ("akid", "secret", None),
            peccy,
            DAY,
            450,
            "f5f2ad764ca5df44045d4ab6ccecba0eef941b0007e5765885a0b6ed3702a3f8",
            "267cf8d04d84444f7a62d5bdb40c44bfc6cb13dd6c64fa7f772df6bbaa90fff1",
        ),
        (
            ("ACCESS_KEY", "SECRET_KEY", Some("SESSION_TOKEN")),
            test,
            SECOND,
            900,
            "57fe03e060348aaa21405c239bf02572bbc911076e94dcd65c12ae569dd8fcf4",
            "5ac084bc7cabccc19a52a5d1b5c24b50d3ce143f43b659bd484c91aaf555e190",
        ),
        (
            ("access_key", "secret_key", None),
            test,
            SECOND,
            900,
            "e319d85380261f643d78a558f76257f05aacea758a6ccd42a2510e2ae0854a47",
            "a08adc4c84a490014ce374b90c98ba9ed015b77b451c0d9f9fb3f8ca8c6f9c36",
        ),
    ] {
        for (action, signature) in [
            (Action::DbConnect, connect),
            (Action::DbConnectAdmin, admin),
        ] {
            let made = token(keys, host, action, expires_in, now);
            assert_eq!(made.rsplit_once('=').unwrap().1, signature, "{made}");
        }
    }
}

#[test]
fn the_text_in_full() {
    let keys = ("akid", "secret", Some("a+b/c=="));
    let text = token(keys, "a.b", Action::DbConnectAdmin, 604_800, 1_724_716_800);
    let (query, signature) = text.rsplit_once("&X-Amz-Signature=").unwrap();
    assert_eq!(
        query,
        "a.b/?Action=DbConnectAdmin&X-Amz-Algorithm=AWS4-HMAC-SHA256\
         &X-Amz-Credential=akid%2F20240827%2Fus-east-1%2Fdsql%2Faws4_request\
         &X-Amz-Date=20240827T000000Z&X-Amz-Expires=604800&X-Amz-SignedHeaders=host\
         &X-Amz-Security-Token=a%2Bb%2Fc%3D%3D"
    );
    assert_eq!(signature.len(), 64);
}

#[test]
fn percent_encodes_all_but_the_unreserved() {
    for byte in 0..128_u8 {
        let char = char::from(byte);
        let unreserved = char.is_ascii_alphanumeric() || "-_.~".contains(char);
        let expected = if unreserved {
            char.to_string()
        } else {
            format!("%{byte:02X}")
        };
        assert_eq!(percent_encoded(&char.to_string()), expected);
    }
    assert_eq!(percent_encoded("é€"), "%C3%A9%E2%82%AC");
}

#[test]
fn the_text_is_allocated_once() {
    let long = "/".repeat(1_000);
    let host = "h".repeat(253);
    for (key, token) in [("akid", None), (long.as_str(), Some(long.as_str()))] {
        let credentials = Credentials::new(key, "secret", token, None).unwrap();
        let presign = Presign {
            host: &host,
            region: "us-gov-northwest-1",
            action: Action::DbConnectAdmin,
            expires_in: 604_800,
            signed_at: Timestamp::from_unix(END_OF_TIME - 1).unwrap(),
        };
        let room = presign.capacity(&credentials);
        // A buffer that had grown would have another one.
        let text = presign.sign(&credentials);
        assert_eq!(text.capacity(), String::with_capacity(room).capacity());
    }
}

/// The aws-sigv4 crate's own presigner, whose canonical request is made by general code.
fn oracle(
    keys: (&str, &str, Option<&str>),
    host: &str,
    region: &str,
    action: Action,
    expires_in: u64,
    now: u64,
) -> String {
    let (key, secret, session_token) = keys;
    let credentials =
        aws_credential_types::Credentials::from_keys(key, secret, session_token.map(str::to_owned));
    let identity = credentials.into();
    let mut settings = SigningSettings::default();
    settings.signature_location = SignatureLocation::QueryParams;
    settings.expires_in = Some(Duration::from_secs(expires_in));
    let params = v4::SigningParams::builder()
        .identity(&identity)
        .region(region)
        .name(SERVICE)
        .time(UNIX_EPOCH + Duration::from_secs(now))
        .settings(settings)
        .build()
        .unwrap()
        .into();
    let url = format!("https://{host}/?Action={}", action.as_str());
    let request =
        SignableRequest::new("GET", url, std::iter::empty(), SignableBody::Bytes(b"")).unwrap();
    sign(request, &params).unwrap().signature().to_owned()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn signs_as_the_general_signer_does(
        key in "[ -~]{1,40}",
        secret in "\\PC{1,60}",
        session_token in prop::option::of("[ -~é€]{1,300}"),
        host in "[a-z0-9]([a-z0-9.-]{0,60}[a-z0-9])?",
        region in "[a-z0-9-]{1,20}",
        admin in any::<bool>(),
        expires_in in 1..=604_800_u32,
        now in 0..END_OF_TIME,
    ) {
        let keys = (key.trim(), secret.trim(), session_token.as_deref().map(str::trim));
        // Made of white space alone: refused, which other tests see to.
        let Ok(credentials) = Credentials::new(keys.0, keys.1, keys.2, None) else {
            return Ok(());
        };
        let action = if admin { Action::DbConnectAdmin } else { Action::DbConnect };
        let request = TokenRequest::new(&host, &region, action, i64::from(expires_in)).unwrap();
        let text = request.sign(&credentials, now).unwrap();
        let (_, signature) = text.text().rsplit_once('=').unwrap();
        let session_token = keys.2.filter(|token| !token.is_empty());
        let expected = oracle(
            (keys.0, keys.1, session_token),
            &host,
            &region,
            action,
            u64::from(expires_in),
            now.cast_unsigned(),
        );
        prop_assert_eq!(signature, expected);
    }

    #[test]
    fn dates_are_the_calendars(seconds in 0..END_OF_TIME) {
        let timestamp = Timestamp::from_unix(seconds).unwrap();
        let at = OffsetDateTime::from_unix_timestamp(seconds).unwrap();
        prop_assert_eq!(
            text_of(timestamp.date_time()),
            format!(
                "{:04}{:02}{:02}T{:02}{:02}{:02}Z",
                at.year(), u8::from(at.month()), at.day(), at.hour(), at.minute(), at.second()
            )
        );
    }
}

#[test]
fn every_day_is_the_calendars() {
    let mut date = OffsetDateTime::UNIX_EPOCH.date();
    for day in 0..END_OF_TIME / SECONDS_A_DAY {
        let expected = (
            i64::from(date.year()),
            i64::from(u8::from(date.month())),
            i64::from(date.day()),
        );
        assert_eq!(civil_from_days(day), expected);
        date = date.next_day().unwrap_or(date);
    }
}

/// AWS's signing suite, as shipped inside the published aws-sigv4 crate: 38 cases with query signing.
///
/// The suite signs requests of many shapes for a service named `service`; ours has one shape. What
/// of our code can be held against every case is the second half of a signature: deriving the key,
/// signing the string to sign, its scope and time, and the hash of the canonical request in it, and
/// percent-encoding (the credential and, where there is one, the session token in the query). Ordering
/// and canonical form are checked against the general signer above and against botocore.
#[test]
fn aws_signing_suite() {
    let mut cases = 0;
    for case in std::fs::read_dir(suite()).unwrap() {
        let path = case.unwrap().path();
        let read = |file: &str| std::fs::read_to_string(path.join(file)).unwrap();
        if !path.join("query-signature.txt").exists() {
            continue;
        }
        let context: serde_json::Value = serde_json::from_str(&read("context.json")).unwrap();
        let text = |pointer: &str| context.pointer(pointer).and_then(|value| value.as_str());
        let at = text("/timestamp").unwrap();
        let format = time::format_description::well_known::Rfc3339;
        let at = OffsetDateTime::parse(at, &format).unwrap().unix_timestamp();
        let at = Timestamp::from_unix(at).unwrap();
        let region = text("/region").unwrap();
        let service = text("/service").unwrap();

        // The canonical request's hash, in a string to sign of our making.
        let canonical = read("query-canonical-request.txt");
        let mut hash = Vec::new();
        push_hex(&mut hash, &Sha256::digest(&canonical).into());
        let string_to_sign = format!(
            "AWS4-HMAC-SHA256\n{}\n{}/{region}/{service}/aws4_request\n{}",
            text_of(at.date_time()),
            text_of(at.date()),
            text_of(&hash),
        );
        assert_eq!(string_to_sign, read("query-string-to-sign.txt"), "{path:?}");

        let secret = text("/credentials/secret_access_key").unwrap();
        let key = SigningKey::derive_for(secret, at.day, region, service);
        let mut signature = Vec::new();
        push_hex(&mut signature, &key.sign(string_to_sign.as_bytes()));
        let expected = read("query-signature.txt");
        assert_eq!(signature, expected.trim().as_bytes(), "{path:?}");

        let query = canonical.lines().nth(2).unwrap();
        let credential = format!(
            "{}/{}/{region}/{service}/aws4_request",
            text("/credentials/access_key_id").unwrap(),
            text_of(at.date())
        );
        let credential = format!("X-Amz-Credential={}", percent_encoded(&credential));
        assert!(query.split('&').any(|pair| pair == credential), "{path:?}");
        if let Some(token) = text("/credentials/token")
            && context.get("omit_session_token") != Some(&true.into())
        {
            let token = format!("X-Amz-Security-Token={}", percent_encoded(token));
            assert!(query.split('&').any(|pair| pair == token), "{path:?}");
        }
        cases += 1;
    }
    assert_eq!(cases, 38);
}

/// Where cargo keeps the aws-sigv4 crate that this build uses.
fn suite() -> PathBuf {
    // For this platform alone: a fresh machine has not downloaded the others' packages.
    let version = cargo(&["-vV"]);
    let host = version.lines().find_map(|line| line.strip_prefix("host: "));
    let metadata = cargo(&[
        "metadata",
        "--format-version=1",
        "--offline",
        "--filter-platform",
        host.unwrap(),
        "--manifest-path",
        concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"),
    ]);
    let metadata: serde_json::Value = serde_json::from_str(&metadata).unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    let package = packages
        .iter()
        .find(|package| package["name"] == "aws-sigv4")
        .unwrap();
    PathBuf::from(package["manifest_path"].as_str().unwrap())
        .with_file_name("aws-signing-test-suite")
        .join("v4")
}

fn cargo(arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO"))
        .args(arguments)
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// A key derived for one day stands for that day to its last second.
#[test]
fn the_key_changes_at_midnight() {
    let credentials = Credentials::new("akid", "secret", None, None).unwrap();
    let request = TokenRequest::new("a.b", "us-east-1", Action::DbConnect, 900).unwrap();
    for now in [86_399_u32, 86_400, 172_799, 172_800, 0] {
        let text = request.sign(&credentials, now.into()).unwrap();
        let expected = oracle(
            ("akid", "secret", None),
            "a.b",
            "us-east-1",
            Action::DbConnect,
            900,
            now.into(),
        );
        assert!(text.text().ends_with(&expected), "{now}");
    }
}
