//! The dialects that come with the gateway, as TOML files in the binary.
//!
//! They are checked by the same code as an operator's own dialects, and an operator may copy one
//! into `gateway.toml` and change it. `config` looks them up by name.

use std::sync::Arc;

use super::{Dialect, RawDialect};

/// Each dialect's name and file.
const FILES: &[(&str, &str)] = &[
    ("webitel", include_str!("builtin/webitel.toml")),
    ("datarhei", include_str!("builtin/datarhei.toml")),
    ("aviate", include_str!("builtin/aviate.toml")),
    ("nomic", include_str!("builtin/nomic.toml")),
    ("avenia", include_str!("builtin/avenia.toml")),
    ("native", include_str!("builtin/native.toml")),
    ("django_token", include_str!("builtin/django_token.toml")),
    ("keystone", include_str!("builtin/keystone.toml")),
    ("mattermost", include_str!("builtin/mattermost.toml")),
    ("oauth2_password", include_str!("builtin/oauth2_password.toml")),
    ("proxmox", include_str!("builtin/proxmox.toml")),
    ("qbittorrent", include_str!("builtin/qbittorrent.toml")),
    ("redfish", include_str!("builtin/redfish.toml")),
    ("simplejwt", include_str!("builtin/simplejwt.toml")),
    ("soap_login", include_str!("builtin/soap_login.toml")),
    ("spring_form", include_str!("builtin/spring_form.toml")),
    ("wordpress_jwt", include_str!("builtin/wordpress_jwt.toml")),
    ("zabbix", include_str!("builtin/zabbix.toml")),
];

impl Dialect {
    /// The built-in dialect with this name; `None` if there is none.
    pub fn builtin(name: &str) -> Option<Arc<Self>> {
        // A test makes sure that each built-in dialect is free of problems, so an error here cannot
        // happen.
        let raw: RawDialect = toml::from_str(Self::builtin_text(name)?).ok()?;
        Self::check(raw).ok().map(Arc::new)
    }

    /// The names of all built-in dialects.
    pub fn builtin_names() -> impl Iterator<Item = &'static str> {
        FILES.iter().map(|(name, _)| *name)
    }

    /// The file of a built-in dialect, in a form that can be copied into `gateway.toml`.
    pub fn builtin_text(name: &str) -> Option<&'static str> {
        FILES.iter().find(|(known, _)| *known == name).map(|(_, text)| *text)
    }

    /// A sentence about a built-in dialect: the first one of its file.
    pub fn builtin_description(name: &str) -> Option<String> {
        let comment = Self::builtin_text(name)?.lines().map_while(|line| line.strip_prefix('#'));
        let text = comment.map(str::trim).collect::<Vec<_>>().join(" ");
        text.split_once(". ").map(|(first, _)| format!("{first}.")).or(Some(text))
    }
}

#[cfg(test)]
mod tests;
