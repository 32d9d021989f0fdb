//! The host that an answer belongs to, where no route decides the form of the answer.
//!
//! A client that reaches no route still expects an error in the format of the legacy API on that
//! host. `generation` uses this file for such answers.

use std::sync::Arc;

use crate::dialect::ErrorFormat;
use crate::settings::Config;

/// True if a configured host (`*`, `*.parent` or a name) covers the host that the client named. A
/// wildcard covers one label, as in certificates (RFC 6125, section 6.4.3). Case does not matter.
/// Both sides are without a port.
pub(super) fn is_served(pattern: &str, host: &str) -> bool {
    match pattern.strip_prefix("*.") {
        Some(parent) => {
            host.split_once('.').is_some_and(|(_, rest)| rest.eq_ignore_ascii_case(parent))
        }
        None => pattern == "*" || pattern.eq_ignore_ascii_case(host),
    }
}

/// The error forms of the dialects that are served on each host, each form once per host.
pub(super) fn host_forms(config: &Config) -> Vec<(String, Arc<ErrorFormat>)> {
    let mut forms: Vec<(String, Arc<ErrorFormat>)> = Vec::new();
    for login in &config.logins {
        for host in &login.hosts {
            let form = &login.dialect.errors;
            if !forms.iter().any(|(pattern, known)| pattern == host && known.name() == form.name())
            {
                forms.push((host.clone(), form.clone()));
            }
        }
    }
    forms
}
