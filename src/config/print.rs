//! `check --print`: the effective configuration as TOML, with every default written out.
//!
//! The settings write themselves (`Serialize`), in the order of `gateway.toml`. What one value alone
//! cannot say is done here: keys that have no use beside others are left out, because reading the
//! output again would report them. `restore` then puts in what the settings do not hold.

use toml::{Table, Value};

use super::LoadedConfig;
use super::action::FORWARDING;
use super::issuer::NO_CLAIMS;
use super::issuer_introspection::OF_NO_USE;
use super::restore;
use crate::settings::path::is_loopback;
use crate::settings::{
    Config, IssuerKeys, IssuerSettings, LoginSettings, MailSettings, MailTls, RouteAction,
    RouteSettings, UpstreamSettings,
};

impl LoadedConfig {
    /// The effective configuration as TOML. A secret is shown as the place that it comes from,
    /// never as its value, so the output may be put into a report or a ticket. Reading it again
    /// gives the same configuration.
    pub fn print(&self) -> String {
        // Invariant: the settings were read from TOML, so they can be written as TOML.
        let mut table = Table::try_from(&self.config).unwrap_or_default();
        leave_out_unused(&mut table, &self.config);
        restore::written(&mut table, &self.written);
        restore::acceptances(&mut table, &self.accepted);
        toml::to_string(&table).unwrap_or_default()
    }
}

fn leave_out_unused(table: &mut Table, config: &Config) {
    each(table, "issuer", &config.issuers, finish_issuer);
    each(table, "login", &config.logins, finish_login);
    each(table, "upstream", &config.upstreams, finish_upstream);
    each(table, "route", &config.routes, finish_route);
    if let (Some(mail), Some(Value::Table(table))) = (&config.mail, table.get_mut("mail")) {
        finish_mail(table, mail);
    }
}

/// Calls `finish` with the table of each section and with its settings.
fn each<T>(table: &mut Table, key: &str, settings: &[T], finish: fn(&mut Table, &T)) {
    let tables = table.get_mut(key).and_then(Value::as_array_mut).into_iter().flatten();
    for (table, settings) in tables.filter_map(Value::as_table_mut).zip(settings) {
        finish(table, settings);
    }
}

fn remove(table: &mut Table, keys: &[&str]) {
    for key in keys {
        table.remove(*key);
    }
}

fn finish_issuer(table: &mut Table, issuer: &IssuerSettings) {
    let unused: &[&str] = match &issuer.keys {
        IssuerKeys::Sessions(_) => &NO_CLAIMS,
        IssuerKeys::Introspection(_) => &OF_NO_USE,
        IssuerKeys::Url(_) | IssuerKeys::Discovery(_) => &[],
        IssuerKeys::Jwks(_) | IssuerKeys::Pem(_) | IssuerKeys::Secret(_) => {
            &["ca", "allow_http", "max_stale"]
        }
    };
    remove(table, unused);
}

fn finish_login(table: &mut Table, login: &LoginSettings) {
    if login.exchange.is_empty() {
        table.remove("exchange_ttl");
    }
    // A dialect without refresh tokens ends a session together with its access token.
    if login.dialect.defaults.ends_with_access {
        remove(table, &["refresh_ttl", "refresh_idle"]);
    }
    if login.dialect.defaults.idle.is_some() {
        table.remove("refresh_idle");
    }
}

fn finish_upstream(table: &mut Table, upstream: &UpstreamSettings) {
    if upstream.calls.max_connections.is_none() {
        table.remove("queue");
    }
}

fn finish_route(table: &mut Table, route: &RouteSettings) {
    if route.action.is_own() {
        remove(table, &FORWARDING);
    }
    // The body of an answer is either in the configuration or in a file.
    if let (RouteAction::Respond(respond), Some(Value::Table(table))) =
        (&route.action, table.get_mut("respond"))
        && respond.file.is_some()
    {
        table.remove("body");
    }
}

fn finish_mail(table: &mut Table, mail: &MailSettings) {
    // An IPv6 address needs brackets before a port (RFC 3986, section 3.2.2).
    let host = if mail.host.contains(':') { format!("[{}]", mail.host) } else { mail.host.clone() };
    table.insert("server".to_owned(), format!("{host}:{}", mail.port).into());
    let is_plain = mail.tls == MailTls::None && !is_loopback(&mail.host);
    table.insert("allow_plain".to_owned(), is_plain.into());
}
