//! The checked values of a configuration, which the rooms of the program are built from.
//!
//! Each section of `gateway.toml` has a file of its own. A value is ready for use: a setting that was
//! left out has its default and is no `Option`, a reference names a section that exists, and a file
//! could be read. Nothing is parsed and nothing is opened here: `config` reads the text and makes
//! these values of it.
//!
//! `Serialize` writes the keys of `gateway.toml` in its order, for `check --print`. `config` leaves
//! out the keys that have no use beside others, and puts back the names of files and variables.

mod acme;
mod action;
mod admin;
mod admin_socket;
mod api_key;
mod auth;
mod balance;
mod client_certificate;
mod compression;
mod credential;
pub(crate) mod duration;
mod forwarded_certificate;
mod headers;
mod hsts;
mod issuer;
mod issuer_introspection;
mod issuer_keys;
mod key_lines;
mod legacy_sessions;
mod listener;
mod login;
mod mail;
mod maintenance;
mod mint;
mod mirror;
mod pass;
pub(crate) mod path;
mod prefix;
mod process;
mod proxy_protocol;
mod rate_limit;
mod reload;
mod route;
mod route_streams;
mod signature;
pub(crate) mod size;
mod store;
mod token;
mod upstream;
mod upstream_calls;
mod upstream_health;
mod users;
mod written;

use std::path::PathBuf;
use std::time::Duration;

use http::header::HeaderName;
use serde::Serialize;

use crate::dialect::CallCarrier;
use crate::secret::Digest;

pub use self::acme::{AcmeSettings, ExternalAccount};
pub use self::action::{RedirectAction, RespondAction, RouteAction};
pub use self::admin::{
    AccessFormat, AdminSettings, HealthSettings, LogFormat, LogSettings, LogTarget, StateSettings,
};
pub use self::admin_socket::{AdminSocket, SocketGroup};
pub use self::api_key::{ApiKey, ApiKeyRules, ApiKeySettings, KeyProof};
pub use self::auth::CredentialKind;
pub use self::balance::{BalancePolicy, HashBy};
pub use self::client_certificate::{CertificateHolder, CertificateName};
pub use self::compression::CompressionSettings;
pub use self::credential::{SessionCredential, UpstreamCredential, UpstreamLogin};
pub use self::duration::parse as parse_duration;
pub use self::forwarded_certificate::{CertificateForm, ForwardedCertificate};
pub use self::headers::{HeaderRules, ValuePart, ValueTemplate};
pub use self::hsts::HstsPolicy;
pub use self::issuer::{AudienceRule, IssuerSettings};
pub use self::issuer_introspection::IntrospectionSettings;
pub use self::issuer_keys::IssuerKeys;
pub use self::key_lines::KeyLines;
pub use self::legacy_sessions::{
    LegacySessionSettings, SessionColumns, SessionKind, SessionLookup, SessionMap, SessionSql,
};
pub use self::listener::{
    BindAddress, CertificateFiles, ClientAuth, ListenerLimits, ListenerSettings, ListenerTimeouts,
    ListenerTls, TlsVersion,
};
pub use self::login::{
    AttemptRate, HashingSettings, LoginClient, LoginLimits, LoginSettings, TenantPair,
};
pub use self::mail::{MailSettings, MailTls};
pub use self::maintenance::MaintenanceMode;
pub use self::mint::{MintKey, MintSettings, MintedTemplate};
pub use self::mirror::MirrorSettings;
pub use self::pass::PassRule;
pub use self::prefix::PrefixRule;
pub use self::process::ProcessSettings;
pub use self::proxy_protocol::ProxyVersion;
pub use self::rate_limit::{LimitBy, RateLimit, ThrottleSettings};
pub use self::reload::ReloadSettings;
pub use self::route::{AllowPath, IdentityForm, RequireRule, RouteCors, RouteSettings};
pub use self::route_streams::{CloseAt, RouteStreams};
pub use self::signature::{
    EcdsaForm, SignatureEncoding, SignatureSettings, SignedPart, SignedTemplate, SignedTime,
    TimeUnit,
};
pub use self::store::{SharedStoreSettings, StoreSettings};
pub use self::token::{SigningKeyStorage, TokenSettings};
pub use self::upstream::{
    ServerAddress, ServerSettings, UpstreamSettings, UpstreamTimeouts, UpstreamTls,
};
pub use self::upstream_calls::{UpstreamCalls, UpstreamQueue};
pub use self::upstream_health::{HealthCheck, HealthPolicy, OutlierSettings};
pub use self::users::{
    AllowWeak, DnText, GroupKey, GroupRoles, HtpasswdUsers, HttpUsers, LdapAttributes, LdapGroups,
    LdapServer, LdapUsers, LegacyNames, PasswordImport, ResponsePath, ResponseRoot, SourceKind,
    SourceSettings, SqlColumn, SqlColumns, SqlDatabase, SqlUsers, UserMap, WeakScheme,
};

/// A whole configuration, checked. Invariant: every reference between sections resolves, and every
/// file that the configuration names could be read when it was checked. The code that is built from
/// it therefore does not check these values again.
#[derive(Clone, Debug, Serialize)]
pub struct Config {
    /// The file that the configuration was read from. Relative paths in it are relative to its
    /// folder.
    #[serde(skip)]
    pub path: PathBuf,
    /// The files and folders that it names to be read.
    #[serde(skip)]
    pub files: Vec<PathBuf>,
    /// Where its keys are in that file.
    #[serde(skip)]
    pub lines: KeyLines,
    pub process: ProcessSettings,
    pub reload: ReloadSettings,
    #[serde(rename = "listener")]
    pub listeners: Vec<ListenerSettings>,
    pub admin: AdminSettings,
    pub health: HealthSettings,
    pub log: LogSettings,
    pub state: StateSettings,
    pub store: StoreSettings,
    pub token: TokenSettings,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub users: Vec<SourceSettings>,
    #[serde(rename = "issuer", skip_serializing_if = "Vec::is_empty")]
    pub issuers: Vec<IssuerSettings>,
    #[serde(flatten)]
    pub api_keys: ApiKeySettings,
    #[serde(rename = "signature", skip_serializing_if = "Vec::is_empty")]
    pub signatures: Vec<SignatureSettings>,
    #[serde(rename = "client_certificate", skip_serializing_if = "Vec::is_empty")]
    pub certificates: Vec<CertificateHolder>,
    /// Every `[[dialect]]` as written, also those that no login uses.
    #[serde(rename = "dialect", skip_serializing_if = "Vec::is_empty")]
    pub dialects: Vec<toml::Table>,
    #[serde(rename = "login", skip_serializing_if = "Vec::is_empty")]
    pub logins: Vec<LoginSettings>,
    pub login_limits: LoginLimits,
    pub mail: Option<MailSettings>,
    pub throttle: ThrottleSettings,
    #[serde(rename = "upstream", skip_serializing_if = "Vec::is_empty")]
    pub upstreams: Vec<UpstreamSettings>,
    #[serde(rename = "route", skip_serializing_if = "Vec::is_empty")]
    pub routes: Vec<RouteSettings>,
}

impl Config {
    /// A short digest of the settings, without their secrets. Operators see by it which nodes have
    /// the same configuration.
    pub fn fingerprint(&self) -> String {
        let settings = serde_json::to_vec(self).unwrap_or_default();
        Digest::of(&settings).hex().chars().take(12).collect()
    }

    /// The logins whose tokens a route with `auth = ["login"]` takes: those that it names, or else all
    /// on its hosts.
    pub fn logins_of<'c>(
        &'c self,
        route: &'c RouteSettings,
    ) -> impl Iterator<Item = &'c LoginSettings> {
        self.logins.iter().filter(|login| match route.logins.is_empty() {
            true => path::hosts_meet(&login.hosts, &route.hosts),
            false => route.logins.contains(&login.name),
        })
    }

    /// The longest `skew` of any signature: for as long signed requests are remembered.
    pub fn longest_skew(&self) -> Duration {
        self.signatures.iter().map(|one| one.timestamp.skew).max().unwrap_or_default()
    }

    /// How requests to a route are signed, if the route takes signatures.
    pub fn signature_of(&self, route: &RouteSettings) -> Option<&SignatureSettings> {
        let name = route.signature.as_ref()?;
        self.signatures.iter().find(|one| one.name == *name)
    }

    /// The signatures that no upstream of `route` may see: those that a route to it takes. An
    /// upstream that knows such fields must not get any that were not verified.
    pub fn signatures_at<'c>(
        &'c self,
        route: &'c RouteSettings,
    ) -> impl Iterator<Item = &'c SignatureSettings> {
        let is_there = |other: &RouteSettings| {
            std::ptr::eq(other, route)
                || (other.upstream().is_some() && other.upstream() == route.upstream())
        };
        self.signatures.iter().filter(move |one| {
            let takes = |other: &RouteSettings| other.signature.as_ref() == Some(&one.name);
            self.routes.iter().any(|other| is_there(other) && takes(other))
        })
    }

    /// The legacy systems whose tokens a route with `auth = ["login"]` takes, each with the place of
    /// its tokens: those that `issuers` of the route names, or else all.
    pub fn sessions_of<'c>(
        &'c self,
        route: &'c RouteSettings,
    ) -> impl Iterator<Item = (&'c IssuerSettings, &'c CallCarrier)> {
        let takes = |issuer: &&IssuerSettings| {
            route.takes_logins()
                && (route.issuers.is_empty() || route.issuers.contains(&issuer.name))
        };
        let issuers = self.issuers.iter().filter(takes);
        issuers.filter_map(|issuer| Some((issuer, issuer.sessions_carrier()?)))
    }

    /// The header field in which clients present API keys. `None` if no key is configured and no
    /// route accepts one; the field then belongs to the upstream and passes through unchanged.
    pub fn api_key_header(&self) -> Option<&HeaderName> {
        let takes = |route: &RouteSettings| route.auth.contains(&CredentialKind::ApiKey);
        let used = !self.api_keys.keys.iter().all(ApiKey::signs) || self.routes.iter().any(takes);
        used.then_some(&self.api_keys.common.header)
    }
}
