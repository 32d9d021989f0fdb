//! Rules about the places in which logins and legacy systems carry their tokens, on routes that take
//! them.
//!
//! `auth = ["login"]` stands for what the dialects of the route's logins say (`[call]`), and for the
//! carriers of legacy systems. A place that
//! also belongs to another kind of credential of the route could be read in two ways, so it is
//! reported. `crossing` calls this file.

use std::fmt::Display;

use http::header::HeaderName;

use super::ConfigDraft;
use super::document::Document;
use super::location::Location;
use crate::dialect::{CallCarrier, Carrier, PairCarrier};
use crate::settings::path::hosts_meet;
use crate::settings::{Config, CredentialKind, LoginSettings, PassRule, RouteSettings};

/// Runs all checks of this file.
pub(super) fn check(reading: &Document<'_>, draft: &ConfigDraft) {
    let config = &draft.config;
    for (route, at) in config.routes.iter().zip(&draft.routes) {
        check_passed(reading, config, route, at);
        check_pairs(reading, config, route, at);
        for login in config.logins_of(route).filter(|_| route.takes_logins()) {
            let whose = format!("login \"{}\"", login.name);
            report_collisions(reading, config, route, at, &login.dialect.call, &whose);
        }
        for (issuer, carrier) in config.sessions_of(route) {
            let whose = format!("issuer \"{}\"", issuer.name);
            report_collisions(reading, config, route, at, std::slice::from_ref(carrier), &whose);
        }
    }
}

/// Reports the places of tokens that have another meaning on the route.
fn report_collisions(
    reading: &Document<'_>,
    config: &Config,
    route: &RouteSettings,
    at: &Location,
    carriers: &[CallCarrier],
    whose: &str,
) {
    for (place, owner) in collisions(config, route, carriers) {
        let remedy = format!("{whose} carries its tokens in {place}, which is also {owner} here");
        at.at("auth").issue(reading, "\"login\"".to_owned(), remedy);
    }
}

/// Reports two logins whose pairs are in the same places and are proved in different ways. Every
/// request with such a pair would be two credentials at once, and refused.
fn check_pairs(reading: &Document<'_>, config: &Config, route: &RouteSettings, at: &Location) {
    let mut seen: Vec<(&LoginSettings, &PairCarrier)> = Vec::new();
    for login in config.logins_of(route).filter(|_| route.takes_logins()) {
        for carrier in &login.dialect.call {
            let CallCarrier::Pair(pair) = carrier else { continue };
            let is_unlike = |(_, other): &&(&LoginSettings, &PairCarrier)| {
                other.token.folded() == pair.token.folded()
                    && other.key.folded() == pair.key.folded()
                    && other.fact != pair.fact
            };
            if let Some((other, _)) = seen.iter().find(is_unlike) {
                let remedy = format!(
                    "logins \"{}\" and \"{}\" carry their pairs in the same places, and what the \
                     second half has to be differs: name one of them in `logins`",
                    other.name, login.name
                );
                at.at("auth").issue(reading, "\"login\"".to_owned(), remedy);
            }
            seen.push((login, pair));
        }
    }
}

/// Reports `pass` for a field in which a login on the route's hosts has its tokens. It is removed
/// before a request goes on, so that the upstream would not get what it has to verify.
fn check_passed(reading: &Document<'_>, config: &Config, route: &RouteSettings, at: &Location) {
    let meets = |login: &&LoginSettings| hosts_meet(&login.hosts, &route.hosts);
    for login in config.logins.iter().filter(meets) {
        let mut places = login.dialect.call.iter().flat_map(CallCarrier::places);
        let is_passed = |place: &&Carrier| match place {
            Carrier::Field(name) => route.pass.contains(&PassRule::Header(name.clone())),
            _ => false,
        };
        if let Some(place) = places.find(is_passed) {
            let remedy = format!(
                "is where login \"{}\" carries its tokens: they are removed before a request goes on",
                login.name
            );
            at.at("pass").issue(reading, place.to_string(), remedy);
        }
    }
}

/// The places of tokens that have another meaning on the route, each with that meaning.
fn collisions<'c>(
    config: &'c Config,
    route: &'c RouteSettings,
    carriers: &'c [CallCarrier],
) -> impl Iterator<Item = (impl Display, &'static str)> {
    // A carrier that is another kind as a whole is that kind, and collides with nothing.
    let carriers = carriers.iter().filter(|carrier| !route.has_as_kind(carrier));
    let places = carriers.flat_map(CallCarrier::places);
    places.filter_map(|place| Some((place, owner(config, route, place)?)))
}

/// The other meaning of a place on the route, if it has one.
pub(super) fn owner(
    config: &Config,
    route: &RouteSettings,
    place: &Carrier,
) -> Option<&'static str> {
    let takes = |kind| route.auth.contains(&kind);
    let is_pair = |name: &HeaderName| matches!(name.as_str(), "x-access-token" | "x-key");
    let is_passed = |rule: &PassRule| match (rule, place) {
        (PassRule::Scheme(name), Carrier::Scheme(scheme)) => name.eq_ignore_ascii_case(scheme),
        _ => false,
    };
    match place {
        Carrier::Field(name) if config.api_key_header() == Some(name) => {
            Some("the field of API keys")
        }
        Carrier::Field(name) if takes(CredentialKind::TokenKey) && is_pair(name) => {
            Some("a part of \"token_key\"")
        }
        Carrier::Scheme(scheme)
            if takes(CredentialKind::Bearer) && scheme.eq_ignore_ascii_case("bearer") =>
        {
            Some("\"bearer\"")
        }
        Carrier::Query(name)
            if route.query_credentials && (name == "access_token" || name == "x_key") =>
        {
            Some("a part of query_credentials")
        }
        _ if route.pass.iter().any(is_passed) => {
            Some("a credential that goes to the upstream (pass)")
        }
        _ => None,
    }
}
