//! A proxy on Pingora that verifies the token of every request, as one writes it by hand:
//! `pingora-peer FOLDER UPSTREAM PLAIN TLS`.
//!
//! HS256, RS256 and ES256 by jsonwebtoken, with keys made ready once: signature, `exp`, `nbf`,
//! `aud`. It remembers no verdict, has no limits but Pingora's own, and writes no log.

use std::fs;
use std::path::Path;

use async_trait::async_trait;
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header};
use pingora::listeners::tls::TlsSettings;
use pingora::prelude::*;
use pingora::proxy::{ProxyHttp, Session, http_proxy_service};
use pingora::server::Server;
use pingora::server::configuration::ServerConf;

/// What is looked at beside `exp`, `nbf` and `aud`, which the validation itself compares.
#[derive(serde::Deserialize)]
struct Claims {
    #[allow(dead_code)]
    sub: String,
}

/// One algorithm's key and rules.
struct Key {
    algorithm: Algorithm,
    key: DecodingKey,
    validation: Validation,
}

impl Key {
    fn new(algorithm: Algorithm, key: DecodingKey) -> Self {
        let mut validation = Validation::new(algorithm);
        validation.set_audience(&["bench"]);
        validation.validate_nbf = true;
        Self { algorithm, key, validation }
    }
}

struct Proxy {
    keys: [Key; 3],
    upstream: String,
}

impl Proxy {
    fn is_verified(&self, session: &Session) -> bool {
        let authorization = session.req_header().headers.get("authorization");
        let token = authorization.and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "));
        let Some(token) = token else { return false };
        let Ok(header) = decode_header(token) else { return false };
        let key = self.keys.iter().find(|key| key.algorithm == header.alg);
        key.is_some_and(|key| decode::<Claims>(token, &key.key, &key.validation).is_ok())
    }
}

#[async_trait]
impl ProxyHttp for Proxy {
    type CTX = ();

    fn new_ctx(&self) {}

    async fn request_filter(&self, session: &mut Session, _: &mut ()) -> Result<bool> {
        session.set_keepalive(Some(300));
        if self.is_verified(session) {
            return Ok(false);
        }
        session.respond_error(401).await?;
        Ok(true)
    }

    async fn upstream_peer(&self, _: &mut Session, _: &mut ()) -> Result<Box<HttpPeer>> {
        Ok(Box::new(HttpPeer::new(&self.upstream, false, String::new())))
    }

    async fn upstream_request_filter(
        &self,
        session: &mut Session,
        request: &mut RequestHeader,
        _: &mut (),
    ) -> Result<()> {
        request.remove_header("authorization");
        let client = session.client_addr().and_then(|address| address.as_inet());
        if let Some(client) = client {
            request.insert_header("X-Forwarded-For", client.ip().to_string())?;
        }
        Ok(())
    }
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let mut next = || arguments.next().expect("pingora-peer FOLDER UPSTREAM PLAIN TLS");
    let (folder, upstream, plain, tls) = (next(), next(), next(), next());
    let read = |name: &str| fs::read(Path::new(&folder).join(name)).expect("a key");
    let keys = [
        Key::new(Algorithm::HS256, DecodingKey::from_secret(&read("secret")).expect("a secret")),
        Key::new(Algorithm::RS256, DecodingKey::from_rsa_pem(&read("RS256.pub")).expect("RSA")),
        Key::new(Algorithm::ES256, DecodingKey::from_ec_pem(&read("ES256.pub")).expect("EC")),
    ];

    let conf = ServerConf {
        threads: 2,
        upstream_keepalive_pool_size: 1024,
        grace_period_seconds: Some(0),
        graceful_shutdown_timeout_seconds: Some(1),
        ..ServerConf::default()
    };
    let mut server = Server::new_with_opt_and_conf(None, conf);
    server.bootstrap();
    let proxy = Proxy { keys, upstream: format!("127.0.0.1:{upstream}") };
    let mut service = http_proxy_service(&server.configuration, proxy);
    service.threads = Some(2);
    service.add_tcp(&format!("127.0.0.1:{plain}"));
    let (chain, key) = (format!("{folder}/tls.pem"), format!("{folder}/tls.key"));
    let mut settings = TlsSettings::intermediate(&chain, &key).expect("a certificate");
    settings.enable_h2();
    service.add_tls_with_settings(&format!("127.0.0.1:{tls}"), None, settings);
    server.add_service(service);
    server.run_forever();
}
