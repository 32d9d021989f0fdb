//! `hsts` of a TLS listener (RFC 6797): a client that came by https once never uses http again.
//!
//! The field is sent with every answer of the listener. A client that has seen it refuses plain HTTP
//! until `max_age` has passed, also after the operator has changed their mind; therefore the field is
//! off by default.

use std::time::Duration;

use super::reader::TableReader;
use crate::settings::HstsPolicy;

const YEAR: Duration = Duration::from_secs(365 * 24 * 3600);
const LONGEST: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

impl HstsPolicy {
    pub(super) fn read(table: &mut TableReader<'_>) -> Option<Self> {
        let item = table.get("hsts")?;
        let mut table = item.table()?;
        // Subdomains and preloading are off by default: both concern hosts that this gateway may
        // not serve.
        let hsts = Self {
            max_age: table.duration_or("max_age", YEAR, Duration::ZERO..=LONGEST),
            include_subdomains: table.bool_or("include_subdomains", false),
            preload: table.bool_or("preload", false),
        };
        if hsts.preload && !(hsts.include_subdomains && hsts.max_age >= YEAR) {
            // The conditions of the browsers' preload list.
            table.issue("preload", "needs include_subdomains = true and a max_age of a year");
        }
        Some(hsts)
    }
}
