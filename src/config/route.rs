//! `[[route]]`: which requests are forwarded to which upstream, and who may make them.
//!
//! A route joins a path, hosts and methods with an action and with the conditions of access. Parts
//! with rules of their own are read in files of their own: `action`, `auth`, `headers`, `streams`,
//! `pass` and others. The order of routes has no meaning; the closest match is chosen by `routing`.

use std::sync::Arc;

use http::Method;
use http::header::{AUTHORIZATION, HeaderName};

use super::allow_headers::read_allowed;
use super::headers::is_framing;
use super::item::SpannedValue;
use super::login::read_hosts;
use super::path::{check_route, method, unknown_method};
use super::reader::TableReader;
use super::references::References;
use super::warnings::WarningName;
use super::{auth, cors};
use crate::dialect::ErrorFormat;
use crate::identity::SELF_ISSUER;
use crate::settings::{
    AllowPath, CompressionSettings, CredentialKind, HeaderRules, IdentityForm, MaintenanceMode,
    MirrorSettings, PassRule, PrefixRule, RateLimit, RequireRule, RouteAction, RouteCors,
    RouteSettings, RouteStreams, TokenSettings,
};

/// Larger uploads are rare enough to be configured explicitly.
const BODY_LIMIT: u64 = 10 << 20;
const LARGEST_BODY: u64 = 1 << 40;
/// The name of the error form of RFC 9457, which belongs to no dialect.
pub(super) const PROBLEM: &str = "problem";

impl RouteSettings {
    pub(super) fn read(mut table: TableReader<'_>, known: &mut References) -> Self {
        let name = known.routes.read(&mut table, Some(""));
        let path_item = table.required("path", "for example \"/api/\"");
        let path = path_item.as_ref().and_then(read_path).unwrap_or_default();
        let hosts = read_hosts(&mut table);
        let methods = read_methods(&mut table);
        let action = RouteAction::read(&mut table, known);
        let auth = auth::read(&mut table);
        let users = auth::read_users(&mut table, &auth, known);
        let signature = auth::read_signature(&mut table, &auth, known);
        let issuers = read_issuers(&mut table, known);
        let logins = read_logins(&mut table, known);
        let require = RequireRule::read(table.table("require"));
        // A route without `auth` is open. Conditions that presume a caller would never be evaluated
        // there. They are therefore reported by `check_auth`.
        let open = auth.is_empty();
        check_auth(&table, &auth, &issuers, &logins, &require);
        let cors = table.get("cors").map_or(RouteCors::None, |item| RouteCors::read(&item, known));
        if cors == RouteCors::Upstream && action.is_own() {
            table.issue("cors", "needs an upstream, which preflights go to unasked");
        }
        let query_credentials = read_query_credentials(&mut table, &auth);
        let allow_path = read_allow_path(&mut table, &path);
        Self {
            name: if name.is_empty() { default_name(&hosts, &methods, &path) } else { name },
            rate_limit: RateLimit::read_all(&mut table, open),
            mirror: MirrorSettings::read(&mut table, action.upstream().unwrap_or_default(), known),
            compression: CompressionSettings::read(&mut table),
            action,
            pass: PassRule::read_all(&mut table, &auth),
            auth,
            users,
            signature,
            issuers,
            logins,
            require,
            prefix: PrefixRule::read(&mut table, &path),
            maintenance: MaintenanceMode::read(&mut table),
            identity: read_identity(&mut table, &known.token),
            forward_credential: table.bool_or("forward_credential", false),
            forward_certificate: table.bool_or("forward_certificate", false),
            request_headers: HeaderRules::read_request(table.table("request_headers")),
            response_headers: HeaderRules::read_response(table.table("response_headers")),
            body_limit: table.size_or("body_limit", BODY_LIMIT, 0..=LARGEST_BODY),
            streams: RouteStreams::read(&mut table),
            errors: read_errors(&mut table, known),
            enforce: table.bool_or("enforce", true),
            cors,
            query_credentials,
            allow_path,
            // Set by `fold_routes`, when all upstreams are known.
            case_insensitive: false,
            allow_method_override: table.bool_or("allow_method_override", false),
            allow_headers: read_allowed(&mut table),
            path,
            hosts,
            methods,
        }
    }
}

fn read_path(item: &SpannedValue<'_>) -> Option<String> {
    let path = item.string()?;
    if let Err(remedy) = check_route(path) {
        item.issue(remedy);
    }
    Some(path.to_owned())
}

/// The default name: `GET,POST /api/`, preceded by the hosts if some are named.
fn default_name(hosts: &[String], methods: &[Method], path: &str) -> String {
    let hosts = hosts.join(",");
    let methods: Vec<&str> = methods.iter().map(Method::as_str).collect();
    let methods = methods.join(",");
    let parts = [if hosts == "*" { "" } else { &hosts }, &methods, path];
    parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(" ")
}

fn read_methods(table: &mut TableReader<'_>) -> Vec<Method> {
    let Some(item) = table.get("methods") else { return Vec::new() };
    let remedy = "must name at least one method, or be left out for all";
    let Some(list) = item.filled_list(remedy) else { return Vec::new() };
    let mut methods: Vec<Method> = Vec::with_capacity(list.len());
    for item in &list {
        match item.string().map(method) {
            Some(Ok(method)) if methods.contains(&method) => item.issue("stands here twice"),
            // An unknown method may be a private one of the API, so it is only warned of.
            Some(Ok(method)) => {
                if let Some(remedy) = unknown_method(method.as_str()) {
                    item.warn(WarningName::UnknownMethod, remedy);
                }
                methods.push(method);
            }
            Some(Err(remedy)) => item.issue(remedy),
            None => {}
        }
    }
    methods
}

/// Reports conditions on tokens or callers that can never be met, because the route accepts no such
/// credential. An operator who wrote them believes that they protect the route. An open route with
/// `require` would be open to everybody all the same.
fn check_auth(
    table: &TableReader<'_>,
    auth: &[CredentialKind],
    issuers: &[String],
    logins: &[String],
    require: &RequireRule,
) {
    let open = auth.is_empty();
    if open && !(issuers.is_empty() && logins.is_empty() && *require == RequireRule::default()) {
        table.issue("auth", "is open to all: issuers, logins and require ask in vain");
    }
    let takes_tokens = auth.iter().any(|kind| kind.is_token());
    let lists = !issuers.is_empty() || !logins.is_empty();
    if lists && !open && !takes_tokens {
        table.issue("auth", "takes no tokens: issuers and logins ask in vain");
    }
    // Logins issue tokens of the gateway itself. If `issuers` excludes `self`, no token of a login
    // is accepted.
    let is_excluded = !issuers.is_empty() && !issuers.iter().any(|name| name == SELF_ISSUER);
    if !logins.is_empty() && is_excluded {
        table.issue("logins", "are the gateway's own, but issuers has no \"self\"");
    } else if auth.contains(&CredentialKind::Login) && is_excluded {
        table.issue("issuers", "has no \"self\", which issues the tokens of logins (auth)");
    }
}

/// Reads `query_credentials`. Credentials in a URL end up in logs and histories, so this must be
/// asked for, together with the kind of credential that it is about. Only the pair of token and key
/// has names of its own in a query.
fn read_query_credentials(table: &mut TableReader<'_>, auth: &[CredentialKind]) -> bool {
    table.default_is("query_credentials", false);
    let item = table.get("query_credentials");
    let taken = item.as_ref().and_then(SpannedValue::bool).unwrap_or(false);
    if let Some(item) = item.filter(|_| taken && !auth.contains(&CredentialKind::TokenKey)) {
        item.issue("needs \"token_key\" in auth");
    }
    taken
}

fn read_issuers(table: &mut TableReader<'_>, known: &References) -> Vec<String> {
    let Some(item) = table.get("issuers") else { return Vec::new() };
    let remedy = "must name at least one issuer, or be left out for all";
    let list = item.filled_list(remedy).unwrap_or_default();
    // `self` is no section, so it cannot be resolved among the names of sections.
    let is_own = |item: &SpannedValue<'_>| item.is_word(SELF_ISSUER);
    let (own, others): (Vec<_>, Vec<_>) = list.into_iter().partition(is_own);
    let mut issuers = known.issuers.refer_all(&others);
    if !own.is_empty() {
        issuers.insert(0, SELF_ISSUER.to_owned());
    }
    issuers
}

fn read_logins(table: &mut TableReader<'_>, known: &References) -> Vec<String> {
    let Some(item) = table.get("logins") else { return Vec::new() };
    let remedy = "must name at least one login, or be left out for all";
    let list = item.filled_list(remedy).unwrap_or_default();
    known.logins.refer_all(&list)
}

impl RequireRule {
    fn read(mut table: TableReader<'_>) -> Self {
        let claims = table.table("claims").entries();
        Self {
            roles: table.plain_names("roles").unwrap_or_default(),
            scopes: table.plain_names("scopes").unwrap_or_default(),
            claims: claims.into_iter().map(|(name, item)| (name, item.json())).collect(),
        }
    }
}

/// Reads how the identity is passed on. A token is sent as Bearer, unless a field is named.
fn read_identity(table: &mut TableReader<'_>, token: &TokenSettings) -> IdentityForm {
    table.default_is("identity", "headers");
    table.default_is("identity_header", "Authorization");
    let identity = table.get("identity");
    let header = table.get("identity_header");
    let name = header.as_ref().and_then(read_header);
    let forms = [
        ("headers", IdentityForm::Headers),
        ("jwt", IdentityForm::Jwt(name.unwrap_or(AUTHORIZATION))),
        ("none", IdentityForm::None),
    ];
    let form = identity.as_ref().and_then(|item| item.choice(&forms));
    let form = form.unwrap_or(IdentityForm::Headers);
    match (&form, &identity, &header) {
        // An upstream verifies the token with the published keys. A symmetric key cannot be
        // published. Whoever could verify with it could also sign, for example as another user.
        (IdentityForm::Jwt(_), Some(item), _) if token.algorithm.is_symmetric() => {
            item.issue("needs a key pair: nobody can verify what [token] algorithm signs");
        }
        (IdentityForm::Headers | IdentityForm::None, _, Some(item)) => {
            item.issue("is for identity = \"jwt\"");
        }
        _ => {}
    }
    form
}

/// Reads a field name. Fields that frame a message cannot carry anything else.
fn read_header(item: &SpannedValue<'_>) -> Option<HeaderName> {
    let name = HeaderName::try_from(item.string()?).ok().filter(|name| !is_framing(name.as_str()));
    if name.is_none() {
        item.issue("must be the name of a header field");
    }
    name
}

fn read_errors(table: &mut TableReader<'_>, known: &References) -> Arc<ErrorFormat> {
    let problem = || known.problem.clone();
    table.default_is("errors", PROBLEM);
    let Some(item) = table.get("errors") else { return problem() };
    if item.is_word(PROBLEM) {
        return problem();
    }
    known.dialects.refer(&item).map_or_else(problem, |dialect| Arc::clone(&dialect.errors))
}

fn read_allow_path(table: &mut TableReader<'_>, path: &str) -> Vec<AllowPath> {
    table.default_is("allow_path", Vec::<String>::new());
    let Some(item) = table.get("allow_path") else { return Vec::new() };
    let forms = [
        ("semicolon", AllowPath::Semicolon),
        ("double_slash", AllowPath::DoubleSlash),
        ("encoded_slash", AllowPath::EncodedSlash),
        ("percent", AllowPath::Percent),
        ("unicode", AllowPath::Unicode),
    ];
    let list = item.list().unwrap_or_default();
    let allowed: Vec<_> = list.iter().filter_map(|item| item.choice(&forms)).collect();
    // In an exact path or a pattern every segment is given, so an ambiguous spelling could only be
    // a bypass. Such an allowance is meant for whole areas of an upstream whose paths the gateway
    // does not know.
    if !allowed.is_empty() && (path.starts_with('=') || path.contains('{')) {
        item.issue("is for prefix routes only");
    } else if !allowed.is_empty() {
        item.warn(
            WarningName::AllowedPaths,
            "lets through paths that the upstream may read otherwise than the gateway",
        );
    }
    allowed
}

impl RouteCors {
    fn read(item: &SpannedValue<'_>, known: &References) -> Self {
        if item.is_word("upstream") {
            return Self::Upstream;
        }
        if !item.is_text() {
            return cors::read(item, None).map_or(Self::None, |cors| Self::Own(Arc::new(cors)));
        }
        let Some(dialect) = known.dialects.refer(item) else { return Self::None };
        match &dialect.cors {
            Some(cors) => Self::Own(Arc::new(cors.clone())),
            None => {
                item.issue("has no CORS of its own: write { origins = [\"…\"] }");
                Self::None
            }
        }
    }
}
