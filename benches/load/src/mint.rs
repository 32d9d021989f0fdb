//! Tokens in bulk: the same claims, another `jti` each.

use std::io::{BufWriter, Write};
use std::time::{SystemTime, UNIX_EPOCH};

use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::json;

use crate::Result;

/// Prints `count` tokens of `issuer`, each good for a day.
pub fn run(algorithm: Algorithm, key: &str, issuer: &str, count: usize) -> Result<()> {
    let material = std::fs::read(key)?;
    let key = match algorithm {
        Algorithm::HS256 => EncodingKey::from_secret(&material)?,
        Algorithm::RS256 => EncodingKey::from_rsa_pem(&material)?,
        Algorithm::ES256 => EncodingKey::from_ec_pem(&material)?,
        other => return Err(format!("no tokens are made with {other:?}").into()),
    };
    let mut header = Header::new(algorithm);
    header.kid = Some(format!("{algorithm:?}"));
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
    let mut out = BufWriter::new(std::io::stdout().lock());
    for number in 0..count {
        let claims = json!({
            "iss": issuer,
            "sub": "somebody",
            "aud": "bench",
            "iat": now,
            "nbf": now,
            "exp": now + 86_400,
            "jti": format!("{now:x}-{number:08x}"),
        });
        writeln!(out, "{}", encode(&header, &claims, &key)?)?;
    }
    Ok(out.flush()?)
}
