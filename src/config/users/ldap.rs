//! `kind = "ldap"`: users of a directory. A search finds the user, and a bind verifies the
//! password.

use std::time::Duration;

use crate::config::item::SpannedValue;
use crate::config::path::is_host_name;
use crate::config::reader::TableReader;
use crate::config::warnings::WarningName;
use crate::identity::RESERVED_CLAIMS;
use crate::secret::SecretString;
use crate::settings::path::is_loopback;
use crate::settings::{
    DnText, GroupKey, GroupRoles, LdapAttributes, LdapGroups, LdapServer, LdapUsers,
};
const NAME: &str = "uid";
const EMAIL: &str = "mail";
const GROUP_FILTER: &str = "(member={dn})";
const GROUP_NAME: &str = "cn";
const PARALLEL: usize = 8;
const MOST_PARALLEL: u64 = 256;
/// A local directory answers in milliseconds; the client waits for this step.
const TIMEOUT: Duration = Duration::from_secs(5);
const WAIT: std::ops::RangeInclusive<Duration> =
    Duration::from_millis(100)..=Duration::from_secs(60);

impl LdapUsers {
    /// `None` if no usable source could be read, which has been reported.
    pub(super) fn read(table: &mut TableReader<'_>) -> Option<Self> {
        let servers = read_servers(table);
        let ca = table.get("ca");
        let speaks_tls = |server: &LdapServer| server.starttls || server.url.starts_with("ldaps:");
        if let Some(item) = ca.as_ref().filter(|_| !servers.iter().any(speaks_tls)) {
            item.issue("is of no use: no server is spoken to over TLS");
        }
        let bind = read_bind(table);
        let base = read_base(table);
        let filter =
            table.required("filter", "for example \"(&(objectClass=person)(uid={name}))\"");
        let filter = filter.as_ref().map(read_user_filter).unwrap_or_default();
        let email_filter = table.get("email_filter").as_ref().map(read_user_filter);
        let disabled_filter = table.get("disabled_filter").and_then(|item| read_filter(&item, &[]));
        let attributes = LdapAttributes::read(table.table("attributes"));
        let groups = table.get("groups").and_then(|item| item.table());
        let groups = groups.map(LdapGroups::read);
        if let (Some(_), None) = (&attributes.groups, &groups) {
            table.issue("attributes.groups", "needs `groups`: what they give");
        }
        let parallel = table.count_or("parallel", PARALLEL, 1..=MOST_PARALLEL);
        let timeout = table.duration_or("timeout", TIMEOUT, WAIT);
        Some(Self {
            servers,
            ca: ca.and_then(|item| item.read_certificates()),
            bind,
            base: base?,
            filter,
            email_filter,
            disabled_filter,
            attributes,
            groups: groups.flatten(),
            parallel,
            timeout,
        })
    }
}

impl LdapAttributes {
    fn read(mut table: TableReader<'_>) -> Self {
        let claims = table.get("claims").and_then(|item| item.table());
        let claims = claims.map(|mut table| table.entries()).unwrap_or_default();
        Self {
            id: attribute_or(&mut table, "id", Self::ENTRY_UUID),
            name: attribute_or(&mut table, "name", NAME),
            email: attribute_or(&mut table, "email", EMAIL),
            roles: read_attribute(&mut table, "roles"),
            scopes: read_attribute(&mut table, "scopes"),
            groups: read_attribute(&mut table, "groups"),
            claims: claims.iter().filter_map(|(name, item)| read_claim(name, item)).collect(),
        }
    }
}

impl LdapGroups {
    fn read(mut table: TableReader<'_>) -> Option<Self> {
        let base = read_base(&mut table);
        table.default_is("filter", GROUP_FILTER);
        let filter = table.get("filter");
        let filter = filter.and_then(|item| {
            let filter = read_filter(&item, &["{dn}", "{name}"])?;
            if !filter.contains("{dn}") && !filter.contains("{name}") {
                item.issue("must have {dn} or {name} in it: whose groups are looked for");
            }
            Some(filter)
        });
        let attribute = attribute_or(&mut table, "attribute", GROUP_NAME);
        let roles = table.required("roles", "{ admins = \"admin\" }, or \"name\"");
        let roles = roles.as_ref().and_then(GroupRoles::read);
        Some(Self {
            base: base?,
            filter: filter.unwrap_or_else(|| GROUP_FILTER.to_owned()),
            attribute,
            roles: roles?,
        })
    }
}

impl GroupRoles {
    fn read(item: &SpannedValue<'_>) -> Option<Self> {
        if item.is_text() {
            return item.choice(&[("name", Self::ByName)]);
        }
        let listed = item.table()?.entries();
        if listed.is_empty() {
            item.issue("lists no group: write { admins = \"admin\" }, or \"name\"");
        }
        let listed = listed.iter().filter_map(|(group, item)| {
            let roles = match item.is_text() {
                true => vec![item.plain_name()?],
                false => item.list()?.iter().filter_map(SpannedValue::plain_name).collect(),
            };
            let key = match group.contains('=') {
                true => DnText::parse(group).map(GroupKey::Dn),
                false => Some(GroupKey::Name(group.clone())),
            };
            if key.is_none() {
                item.issue("stands for a group whose DN cannot be read");
            }
            Some((key?, roles))
        });
        Some(Self::Listed(listed.collect()))
    }
}

fn read_servers(table: &mut TableReader<'_>) -> Vec<LdapServer> {
    let url = table.required("url", "for example \"ldaps://ldap.example:636\"");
    table.default_is("tls", "starttls");
    let starttls = table.get("tls");
    let forms = [("starttls", true), ("none", false)];
    let chosen = starttls.as_ref().and_then(|item| item.choice(&forms)).unwrap_or(true);
    let Some(url) = url else { return Vec::new() };
    let urls = match url.is_text() {
        true => vec![url.clone()],
        false => url.filled_list("must name at least one server").unwrap_or_default(),
    };
    let servers: Vec<(LdapServer, bool)> =
        urls.iter().filter_map(|item| read_server(item, chosen)).collect();
    if let Some(item) = starttls {
        let is_ldaps = |(server, _): &(LdapServer, bool)| server.url.starts_with("ldaps:");
        if !servers.is_empty() && servers.iter().all(is_ldaps) {
            item.issue("is for ldap:// only: ldaps:// is TLS from the first byte");
        } else if !chosen && servers.iter().any(|(_, is_near)| !is_near) {
            item.warn(
                WarningName::PlainDirectory,
                "sends every password in the clear: use ldaps:// or tls = \"starttls\"",
            );
        }
    }
    servers.into_iter().map(|(server, _)| server).collect()
}

/// A server, and whether passwords are safe on the way to it (TLS, or the same machine).
fn read_server(item: &SpannedValue<'_>, starttls: bool) -> Option<(LdapServer, bool)> {
    let url = item.string()?;
    let read = || {
        let (scheme, rest) = url.split_once("://")?;
        let (is_tls, default) = match scheme {
            "ldap" => (false, 389),
            "ldaps" => (true, 636),
            _ => return None,
        };
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        let (host, port) = match rest.rsplit_once(':') {
            Some((host, port)) => (host, port.parse().ok().filter(|port: &u16| *port != 0)?),
            None => (rest, default),
        };
        is_host_name(host).then(|| (host.to_owned(), port, is_tls))
    };
    let Some((host, port, is_tls)) = read() else {
        // The value is hidden, because it may contain a password.
        item.hidden_issue("must be ldaps:// or ldap:// with a host name or IPv4 address and port");
        return None;
    };
    let scheme = if is_tls { "ldaps" } else { "ldap" };
    let server =
        LdapServer { url: format!("{scheme}://{host}:{port}"), starttls: starttls && !is_tls };
    Some((server, is_tls || is_loopback(&host)))
}

fn read_bind(table: &mut TableReader<'_>) -> Option<(String, SecretString)> {
    let dn = table.get("bind_dn");
    let password = table.get("bind_password");
    if dn.is_some() != password.is_some() {
        table.issue("", "needs both bind_dn and bind_password, or neither (anonymous searches)");
    }
    // Active Directory also accepts `user@domain`, so the name need not be a DN.
    let dn = dn.and_then(|item| item.plain_name());
    dn.zip(password.and_then(|item| item.secret()))
}

fn read_base(table: &mut TableReader<'_>) -> Option<DnText> {
    let item = table.required("base", "for example \"ou=people,dc=example,dc=com\"")?;
    let base = DnText::parse(item.string()?);
    if base.is_none() {
        item.issue("must be a distinguished name, for example \"ou=people,dc=example,dc=com\"");
    }
    base
}

/// Reads a filter that finds one user by name. Filled with `*`, it must find all of them (`=*`).
fn read_user_filter(item: &SpannedValue<'_>) -> String {
    let filter = read_filter(item, &["{name}"]).unwrap_or_default();
    if filter.is_empty() {
        return filter;
    }
    if !filter.contains("{name}") {
        item.issue("must have {name} in it, which stands for the name of the login");
    } else if !is_filter(&filter.replace("{name}", "*")) {
        item.issue("must compare {name} by `=`: users are found again by the same filter");
    }
    filter
}

fn read_filter(item: &SpannedValue<'_>, placeholders: &[&str]) -> Option<String> {
    let filter = item.string()?;
    let filled = placeholders.iter().fold(filter.to_owned(), |text, name| text.replace(name, "x"));
    if filled.contains('{') || filled.contains('}') {
        let known = if placeholders.is_empty() { "none" } else { &placeholders.join(", ") };
        item.issue(format!("has an unknown placeholder; there are {known}"));
        return None;
    }
    if !filled.starts_with('(') || !is_filter(&filled) {
        item.issue("is no filter of RFC 4515, for example \"(uid={name})\"");
        return None;
    }
    Some(filter.to_owned())
}

#[cfg(feature = "ldap")]
fn is_filter(text: &str) -> bool {
    ldap3::parse_filter(text).is_ok()
}

/// In a build without `ldap` no section of that kind is read.
#[cfg(not(feature = "ldap"))]
fn is_filter(_: &str) -> bool {
    false
}

fn read_attribute(table: &mut TableReader<'_>, key: &'static str) -> Option<String> {
    let item = table.get(key)?;
    attribute(&item)
}

fn attribute_or(table: &mut TableReader<'_>, key: &'static str, default: &str) -> String {
    table.default_is(key, default);
    read_attribute(table, key).unwrap_or_else(|| default.to_owned())
}

fn attribute(item: &SpannedValue<'_>) -> Option<String> {
    let name = item.plain_name()?;
    // Options such as `;binary` would change the attribute's name in the answer.
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.');
    if !name.bytes().all(fits) {
        item.issue("must be the name of an attribute, for example \"mail\"");
        return None;
    }
    Some(name)
}

fn read_claim(name: &str, item: &SpannedValue<'_>) -> Option<(String, String)> {
    if RESERVED_CLAIMS.contains(&name) {
        item.issue("stands for a claim that the gateway sets itself");
        return None;
    }
    Some((name.to_owned(), attribute(item)?))
}
