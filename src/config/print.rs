//! `check --print`: the effective configuration as TOML, with every default written out.
//!
//! The output can be read as a configuration again and means the same. Values of secrets are never
//! printed: the output names the variable or the file that a secret comes from, as the operator
//! wrote it. This file prints the sections; `print_rules` prints logins and routes, and `restore`
//! fills in the secrets and the accepted warnings.

use std::path::Path;

use toml::Table;

use super::LoadedConfig;
use super::out::{HIDDEN, TableWriter};
use super::print_rules::{login, route};
use super::restore;
use crate::clock::day_ended;
use crate::settings::path::is_loopback;
use crate::settings::{
    ApiKey, AttemptRate, AudienceRule, BindAddress, CertificateHolder, ClientAuth, Config,
    HstsPolicy, IssuerKeys, IssuerSettings, ListenerSettings, ListenerTls, LogFormat, LogSettings,
    LogTarget, LoginLimits, MailSettings, MailTls, ProcessSettings, ProxyVersion, ServerAddress,
    ServerSettings, TlsVersion, TokenSettings, UpstreamCredential, UpstreamSettings,
};
use crate::settings::{duration, size};

impl LoadedConfig {
    /// The effective configuration as TOML. A secret is shown as the place that it comes from,
    /// never as its value, so the output may be put into a report or a ticket. Files are named
    /// relative to the configuration where possible.
    pub fn print(&self) -> String {
        let mut table = self.sections();
        // Secrets are printed as `***` first and replaced by their places afterwards: the checked
        // values do not know where a secret came from. Where they came from was recorded by key
        // path while reading.
        restore::secrets(&mut table, &self.secrets);
        restore::acceptances(&mut table, &self.accepted);
        // Invariant: a table of strings, numbers and tables can always be serialised.
        toml::to_string(&table).unwrap_or_default()
    }

    fn sections(&self) -> Table {
        let rate = |rate: &AttemptRate| {
            TableWriter::default().int("attempts", rate.attempts).time("per", rate.per).table()
        };
        let LoginLimits {
            per_account,
            per_address,
            hashing,
            sessions_per_user,
            new_sessions_per_user,
        } = &self.config.login_limits;
        let limits = TableWriter::default()
            .int("sessions_per_user", sessions_per_user.get())
            .sub("new_sessions_per_user", rate(new_sessions_per_user))
            .sub("per_account", rate(per_account))
            .sub("per_address", rate(per_address))
            .sub(
                "hashing",
                TableWriter::default()
                    .int("parallel", hashing.parallel)
                    .int("queue", hashing.queue)
                    .table(),
            );
        // The sections have the order of the handbook file, `gateway.toml`, so that the two can be
        // compared side by side.
        let out = TableWriter::default()
            .sub("process", process(&self.config.process))
            .all("listener", self.config.listeners.iter().map(|listener| self.listener(listener)))
            .sub("admin", self.config.admin.print())
            .sub(
                "health",
                TableWriter::default()
                    .string("path", self.config.health.path.as_deref().unwrap_or(""))
                    .table(),
            )
            .sub("log", log(&self.config.log))
            .sub(
                "state",
                TableWriter::default()
                    .path("dir", self.config.relative(&self.config.state.dir))
                    .table(),
            )
            .sub("store", TableWriter::default().string("kind", "embedded").table())
            .sub("token", self.token(&self.config.token))
            .all("users", self.config.users.iter().map(|source| source.print(&self.config)))
            .all(
                "issuer",
                self.config
                    .issuers
                    .iter()
                    .enumerate()
                    .map(|(number, one)| self.issuer(number, one)),
            )
            .sub("api_keys", self.config.api_keys.print())
            .all("api_key", self.config.api_keys.keys.iter().map(ApiKey::print))
            .all(
                "client_certificate",
                self.config.certificates.iter().map(CertificateHolder::print),
            )
            .all("dialect", self.config.dialects.iter().cloned())
            .all("login", self.config.logins.iter().map(login))
            .sub("login_limits", limits.table());
        let out = match &self.config.mail {
            Some(mail) => out.sub("mail", self.mail(mail)),
            None => out,
        };
        out.sub("throttle", self.config.throttle.print())
            .all(
                "upstream",
                self.config
                    .upstreams
                    .iter()
                    .enumerate()
                    .map(|(number, one)| self.upstream(number, one)),
            )
            .all("route", self.config.routes.iter().map(|one| route(one, &self.config)))
            .table()
    }

    /// The file that the configuration names at this key path.
    fn file(&self, at: &str) -> Option<&Path> {
        self.files.get(at).map(|path| self.config.relative(path))
    }

    fn listener(&self, listener: &ListenerSettings) -> Table {
        let nets = |nets: &[ipnet::IpNet]| nets.iter().map(ToString::to_string).collect::<Vec<_>>();
        let limits = &listener.limits;
        let timeouts = &listener.timeouts;
        let address = match &listener.bind {
            BindAddress::Tcp(address) => address.to_string(),
            BindAddress::Unix(path) => format!("unix:{}", self.config.relative(path).display()),
            BindAddress::Descriptor(name) => format!("fd:{name}"),
        };
        let out = TableWriter::default()
            .string("address", address)
            .texts("proxy_protocol", nets(&listener.proxy_protocol))
            .texts("trusted_proxies", nets(&listener.trusted_proxies))
            .texts("shared_addresses", nets(&listener.shared_addresses))
            .flag("redirect_to_https", listener.redirect_to_https)
            .flag("allow_plain_http", listener.allow_plain_http);
        let out = match &listener.tls {
            Some(tls) => out.sub("tls", self.tls(tls)),
            None => out,
        };
        out.sub(
            "limits",
            TableWriter::default()
                .int("connections", limits.connections)
                .int("connections_per_address", limits.connections_per_address)
                .string("header_bytes", size::render(limits.header_bytes as u64))
                .int("header_count", limits.header_count)
                .string("uri_bytes", size::render(limits.uri_bytes as u64))
                .int("streams", limits.streams)
                .table(),
        )
        .sub(
            "timeouts",
            TableWriter::default()
                .time("handshake", timeouts.handshake)
                .time("header", timeouts.header)
                .time("body_idle", timeouts.body_idle)
                .string("body_rate", size::render(timeouts.body_rate))
                .time("body_grace", timeouts.body_grace)
                .time("keep_alive", timeouts.keep_alive)
                .table(),
        )
        .table()
    }

    fn tls(&self, tls: &ListenerTls) -> Table {
        let certificates = tls.certificates.iter().map(|certificate| {
            TableWriter::default()
                .path("chain", self.config.relative(&certificate.chain))
                .path("key", self.config.relative(&certificate.key))
                .table()
        });
        let auth = match tls.client_auth {
            ClientAuth::None => None,
            ClientAuth::Optional => Some("optional"),
            ClientAuth::Required => Some("required"),
        };
        let version = match tls.min_version {
            TlsVersion::Tls12 => "1.2",
            TlsVersion::Tls13 => "1.3",
        };
        let ca = tls.client_ca.as_deref().map(|path| self.config.relative(path).display());
        TableWriter::default()
            .all("certificates", certificates)
            .texts("self_signed", tls.self_signed.clone())
            .maybe_table("hsts", tls.hsts.as_ref().map(HstsPolicy::print))
            .maybe("client_ca", ca)
            .maybe("client_auth", auth)
            .string("min_version", version)
            .table()
    }

    fn token(&self, token: &TokenSettings) -> Table {
        let keys = token.keys.as_deref().map(|path| self.config.relative(path).display());
        TableWriter::default()
            .string("issuer", &token.issuer)
            .texts("audience", token.audience.clone())
            .string("algorithm", token.algorithm.as_str())
            .time("access_ttl", token.access_ttl)
            .time("refresh_ttl", token.refresh_ttl)
            .time("refresh_grace", token.refresh_grace)
            .time("leeway", token.leeway)
            .maybe("keys", keys)
            .time("rotate_every", token.rotate_every)
            .string("jwks_path", token.jwks_path.as_deref().unwrap_or(""))
            .int("cache_size", token.cache_size)
            .table()
    }

    fn issuer(&self, number: usize, issuer: &IssuerSettings) -> Table {
        let file = |key: &str| {
            let file = self.file(&format!("issuer[{number}].{key}"));
            file.map(|path| path.display().to_string())
        };
        let out = TableWriter::default().string("name", &issuer.name);
        if let IssuerKeys::WebitelSessions(sessions) = &issuer.keys {
            return sessions
                .print(out)
                .maybe("ca", file("ca"))
                .flag("allow_http", issuer.allow_http)
                .texts("subjects", issuer.subjects.clone())
                .maybe("until", issuer.until.map(day_ended))
                .table();
        }
        // Keys that came from a file are printed as the file's name: the checked value holds only
        // the contents. The name is found by the key path under which it was recorded while
        // reading.
        let (key, keys) = match &issuer.keys {
            IssuerKeys::Jwks(_) => ("jwks_file", file("jwks_file")),
            IssuerKeys::Pem(_) => ("public_key_file", file("public_key_file")),
            IssuerKeys::Secret(_) => ("secret", Some(HIDDEN.to_owned())),
            IssuerKeys::Url(uri) => ("jwks", Some(uri.to_string())),
            _ => ("jwks", None),
        };
        let out = out.string("issuer", &issuer.issuer);
        let out = match &issuer.audience {
            AudienceRule::OneOf(audience) => out.texts("audience", audience.clone()),
            AudienceRule::Any => out.string("audience", "any"),
        };
        let claims = |out: TableWriter| {
            out.texts("subjects", issuer.subjects.clone())
                .texts("username_claim", issuer.username_claim.clone())
                .texts("roles_claim", issuer.roles_claim.clone())
                .texts("scopes_claim", issuer.scopes_claim.clone())
                .time("leeway", issuer.leeway)
                .maybe("until", issuer.until.map(day_ended))
                .maybe("client_id", issuer.client_id.as_deref())
        };
        // With introspection, the settings of local verification are left out. Reading them again
        // would report each as of no use. The same settings are refused by `issuer_introspection`.
        if let IssuerKeys::Introspection(introspection) = &issuer.keys {
            let out = out.sub("introspection", introspection.print()).maybe("ca", file("ca"));
            let out = claims(out.flag("allow_http", issuer.allow_http));
            return out.flag("allow_id_tokens", issuer.allow_id_tokens).table();
        }
        let out = out.texts(
            "algorithms",
            issuer.algorithms.iter().map(|one| one.as_str().to_owned()).collect(),
        );
        let out = out.maybe(key, keys);
        // The same holds for settings about asking the issuer, if its keys are local.
        let out = match issuer.keys.is_remote() {
            true => out
                .maybe("ca", file("ca"))
                .flag("allow_http", issuer.allow_http)
                .time("max_stale", issuer.max_stale),
            false => out,
        };
        claims(out)
            .texts("types", issuer.types.clone())
            .flag("type_optional", issuer.type_optional)
            .texts("required", issuer.required.clone())
            .maybe("max_lifetime", issuer.max_lifetime.map(duration::render))
            .flag("allow_id_tokens", issuer.allow_id_tokens)
            .table()
    }

    fn mail(&self, mail: &MailSettings) -> Table {
        let tls = match mail.tls {
            MailTls::Starttls => "starttls",
            MailTls::Tls => "tls",
            MailTls::None => "none",
        };
        // An IPv6 address needs brackets before a port (RFC 3986, section 3.2.2).
        let host =
            if mail.host.contains(':') { format!("[{}]", mail.host) } else { mail.host.clone() };
        TableWriter::default()
            .string("server", format!("{host}:{}", mail.port))
            .string("tls", tls)
            .flag("allow_plain", mail.tls == MailTls::None && !is_loopback(&mail.host))
            .string("from", &mail.from)
            .maybe("username", mail.username.as_deref())
            .maybe("password", mail.password.as_ref().map(|_| HIDDEN))
            .maybe("ca", self.file("mail.ca").map(Path::display))
            .string("subject", &mail.subject)
            .string("text", &mail.text)
            .time("code_ttl", mail.code_ttl)
            .time("timeout", mail.timeout)
            .int("per_hour", mail.per_hour)
            .table()
    }

    fn upstream(&self, number: usize, upstream: &UpstreamSettings) -> Table {
        let timeouts = &upstream.timeouts;
        let out = TableWriter::default()
            .string("name", &upstream.name)
            .all("servers", upstream.servers.iter().map(|server| self.server(server)));
        let out = upstream
            .care
            .print(upstream.balance.print(out))
            .flag("http2", upstream.http2)
            .maybe("proxy_protocol", upstream.proxy_protocol.map(ProxyVersion::name));
        let out = upstream
            .calls
            .print(out)
            .flag("case_insensitive", upstream.case_insensitive)
            .maybe_table("credential", upstream.credential.as_ref().map(UpstreamCredential::print))
            .sub(
                "timeouts",
                TableWriter::default()
                    .time("connect", timeouts.connect)
                    .time("first_byte", timeouts.first_byte)
                    .time("idle", timeouts.idle)
                    .maybe_time("total", timeouts.total)
                    .time("keep_alive", timeouts.keep_alive)
                    .table(),
            );
        let certificate = upstream.tls.certificate.as_ref().map(|(chain, key)| {
            TableWriter::default()
                .path("chain", self.config.relative(chain))
                .path("key", self.config.relative(key))
                .table()
        });
        let tls = TableWriter::default()
            .maybe("ca", self.file(&format!("upstream[{number}].tls.ca")).map(Path::display))
            .maybe("server_name", upstream.tls.server_name.as_deref())
            .all("certificate", None);
        let tls = match certificate {
            Some(certificate) => tls.sub("certificate", certificate),
            None => tls,
        };
        // A setting that weakens TLS is printed only where it is on, so that it stands out.
        let tls = match upstream.tls.insecure_skip_verify {
            true => tls.flag("insecure_skip_verify", true),
            false => tls,
        };
        let tls = tls.table();
        if tls.is_empty() { out.table() } else { out.sub("tls", tls).table() }
    }

    fn server(&self, server: &ServerSettings) -> Table {
        let url = match &server.address {
            ServerAddress::Unix(path) => format!("unix:{}", self.config.relative(path).display()),
            _ => server.name.clone(),
        };
        TableWriter::default()
            .string("url", url)
            .int("weight", server.weight)
            .flag("backup", server.backup)
            .table()
    }
}

impl Config {
    /// The path as the operator would write it: relative to the configuration's folder where it is
    /// below that folder. Printed paths therefore stay right when the whole folder is moved. Paths
    /// outside that folder are printed as they are.
    pub(super) fn relative<'a>(&self, path: &'a Path) -> &'a Path {
        let folder = self.path.parent().unwrap_or(Path::new(""));
        path.strip_prefix(folder).unwrap_or(path)
    }
}

fn log(log: &LogSettings) -> Table {
    let target = |target: &LogTarget| match target {
        LogTarget::Off => "off".to_owned(),
        LogTarget::Stdout => "stdout".to_owned(),
        LogTarget::Stderr => "stderr".to_owned(),
        LogTarget::File(path) => path.display().to_string(),
    };
    let format = match log.format {
        LogFormat::Auto => "auto",
        LogFormat::Json => "json",
        LogFormat::Pretty => "pretty",
    };
    TableWriter::default()
        .string("access", target(&log.access))
        .string("audit", target(&log.audit))
        .flag("health", log.health)
        .string("format", format)
        .table()
}

fn process(process: &ProcessSettings) -> Table {
    TableWriter::default()
        .int("workers", process.workers)
        .int("background_threads", process.background_threads)
        .string("body_memory", size::render(process.body_memory as u64))
        .time("drain_delay", process.drain_delay)
        .time("drain_timeout", process.drain_timeout)
        .flag("core_dumps", process.core_dumps)
        .table()
}
