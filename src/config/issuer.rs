//! `[[issuer]]`: external issuers whose tokens are accepted.
//!
//! An issuer's tokens are verified with keys (its own key set, a file, a shared secret), by
//! introspection, or by asking a legacy system. The reader refuses combinations that would weaken a
//! check, such as HMAC beside key pairs. Some laxities are allowed only during a takeover, which
//! `until` ends. `token` and `authn` use the checked form.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::issuer_keys::{read_allow_weak, read_keys};
use super::item::SpannedValue;
use super::names::SectionNames;
use super::reader::TableReader;
use super::schema::TextForm;
use super::token::{MAX_LEEWAY, MAX_TTL, MIN_TTL, algorithm};
use super::warnings::WarningName;
use crate::algorithm::Algorithm;
use crate::clock::{Timestamp, end_of_day};
use crate::identity::{RESERVED_ISSUERS, SELF_ISSUER};
use crate::settings::{
    AudienceRule, IntrospectionSettings, IssuerKeys, IssuerSettings, LegacySessionSettings,
    TokenSettings, duration,
};

/// `JWT`, `at+jwt` (RFC 9068) or no type: every token whose type does not mark it as something
/// other than an access token. ID tokens often have the type `JWT` too; they are recognised by
/// their claims.
const TYPES: &[&str] = &["jwt", "at+jwt"];
/// A day: long enough to survive an outage of the issuer, short enough that a key which the issuer
/// has withdrawn meanwhile is not trusted for long. During that time the issuer's users can still
/// log in.
const MAX_STALE: Duration = Duration::from_secs(24 * 3600);
/// A shorter time would be over before keys are fetched again.
const STALE: RangeInclusive<Duration> =
    Duration::from_secs(600)..=Duration::from_secs(30 * 24 * 3600);
/// The kinds of issuers whose tokens a legacy system is asked about.
const SESSIONS: &str = "sessions";
const WEBITEL: &str = "webitel_sessions";
/// Keys that such an issuer cannot have, because its tokens have no claims.
pub(super) const NO_CLAIMS: [&str; 19] = [
    "issuer",
    "audience",
    "algorithms",
    "jwks",
    "jwks_file",
    "public_key_file",
    "secret",
    "introspection",
    "max_stale",
    "client_id",
    "username_claim",
    "roles_claim",
    "scopes_claim",
    "types",
    "type_optional",
    "required",
    "leeway",
    "max_lifetime",
    "allow_id_tokens",
];
const REQUIRED: &[&str] = &["exp", "iss", "sub", "aud"];
/// A takeover issuer may leave out the other claims, but never these: without `exp` a token would
/// be valid for ever, without `sub` it names no user. The claim `iss` is compared in any case, and
/// so is `aud` if audiences are named.
const ALWAYS_REQUIRED: &[&str] = &["exp", "sub"];

impl IssuerSettings {
    pub(super) fn read(
        mut table: TableReader<'_>,
        names: &mut SectionNames,
        token: &TokenSettings,
    ) -> Self {
        let name = names.read(&mut table, None);
        // Identities carry the issuer's name. An external issuer with one of these names would be
        // taken for the gateway itself, or for another kind of credential. Rules such as a route's
        // `issuers` compare these names, so the names must be unambiguous.
        if name == SELF_ISSUER {
            table.issue("name", "\"self\" is the gateway's own name among issuers");
        } else if RESERVED_ISSUERS.contains(&name.as_str()) {
            let remedy = format!("\"{name}\" is what callers with that kind of credential are of");
            table.issue("name", remedy);
        }
        let kinds = [("jwt", None), (SESSIONS, Some(SESSIONS)), (WEBITEL, Some(WEBITEL))];
        if let Some(kind) = table.choice_or("kind", None, &kinds) {
            table.has_form("kind", kind);
            return Self::read_sessions(name, table, kind == WEBITEL, token);
        }
        table.has_form("kind", "jwt");
        let issuer = table.required("issuer", "the `iss` of its tokens");
        let issuer = issuer.as_ref().and_then(SpannedValue::plain_name).unwrap_or_default();
        let until_item = table.get("until");
        let until = until_item.as_ref().and_then(read_until);
        // A takeover is recognised by the presence of the key: a misspelt day is then one problem,
        // and the laxities it would allow are not reported in addition. The day itself is reported
        // once, at its own line.
        let is_takeover = until_item.is_some();
        let KeyMeans { algorithms, keys, allow_weak_secret, allow_http, is_opaque: is_asked } =
            KeyMeans::read(&mut table, &issuer, is_takeover);
        let audience = read_audience(&mut table, is_takeover || is_asked);
        let types = table.plain_names("types");
        table.default_is("types", TYPES.to_vec());
        let type_optional = table.get("type_optional").and_then(|item| item.bool());
        let leeway = table.duration("leeway", Duration::ZERO..=MAX_LEEWAY);
        Self {
            name,
            issuer,
            required: read_required(&mut table, is_takeover, &audience),
            audience,
            ca: read_ca(&mut table, keys.as_ref()),
            allow_weak_secret,
            allow_http,
            max_stale: read_max_stale(&mut table, keys.as_ref()),
            client_id: table.get("client_id").as_ref().and_then(SpannedValue::plain_name),
            keys: keys.unwrap_or(IssuerKeys::Jwks(String::new())),
            algorithms,
            subjects: table.plain_names("subjects").unwrap_or_default(),
            username_claim: read_claim(&mut table, "username_claim", &["preferred_username"]),
            roles_claim: read_claim(&mut table, "roles_claim", &["roles"]),
            scopes_claim: read_claim(&mut table, "scopes_claim", &["scope"]),
            // If the operator lists types, a missing one is refused unless they allow it: the list
            // is meant as a restriction. Without such a list both forms are accepted, because many
            // issuers send no type.
            type_optional: type_optional.unwrap_or(types.is_none()),
            types: types.map_or_else(
                || owned(TYPES),
                |types| types.iter().map(|name| plain_type(name)).collect(),
            ),
            leeway: leeway.unwrap_or(token.leeway),
            max_lifetime: table.duration("max_lifetime", MIN_TTL..=MAX_TTL),
            until,
            allow_id_tokens: table.bool_or("allow_id_tokens", false),
        }
    }

    /// Reads an issuer of tokens or pairs that are looked up in the legacy system that made them.
    fn read_sessions(
        name: String,
        mut table: TableReader<'_>,
        is_webitel: bool,
        token: &TokenSettings,
    ) -> Self {
        const REMEDY: &str = "is about tokens that say whose they are, which these do not";
        table.refuse(&NO_CLAIMS, REMEDY);
        let until = table.required("until", "the last day on which the old tokens are taken");
        table.default_is("allow_http", false);
        let plain = table.get("allow_http");
        let allow_http = plain.as_ref().and_then(SpannedValue::bool).unwrap_or(false);
        if let (Some(item), true) = (&plain, allow_http) {
            item.warn(
                WarningName::PlainIssuer,
                "asks without TLS: whoever is on the way there sees and vouches for tokens",
            );
        }
        let sessions = LegacySessionSettings::read(&mut table, is_webitel, allow_http);
        let keys = sessions.map(|sessions| IssuerKeys::Sessions(Box::new(sessions)));
        Self {
            // Its tokens carry no `iss`, so the section's name identifies the issuer.
            issuer: name.clone(),
            name,
            audience: AudienceRule::Any,
            algorithms: Vec::new(),
            ca: read_ca(&mut table, keys.as_ref()),
            allow_weak_secret: false,
            allow_http,
            max_stale: MAX_STALE,
            client_id: None,
            keys: keys.unwrap_or(IssuerKeys::Jwks(String::new())),
            subjects: table.plain_names("subjects").unwrap_or_default(),
            username_claim: Vec::new(),
            roles_claim: Vec::new(),
            scopes_claim: Vec::new(),
            types: Vec::new(),
            type_optional: true,
            required: Vec::new(),
            leeway: token.leeway,
            max_lifetime: None,
            until: until.as_ref().and_then(read_until),
            allow_id_tokens: false,
        }
    }
}

/// The settings by which a token of the issuer is verified.
struct KeyMeans {
    algorithms: Vec<Algorithm>,
    keys: Option<IssuerKeys>,
    allow_weak_secret: bool,
    allow_http: bool,
    /// The issuer is asked about every token (introspection).
    is_opaque: bool,
}

impl KeyMeans {
    fn read(table: &mut TableReader<'_>, issuer: &str, is_takeover: bool) -> Self {
        table.default_is("allow_http", false);
        let plain = table.get("allow_http");
        let allow_http = plain.as_ref().and_then(SpannedValue::bool).unwrap_or(false);
        let introspection = table.deciding("introspection");
        let (algorithms, allow_weak_secret, keys) = match &introspection {
            None => {
                let algorithms = read_algorithms(table);
                let allow_weak = read_allow_weak(table, is_takeover);
                let keys = read_keys(table, issuer, &algorithms, allow_weak, allow_http);
                (algorithms, allow_weak, keys)
            }
            Some(item) => {
                let read = IntrospectionSettings::read(item, table, allow_http);
                (Vec::new(), false, read.map(IssuerKeys::Introspection))
            }
        };
        // `allow_http` without anything to ask is a mistake, and one that would weaken a later
        // change. If keys were fetched one day, they would be fetched without protection, although
        // nobody decided that.
        if let Some(item) = &plain {
            check_use(item, keys.as_ref());
        }
        if let (Some(item), true) = (&plain, allow_http) {
            item.warn(
                WarningName::PlainIssuer,
                match introspection {
                    None => {
                        "asks the issuer without TLS: whoever is on the way there can sign tokens"
                    }
                    Some(_) => {
                        "asks without TLS: whoever is on the way there sees and vouches for tokens"
                    }
                },
            );
        }
        Self { algorithms, keys, allow_weak_secret, allow_http, is_opaque: introspection.is_some() }
    }
}

fn owned(names: &[&str]) -> Vec<String> {
    names.iter().map(|&name| name.to_owned()).collect()
}

/// RFC 7515, section 4.1.9: the prefix `application/` may be left out, and case does not matter.
fn plain_type(name: &str) -> String {
    let name = name.to_ascii_lowercase();
    name.strip_prefix("application/").map(str::to_owned).unwrap_or(name)
}

fn read_ca(table: &mut TableReader<'_>, keys: Option<&IssuerKeys>) -> Option<String> {
    let item = table.get("ca")?;
    check_use(&item, keys);
    item.read_certificates().map(|(_, pem)| pem)
}

fn read_max_stale(table: &mut TableReader<'_>, keys: Option<&IssuerKeys>) -> Duration {
    table.default_is("max_stale", duration::render(MAX_STALE));
    let Some(item) = table.get("max_stale") else { return MAX_STALE };
    // With introspection, `max_stale` was already reported as unused.
    if keys.is_some_and(IssuerKeys::is_opaque) {
        return MAX_STALE;
    }
    check_use(&item, keys);
    item.duration(STALE).unwrap_or(MAX_STALE)
}

/// Reports a setting about asking the issuer, if the issuer's keys are in the configuration and
/// nobody is asked. A setting without an effect suggests a protection that does not exist. It is an
/// error and not a warning, since leaving it out changes nothing.
fn check_use(item: &SpannedValue<'_>, keys: Option<&IssuerKeys>) {
    if keys.is_some_and(|keys| !keys.is_remote() && !keys.is_opaque()) {
        item.issue("is of no use: the issuer's keys are here");
    }
}

fn read_algorithms(table: &mut TableReader<'_>) -> Vec<Algorithm> {
    let Some(item) = table.required("algorithms", "for example [\"RS256\"]") else {
        return Vec::new();
    };
    let remedy = "must name at least one algorithm";
    let Some(list) = item.filled_list(remedy) else { return Vec::new() };
    let algorithms: Vec<Algorithm> = list.iter().filter_map(algorithm).collect();
    let symmetric = algorithms.iter().filter(|algorithm| algorithm.is_symmetric()).count();
    if symmetric > 0 && symmetric < algorithms.len() {
        // If both were allowed for one key set, a public key could be used as an HMAC secret
        // (algorithm confusion), and everybody knows the public key. Two issuers with one algorithm
        // each keep the two kinds of keys apart.
        item.issue("mixes HMAC and key pairs: make two issuers of it");
    }
    algorithms
}

fn read_audience(table: &mut TableReader<'_>, is_takeover: bool) -> AudienceRule {
    let Some(item) = table.required("audience", "whom its tokens must be meant for: [\"…\"]")
    else {
        return AudienceRule::Any;
    };
    if item.is_word("any") {
        if is_takeover {
            // Without a check of the audience, any service that receives such a token can use it
            // here. That is tolerated only for a limited time, or where the issuer itself decides
            // about each token.
            item.warn(WarningName::AnyAudience, "accepts tokens that were meant for others");
        } else {
            item.issue("is only for a takeover: name audiences, or say `until` when it ends");
        }
        return AudienceRule::Any;
    }
    let list = item.filled_list("must name at least one audience").unwrap_or_default();
    AudienceRule::OneOf(list.iter().filter_map(SpannedValue::plain_name).collect())
}

fn read_required(
    table: &mut TableReader<'_>,
    is_takeover: bool,
    audience: &AudienceRule,
) -> Vec<String> {
    // `aud` is not required where any audience is accepted: a token without one would be refused
    // for a claim that is not compared. The other claims stay required.
    let Some(item) = table.get("required") else {
        let unneeded = |name: &&&str| !(**name == "aud" && *audience == AudienceRule::Any);
        return REQUIRED.iter().filter(unneeded).map(|&name| name.to_owned()).collect();
    };
    let required: Vec<String> =
        item.list().unwrap_or_default().iter().filter_map(SpannedValue::plain_name).collect();
    let needed = if is_takeover { ALWAYS_REQUIRED } else { REQUIRED };
    let missing: Vec<&str> =
        needed.iter().copied().filter(|name| !required.iter().any(|has| has == name)).collect();
    if !missing.is_empty() {
        let missing = missing.join(", ");
        item.issue(match is_takeover {
            true => format!("must have {missing} among them"),
            false => {
                format!("must have {missing} among them, or say `until` when the takeover ends")
            }
        });
    }
    required
}

/// Reads a claim's name, or the path to it: `"realm_access.roles"`, or
/// `["https://example.com/roles"]` for one name that contains dots. A text is split at its dots,
/// and each part is a member of the claim before.
fn read_claim(table: &mut TableReader<'_>, key: &'static str, default: &[&str]) -> Vec<String> {
    table.default_is(key, default.to_vec());
    let Some(item) = table.get(key) else { return owned(default) };
    if !item.is_text() {
        let path: Vec<String> =
            item.list().unwrap_or_default().iter().filter_map(SpannedValue::plain_name).collect();
        if path.is_empty() {
            item.issue("must name a claim");
        }
        return path;
    }
    let text = item.string().unwrap_or_default();
    if text.contains("://") {
        item.issue(format!("is split at its dots: write [{text:?}] to name one claim"));
    } else if text.split('.').any(str::is_empty) {
        item.issue("must be a claim's name, or a path like \"realm_access.roles\"");
    }
    text.split('.').map(str::to_owned).collect()
}

/// Reads a day and returns the first instant after it, in UTC.
pub(super) fn read_until(item: &SpannedValue<'_>) -> Option<Timestamp> {
    let end = end_of_day(item.text(TextForm::Day)?);
    if end.is_none() {
        item.issue("must be a day that exists, written \"2027-03-31\"");
    }
    end
}
