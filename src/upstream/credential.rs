//! What an upstream itself demands of whoever calls it.
//!
//! Set last, over whatever the client or a route's rules said: nobody else chooses as whom the
//! gateway calls.

use http::header::{HeaderMap, HeaderName, HeaderValue};

use super::error::PoolError;
use crate::config;

/// The gateway's own credential at one upstream, ready to send.
#[derive(Debug)]
pub(super) enum Credential {
    /// Fields that never change.
    Fixed(Fields),
}

/// Fields to set; their values do not print.
#[derive(Debug)]
pub(super) struct Fields(Vec<(HeaderName, HeaderValue)>);

impl Credential {
    /// Makes the configured credential ready.
    pub(super) fn build(config: &config::Upstream) -> Result<Option<Self>, PoolError> {
        let Some(credential) = &config.credential else { return Ok(None) };
        let Some(fields) = credential.fields() else { return Ok(None) };
        let ready = |(name, value): (HeaderName, crate::secret::SecretString)| {
            let unusable = |_| PoolError::Credential { upstream: config.name.clone() };
            let mut value = HeaderValue::from_str(value.expose()).map_err(unusable)?;
            value.set_sensitive(true);
            Ok((name, value))
        };
        let fields = fields.into_iter().map(ready).collect::<Result<_, PoolError>>()?;
        Ok(Some(Self::Fixed(Fields(fields))))
    }
}

impl Fields {
    pub(super) fn set(&self, headers: &mut HeaderMap) {
        for (name, value) in &self.0 {
            headers.insert(name.clone(), value.clone());
        }
    }
}
