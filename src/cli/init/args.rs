//! The arguments of `tollhouse init`: every question has a flag.

use clap::{Args, ValueEnum};

#[derive(Debug, Default, Args)]
pub(in crate::cli) struct InitArgs {
    /// Write the complete commented sample instead: every key with its default, every dialect, and
    /// an upstream that answers with what it received.
    #[arg(long, conflicts_with_all = ["upstream", "dialects", "users", "names", "systemd", "compose"])]
    pub(super) sample: bool,

    /// Write no file; print everything to standard output.
    #[arg(long)]
    pub(super) print: bool,

    /// The service that is protected: http://HOST:PORT, https://HOST, unix:/PATH, or builtin:echo.
    #[arg(long, value_name = "URL")]
    pub(super) upstream: Option<String>,

    /// A dialect that its clients log in with; may be given several times. `tollhouse dialect list`
    /// names them.
    #[arg(long = "dialect", value_name = "NAME")]
    pub(super) dialects: Vec<String>,

    /// Where the users live.
    #[arg(long, value_enum, value_name = "KIND")]
    pub(super) users: Option<UsersKind>,

    /// A host name or address by which clients call; may be given several times.
    #[arg(long = "name", value_name = "HOST")]
    pub(super) names: Vec<String>,

    /// Where TLS comes from; by default self-signed for names of this machine, and files with
    /// --certificate.
    #[arg(long, value_enum, value_name = "KIND")]
    pub(super) tls: Option<TlsKind>,

    /// Where to listen; by default 127.0.0.1:8443 for names of this machine, else 0.0.0.0:443.
    #[arg(long, value_name = "ADDRESS")]
    pub(super) listen: Option<String>,

    /// The certificate chain, PEM.
    #[arg(long, value_name = "FILE", help_heading = "Certificate")]
    pub(super) certificate: Option<String>,

    /// Its private key, PEM.
    #[arg(long, value_name = "FILE", help_heading = "Certificate")]
    pub(super) key: Option<String>,

    /// Where Let's Encrypt reaches the operator (--tls acme); by default nowhere.
    #[arg(long, value_name = "ADDRESS", help_heading = "Certificate")]
    pub(super) acme_email: Option<String>,

    /// A peer at which TLS ends (--tls proxy); may be given several times.
    #[arg(long = "proxy", value_name = "NET", help_heading = "Certificate")]
    pub(super) proxies: Vec<String>,

    /// The file (--users htpasswd).
    #[arg(long, value_name = "FILE", help_heading = "Users")]
    pub(super) htpasswd: Option<String>,

    /// The database (--users sql), without a password; or env:NAME or file:PATH, where one is in it.
    #[arg(long, value_name = "URL", help_heading = "Users")]
    pub(super) sql_url: Option<String>,

    /// The query that finds one user by a name: `… where name = $1`.
    #[arg(long, value_name = "QUERY", help_heading = "Users")]
    pub(super) sql_query: Option<String>,

    /// The directory (--users ldap): ldaps://HOST, or ldap://HOST with StartTLS.
    #[arg(long, value_name = "URL", help_heading = "Users")]
    pub(super) ldap_url: Option<String>,

    /// Below which entry users are searched.
    #[arg(long, value_name = "DN", help_heading = "Users")]
    pub(super) ldap_base: Option<String>,

    /// What finds one user by a name; by default (uid={name}).
    #[arg(long, value_name = "FILTER", help_heading = "Users")]
    pub(super) ldap_filter: Option<String>,

    /// Whom searches are made as; by default nobody.
    #[arg(long, value_name = "DN", help_heading = "Users")]
    pub(super) ldap_bind_dn: Option<String>,

    /// The password of --ldap-bind-dn: env:NAME or file:PATH.
    #[arg(long, value_name = "PLACE", help_heading = "Users")]
    pub(super) ldap_bind_password: Option<String>,

    /// The legacy login (--users legacy); the dialect's paths come after it.
    #[arg(long, value_name = "URL", help_heading = "Users")]
    pub(super) legacy_url: Option<String>,

    /// What it speaks; by default the first --dialect.
    #[arg(long, value_name = "NAME", help_heading = "Users")]
    pub(super) legacy_dialect: Option<String>,

    /// Ask it over http:// beyond this machine: passwords travel in the clear.
    #[arg(long, help_heading = "Users")]
    pub(super) allow_http: bool,

    /// The mail server for dialects that send codes: HOST:PORT.
    #[arg(long, value_name = "SERVER", help_heading = "Mail")]
    pub(super) mail_server: Option<String>,

    /// The sender of these mails.
    #[arg(long, value_name = "ADDRESS", help_heading = "Mail")]
    pub(super) mail_from: Option<String>,

    /// Write tollhouse.service.d/override.conf beside the file, too: what the systemd unit needs for
    /// it.
    #[arg(long, help_heading = "Deployment", conflicts_with = "compose")]
    pub(super) systemd: bool,

    /// Write compose.yaml beside the file, too, for a container.
    #[arg(long, help_heading = "Deployment")]
    pub(super) compose: bool,
}

/// Where the users live.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum UsersKind {
    /// In a new file; the first start makes a user `admin`
    File,
    /// In an htpasswd file
    Htpasswd,
    /// In PostgreSQL, MySQL, MariaDB or SQLite
    Sql,
    /// In a directory
    Ldap,
    /// Behind the legacy login, which is asked, and from which passwords are imported
    Legacy,
}

/// Where TLS comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum TlsKind {
    /// A certificate of the gateway's own making, for a try
    SelfSigned,
    /// A chain and a key
    Files,
    /// Let's Encrypt issues and renews it, for names that lead here
    Acme,
    /// TLS ends in front of the gateway
    Proxy,
}
