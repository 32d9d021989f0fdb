//! The configuration: the text of `gateway.toml`, read into spanned tables, read into `settings`.
//!
//! Each section has a file of its own with its defaults and their reasons, its limits, and its
//! reader; the values that it makes are in the file of the same name in `settings`. A reader walks
//! the table as written (`reader`, `item`) and records every problem with its line, key path, value
//! and remedy, so that one `check` shows all of them. Only `server` and `cli` use this module: the
//! other rooms are built from settings, however these were made.
//!
//! References between sections are resolved in `references` while the sections are read; rules that
//! need the whole file are in `cross_checks`. Reading files is the only I/O here: nothing on the
//! network is asked.

mod accepted;
mod acme;
mod action;
mod admin;
mod admin_socket;
mod allow_headers;
mod api_key;
mod auth;
mod balance;
mod carrier;
mod client_certificate;
mod compression;
mod cors;
mod credential;
mod cross_checks;
mod cross_checks_acme;
mod cross_checks_calls;
mod cross_checks_fields;
mod cross_checks_sessions;
mod cross_checks_signatures;
mod dialect_keys;
mod dialect_shape;
mod document;
mod files;
mod forwarded_certificate;
mod headers;
mod hsts;
mod issuer;
mod issuer_introspection;
mod issuer_keys;
mod issues;
mod item;
mod key_path;
mod key_shape;
mod key_strength;
mod legacy_sessions;
mod listener;
mod loaded;
mod location;
mod login;
mod login_clients;
mod mail;
mod maintenance;
mod mint;
mod mirror;
mod names;
mod own_dialects;
mod partial;
mod pass;
mod path;
mod prefix;
mod print;
mod process;
mod proxy_protocol;
mod rate_limit;
mod reach;
mod reader;
mod recorder;
mod references;
mod reload;
mod report;
mod restore;
mod route;
mod route_streams;
mod schema;
mod session_credential;
mod signature;
mod signed_place;
mod store;
mod suggest;
mod template_text;
mod token;
mod upstream;
mod upstream_calls;
mod upstream_health;
mod users;
mod warnings;

use std::path::{Path, PathBuf};

use toml::de::DeTable;

use self::document::{Document, DocumentFindings};
use self::own_dialects::KnownDialects;
use self::reader::TableReader;
use self::recorder::Recorder;
use self::references::{References, SECTIONS};
use self::session_credential::KeepingSources;
use crate::settings::{
    AdminSettings, ApiKey, ApiKeyRules, ApiKeySettings, CertificateHolder, Config, HealthSettings,
    IssuerSettings, KeyLines, ListenerSettings, LogSettings, LoginLimits, LoginSettings,
    MailSettings, ProcessSettings, ReloadSettings, RouteSettings, SignatureSettings,
    SourceSettings, StateSettings, StoreSettings, ThrottleSettings, TokenSettings,
    UpstreamSettings,
};

pub use self::issues::{Issue, IssueSeverity, Issues};
pub use self::key_path::{FilePosition, KeyPath};
pub use self::loaded::LoadedConfig;
pub use self::names::is_plain_name;
pub use self::partial::{load_state_dir, load_users, named_files};
pub use self::report::{ReportFormat, report, report_json};
pub use self::schema::{KeyGroup, KeySchema, TableSchema, TextForm, ValueSchema, VariantSchema};
pub(crate) use self::store::{SEAL_FORM, parse_seal};
pub use self::warnings::WarningName;

/// Reads and checks a file. `environment` returns the variables that secrets name; tests pass
/// their own instead of the process's.
///
/// # Errors
/// Every problem of the file at once, or the one reason why the file cannot be read.
pub fn load(
    path: &Path,
    environment: &dyn Fn(&str) -> Option<String>,
) -> Result<LoadedConfig, Issues> {
    parse(&text_of(path)?, path, environment)
}

/// Checks a text. Relative paths in it are relative to the folder of `path`; the file itself is
/// not read.
///
/// # Errors
/// Every problem of the text at once. If the text is no TOML, only the syntax errors.
pub fn parse(
    text: &str,
    path: &Path,
    environment: &dyn Fn(&str) -> Option<String>,
) -> Result<LoadedConfig, Issues> {
    let (document, errors) = DeTable::parse_recoverable(text);
    let folder = path.parent().unwrap_or(Path::new(""));
    let reading = Document::new(text, folder, environment);
    if !errors.is_empty() {
        // A text that is no TOML yields a document with holes. Checking it would report keys as
        // missing that the operator has written, so the syntax errors stand alone. The parser's
        // recovery is still needed, to report more than one of them.
        return Err(Issues::new(path, syntax_errors(&reading, errors)));
    }
    let mut draft = read(TableReader::root(&reading, document.get_ref()));
    // Rules across sections come last: they need every section, and they are skipped one by one
    // where the values that they compare could not be read. Running them earlier would report
    // collisions between stand-ins.
    cross_checks::check(&reading, &draft);
    reach::warn(&reading, &draft);
    let DocumentFindings { mut issues, written, accepted, places, files } = reading.into_findings();
    accepted::silence(&mut issues, &accepted);
    // Accepted warnings are removed before the rest is counted. An `accept` that fits no
    // warning is itself reported, as a warning: it would otherwise hide a future one that
    // nobody has looked at.
    if issues.iter().any(|issue| issue.severity == IssueSeverity::Error) {
        return Err(Issues::new(path, issues));
    }
    draft.config.path = path.to_owned();
    draft.config.files = files;
    draft.config.lines = KeyLines::new(places.iter().map(|(at, place)| (at.clone(), place.line)));
    let warnings = Issues::new(path, issues).iter().cloned().collect();
    Ok(LoadedConfig { config: draft.config, warnings, places, written, accepted })
}

/// The schema of a configuration: every key with its types, bounds and default, as the readers
/// take them.
pub fn schema() -> TableSchema {
    let recorder = Recorder::default();
    loop {
        let reading = Document::recorded(&recorder);
        read(TableReader::probe(&reading, KeyPath::default()));
        if !recorder.end_reading() {
            return recorder.into_schema();
        }
    }
}

/// The schema of a dialect: of a `[[dialect]]` in a configuration, or of a file with one.
pub fn dialect_schema() -> TableSchema {
    dialect_keys::schema()
}

/// Every key that a configuration may contain, without the numbers of elements:
/// `listener.address`. The keys inside `[[dialect]]` are defined by the dialect format and are
/// not included. A test compares this list with `gateway.toml`, so that no key is left
/// undocumented.
pub fn keys() -> Vec<String> {
    schema::key_paths(&schema()).into_iter().collect()
}

/// Upper bound on reported syntax errors. One mistake often makes the parser report others after
/// it. The operator corrects the first ones and checks again.
const SYNTAX_ERRORS: usize = 5;

fn text_of(path: &Path) -> Result<String, Issues> {
    std::fs::read_to_string(path).map_err(|error| {
        let remedy = format!("cannot be read: {}", files::plain(&error));
        Issues::new(path, vec![Issue::of_file(None, remedy)])
    })
}

fn syntax_errors(reading: &Document<'_>, errors: Vec<toml::de::Error>) -> Vec<Issue> {
    let issue = |error: &toml::de::Error| {
        let position = error.span().map(|span| reading.position(&span));
        Issue::of_file(position, error.to_string())
    };
    errors.iter().take(SYNTAX_ERRORS).map(issue).collect()
}

/// A configuration as it was read, faulty values included, with the position of each section for
/// messages that come later. Invariant: the positions of a kind have the order of its sections. It
/// is dropped if a problem was found.
struct ConfigDraft {
    config: Config,
    listeners: Vec<location::Location>,
    users: Vec<location::Location>,
    issuers: Vec<location::Location>,
    api_keys: Vec<location::Location>,
    /// A `[[signature]]` could not be read.
    lacks_signatures: bool,
    certificates: Vec<location::Location>,
    logins: Vec<location::Location>,
    upstreams: Vec<location::Location>,
    routes: Vec<location::Location>,
    /// A section has a name that looks like a misspelt `route`; then nothing is said about routes
    /// that seem to be missing.
    are_routes_misspelt: bool,
}

/// Reads each of the `[[tables]]` of `key` together with its position. A table that `read` returns
/// no value for has been reported and is left out, with its position. Sections and positions
/// therefore correspond by their index.
fn read_all<'a, T>(
    root: &mut TableReader<'a>,
    key: &'static str,
    mut read: impl FnMut(TableReader<'a>) -> Option<T>,
) -> (Vec<T>, Vec<location::Location>) {
    let tables = root.tables(key).into_iter();
    let placed = |table| {
        let place = location::Location::of(&table);
        Some((read(table)?, place))
    };
    tables.filter_map(placed).unzip()
}

/// Reports a file without a listener, unless a misspelt section name explains why there is none.
fn miss_listener(root: &mut TableReader<'_>) {
    root.is_required("listener");
    if root.get("listener").is_none_or(|item| item.is_empty_list())
        && !root.misspells("listener", SECTIONS)
    {
        root.reading().missing("listener", "is missing: nothing would be served; add [[listener]]");
    }
}

/// Sets on each route whether its path is compared without regard to case. A route must match a
/// path exactly as its upstream reads it; else a spelling that only the upstream takes for a
/// protected path would pass through an open route.
fn fold_routes(routes: &mut [RouteSettings], upstreams: &[UpstreamSettings]) {
    for route in routes {
        let mut upstreams = upstreams.iter();
        let upstream = upstreams.find(|one| Some(one.name.as_str()) == route.upstream());
        route.case_insensitive = upstream.is_some_and(|upstream| upstream.case_insensitive);
    }
}

/// Reads all sections. A section that others refer to is read before them, because a reference is
/// resolved at once against the names that are known by then. A reference to a section that is read
/// later would always be reported as unknown.
fn read(mut root: TableReader<'_>) -> ConfigDraft {
    let root = &mut root;
    miss_listener(root);
    let token = TokenSettings::read(root.table("token"));
    let mut known = References::new(token.clone(), KnownDialects::read(root));
    // Whether a section is misspelt is found out before any reference is resolved: a reference into
    // a misspelt section would be reported as unknown, which is not the mistake. The mistake is one
    // letter in a heading; the operator should see that one message.
    let are_routes_misspelt = root.misspells("route", SECTIONS);
    known.excuse(|section| root.misspells(section, SECTIONS));
    let (listeners, listener_places) =
        read_all(root, "listener", |table| Some(ListenerSettings::read(table)));
    let (users, user_places) = read_all(root, "users", |table| {
        SourceSettings::read(table, &mut known.users, &known.dialects)
    });
    known.keeping = KeepingSources::new(&users, &known.users);
    let (issuers, issuer_places) = read_all(root, "issuer", |table| {
        Some(IssuerSettings::read(table, &mut known.issuers, &token))
    });
    let names = &mut names::SectionNames::new("API key");
    let (keys, key_places) = read_all(root, "api_key", |table| Some(ApiKey::read(table, names)));
    let common = ApiKeyRules::read(root.table("api_keys"));
    let (signatures, _) =
        read_all(root, "signature", |table| SignatureSettings::read(table, &mut known.signatures));
    let names = &mut names::SectionNames::new("client certificate");
    let (certificates, certificate_places) =
        read_all(root, "client_certificate", |table| CertificateHolder::read(table, names));
    let (logins, login_places) =
        read_all(root, "login", |table| LoginSettings::read(table, &mut known));
    let (upstreams, upstream_places) =
        read_all(root, "upstream", |table| Some(UpstreamSettings::read(table, &mut known)));
    let (mut routes, route_places) =
        read_all(root, "route", |table| Some(RouteSettings::read(table, &mut known)));
    // Routes are read after upstreams, and only now is it known which upstream each one has.
    fold_routes(&mut routes, &upstreams);
    let lacks_signatures = known.signatures.iter().count() > signatures.len();
    let config = Config {
        path: PathBuf::new(),
        files: Vec::new(),
        lines: KeyLines::default(),
        process: ProcessSettings::read(root.table("process")),
        reload: ReloadSettings::read(root.table("reload")),
        listeners,
        admin: AdminSettings::read(root.table("admin")),
        health: HealthSettings::read(root.table("health")),
        log: LogSettings::read(root.table("log")),
        state: StateSettings::read(root.table("state")),
        store: StoreSettings::read(root.table("store")),
        token,
        users,
        issuers,
        api_keys: ApiKeySettings { common, keys },
        signatures,
        certificates,
        logins,
        login_limits: LoginLimits::read(root.table("login_limits")),
        mail: root.get("mail").and_then(|item| item.table()).map(MailSettings::read),
        throttle: ThrottleSettings::read(root.table("throttle")),
        upstreams,
        routes,
        dialects: known.dialects.own.into_iter().map(|own| own.table).collect(),
    };
    ConfigDraft {
        config,
        listeners: listener_places,
        users: user_places,
        issuers: issuer_places,
        api_keys: key_places,
        lacks_signatures,
        certificates: certificate_places,
        logins: login_places,
        upstreams: upstream_places,
        routes: route_places,
        are_routes_misspelt,
    }
}
