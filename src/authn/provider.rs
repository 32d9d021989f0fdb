//! What an OpenID provider publishes: the document that names its key set, and the key set.
//!
//! Fetched over https, without redirects, bounded in size and time (see `outbound`). The document
//! must name the very issuer that was configured, or one provider could hand out another's keys.
//! Nothing is kept here; see `remote`.

use std::time::Duration;

use http::header::{AGE, CACHE_CONTROL};
use http::{HeaderMap, Uri};
use serde_json::{Map, Value};

use super::json;
use crate::algorithm::Algorithm;
use crate::config::{Issuer, IssuerKeys};
use crate::outbound::{Fetched, Outbound, OutboundError, OutboundOptions};
use crate::token::{BadKey, KeyRemark, KeySet};
use crate::trust::TrustError;

/// Longest piece of a provider's words that a log shows.
pub(super) const SHOWN: usize = 100;

/// Who is asked, and what is taken from him.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct ProviderOptions {
    issuer: String,
    keys: IssuerKeys,
    pub(super) algorithms: Vec<Algorithm>,
    ca: Option<String>,
    allow_http: bool,
}

impl From<&Issuer> for ProviderOptions {
    fn from(issuer: &Issuer) -> Self {
        Self {
            issuer: issuer.issuer.clone(),
            keys: issuer.keys.clone(),
            algorithms: issuer.algorithms.clone(),
            ca: issuer.ca.clone(),
            allow_http: issuer.allow_http,
        }
    }
}

/// A provider as the gateway asks it.
#[derive(Debug)]
pub(super) struct Provider {
    pub(super) options: ProviderOptions,
    outbound: Outbound,
}

/// A key set that was fetched.
#[derive(Debug)]
pub(super) struct Published {
    pub(super) keys: KeySet,
    /// Keys that are not used.
    pub(super) remarks: Vec<KeyRemark>,
    /// How long the provider says that it is good.
    pub(super) life: Option<Duration>,
}

/// Why there is no key set.
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

impl Provider {
    /// Fails where no certificate authority could be loaded.
    pub(super) fn new(options: ProviderOptions) -> Result<Self, TrustError> {
        let outbound = Outbound::new(&OutboundOptions {
            ca: options.ca.clone(),
            ..OutboundOptions::default()
        })?;
        Ok(Self { options, outbound })
    }

    /// Fetches the key set, from where the provider says now.
    pub(super) async fn fetch(&self) -> Result<Published, ProviderError> {
        let fetched = match &self.options.keys {
            IssuerKeys::Url(uri) => self.document("the key set", uri).await?,
            IssuerKeys::Discovery(uri) => {
                let found = self.document("the discovery document", uri).await?;
                self.document("the key set", &self.keys_url(&found.body)?).await?
            }
            // Invariant: only remote keys have a provider.
            _ => return Err(ProviderError::NoKeys),
        };
        // A text that is not UTF-8 is no JSON either.
        let text = std::str::from_utf8(&fetched.body).unwrap_or_default();
        let (keys, remarks) = KeySet::from_jwks(text, &self.options.algorithms, false)?;
        if keys.keys().is_empty() {
            return Err(ProviderError::NoKeys);
        }
        Ok(Published { keys, remarks, life: life(&fetched.headers) })
    }

    async fn document(&self, what: &'static str, uri: &Uri) -> Result<Fetched, ProviderError> {
        let fetched = self.outbound.get(uri).await?;
        match fetched.status {
            200 => Ok(fetched),
            status => Err(ProviderError::Status { what, status }),
        }
    }

    /// The address of the key set, out of a discovery document that is this issuer's.
    fn keys_url(&self, document: &[u8]) -> Result<Uri, ProviderError> {
        let document = json::object(document).ok_or(ProviderError::Document("is no object"))?;
        let issuer = text(&document, "issuer")?;
        if issuer != self.options.issuer {
            return Err(ProviderError::Issuer(shown(issuer)));
        }
        let url = text(&document, "jwks_uri")?;
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

fn text<'d>(document: &'d Map<String, Value>, name: &str) -> Result<&'d str, ProviderError> {
    let value = document.get(name).and_then(Value::as_str);
    value.ok_or(ProviderError::Document("lacks `issuer` or `jwks_uri`"))
}

fn shown(text: &str) -> String {
    text.chars().take(SHOWN).collect()
}

/// How long an answer is good by its own words (RFC 9111 §4.2), if it says so.
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
