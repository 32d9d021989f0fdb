//! Which host an answer is for, where no route says its form.

use std::sync::Arc;

use crate::config::Config;
use crate::dialect::ErrorForm;

/// Whether a configured host (`*`, `*.parent` or a name) is the one that a client named.
pub(super) fn is_served(held: &str, host: &str) -> bool {
    match held.strip_prefix("*.") {
        Some(parent) => {
            host.split_once('.').is_some_and(|(_, rest)| rest.eq_ignore_ascii_case(parent))
        }
        None => held == "*" || held.eq_ignore_ascii_case(host),
    }
}

/// The dialects served on each host.
pub(super) fn host_forms(config: &Config) -> Vec<(String, Arc<ErrorForm>)> {
    let mut forms: Vec<(String, Arc<ErrorForm>)> = Vec::new();
    for login in &config.logins {
        for host in &login.hosts {
            let form = &login.dialect.errors;
            if !forms.iter().any(|(held, known)| held == host && known.name() == form.name()) {
                forms.push((host.clone(), form.clone()));
            }
        }
    }
    forms
}
