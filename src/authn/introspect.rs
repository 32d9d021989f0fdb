//! Token introspection (RFC 7662): asks an issuer about an opaque token.
//!
//! The answer is checked against the same rules as the claims of a signed token. `active: true` is
//! not enough, because it does not mean that the token is meant for this gateway. `opaque` calls it
//! on the background runtime.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderValue, Method, Request};
use serde_json::Value;

use super::claims::{self, TokenDates};
use super::issuer_rules::verify_claims;
use super::jws::{CompactJws, RefusalCause};
use super::lookup_cache::LookupAnswer;
use super::strict_json;
use super::verified::TokenError;
use crate::clock::Timestamp;
use crate::identity::Claims;
use crate::outbound::{OutboundClient, OutboundOptions};
use crate::secret::SecretString;
use crate::settings::{IntrospectionSettings, IssuerSettings};
use crate::tls_roots::TrustError;

/// Largest accepted answer in bytes. Answers are remembered, so their size bounds memory.
const LARGEST: usize = 32 * 1024;

/// The client for one issuer's introspection endpoint.
#[derive(Debug)]
pub(super) struct IntrospectionClient {
    options: IntrospectionSettings,
    outbound: OutboundClient,
}

impl IntrospectionClient {
    /// Fails if the issuer's certificate authority cannot be loaded. Answers are limited to
    /// `LARGEST`. The number of parallel calls is bounded by `OpaqueIssuer`, which calls `ask`.
    pub(super) fn new(
        issuer: &IssuerSettings,
        options: &IntrospectionSettings,
    ) -> Result<Self, TrustError> {
        let outbound = OutboundClient::new(&OutboundOptions {
            ca: issuer.ca.clone(),
            largest: LARGEST,
            ..OutboundOptions::default()
        })?;
        Ok(Self { options: options.clone(), outbound })
    }

    /// Connects, and asks nothing.
    pub(super) async fn reach(&self) -> Result<(), String> {
        self.outbound.reach(&self.options.url).await.map_err(|error| error.chain())
    }

    /// Asks about a token. The outer error is for the log and means that the answer is not known;
    /// the inner one is the issuer's refusal.
    pub(super) async fn ask(
        &self,
        name: &Arc<str>,
        rules: &IssuerSettings,
        token: &SecretString,
        now: Timestamp,
    ) -> Result<Result<LookupAnswer, TokenError>, String> {
        let request = self.request(token).map_err(|error| error.to_string())?;
        let answer = self.outbound.send(request).await.map_err(|error| error.chain())?;
        if answer.status != 200 {
            return Err(format!("the question was answered with status {}", answer.status));
        }
        let claims = strict_json::object(&answer.body).ok_or("the answer is no JSON object")?;
        Ok(judge(name, rules, token, &claims, now).map_err(TokenError::invalid))
    }

    /// The request of RFC 7662 §2.1. The token is in the body, so that no access log of the issuer
    /// shows it.
    fn request(&self, token: &SecretString) -> Result<Request<Bytes>, http::Error> {
        let form = form_urlencoded::Serializer::new(String::new())
            .append_pair("token", token.expose())
            .append_pair("token_type_hint", "access_token")
            .finish();
        // Id and secret are form-encoded before they are joined (RFC 6749 §2.3.1). A colon in the
        // id would otherwise be taken for the separator.
        let encode =
            |text: &str| form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
        let id = encode(&self.options.client_id);
        let secret = SecretString::new(encode(self.options.client_secret.expose()));
        let pair = SecretString::new(format!("{id}:{}", secret.expose()));
        let basic = SecretString::new(format!("Basic {}", STANDARD.encode(pair.expose())));
        let mut basic = HeaderValue::from_str(basic.expose())?;
        basic.set_sensitive(true);
        Request::builder()
            .method(Method::POST)
            .uri(self.options.url.clone())
            .header(AUTHORIZATION, basic)
            .header(ACCEPT, "application/json")
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(form.into())
    }
}

/// Checks an answer against the issuer's rules.
///
/// # Errors
/// The issuer does not call the token active, its type is wrong, it is meant for others, its
/// subject is excluded, or it is not valid yet.
fn judge(
    name: &Arc<str>,
    rules: &IssuerSettings,
    token: &SecretString,
    claims: &Claims,
    now: Timestamp,
) -> Result<LookupAnswer, RefusalCause> {
    // Only the boolean `true` counts: RFC 7662 §2.2 requires a boolean, and a string such as
    // `"false"` must not be read as true.
    if claims.get("active") != Some(&Value::Bool(true)) {
        return Err("the issuer does not call the token active");
    }
    check_use(claims)?;
    if claims::text(claims, "iss")?.is_some_and(|issuer| issuer != rules.issuer) {
        return Err("the issuer says that another issued the token");
    }
    if !rules.takes_subject(claims::required(claims, "sub")?) {
        return Err("the subject is not among the issuer's `subjects`");
    }
    let dates = TokenDates::parse(claims)?;
    let tolerant = now.plus(rules.leeway);
    if dates.issued.max(dates.not_before).is_some_and(|begins| begins > tolerant) {
        return Err("the token is not valid yet");
    }
    // The digest covers the signed part only, as for tokens that are verified here. A second valid
    // signature must not give the token another name in the revocations.
    let signed = CompactJws::parse(token.expose()).map(|token| token.signed());
    let named = signed.unwrap_or(token.expose());
    let mut verified = verify_claims(rules, name, named, claims, dates)?;
    verified.identity.claims = claims.clone();
    Ok(LookupAnswer { verified, ends: dates.expires.is_some() })
}

/// Refuses answers about tokens that are no bearer access tokens. Issuers call refresh tokens and
/// some ID tokens active, too. A token that is bound to a key proves nothing if it is presented
/// without a proof of that key.
fn check_use(claims: &Claims) -> Result<(), RefusalCause> {
    let bearer = ["bearer", "access_token", "access"];
    for name in ["token_type", "token_use", "typ"] {
        let usage = claims::text(claims, name)?.map(str::to_ascii_lowercase);
        let usage = usage.as_deref().map(|usage| usage.trim_start_matches("application/"));
        match usage {
            None | Some("at+jwt" | "jwt") => {}
            Some(usage) if bearer.contains(&usage) => {}
            Some(_) => return Err("the issuer says that it is not a bearer access token"),
        }
    }
    Ok(())
}
