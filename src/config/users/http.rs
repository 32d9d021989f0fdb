//! `kind = "http"`: the password is verified by a legacy system, which is asked in one of the
//! dialects.
//!
//! Names, passwords and roles belong to that system. During a migration its passwords can be
//! imported: each successful login leaves a hash here, and finally the legacy system is not asked
//! any more. The reader refuses a final import where two people could be taken for one.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use http::Uri;

use crate::config::credential::{check_program, read_program};
use crate::config::item::SpannedValue;
use crate::config::own_dialects::KnownDialects;
use crate::config::reader::TableReader;
use crate::config::warnings::WarningName;
use crate::dialect::Dialect;
use crate::identity::RESERVED_CLAIMS;
use crate::settings::{
    HttpUsers, LegacyNames, PasswordImport, ResponsePath, ResponseRoot, UserMap,
};

/// The values of `names`.
const NAMES: &[(&str, LegacyNames)] =
    &[("exact", LegacyNames::Exact), ("case_blind", LegacyNames::CaseBlind)];

/// A client waits for this login, and dialects give up after 10 s.
const TIMEOUT: Duration = Duration::from_secs(5);
const TIMEOUTS: std::ops::RangeInclusive<Duration> =
    Duration::from_millis(100)..=Duration::from_secs(60);
/// Legacy logins may be slow, and the gateway must not flood that system.
const PARALLEL: usize = 16;

impl HttpUsers {
    /// Reads the keys of the section. `None` if there is no usable dialect, which has been
    /// reported. All keys are read in any case, so that all problems are reported. `allow_http`,
    /// for example, is warned of even then.
    pub(super) fn read(table: &mut TableReader<'_>, dialects: &KnownDialects) -> Option<Self> {
        let (import, final_item) = read_import(table);
        let keep = read_keep(table, import);
        let names = table.choice_or("names", LegacyNames::Exact, NAMES);
        let url = read_url(table, import);
        let ca = table.get("ca").and_then(|item| item.read_certificates());
        let timeout = table.duration_or("timeout", TIMEOUT, TIMEOUTS);
        let parallel = table.count_or("parallel", PARALLEL, 1..=1024);
        let map = table.get("map").and_then(|item| item.table()).map(UserMap::read);
        let map = map.unwrap_or_default();
        // A final import lets one hash decide for a name. If the legacy system takes `Bob` and
        // `bob` for two people, the password of one would open the account of the other. The
        // operator has to state that such a pair of names does not exist.
        if let Some(item) = final_item.filter(|_| !map.tells_people_apart(names)) {
            item.issue(
                "lets a hash decide for every spelling of a name, but two names that only look \
                 alike may be two people there: say where its answers have ids (map.id), or \
                 names = \"case_blind\" if it never has two such names",
            );
        }
        // The dialect is read last: without it nothing can be returned, but the problems of all
        // other keys have been reported by then.
        let role_names = read_role_names(table);
        let default_roles = table.plain_names("default_roles").unwrap_or_default();
        let client = read_program(table);
        let item = table.required("dialect", "what the legacy system speaks");
        let dialect = item.as_ref().and_then(|item| read_dialect(item, dialects))?;
        check_program(table, Some(&dialect), client.as_ref());
        Some(Self {
            url,
            dialect,
            client,
            ca,
            timeout,
            parallel,
            import,
            keep,
            names,
            map,
            role_names,
            default_roles,
        })
    }
}

fn read_dialect(item: &SpannedValue<'_>, dialects: &KnownDialects) -> Option<Arc<Dialect>> {
    let dialect = dialects.refer(item)?;
    // A dialect describes what a server answers. It can be used by a client only if its request and
    // its reply can also be read in the other direction.
    if let Err(cannot) = dialect.delegates() {
        item.issue(format!("cannot be asked for a login: it {cannot}"));
    }
    Some(dialect)
}

/// Reads `import` and `import_final`. The second part is the item of `import_final` if it is true.
fn read_import<'a>(table: &mut TableReader<'a>) -> (PasswordImport, Option<SpannedValue<'a>>) {
    table.default_is("import", false);
    table.default_is("import_final", false);
    let import = table.get("import");
    let says_import = import.as_ref().and_then(SpannedValue::bool);
    let final_item = table.get("import_final").filter(|item| item.bool() == Some(true));
    if let (Some(item), Some(_), Some(false)) = (&import, &final_item, says_import) {
        item.issue("is needed for import_final: only what was imported can decide");
    }
    // `import_final` alone implies the import; an explicit `import = false` contradicts it and was
    // reported.
    let import = match (&final_item, says_import) {
        (Some(_), _) => PasswordImport::Final,
        (None, Some(true)) => PasswordImport::On,
        (None, _) => PasswordImport::Off,
    };
    (import, final_item)
}

fn read_keep(table: &mut TableReader<'_>, import: PasswordImport) -> bool {
    table.default_is("keep", false);
    let item = table.get("keep");
    let keep = item.as_ref().and_then(SpannedValue::bool).unwrap_or(false);
    if let (Some(item), true, PasswordImport::Final) = (item, keep, import) {
        item.issue("keeps what the legacy system gives at a login, but with import_final most logins do not ask it");
    }
    keep
}

fn read_url(table: &mut TableReader<'_>, import: PasswordImport) -> Option<Uri> {
    const EXAMPLE: &str = "for example \"https://legacy.example\"";
    let allow_http = table.bool_or("allow_http", false);
    let Some(item) = table.get("url") else {
        if import != PasswordImport::Final {
            table.issue("url", format!("is missing: {EXAMPLE}; only import_final goes without"));
        }
        return None;
    };
    let text = item.string()?;
    let url = HttpUsers::parse_url(text);
    let Some(url) = url else {
        // The address may contain a password, so it is hidden.
        let remedy = format!("must be an address without user, query and fragment, {EXAMPLE}");
        if text.contains(['@', '?']) {
            item.hidden_issue(remedy)
        } else {
            item.issue(remedy)
        }
        return None;
    };
    if HttpUsers::is_in_the_clear(&url) {
        match allow_http {
            true => item.warn(
                WarningName::PlainLegacy,
                "sends every password in the clear, to whoever answers there",
            ),
            false => item.issue(
                "sends every password in the clear: write https://, or allow_http = true to \
                 accept the risk",
            ),
        }
    }
    Some(url)
}

fn read_role_names(table: &mut TableReader<'_>) -> BTreeMap<String, String> {
    let names = table.get("role_names").and_then(|item| item.table());
    let names = names.map(|mut names| names.entries()).unwrap_or_default();
    names.into_iter().filter_map(|(value, item)| Some((value, item.plain_name()?))).collect()
}

impl UserMap {
    fn read(mut table: TableReader<'_>) -> Self {
        let mut path = |key| table.get(key).as_ref().and_then(ResponsePath::read);
        let id = path("id");
        let name = path("name");
        let email = path("email");
        let roles = path("roles");
        let scopes = path("scopes");
        let claims = table.get("claims").and_then(|item| item.table());
        let claims = claims.map(|mut claims| claims.entries()).unwrap_or_default();
        // Such claims are set by the gateway for every token. A legacy system could otherwise
        // choose the expiry or the subject of a token.
        let claim = |(name, item): (String, SpannedValue<'_>)| {
            if RESERVED_CLAIMS.contains(&name.as_str()) {
                item.issue("stands for a claim that the gateway sets itself");
            }
            Some((name, ResponsePath::read(&item)?))
        };
        let claims = claims.into_iter().filter_map(claim).collect();
        Self { id, name, email, roles, scopes, claims }
    }
}

impl ResponsePath {
    /// Reads a path: `"answer.user.role"`, or a list for names with dots:
    /// `["token", "https://a.b/roles"]`.
    fn read(item: &SpannedValue<'_>) -> Option<Self> {
        let words: Vec<String> = if item.is_text() {
            item.string()?.split('.').map(str::to_owned).collect()
        } else {
            item.list()?.iter().filter_map(SpannedValue::plain_name).collect()
        };
        let root = match words.first().map(String::as_str) {
            Some("answer") => Some(ResponseRoot::Answer),
            Some("token") => Some(ResponseRoot::Token),
            _ => None,
        };
        let path: Vec<String> = words.into_iter().skip(1).collect();
        let is_path = !path.is_empty() && path.iter().all(|name| !name.is_empty());
        let Some(root) = root.filter(|_| is_path) else {
            item.issue(
                "must be a path into the answer, \"answer.role\", or into its token, \
                 \"token.realm.roles\"",
            );
            return None;
        };
        Some(Self { root, path })
    }
}
