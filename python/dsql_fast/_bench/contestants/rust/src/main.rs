//! Tokens by the AWS SDK for Rust, and the least that a signature can cost: one SHA-256 of a request's length and
//! one HMAC whose key is set up already. Made-up keys; nothing is sent. It answers as `../serve.py` does.

use std::env;
use std::error::Error;
use std::hint::black_box;
use std::io::{BufRead, Write, stdin, stdout};
use std::time::Instant;

use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::Credentials;
use aws_sdk_dsql::auth_token::{AuthTokenGenerator, Config};
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};

type Failure = Box<dyn Error + Send + Sync>;

const EMPTY_BODY: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

fn main() -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    let (host, region) = (variable("CLUSTER_ENDPOINT")?, variable("AWS_REGION")?);
    let (id, secret) = (
        variable("AWS_ACCESS_KEY_ID")?,
        variable("AWS_SECRET_ACCESS_KEY")?,
    );

    let sdk = runtime.block_on(
        aws_config::defaults(BehaviorVersion::latest())
            .credentials_provider(Credentials::from_keys(&id, &secret, None))
            .region(Region::new(region.clone()))
            .load(),
    );
    let generator =
        AuthTokenGenerator::new(Config::builder().hostname(&host).expires_in(900).build()?);
    let token = runtime.block_on(signed(&generator, &sdk))?;
    let floor = Floor::of(&token, &host, &region, &secret)?;

    println!("ready aws-sdk-dsql=1.79.0 aws-config=1.13.0 sha2=0.11.1 hmac=0.13.0");
    for line in stdin().lock().lines() {
        let line = line?;
        let answer = line
            .split_once(' ')
            .ok_or_else(|| Failure::from("expected a way and how many calls"))
            .and_then(|(way, calls)| Ok((way, calls.parse::<u32>()?)))
            .and_then(|(way, calls)| match way {
                "rust-sdk" => runtime.block_on(async {
                    let began = Instant::now();
                    for _ in 0..calls {
                        black_box(signed(&generator, &sdk).await?);
                    }
                    Ok(wall(began))
                }),
                "rust-sdk:token" => Ok(format!(
                    r#"{{"token": "{}"}}"#,
                    runtime.block_on(signed(&generator, &sdk))?
                )),
                "floor" => {
                    let began = Instant::now();
                    for _ in 0..calls {
                        floor.once();
                    }
                    Ok(wall(began))
                }
                _ => Err(format!("there is no way {way}").into()),
            })
            .unwrap_or_else(|error| format!(r#"{{"error": {:?}}}"#, error.to_string()));
        writeln!(stdout(), "{answer}")?;
    }
    Ok(())
}

fn variable(name: &str) -> Result<String, Failure> {
    env::var(name).map_err(|error| format!("{name}: {error}").into())
}

async fn signed(generator: &AuthTokenGenerator, sdk: &SdkConfig) -> Result<String, Failure> {
    Ok(generator
        .db_connect_admin_auth_token(sdk)
        .await?
        .to_string())
}

fn wall(began: Instant) -> String {
    format!(r#"{{"wall": {}}}"#, began.elapsed().as_secs_f64())
}

/// The two hashes that every signature needs, over a real token's request.
struct Floor {
    request: String,
    to_sign: String,
    key: Hmac<Sha256>,
}

impl Floor {
    /// Takes a token apart, and makes sure that the two hashes make its signature again.
    fn of(token: &str, host: &str, region: &str, secret: &str) -> Result<Self, Failure> {
        let (_, query) = token.split_once('?').ok_or("a token without a query")?;
        let (query, signature) = query
            .split_once("&X-Amz-Signature=")
            .ok_or("a token without a signature")?;
        let (_, time) = query
            .split_once("X-Amz-Date=")
            .ok_or("a token without a date")?;
        let (time, date) = (&time[..16], &time[..8]);
        let request = format!("GET\n/\n{query}\nhost:{host}\n\nhost\n{EMPTY_BODY}");
        let hash = hex(&Sha256::digest(&request));
        let to_sign =
            format!("AWS4-HMAC-SHA256\n{time}\n{date}/{region}/dsql/aws4_request\n{hash}");
        let mut key = keyed(format!("AWS4{secret}").as_bytes(), date.as_bytes())?;
        for part in [region, "dsql", "aws4_request"] {
            key = keyed(&key, part.as_bytes())?;
        }
        let floor = Self {
            request,
            to_sign,
            key: Hmac::new_from_slice(&key)?,
        };
        if hex(&floor.once()) != signature {
            return Err("the floor makes another signature".into());
        }
        Ok(floor)
    }

    fn once(&self) -> [u8; 32] {
        black_box(Sha256::digest(black_box(self.request.as_bytes())));
        let mut key = black_box(&self.key).clone();
        key.update(black_box(self.to_sign.as_bytes()));
        black_box(key.finalize().into_bytes().into())
    }
}

fn keyed(key: &[u8], text: &[u8]) -> Result<Vec<u8>, Failure> {
    let mut hmac = Hmac::<Sha256>::new_from_slice(key)?;
    hmac.update(text);
    Ok(hmac.finalize().into_bytes().to_vec())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
