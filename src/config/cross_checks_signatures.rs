//! Rules about signed requests that need several sections: keys and algorithms, and places that also
//! belong to another credential of a route.
//!
//! A place with two meanings could be read in two ways, so it is reported, as in
//! `cross_checks_calls`. `cross_checks` calls this file.

use super::ConfigDraft;
use super::cross_checks_calls::owner;
use super::document::Document;
use super::key_strength::{check_pem, check_secret};
use super::location::Location;
use super::warnings::WarningName;
use crate::algorithm::Algorithm;
use crate::dialect::{CallCarrier, Carrier};
use crate::settings::{
    ApiKey, Config, CredentialKind, KeyProof, PassRule, RouteSettings, SignatureSettings,
};

/// Runs all checks of this file.
pub(super) fn check(reading: &Document<'_>, draft: &ConfigDraft) {
    let config = &draft.config;
    let keys = &config.api_keys.keys;
    for (number, (key, at)) in keys.iter().zip(&draft.api_keys).enumerate() {
        check_key(reading, draft, key, at);
        // A signed request is remembered by the key's id: with two ids it would count twice.
        let twin = keys.iter().take(number).find(|other| other.proof == key.proof);
        if let Some(twin) = twin.filter(|_| key.signs()) {
            let remedy =
                format!("signs with the key of \"{}\": a request would count for both", twin.id);
            at.at("id").issue(reading, format!("{:?}", key.id), remedy);
        }
    }
    for (route, at) in config.routes.iter().zip(&draft.routes) {
        check_passed(reading, config, route, at);
        if let Some(signature) = config.signature_of(route) {
            check_places(reading, config, route, signature, at);
        }
    }
}

/// Reports a key that signs, and that no `[[signature]]` can verify.
fn check_key(reading: &Document<'_>, draft: &ConfigDraft, key: &ApiKey, at: &Location) {
    // A section that could not be read may be the one that takes the key.
    if draft.lacks_signatures || !key.signs() {
        return;
    }
    let signatures = &draft.config.signatures;
    let faults: Vec<String> =
        signatures.iter().filter_map(|one| fault(&key.proof, &one.algorithms).err()).collect();
    let name = match key.proof {
        KeyProof::PublicKey(_) => "public_key_file",
        _ => "secret",
    };
    if signatures.is_empty() {
        let remedy = "signs requests, but there is no [[signature]]".to_owned();
        at.at(name).warn(reading, WarningName::NobodyHasIt, format!("{:?}", key.id), remedy);
    } else if let Some(fault) = faults.first().filter(|_| faults.len() == signatures.len()) {
        at.at(name).issue(reading, "***".to_owned(), format!("{fault}; no [[signature]] takes it"));
    }
}

/// The reason for which a key verifies none of the algorithms.
fn fault(proof: &KeyProof, algorithms: &[Algorithm]) -> Result<(), String> {
    match proof {
        KeyProof::Hash(_) => Ok(()),
        KeyProof::PublicKey(text) => check_pem(text, algorithms),
        KeyProof::Secret(secret) => {
            let symmetric: Vec<Algorithm> =
                algorithms.iter().copied().filter(|one| one.is_symmetric()).collect();
            match symmetric.is_empty() {
                true => Err("is a secret, but algorithms has no HMAC".to_owned()),
                false => check_secret(secret.expose().len(), &symmetric),
            }
        }
    }
}

/// Reports `pass` for a field of a signature that is removed before a request goes on, so that the
/// upstream would not get what it has to verify.
fn check_passed(reading: &Document<'_>, config: &Config, route: &RouteSettings, at: &Location) {
    for signature in config.signatures_at(route) {
        let is_passed = |place: &&Carrier| match place {
            Carrier::Field(name) => route.pass.contains(&PassRule::Header(name.clone())),
            _ => false,
        };
        if let Some(place) = signature.places().into_iter().find(is_passed) {
            let remedy = format!(
                "is a part of signature \"{}\": it is removed before a request goes on",
                signature.name
            );
            at.at("pass").issue(reading, place.to_string(), remedy);
        }
    }
}

/// Reports places of a signature that have another meaning on the route.
fn check_places(
    reading: &Document<'_>,
    config: &Config,
    route: &RouteSettings,
    signature: &SignatureSettings,
    at: &Location,
) {
    let logins = || config.logins_of(route).filter(|_| route.takes_logins());
    let is_api_key = |place: &Carrier| match place {
        Carrier::Field(name) => Some(name) == config.api_key_header(),
        _ => false,
    };
    for place in signature.places() {
        let is_same = |other: &Carrier| match (place, other) {
            (Carrier::Scheme(one), Carrier::Scheme(other)) => one.eq_ignore_ascii_case(other),
            (one, other) => one == other,
        };
        let carries = |carrier: &CallCarrier| carrier.places().into_iter().any(is_same);
        let login = logins().find(|login| login.dialect.call.iter().any(carries));
        let owner = match login {
            Some(login) => Some(format!("where login \"{}\" carries its tokens", login.name)),
            // Elsewhere the field may carry API keys that are presented.
            None if is_api_key(place) && !route.auth.contains(&CredentialKind::ApiKey) => None,
            None => owner(config, route, place).map(str::to_owned),
        };
        if let Some(owner) = owner {
            let name = &signature.name;
            let remedy =
                format!("signature \"{name}\" has a part in {place}, which is also {owner}");
            at.at("auth").issue(reading, "\"signature\"".to_owned(), remedy);
        }
    }
}
