//! The part of `check --print` that prints logins and routes.
//!
//! A setting is printed only where it can be set: reading the output again must not report it as of
//! no use. This file changes no value; `print` calls it for each login and each route.

use toml::{Table, Value};

use super::out::{HIDDEN, TableWriter};
use crate::dialect::{CorsOrigins, CorsPolicy};
use crate::settings::{
    AllowPath, Config, HeaderRules, IdentityForm, LoginSettings, MaintenanceMode, MirrorSettings,
    PassRule, RateLimit, RouteCors, RouteSettings,
};
use crate::settings::{duration, size};

/// A `[[login]]` as a TOML table.
pub(super) fn login(login: &LoginSettings) -> Table {
    let tenants = login.tenants.iter().map(|tenant| {
        TableWriter::default()
            .string("api_key", &tenant.api_key)
            .string("api_secret", HIDDEN)
            .table()
    });
    let out = TableWriter::default()
        .string("name", &login.name)
        .string("dialect", &login.dialect.name)
        .string("prefix", &login.prefix)
        .texts("hosts", login.hosts.clone())
        .texts("users", login.users.clone())
        .string("algorithm", login.algorithm.as_str())
        .string("issuer", &login.issuer)
        .texts("audience", login.audience.clone())
        .time("access_ttl", login.access_ttl)
        .time("refresh_grace", login.refresh_grace)
        .flag("reveal_unknown_user", login.reveal_unknown_user)
        .flag("totp", login.totp)
        .string("body_limit", size::render(login.body_limit))
        .all("tenants", tenants);
    let out = match login.exchange.as_slice() {
        [] => out,
        exchange => {
            out.texts("exchange", exchange.to_vec()).time("exchange_ttl", login.exchange_ttl)
        }
    };
    // A dialect without refresh tokens ends a session together with its access token. The keys of
    // longer sessions are refused there, so they are not printed. The idle time is left out as
    // well, for the same reason.
    let out = match login.dialect.defaults.ends_with_access {
        true => out,
        false => out
            .time("refresh_ttl", login.refresh_ttl)
            .maybe("refresh_idle", login.refresh_idle.map(duration::render)),
    };
    let out = match &login.cors {
        Some(cors) => out.sub("cors", cors_table(cors)),
        None => out,
    };
    match login.about.is_empty() {
        true => out.table(),
        false => out.sub("about", json_table(login.about.iter())).table(),
    }
}

/// A `[[route]]` as a TOML table. Keys of forwarding are printed only for a route with an upstream.
pub(super) fn route(route: &RouteSettings, config: &Config) -> Table {
    let auth = route.auth.iter().map(|kind| kind.name().to_owned());
    let allow_path = route.allow_path.iter().map(|allowed| match allowed {
        AllowPath::Semicolon => "semicolon".to_owned(),
        AllowPath::DoubleSlash => "double_slash".to_owned(),
        AllowPath::EncodedSlash => "encoded_slash".to_owned(),
        AllowPath::Percent => "percent".to_owned(),
        AllowPath::Unicode => "unicode".to_owned(),
    });
    let some = |names: &[String]| (!names.is_empty()).then(|| names.to_vec());
    let methods: Vec<String> = route.methods.iter().map(ToString::to_string).collect();
    let require = TableWriter::default()
        .texts("roles", route.require.roles.clone())
        .texts("scopes", route.require.scopes.clone())
        .sub("claims", json_table(route.require.claims.iter().map(|(name, value)| (name, value))))
        .table();
    let out = TableWriter::default()
        .string("path", &route.path)
        .texts("hosts", route.hosts.clone())
        .maybe_texts("methods", some(&methods))
        .texts("auth", auth.collect())
        .maybe_texts("users", some(&route.users))
        .maybe_texts("issuers", some(&route.issuers))
        .maybe_texts("logins", some(&route.logins))
        .string("body_limit", size::render(route.body_limit))
        .string("errors", route.errors.name())
        .flag("enforce", route.enforce)
        .flag("query_credentials", route.query_credentials)
        .texts("allow_path", allow_path.collect())
        .all("rate_limit", route.rate_limit.iter().map(RateLimit::print));
    let out = route.action.print(out, config);
    let out = match route.upstream() {
        Some(_) => forwarding(route, out),
        None => out,
    };
    let out =
        out.maybe_table("maintenance", route.maintenance.as_ref().map(MaintenanceMode::print));
    let out = match &route.cors {
        RouteCors::None => out,
        RouteCors::Upstream => out.string("cors", "upstream"),
        RouteCors::Own(cors) => out.sub("cors", cors_table(cors)),
    };
    out.sub("require", require).sub("response_headers", rules(&route.response_headers)).table()
}

/// Prints the keys that only a route to an upstream may have.
fn forwarding(route: &RouteSettings, out: TableWriter) -> TableWriter {
    let (identity, identity_header) = match &route.identity {
        IdentityForm::Headers => ("headers", None),
        IdentityForm::Jwt(name) => ("jwt", Some(name)),
        IdentityForm::None => ("none", None),
    };
    let out = out
        .string("identity", identity)
        .maybe("identity_header", identity_header)
        .all("pass", route.pass.iter().map(PassRule::print))
        .flag("forward_credential", route.forward_credential)
        .flag("allow_method_override", route.allow_method_override)
        .texts("allow_headers", route.allow_headers.iter().map(|name| name.to_string()).collect())
        .maybe_table("mirror", route.mirror.as_ref().map(MirrorSettings::print))
        .texts("compression", route.compression.names())
        .sub("request_headers", rules(&route.request_headers));
    route.prefix.print(route.streams.print(out))
}

fn rules(rules: &HeaderRules) -> Table {
    let set = rules.set.iter().fold(TableWriter::default(), |out, (name, value)| {
        out.string(name.as_str(), value.render())
    });
    let remove = rules.remove.iter().map(|name| name.as_str().to_owned()).collect();
    TableWriter::default().texts("remove", remove).sub("set", set.table()).table()
}

/// CORS rules of a login or a route; the two have the same keys.
fn cors_table(cors: &CorsPolicy) -> Table {
    let origins = match &cors.origins {
        CorsOrigins::Any => vec!["*".to_owned()],
        CorsOrigins::Echo => vec!["echo".to_owned()],
        CorsOrigins::List(origins) => origins.clone(),
    };
    TableWriter::default()
        .texts("origins", origins)
        .texts("methods", cors.methods.clone())
        .texts("headers", cors.headers.clone())
        .texts("expose", cors.expose.clone())
        .flag("credentials", cors.credentials)
        .time("max_age", cors.max_age)
        .int("preflight_status", cors.preflight_status)
        .table()
}

fn json_table<'a>(entries: impl Iterator<Item = (&'a String, &'a serde_json::Value)>) -> Table {
    // Invariant: these values were read from TOML, so they can be written as TOML again. A value
    // that could not be would be left out.
    entries.filter_map(|(name, value)| Some((name.clone(), Value::try_from(value).ok()?))).collect()
}
