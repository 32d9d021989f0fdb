//! Rules that need the whole configuration: collisions between sections, and warnings about
//! combinations.
//!
//! A collision is an error and names both sides, because either may be the one to change. A warning
//! is about a combination that is legal, but weaker than it looks. Rules about header fields are in
//! `cross_checks_fields`, those about accounts at authorities in `cross_checks_acme`, and those about
//! sections without an effect in `reach`.

use http::Method;

use super::ConfigDraft;
use super::cross_checks_acme;
use super::cross_checks_calls;
use super::cross_checks_fields;
use super::cross_checks_sessions;
use super::cross_checks_signatures;
use super::document::Document;
use super::key_path::KeyPath;
use super::location::Location;
use super::warnings::WarningName;
use crate::dialect::SecondStep;
use crate::identity::{IdRule, SELF_ISSUER};
use crate::settings::path::{hosts_meet, is_below, shape};
use crate::settings::{
    BindAddress, Config, CredentialKind, IssuerKeys, IssuerSettings, LoginSettings, RequireRule,
    RouteSettings, SigningKeyStorage, SourceKind, SourceSettings, UpstreamCredential,
};

/// Runs all checks of this file and of `cross_checks_fields`. Values that could not be read are
/// stand-ins (empty names and paths); each check leaves them out. The order is the order in which
/// issues of the same line are shown; apart from that it has no meaning.
pub(super) fn check(reading: &Document<'_>, draft: &ConfigDraft) {
    let config = &draft.config;
    check_addresses(reading, draft);
    cross_checks_acme::check(reading, draft);
    check_issuers(reading, draft);
    check_certificates(reading, draft);
    check_login_pairs(reading, draft);
    check_own_paths(reading, draft);
    check_mail(reading, config);
    check_signing_keys(reading, config);
    check_route_pairs(reading, draft);
    cross_checks_fields::check(reading, draft);
    cross_checks_calls::check(reading, draft);
    cross_checks_sessions::check(reading, draft);
    cross_checks_signatures::check(reading, draft);
    warn_users(reading, draft);
    warn_second_steps(reading, draft);
    warn_logins(reading, draft);
    warn_routes(reading, draft);
}

/// Every pair of a list with the positions of both, the earlier one first. Each pair occurs once.
fn pairs<'a, T>(
    things: &'a [T],
    places: &'a [Location],
) -> impl Iterator<Item = ((&'a T, &'a Location), (&'a T, &'a Location))> {
    let placed = move || things.iter().zip(places);
    placed()
        .enumerate()
        .flat_map(move |(number, second)| placed().take(number).map(move |first| (first, second)))
}

/// Reports two listeners on one address, and a listener on the address of `[admin]`.
fn check_addresses(reading: &Document<'_>, draft: &ConfigDraft) {
    for ((first, first_at), (second, at)) in pairs(&draft.config.listeners, &draft.listeners) {
        // Port 0 means any free port, so two listeners with it do not collide.
        let is_any = matches!(second.bind, BindAddress::Tcp(address) if address.port() == 0);
        if first.bind == second.bind && !is_any && !second.name.is_empty() {
            let remedy = format!("is the address of {}{} too", first_at.at, first_at.named());
            at.at("address").issue(reading, format!("{:?}", second.name), remedy);
        }
    }
    for (listener, at) in draft.config.listeners.iter().zip(&draft.listeners) {
        if let (BindAddress::Tcp(address), Some(admin)) =
            (&listener.bind, draft.config.admin.address)
            && *address == admin
            && admin.port() != 0
        {
            let remedy = "is [admin]'s address too: operators have a port of their own";
            at.at("address").issue(reading, format!("{:?}", listener.name), remedy.to_owned());
        }
    }
}

/// Reports issuers that share an `iss`. A token is verified with the keys of the one issuer that
/// its `iss` names (RFC 7519, section 4.1.1); with two candidates the keys of either would do, and
/// the weaker one would decide.
fn check_issuers(reading: &Document<'_>, draft: &ConfigDraft) {
    let config = &draft.config;
    let is_ours = |issuer: &str| {
        config.token.issuer == issuer || config.logins.iter().any(|login| login.issuer == issuer)
    };
    for (issuer, at) in config.issuers.iter().zip(&draft.issuers) {
        // If an external issuer could use the gateway's own name, it could make tokens that pass
        // for ours. Such a token would carry the gateway's `iss`, and a route that names `self`
        // would accept it.
        if !issuer.issuer.is_empty() && is_ours(&issuer.issuer) {
            let remedy = "is the gateway's own issuer: nobody else may speak for it".to_owned();
            at.at("issuer").issue(reading, format!("{:?}", issuer.issuer), remedy);
        }
    }
    for (login, at) in config.logins.iter().zip(&draft.logins) {
        let traded = config.issuers.iter().filter(|one| login.exchange.contains(&one.name));
        for issuer in traded {
            if matches!(issuer.keys, IssuerKeys::Sessions(_)) {
                let remedy = "has no tokens that could be traded".to_owned();
                at.at("exchange").issue(reading, format!("{:?}", issuer.name), remedy);
            }
        }
    }
    for ((first, first_at), (second, at)) in pairs(&config.issuers, &draft.issuers) {
        if first.issuer == second.issuer && !second.issuer.is_empty() {
            let remedy = format!("is the issuer of \"{}\"{} too", first.name, first_at.named());
            at.at("issuer").issue(reading, format!("{:?}", second.issuer), remedy);
        }
    }
}

/// Reports two sections about one certificate: it would be open which caller it stands for.
fn check_certificates(reading: &Document<'_>, draft: &ConfigDraft) {
    for ((first, first_at), (second, at)) in pairs(&draft.config.certificates, &draft.certificates)
    {
        if first.by == second.by {
            let (key, text) = second.by.written();
            let remedy = format!("is the {key} of \"{}\"{} too", first.name, first_at.named());
            at.at(key).issue(reading, format!("{text:?}"), remedy);
        }
    }
}

/// The endpoints of a login, each with its method and its whole path, prefix included.
pub(super) fn endpoints(login: &LoginSettings) -> impl Iterator<Item = (&Method, String)> {
    // Two paths that differ in the names of their variables alone are one path.
    let unnamed = |segment: &str| match segment.starts_with('{') {
        true => "{}".to_owned(),
        false => segment.to_owned(),
    };
    let path = move |path: &str| {
        let segments: Vec<String> = path.split('/').map(unnamed).collect();
        format!("{}{}", login.prefix, segments.join("/"))
    };
    login
        .dialect
        .endpoints
        .iter()
        .map(move |endpoint| (&endpoint.method, path(endpoint.path.as_str())))
}

/// A host that both lists name in the same words. Wildcards are not expanded: `*` and a name are
/// two different entries, and the more specific one wins when a request is routed. Therefore an
/// exact host beside a wildcard is no collision.
fn shared_host<'a>(first: &'a [String], second: &[String]) -> Option<&'a str> {
    first.iter().find(|host| second.contains(host)).map(String::as_str)
}

fn on_host(host: &str) -> String {
    if host == "*" { "every host".to_owned() } else { host.to_owned() }
}

/// Reports two logins that would answer the same method and path on the same host.
fn check_login_pairs(reading: &Document<'_>, draft: &ConfigDraft) {
    for ((first, first_at), (second, at)) in pairs(&draft.config.logins, &draft.logins) {
        let Some(host) = shared_host(&first.hosts, &second.hosts) else { continue };
        let taken: Vec<_> = endpoints(first).collect();
        let Some((method, path)) = endpoints(second).find(|endpoint| taken.contains(endpoint))
        else {
            continue;
        };
        let remedy = format!(
            "logins \"{}\"{} and \"{}\"{} both answer this on {}: give one of them a prefix or hosts",
            first.name,
            first_at.named(),
            second.name,
            at.named(),
            on_host(host),
        );
        at.issue(reading, format!("\"{method} {path}\""), remedy);
    }
}

/// Reports logins and routes on the paths of `[health]` and of the key set. Those two are answered
/// before logins and routes are looked up. Without this check a login or a route would silently
/// never be reached on that path.
fn check_own_paths(reading: &Document<'_>, draft: &ConfigDraft) {
    let config = &draft.config;
    let own = [("health.path", &config.health.path), ("token.jwks_path", &config.token.jwks_path)];
    if let [(_, Some(health)), (_, Some(jwks))] = own
        && health == jwks
    {
        reading.missing("token.jwks_path", "is the path of [health] too");
    }
    for (key, path) in own {
        let Some(path) = path else { continue };
        for (login, at) in config.logins.iter().zip(&draft.logins) {
            if endpoints(login).any(|(_, taken)| taken == *path) {
                let remedy = format!("is also {key}, which is answered first");
                at.issue(reading, format!("{path:?}"), remedy);
            }
        }
        for (route, at) in config.routes.iter().zip(&draft.routes) {
            if route.path.strip_prefix('=') == Some(path) {
                let remedy = format!("is also {key}, which is answered first");
                at.at("path").issue(reading, format!("{:?}", route.path), remedy);
            }
        }
    }
}

/// Reports a login that sends codes by mail while there is no `[mail]`.
fn check_mail(reading: &Document<'_>, config: &Config) {
    let sends = |login: &&LoginSettings| {
        login.dialect.endpoints.iter().any(|endpoint| endpoint.second_step == SecondStep::Mail)
    };
    if config.mail.is_none()
        && let Some(login) = config.logins.iter().find(sends)
    {
        let remedy =
            format!("is missing: login \"{}\" sends codes by mail; add [mail]", login.name);
        reading.missing("mail", remedy);
    }
}

/// Reports signing keys that are to be in a shared store where there is none. If the store itself could
/// not be read, that is what has to be changed.
fn check_signing_keys(reading: &Document<'_>, config: &Config) {
    let is_stray = config.token.keys == SigningKeyStorage::Store && config.store.shared().is_none();
    if is_stray && !reading.has_issue_below("store") {
        let at = Location { at: KeyPath::default().below("token.keys"), position: None };
        let remedy = "needs a store that gateways share: [store] kind = \"postgres\" or \"redis\"; \
                      or write \"folder\"";
        at.issue(reading, "\"store\"".to_owned(), remedy.to_owned());
    }
}

/// Reports two routes that would match the same requests: same path, a common host, a common
/// method. Which of the two answered would depend on the order of the file, and that has no
/// meaning.
fn check_route_pairs(reading: &Document<'_>, draft: &ConfigDraft) {
    for ((first, first_at), (second, at)) in pairs(&draft.config.routes, &draft.routes) {
        // The paths are compared as the router compares them: without regard to case if either
        // upstream ignores it. If only one of them does, its spellings include those of the other,
        // so the two still collide.
        let folded = first.folds_with(second);
        if second.path.is_empty() || shape(&first.path, folded) != shape(&second.path, folded) {
            continue;
        }
        let Some(host) = shared_host(&first.hosts, &second.hosts) else { continue };
        let both = first.methods.iter().find(|method| second.methods.contains(method));
        // No methods means all methods, so only two lists without a common element are apart.
        if both.is_none() && !first.methods.is_empty() && !second.methods.is_empty() {
            continue;
        }
        let method = both.map_or("every method", Method::as_str);
        let twin = match shape(&first.path, false) == shape(&second.path, false) {
            true => "",
            false => ": an upstream is case_insensitive",
        };
        let remedy = format!(
            "is the path of {}{} too, for {method} on {}{twin}",
            first_at.at,
            first_at.named(),
            on_host(host),
        );
        at.at("path").issue(reading, format!("{:?}", second.path), remedy);
    }
}

/// Warns of a source with shared ids. If a user of such a source can choose their id, they can
/// choose the id of a user of another source, and are then taken for that user. This is a warning,
/// because shared ids are right where both sources describe the same people.
fn warn_users(reading: &Document<'_>, draft: &ConfigDraft) {
    let users = &draft.config.users;
    for (source, at) in users.iter().zip(&draft.users) {
        let others = users.iter().filter(|other| other.name != source.name);
        let is_chosen = source.shares_ids && source.kind.has_ids_of_its_own();
        if let Some(other) = others.filter(|_| is_chosen).find(|other| may_meet(other)) {
            let remedy = format!(
                "makes a user with an id of \"{}\" that user: right only where nobody can choose an \
                 id there, and the same id means the same person",
                other.name
            );
            at.at("ids").warn(reading, WarningName::SharedIds, "\"shared\"".to_owned(), remedy);
        }
    }
}

/// Warns if second steps are used with a source that identifies users by name alone. A second step
/// belongs to one person. Two people who are taken for one user would share it, or one of them
/// would be let in without it.
fn warn_second_steps(reading: &Document<'_>, draft: &ConfigDraft) {
    for (source, at) in draft.config.users.iter().zip(&draft.users) {
        let SourceKind::Http(http) = &source.kind else { continue };
        let asks = |login: &&LoginSettings| login.totp && login.users.contains(&source.name);
        let Some(login) = draft.config.logins.iter().find(asks) else { continue };
        if !http.tells_people_apart() {
            let remedy = format!(
                "tells users by their names alone, and login \"{}\" asks for second steps (totp): \
                 two names that look alike may be two people there; say where its answers have \
                 ids (map.id), or names = \"case_blind\" if it never has two such names",
                login.name
            );
            at.warn(reading, WarningName::NamesAlone, format!("{:?}", source.name), remedy);
        }
    }
}

/// True if ids of this source may be equal to ids of another. Local ids contain the source's name,
/// so they cannot. UUIDs of a directory and names of a file are counted as possible, because
/// another source may share its ids with them.
fn may_meet(source: &SourceSettings) -> bool {
    source.id_rule() != IdRule::Local
}

fn warn_logins(reading: &Document<'_>, draft: &ConfigDraft) {
    for (login, at) in draft.config.logins.iter().zip(&draft.logins) {
        if login.reveal_unknown_user {
            let remedy = "tells unknown users from wrong passwords, as its clients expect: \
                          reveal_unknown_user = false hides it";
            at.warn(
                reading,
                WarningName::RevealUnknownUser,
                format!("{:?}", login.name),
                remedy.to_owned(),
            );
        }
        if !login.totp {
            let remedy = "lets users in without the second step that they have elsewhere: by \
                          default those who have one are asked for it, or refused";
            at.at("totp").warn(
                reading,
                WarningName::NoSecondStep,
                "false".to_owned(),
                remedy.to_owned(),
            );
        }
    }
}

fn warn_routes(reading: &Document<'_>, draft: &ConfigDraft) {
    for (route, at) in draft.config.routes.iter().zip(&draft.routes) {
        warn_mixed_users(reading, &draft.config, route, at);
        warn_foreign_roles(reading, &draft.config, route, at);
        warn_observed_credential(reading, &draft.config, route, at);
        if route.is_open() {
            warn_open_above(reading, draft, route, at);
        }
    }
}

/// Warns of a route that accepts tokens of logins with different users. A token for one group of
/// users would open what was meant for the other. `logins` or `require` states the intention, and
/// silences the warning.
fn warn_mixed_users(reading: &Document<'_>, config: &Config, route: &RouteSettings, at: &Location) {
    let takes_ours = route.auth.iter().any(|kind| kind.is_token())
        && (route.issuers.is_empty() || route.issuers.iter().any(|name| name == SELF_ISSUER));
    let asks = !route.logins.is_empty() || route.require != RequireRule::default();
    if route.is_open() || asks || !takes_ours {
        return;
    }
    let mut reaching = config.logins.iter().filter(|login| hosts_meet(&login.hosts, &route.hosts));
    let Some(first) = reaching.next() else { return };
    if let Some(other) = reaching.find(|login| login.users != first.users) {
        let remedy = format!(
            "takes tokens of logins \"{}\" and \"{}\", which have different users: say logins or require",
            first.name, other.name,
        );
        at.warn(reading, WarningName::MixedUsers, format!("{:?}", route.path), remedy);
    }
}

/// Warns of a `require` that several issuers can satisfy. A role may be in any token that the route
/// accepts, and an external issuer puts roles of its own choice into its tokens; unless `issuers`
/// limits them, they count like the gateway's own.
fn warn_foreign_roles(
    reading: &Document<'_>,
    config: &Config,
    route: &RouteSettings,
    at: &Location,
) {
    // Tokens of legacy systems are presented in places of their own, all others as Bearer.
    let takes = |issuer: &&IssuerSettings| match &issuer.keys {
        IssuerKeys::Sessions(sessions) => {
            route.has_as_kind(&sessions.kind.carrier())
                || config.sessions_of(route).any(|(one, _)| one.name == issuer.name)
        }
        _ => route.auth.contains(&CredentialKind::Bearer),
    };
    let mut foreign = config.issuers.iter().filter(takes);
    let (Some(first), second) = (foreign.next(), foreign.next()) else { return };
    // With tokens of one issuer only, every role comes from the same authority, and nothing is
    // confused. Only with a second authority does it matter which one has granted the role.
    let are_mixed = !config.logins.is_empty() || second.is_some();
    if !are_mixed || !route.issuers.is_empty() || route.require == RequireRule::default() {
        return;
    }
    let remedy = format!(
        "takes tokens of issuer \"{}\" too, so that what those say meets require as well: say \
         issuers",
        first.name,
    );
    at.at("require").warn(reading, WarningName::ForeignRoles, format!("{:?}", route.path), remedy);
}

/// Warns of a route that only observes, in front of an upstream to which the gateway shows a
/// credential of its own. A request that would be refused goes there with that credential, so the
/// upstream, which has to refuse it in the gateway's place, lets it in.
fn warn_observed_credential(
    reading: &Document<'_>,
    config: &Config,
    route: &RouteSettings,
    at: &Location,
) {
    let mut upstreams = config.upstreams.iter();
    let upstream = upstreams.find(|one| Some(one.name.as_str()) == route.upstream());
    let credential = upstream.and_then(|upstream| upstream.credential.as_ref());
    if route.enforce || route.is_open() {
        return;
    }
    let remedy = match credential {
        None => return,
        Some(UpstreamCredential::Mint(_)) => {
            "lets everybody through, but the upstream's `credential` is for those who are verified, \
             and takes away what the others have: observe without it"
        }
        Some(_) => {
            "lets everybody through, and the upstream's `credential` lets them in there: observe \
             without it"
        }
    };
    let remedy = remedy.to_owned();
    at.at("enforce").warn(reading, WarningName::ObservedCredential, "false".to_owned(), remedy);
}

/// Warns of an open route above a protected one, if the upstream ignores case. The upstream takes
/// `/API` for `/api`; if the gateway matched `/API` to the open route, the protected path would be
/// open.
fn warn_open_above(
    reading: &Document<'_>,
    draft: &ConfigDraft,
    open: &RouteSettings,
    at: &Location,
) {
    let config = &draft.config;
    let hidden = config.routes.iter().find(|route| {
        !route.is_open()
            && route.upstream() == open.upstream()
            && hosts_meet(&route.hosts, &open.hosts)
            && is_below(&route.path, &open.path, true)
    });
    let Some(hidden) = hidden.filter(|_| open.case_insensitive) else { return };
    let remedy = format!(
        "is open and above {:?}, which is not: a spelling that only the upstream takes for that \
         path goes through here",
        hidden.path,
    );
    at.at("path").warn(reading, WarningName::OpenAbove, format!("{:?}", open.path), remedy);
}
