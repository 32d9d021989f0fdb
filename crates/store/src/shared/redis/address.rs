//! The URL of a Redis server, of the Sentinels that watch one, or of a Cluster.
//!
//! A URL with several hosts is no URL by RFC 3986, so it is taken apart here and not by a library.
//! No error repeats what stands before the `@`, nor anything that may belong to it.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;

use percent_encoding::percent_decode_str;
use tollhouse_core::secret::SecretString;

use crate::shared::SharedOpenError;

/// The forms that are accepted, for an error.
const FORMS: &str = "accepted are redis://HOST[:PORT][/DB], rediss:// with TLS, \
    redis+sentinel://HOST:PORT,HOST:PORT/MASTER[/DB], redis+cluster://HOST:PORT,HOST:PORT, both \
    also as rediss+…, and redis+unix:///PATH[?db=DB]; USER:PASSWORD@ comes before the hosts";

const SERVER_PORT: u16 = 6379;
const SENTINEL_PORT: u16 = 26379;
/// A Cluster tells its other nodes by itself, and nobody has more Sentinels.
const MOST_HOSTS: usize = 64;

/// One socket that a Redis server, a Sentinel or a node of a Cluster listens on.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Endpoint {
    Tcp { host: String, port: u16 },
    Unix(PathBuf),
}

impl Endpoint {
    /// True if the traffic does not leave this machine.
    pub(super) fn is_local(&self) -> bool {
        match self {
            Self::Unix(_) => true,
            Self::Tcp { host, .. } => {
                host.eq_ignore_ascii_case("localhost")
                    || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
            }
        }
    }

    /// Reads `HOST`, `HOST:PORT` or `[IPV6]:PORT`.
    fn parse(text: &str, default_port: u16) -> Option<Self> {
        let (host, port) = if let Some(rest) = text.strip_prefix('[') {
            let (host, rest) = rest.split_once(']')?;
            host.parse::<IpAddr>().ok()?;
            let port = if rest.is_empty() { None } else { Some(rest.strip_prefix(':')?) };
            (host, port)
        } else {
            match text.split_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (text, None),
            }
        };
        let named = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':');
        if host.is_empty() || !host.chars().all(named) {
            return None;
        }
        let port = match port {
            Some(port) => port.parse().ok().filter(|port| *port > 0)?,
            None => default_port,
        };
        Some(Self::Tcp { host: host.to_owned(), port })
    }

    /// The address in an answer of a server, where an IPv6 address has no brackets: `HOST:PORT`. An
    /// empty host is the one that answered.
    pub(super) fn parse_answer(text: &str, answering: &Self) -> Option<Self> {
        let (host, port) = text.rsplit_once(':')?;
        Self::answered(host, port.parse().ok()?, answering)
    }

    /// The endpoint that a server named; without a usable host, the host that answered is meant.
    pub(super) fn answered(host: &str, port: u16, answering: &Self) -> Option<Self> {
        match (host, answering) {
            ("" | "?", Self::Tcp { host, .. }) => Some(Self::Tcp { host: host.clone(), port }),
            ("" | "?", Self::Unix(_)) => None,
            (host, _) => Some(Self::Tcp { host: host.to_owned(), port }),
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { host, port } if host.contains(':') => write!(f, "[{host}]:{port}"),
            Self::Tcp { host, port } => write!(f, "{host}:{port}"),
            Self::Unix(path) => write!(f, "{}", path.display()),
        }
    }
}

/// How the server that takes writes is found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum ServerAddress {
    /// Always the same one.
    Single(Endpoint),
    /// The one that the Sentinels name as the master `name`.
    Sentinel { sentinels: Vec<Endpoint>, name: String },
    /// By the slot of a key; these are some of the nodes.
    Cluster { seeds: Vec<Endpoint> },
}

impl ServerAddress {
    /// Every endpoint that the URL names.
    pub(super) fn endpoints(&self) -> &[Endpoint] {
        match self {
            Self::Single(endpoint) => std::slice::from_ref(endpoint),
            Self::Sentinel { sentinels: endpoints, .. } | Self::Cluster { seeds: endpoints } => {
                endpoints
            }
        }
    }
}

impl fmt::Display for ServerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Single(endpoint) => write!(f, "Redis at {endpoint}"),
            Self::Sentinel { name, .. } => write!(f, "the Redis master `{name}`"),
            Self::Cluster { .. } => f.write_str("the Redis Cluster"),
        }
    }
}

/// A URL, taken apart.
#[derive(Clone, Debug)]
pub(super) struct RedisUrl {
    pub(super) server: ServerAddress,
    /// Whether the scheme asks for TLS.
    pub(super) is_tls: bool,
    pub(super) user: Option<String>,
    pub(super) password: Option<SecretString>,
    pub(super) db: u32,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum UrlKind {
    Single,
    Sentinel,
    Cluster,
    Unix,
}

impl RedisUrl {
    /// # Errors
    /// If the URL has another form than the ones that are accepted. The text says what is wrong.
    pub(super) fn parse(url: &SecretString) -> Result<Self, SharedOpenError> {
        parse(url.expose())
            .map_err(|fault| SharedOpenError::Setting(format!("the URL of Redis {fault}; {FORMS}")))
    }
}

fn parse(url: &str) -> Result<RedisUrl, String> {
    let (scheme, rest) = url.split_once("://").ok_or("has no scheme")?;
    let (kind, is_tls) = match scheme.to_ascii_lowercase().as_str() {
        "redis" | "valkey" => (UrlKind::Single, false),
        "rediss" | "valkeys" => (UrlKind::Single, true),
        "redis+sentinel" => (UrlKind::Sentinel, false),
        "rediss+sentinel" => (UrlKind::Sentinel, true),
        "redis+cluster" => (UrlKind::Cluster, false),
        "rediss+cluster" => (UrlKind::Cluster, true),
        "redis+unix" | "unix" => (UrlKind::Unix, false),
        // A scheme that is none of these may be the beginning of a password.
        _ => return Err("has an unknown scheme".to_owned()),
    };
    let (authority, path) = split_before(rest, '/');
    // A slash in a password ends the authority early, and the rest would be read as a host.
    if path.contains('@') {
        return Err("has an `@` behind the first `/`: in a user name or a password, write `/` as \
                    %2F and `@` as %40"
            .to_owned());
    }
    let (login, hosts) = match authority.rsplit_once('@') {
        Some((login, hosts)) => (Some(login), hosts),
        None => (None, authority),
    };
    if hosts.contains(['?', '#']) || login.is_some_and(|login| login.contains(['?', '#'])) {
        return Err("has a `?` or `#` before the first `/`: in a user name or a password, write \
                    them as %3F and %23"
            .to_owned());
    }
    let (user, password) = parse_login(login)?;
    let (path, query) = match path.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (path, None),
    };
    let (server, db) = match kind {
        UrlKind::Unix => parse_unix(hosts, path, query)?,
        _ => parse_hosts(kind, hosts, path, query)?,
    };
    Ok(RedisUrl { server, is_tls, user, password, db })
}

/// The text before the first `mark`, and the rest with the mark.
fn split_before(text: &str, mark: char) -> (&str, &str) {
    text.find(mark).and_then(|at| text.split_at_checked(at)).unwrap_or((text, ""))
}

fn decode(text: &str) -> Result<String, String> {
    let decoded = percent_decode_str(text).decode_utf8();
    decoded.map(|text| text.into_owned()).map_err(|_| "has a part that is not UTF-8".to_owned())
}

fn parse_login(login: Option<&str>) -> Result<(Option<String>, Option<SecretString>), String> {
    let Some(login) = login else { return Ok((None, None)) };
    let Some((user, password)) = login.split_once(':') else {
        return Err("has a user name without a password: write USER:PASSWORD@, or :PASSWORD@ for \
                    the default user"
            .to_owned());
    };
    let user = decode(user)?;
    let password = decode(password)?;
    if password.is_empty() {
        return Err("has an empty password".to_owned());
    }
    Ok((Some(user).filter(|user| !user.is_empty()), Some(SecretString::new(password))))
}

fn parse_hosts(
    kind: UrlKind,
    hosts: &str,
    path: &str,
    query: Option<&str>,
) -> Result<(ServerAddress, u32), String> {
    if query.is_some() {
        return Err("has a query, which means nothing here".to_owned());
    }
    let port = if kind == UrlKind::Sentinel { SENTINEL_PORT } else { SERVER_PORT };
    let endpoints = hosts.split(',').enumerate().map(|(at, host)| {
        Endpoint::parse(host, port)
            .ok_or_else(|| format!("has no valid HOST:PORT in place {}", at.saturating_add(1)))
    });
    let endpoints: Vec<Endpoint> = endpoints.collect::<Result<_, _>>()?;
    if endpoints.len() > MOST_HOSTS {
        return Err(format!("names more than {MOST_HOSTS} hosts"));
    }
    let mut parts = path.split('/').skip(1).filter(|part| !part.is_empty());
    let name = if kind == UrlKind::Sentinel { parts.next() } else { None };
    let db = parse_db(parts.next())?;
    if parts.next().is_some() {
        return Err("has too many parts in its path".to_owned());
    }
    let server = match kind {
        UrlKind::Sentinel => {
            let name = name.ok_or("does not name the master that the Sentinels watch")?;
            ServerAddress::Sentinel { sentinels: endpoints, name: decode(name)? }
        }
        UrlKind::Cluster if db != 0 => {
            return Err("has a database, and a Cluster has one only".to_owned());
        }
        UrlKind::Cluster => ServerAddress::Cluster { seeds: endpoints },
        UrlKind::Single | UrlKind::Unix => {
            let mut endpoints = endpoints.into_iter();
            match (endpoints.next(), endpoints.next()) {
                (Some(endpoint), None) => ServerAddress::Single(endpoint),
                _ => {
                    return Err(
                        "names several hosts: say redis+sentinel:// or redis+cluster://".to_owned()
                    );
                }
            }
        }
    };
    Ok((server, db))
}

fn parse_unix(host: &str, path: &str, query: Option<&str>) -> Result<(ServerAddress, u32), String> {
    if !host.is_empty() || path.len() < 2 {
        return Err("has no absolute path of a socket behind `redis+unix://`".to_owned());
    }
    let db = match query {
        None => None,
        Some(query) => Some(query.strip_prefix("db=").ok_or("has another query than `db=NUMBER`")?),
    };
    Ok((ServerAddress::Single(Endpoint::Unix(PathBuf::from(decode(path)?))), parse_db(db)?))
}

fn parse_db(text: Option<&str>) -> Result<u32, String> {
    let Some(text) = text else { return Ok(0) };
    text.parse().map_err(|_| "has a database that is not a number".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(url: &str) -> Result<RedisUrl, String> {
        RedisUrl::parse(&SecretString::from(url)).map_err(|fault| fault.to_string())
    }

    fn tcp(host: &str, port: u16) -> Endpoint {
        Endpoint::Tcp { host: host.to_owned(), port }
    }

    #[test]
    fn every_accepted_form() {
        let single = parsed("rediss://gate:p%40ss%2Fword@db.example:6380/3").unwrap();
        assert_eq!(single.server, ServerAddress::Single(tcp("db.example", 6380)));
        assert!(single.is_tls);
        assert_eq!(single.user.as_deref(), Some("gate"));
        assert_eq!(single.password.unwrap().expose(), "p@ss/word");
        assert_eq!(single.db, 3);

        let plain = parsed("redis://[::1]").unwrap();
        assert_eq!(plain.server, ServerAddress::Single(tcp("::1", 6379)));
        assert!(!plain.is_tls && plain.user.is_none() && plain.password.is_none());

        let watched = parsed("redis+sentinel://:word@a:1,b/main/2").unwrap();
        let sentinels = vec![tcp("a", 1), tcp("b", 26379)];
        assert_eq!(watched.server, ServerAddress::Sentinel { sentinels, name: "main".to_owned() });
        assert_eq!((watched.user, watched.db), (None, 2));

        let cluster = parsed("rediss+cluster://a:1,[fd00::2]:2/").unwrap();
        let seeds = vec![tcp("a", 1), tcp("fd00::2", 2)];
        assert_eq!(cluster.server, ServerAddress::Cluster { seeds });
        assert!(cluster.is_tls);

        let unix = parsed("redis+unix:///run/redis.sock?db=1").unwrap();
        assert_eq!(unix.server, ServerAddress::Single(Endpoint::Unix("/run/redis.sock".into())));
        assert_eq!(unix.db, 1);
    }

    #[test]
    fn a_wrong_url_is_told_without_its_password() {
        for (url, said) in [
            ("127.0.0.1:6379", "no scheme"),
            ("http://hunter2@db", "unknown scheme"),
            ("redis://user:hunter2/x@db", "behind the first `/`"),
            ("redis://user:hunter2?x@db", "`?` or `#`"),
            ("redis://user:hunter2#@db/1", "`?` or `#`"),
            ("redis://hunter2@db", "without a password"),
            ("redis://user:@db", "empty password"),
            ("redis://user:hunter2@db:port", "HOST:PORT in place 1"),
            ("redis://user:hunter2@db:0", "HOST:PORT in place 1"),
            ("redis://user:hunter2@a,b", "several hosts"),
            ("redis://user:hunter2@db/x", "not a number"),
            ("redis://user:hunter2@db/1/2", "too many parts"),
            ("redis://user:hunter2@db/1?x=y", "a query"),
            ("redis+sentinel://user:hunter2@a:1,b:2", "does not name the master"),
            ("redis+cluster://user:hunter2@a:1,:2", "HOST:PORT in place 2"),
            ("redis+cluster://user:hunter2@a:1/1", "a Cluster has one only"),
            ("redis+unix://run/redis.sock", "no absolute path"),
            ("redis+unix:///run/redis.sock?hunter2", "another query"),
        ] {
            let text = parsed(url).unwrap_err();

            assert!(text.contains(said), "{url}: {text}");
            assert!(!text.contains("hunter2"), "{text}");
            assert!(text.contains("redis+sentinel://HOST:PORT"), "says what is accepted: {text}");
        }
    }

    #[test]
    fn this_machine_is_loopback_or_a_socket() {
        for (endpoint, is_local) in [
            (tcp("localhost", 1), true),
            (tcp("127.0.0.2", 1), true),
            (tcp("::1", 1), true),
            (Endpoint::Unix("/run/redis.sock".into()), true),
            (tcp("10.0.0.1", 1), false),
            (tcp("localhost.example", 1), false),
        ] {
            assert_eq!(endpoint.is_local(), is_local, "{endpoint}");
        }
    }
}
