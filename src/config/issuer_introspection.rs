//! `introspection` of an `[[issuer]]`: the issuer is asked about each of its tokens (RFC 7662).
//!
//! Settings about verifying a token locally have no effect then, and are reported as errors: an
//! operator who has set them believes that they protect something. The helpers for addresses and
//! cache times are shared with `issuer_keys` and `legacy_sessions`.

use std::ops::RangeInclusive;
use std::time::Duration;

use http::Uri;

use super::item::SpannedValue;
use super::key_strength::check_url;
use super::reader::TableReader;
use crate::settings::IntrospectionSettings;

/// The default, and with it the longest time for which a revoked token is still accepted.
const CACHE: Duration = Duration::from_secs(30);
const CACHES: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(300);

/// Settings about tokens that are verified locally.
pub(super) const OF_NO_USE: [&str; 10] = [
    "algorithms",
    "jwks",
    "jwks_file",
    "public_key_file",
    "secret",
    "max_stale",
    "types",
    "type_optional",
    "required",
    "max_lifetime",
];

impl IntrospectionSettings {
    /// Reads the table; `None` after a problem was reported.
    pub(super) fn read(
        item: &SpannedValue<'_>,
        table: &mut TableReader<'_>,
        allow_http: bool,
    ) -> Option<Self> {
        table.refuse(&OF_NO_USE, "is of no use with `introspection`: the issuer judges");
        let mut own = item.table()?;
        let url = own.required("url", "where the issuer is asked about a token");
        let url = url.as_ref().and_then(|item| read_url(item, allow_http));
        let client_id = own.required("client_id", "what the gateway is called at the issuer");
        let client_id = client_id.as_ref().and_then(SpannedValue::plain_name);
        let secret = own.required("client_secret", "what it proves that by: { env = \"NAME\" }");
        let client_secret = secret.as_ref().and_then(SpannedValue::secret);
        let cache = read_cache(&mut own);
        Some(Self { url: url?, client_id: client_id?, client_secret: client_secret?, cache })
    }
}

/// Reads how long a positive answer is remembered.
pub(super) fn read_cache(table: &mut TableReader<'_>) -> Duration {
    table.duration_or("cache", CACHE, CACHES)
}

/// Reads an address that is asked; it may have a query.
pub(super) fn read_url(item: &SpannedValue<'_>, allow_http: bool) -> Option<Uri> {
    let text = item.string()?;
    let checked = check_url(text, allow_http);
    // The address is hidden, because it may contain a password.
    checked.map_err(|fault| item.hidden_issue(fault)).ok()
}
