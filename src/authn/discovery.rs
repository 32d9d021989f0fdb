//! Fetches the keys of an OpenID provider: the discovery document and the key set that it names.
//!
//! Fetches use https, follow no redirects, and are bounded in size and time (see `outbound`). The
//! document must name exactly the configured issuer, or one provider could supply another's keys
//! (OpenID Connect Discovery 1.0 §4.3). Nothing is remembered here; `remote`, the caller, does
//! that.

use std::time::Duration;

use http::header::{AGE, CACHE_CONTROL};
use http::{HeaderMap, Uri};
use serde_json::{Map, Value};

use super::strict_json;
use crate::algorithm::Algorithm;
use crate::outbound::{OutboundClient, OutboundError, OutboundOptions, OutboundResponse};
use crate::settings::{IssuerKeys, IssuerSettings};
use crate::tls_roots::TrustError;
use crate::token::{BadKey, KeyRemark, KeySet};

/// Longest part of a provider's text, in characters, that a log line shows.
pub(super) const SHOWN: usize = 100;

/// The settings of an issuer on which its keys depend. If they are equal after a reload, the keys
/// can be kept.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct ProviderOptions {
    issuer: String,
    keys: IssuerKeys,
    pub(super) algorithms: Vec<Algorithm>,
    ca: Option<String>,
    allow_http: bool,
}

impl From<&IssuerSettings> for ProviderOptions {
    fn from(issuer: &IssuerSettings) -> Self {
        Self {
            issuer: issuer.issuer.clone(),
            keys: issuer.keys.clone(),
            algorithms: issuer.algorithms.clone(),
            ca: issuer.ca.clone(),
            allow_http: issuer.allow_http,
        }
    }
}

/// A provider with the client that fetches from it.
#[derive(Debug)]
pub(super) struct KeyProvider {
    pub(super) options: ProviderOptions,
    outbound: OutboundClient,
}

/// A key set as fetched.
#[derive(Debug)]
pub(super) struct PublishedKeys {
    pub(super) keys: KeySet,
    /// Keys of the set that are not used, with the reason.
    pub(super) remarks: Vec<KeyRemark>,
    /// How long the answer may be used, by its caching fields.
    pub(super) life: Option<Duration>,
}

/// The reasons for which no key set could be fetched.
#[derive(Debug, thiserror::Error)]
pub(super) enum ProviderError {
    #[error("{}", .0.chain())]
    Outbound(#[from] OutboundError),

    #[error("{what} was answered with status {status}")]
    Status { what: &'static str, status: u16 },

    #[error("the discovery document {0}")]
    Document(&'static str),

    #[error("the discovery document is of the issuer {0:?}")]
    Issuer(String),

    #[error("the discovery document names the key set {0:?}, which is no https URL")]
    KeysUrl(String),

    #[error("{}", .0.0)]
    Keys(#[from] BadKey),

    #[error("none of the keys can be used")]
    NoKeys,
}

impl KeyProvider {
    /// Fails if the certificate authorities could not be loaded.
    pub(super) fn new(options: ProviderOptions) -> Result<Self, TrustError> {
        let outbound = OutboundClient::new(&OutboundOptions {
            ca: options.ca.clone(),
            ..OutboundOptions::default()
        })?;
        Ok(Self { options, outbound })
    }

    /// Fetches the key set. With discovery, the address is read from the document each time,
    /// because a provider may move its key set.
    ///
    /// # Errors
    /// The provider cannot be reached, answers with another status or a wrong document, or
    /// publishes no usable key.
    pub(super) async fn fetch(&self) -> Result<PublishedKeys, ProviderError> {
        let fetched = match &self.options.keys {
            IssuerKeys::Url(uri) => self.document("the key set", uri).await?,
            IssuerKeys::Discovery(uri) => {
                let found = self.document("the discovery document", uri).await?;
                self.document("the key set", &self.keys_url(&found.body)?).await?
            }
            // Invariant: a `KeyProvider` is created for remote keys only.
            _ => return Err(ProviderError::NoKeys),
        };
        // Text that is not UTF-8 becomes empty here. Parsing then refuses it, because an empty text
        // is not JSON.
        let text = std::str::from_utf8(&fetched.body).unwrap_or_default();
        let (keys, remarks) = KeySet::from_jwks(text, &self.options.algorithms, false)?;
        if keys.keys().is_empty() {
            return Err(ProviderError::NoKeys);
        }
        Ok(PublishedKeys { keys, remarks, life: life(&fetched.headers) })
    }

    /// Fetches one document. Only status 200 counts: other success codes carry no complete
    /// document.
    async fn document(
        &self,
        what: &'static str,
        uri: &Uri,
    ) -> Result<OutboundResponse, ProviderError> {
        let fetched = self.outbound.get(uri).await?;
        match fetched.status {
            200 => Ok(fetched),
            status => Err(ProviderError::Status { what, status }),
        }
    }

    /// The address of the key set in a discovery document, after checking that the document is this
    /// issuer's.
    ///
    /// # Errors
    /// A document that is not a JSON object, one of another issuer, and an address that is not
    /// https (http is accepted with `allow_http`) or contains user information.
    fn keys_url(&self, document: &[u8]) -> Result<Uri, ProviderError> {
        let document =
            strict_json::object(document).ok_or(ProviderError::Document("is no object"))?;
        let issuer = text(&document, "issuer")?;
        if issuer != self.options.issuer {
            return Err(ProviderError::Issuer(shown(issuer)));
        }
        let url = text(&document, "jwks_uri")?;
        // The document is the provider's text and not the operator's. It must not move the fetch of
        // keys to plain http, or bring credentials into the URL.
        let is_taken = |uri: &Uri| {
            let scheme = uri.scheme_str();
            let encrypted = scheme == Some("https");
            (encrypted || (self.options.allow_http && scheme == Some("http")))
                && uri.authority().is_some_and(|authority| !authority.as_str().contains('@'))
        };
        let uri = url.parse().ok().filter(is_taken);
        uri.ok_or_else(|| ProviderError::KeysUrl(shown(url)))
    }
}

/// A member of the discovery document that must be a string.
fn text<'d>(document: &'d Map<String, Value>, name: &str) -> Result<&'d str, ProviderError> {
    let value = document.get(name).and_then(Value::as_str);
    value.ok_or(ProviderError::Document("lacks `issuer` or `jwks_uri`"))
}

/// The beginning of a provider's text, for an error message.
fn shown(text: &str) -> String {
    text.chars().take(SHOWN).collect()
}

/// The freshness lifetime of an answer (RFC 9111 §4.2) less its `Age`, if its fields give one. The
/// shortest of several directives counts.
fn life(headers: &HeaderMap) -> Option<Duration> {
    let fields = headers.get_all(CACHE_CONTROL).iter().filter_map(|field| field.to_str().ok());
    let directives = fields.flat_map(|field| field.split(','));
    let said = directives.filter_map(|directive| {
        let (name, value) = directive.split_once('=').unwrap_or((directive, ""));
        match name.trim().to_ascii_lowercase().as_str() {
            "no-store" | "no-cache" => Some(0),
            "max-age" => value.trim().trim_matches('"').parse::<u64>().ok(),
            _ => None,
        }
    });
    let age = headers.get(AGE).and_then(|age| age.to_str().ok()).and_then(|age| age.parse().ok());
    said.min().map(|life| Duration::from_secs(life.saturating_sub(age.unwrap_or(0))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_good_for_as_long_as_it_says() {
        for (fields, expected, why) in [
            (&[][..], None, "nothing is said"),
            (&[("cache-control", "public, max-age=300")], Some(300), "said"),
            (&[("cache-control", "Max-Age=\"300\"")], Some(300), "in another spelling"),
            (&[("cache-control", "max-age=300, max-age=60")], Some(60), "the shorter"),
            (&[("cache-control", "max-age=300"), ("cache-control", "no-cache")], Some(0), "not"),
            (&[("cache-control", "no-store")], Some(0), "not at all"),
            (&[("cache-control", "s-maxage=9, private")], None, "said to others"),
            (&[("cache-control", "max-age=soon")], None, "no number"),
            (&[("cache-control", "max-age=300"), ("age", "100")], Some(200), "it was on its way"),
            (&[("cache-control", "max-age=300"), ("age", "900")], Some(0), "it is over"),
        ] {
            let mut headers = HeaderMap::new();
            for (name, value) in fields {
                headers.append(*name, value.parse().unwrap());
            }

            assert_eq!(life(&headers), expected.map(Duration::from_secs), "{why}");
        }
    }
}
