//! What wrk and h2load cannot do, for `benches/compare` and `benches/scale`:
//!
//! ```text
//! load rate ADDRESS TOKEN_FILE RATE SECONDS CONNECTIONS   latencies at a steady rate, as JSON
//! load hold ADDRESS TOKEN_FILE COUNT                      idle TLS connections, until stdin ends
//! load mint ALGORITHM KEY_FILE ISSUER COUNT               that many different tokens, a line each
//! ```

mod hold;
mod mint;
mod rate;
mod wire;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["rate", address, token, rate, seconds, connections] => {
            let load = rate::Load {
                address: address.parse()?,
                request: wire::request(token)?,
                rate: rate.parse()?,
                seconds: seconds.parse()?,
                connections: connections.parse()?,
            };
            rate::run(&load)
        }
        ["hold", address, token, count] => {
            hold::run(address.parse()?, &wire::request(token)?, count.parse()?)
        }
        ["mint", algorithm, key, issuer, count] => {
            mint::run(algorithm.parse()?, key, issuer, count.parse()?)
        }
        _ => Err("load rate|hold|mint …: see the head of main.rs".into()),
    }
}
