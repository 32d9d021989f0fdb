//! The answers from which `tollhouse init` writes a configuration.
//!
//! Answers are not judged here, but in `trial`.

use crate::dialect::{Dialect, SecondStep};

/// Everything that the questions of `init` are about.
#[derive(Clone, Debug)]
pub(super) struct Answers {
    /// The upstream's server, as `[[upstream]] servers` has it.
    pub(super) upstream: String,
    /// Built-in dialects; at least one.
    pub(super) dialects: Vec<String>,
    pub(super) users: UserOrigin,
    /// Host names and addresses by which clients call; at least one. The first is the issuer's.
    pub(super) names: Vec<String>,
    pub(super) tls: TlsOrigin,
    /// The address of the listener.
    pub(super) listen: String,
    /// The mail server and the sender, where a dialect sends codes.
    pub(super) mail: Option<(String, String)>,
    /// The state folder, where it is not `state` beside the file.
    pub(super) state: Option<String>,
}

/// Where the users live.
#[derive(Clone, Debug)]
pub(super) enum UserOrigin {
    /// A file that the first start makes, with one user.
    NewFile,
    Htpasswd {
        path: String,
    },
    Sql {
        url: SecretPlace,
        query: String,
    },
    Ldap {
        url: String,
        base: String,
        filter: String,
        /// The name and the password that searches are made with.
        bind: Option<(String, SecretPlace)>,
    },
    /// The legacy login itself, asked in its dialect; passwords are imported.
    Legacy {
        url: String,
        dialect: String,
        allow_http: bool,
    },
}

/// A value that may be a secret, and then is somewhere else than in the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum SecretPlace {
    Inline(String),
    Variable(String),
    File(String),
}

impl SecretPlace {
    /// Reads `env:NAME`, `file:PATH`, or a value that is no secret.
    pub(super) fn parse(text: &str, folder: FolderRule) -> Self {
        if let Some(name) = text.strip_prefix("env:") {
            return Self::Variable(name.to_owned());
        }
        match text.strip_prefix("file:") {
            Some(path) => Self::File(folder.path(path)),
            None => Self::Inline(text.to_owned()),
        }
    }
}

/// Where the certificate of the names comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum TlsOrigin {
    SelfSigned,
    Files {
        chain: String,
        key: String,
    },
    /// An authority issues the certificate, and reaches the operator at the address.
    Acme {
        email: Option<String>,
    },
    /// TLS ends in front of the gateway, at these peers.
    Proxy {
        peers: Vec<String>,
    },
}

/// How a path that was typed in the working folder is written into a file that may lie elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FolderRule {
    /// The file is in the working folder: relative paths mean the same in both.
    Same,
    /// The file is elsewhere, or is used elsewhere.
    Elsewhere,
}

impl FolderRule {
    /// The path as it is written. A path that cannot be made absolute stays as it is; the check
    /// says then that there is no such file.
    pub(super) fn path(self, path: &str) -> String {
        let absolute = match self {
            Self::Same => None,
            Self::Elsewhere => std::path::absolute(path).ok(),
        };
        absolute.and_then(|path| path.to_str().map(str::to_owned)).unwrap_or(path.to_owned())
    }
}

impl Answers {
    /// A gateway to try out. Questions begin with these answers and replace one after the other, so
    /// that every fault of the file is a fault of the answer before.
    pub(super) fn trial() -> Self {
        Self {
            upstream: "builtin:echo".to_owned(),
            dialects: vec!["native".to_owned()],
            users: UserOrigin::NewFile,
            names: vec!["localhost".to_owned()],
            tls: TlsOrigin::SelfSigned,
            listen: "127.0.0.1:8443".to_owned(),
            mail: None,
            state: None,
        }
    }

    /// True if one of the dialects sends codes by mail.
    pub(super) fn sends_mail(&self) -> bool {
        self.dialects.iter().filter_map(|name| Dialect::builtin(name)).any(|dialect| {
            dialect.endpoints.iter().any(|endpoint| endpoint.second_step == SecondStep::Mail)
        })
    }

    /// True if all names are of this machine or reserved for tests (RFC 6761): no authority gives a
    /// certificate for them.
    pub(super) fn has_local_names(&self) -> bool {
        const RESERVED: [&str; 4] = ["localhost", "test", "example", "invalid"];
        self.names.iter().all(|name| {
            let last = name.rsplit('.').next().unwrap_or_default();
            RESERVED.contains(&last) || name.parse::<std::net::IpAddr>().is_ok()
        })
    }
}
