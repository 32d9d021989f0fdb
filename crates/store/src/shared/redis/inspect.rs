//! The findings of `check --online` about a server: whether it will do, and what it may lose.
//!
//! Every node that takes writes is queried. Where a managed service hides its settings, that is a
//! finding too. Nothing of the store is changed; rights are tried out on keys of their own, which
//! end by themselves.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::future::join_all;
use redis::{Pipeline, Value};
use tollhouse_core::clock::{Clock, Timestamp};

use crate::shared::{Finding, Verdict};

use super::connection::Connection;
use super::fault::Fault;
use super::step::{Deadline, array, exactly, text};
use super::{Shared, parse_time};

/// The first version with every command that the scripts use: GETEX, and ZADD GT.
const OLDEST_VERSION: (u64, u64) = (6, 2);
/// Clocks that differ by less are as good as the same.
const NOTABLE_DIFFERENCE: Duration = Duration::from_secs(2);
/// Nodes decide by the server's clock where they share something, and by their own when they verify
/// a token. A difference like this ends tokens before their time.
const LARGE_DIFFERENCE: Duration = Duration::from_secs(30);
/// A server that is fuller will refuse logins soon.
const FULL_PERCENT: u64 = 80;
/// How long the keys that rights are tried out on live.
const PROBE_LIFE: u64 = 1000;

/// The facts that one node reports about itself.
struct NodeFacts {
    /// The server's time; `None` without the right to ask.
    now: Option<Timestamp>,
    /// The answer to `INFO`; `None` without the right to ask.
    info: Option<BTreeMap<String, String>>,
    /// The answers to `CONFIG GET`, as far as there is a right to ask.
    config: BTreeMap<String, String>,
}

impl NodeFacts {
    fn info(&self, name: &str) -> Option<&str> {
        self.info.as_ref()?.get(name).map(String::as_str)
    }

    fn number(&self, name: &str) -> Option<u64> {
        self.info(name)?.parse().ok()
    }

    fn config(&self, name: &str) -> Option<&str> {
        self.config.get(name).map(String::as_str)
    }
}

/// The findings about all nodes. Those that are the same for several nodes come once.
pub(super) async fn inspect(shared: &Shared, clock: &Clock) -> Vec<Finding> {
    // An inspection is not on the path of a request, and a node may be far away.
    let deadline = Deadline::after(shared.step_limit.saturating_mul(4));
    let connections = match shared.server.dial_all(deadline).await {
        Ok(connections) => connections,
        Err(fault) => return vec![Finding::bad("connection", fault.to_string())],
    };
    let is_cluster = connections.len() > 1;
    let nodes = connections.iter().map(|node| inspect_node(shared, node, clock, deadline));
    let mut findings: Vec<Finding> = Vec::new();
    for (connection, of_node) in connections.iter().zip(join_all(nodes).await) {
        for mut finding in of_node {
            if is_cluster && finding.verdict != Verdict::Good {
                finding.text = format!("{}: {}", connection.endpoint, finding.text);
            }
            if !findings.contains(&finding) {
                findings.push(finding);
            }
        }
    }
    findings
}

async fn inspect_node(
    shared: &Shared,
    connection: &Connection,
    clock: &Clock,
    deadline: Deadline,
) -> Vec<Finding> {
    let sent = clock.now();
    let facts = match read_facts(connection, deadline).await {
        Ok(facts) => facts,
        Err(fault) => return vec![Finding::bad("connection", fault.to_string())],
    };
    let mut findings = vec![
        server(&facts),
        encryption(shared, connection),
        clocks(&facts, sent, clock.now()),
        persistence(&facts),
        eviction(&facts),
    ];
    findings.extend(fullness(&facts));
    findings.push(replicas(&facts));
    findings.push(match missing_rights(shared, connection, deadline).await {
        Ok(missing) if missing.is_empty() => {
            Finding::good("rights", "the user may do all that the gateway needs")
        }
        Ok(missing) => Finding::bad(
            "rights",
            format!(
                "the user may not use {}; an administrator can enter: ACL SETUSER {} ~{}:* {}",
                missing.join(", "),
                shared.user.as_deref().unwrap_or("default"),
                shared.keys.prefix(),
                missing
                    .iter()
                    .map(|name| format!("+{}", name.to_lowercase()))
                    .collect::<Vec<_>>()
                    .join(" ")
            ),
        ),
        Err(fault) => Finding::bad("rights", fault.to_string()),
    });
    findings
}

async fn read_facts(connection: &Connection, deadline: Deadline) -> Result<NodeFacts, Fault> {
    let mut commands = Pipeline::new();
    commands.cmd("TIME");
    commands.cmd("INFO");
    for name in ["appendfsync", "save", "min-replicas-to-write", "min-replicas-max-lag"] {
        commands.cmd("CONFIG").arg("GET").arg(name);
    }
    let mut values = connection.send(&commands, deadline).await?.into_iter();
    let now = match values.next().unwrap_or_default() {
        Value::ServerError(_) => None,
        time => {
            let [seconds, micros] = exactly(array(time)?)?;
            Some(parse_time(seconds, micros)?)
        }
    };
    let info = match values.next().unwrap_or_default() {
        Value::ServerError(_) => None,
        info => Some(parse_info(&text(info)?)),
    };
    let mut config = BTreeMap::new();
    for value in values {
        if let Ok([name, value]) = array(value).and_then(exactly) {
            config.insert(text(name)?, text(value)?);
        }
    }
    Ok(NodeFacts { now, info, config })
}

fn parse_info(text: &str) -> BTreeMap<String, String> {
    let lines = text.lines().filter_map(|line| line.split_once(':'));
    lines.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

fn server(facts: &NodeFacts) -> Finding {
    let Some(version) = facts.info("redis_version") else {
        return Finding::warning(
            "server",
            "the user may not use INFO, so version, memory and replicas cannot be seen",
        );
    };
    let mut numbers = version.split('.').map(|number| number.parse().unwrap_or(0));
    let number = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    let named = match (facts.info("server_name"), facts.info("valkey_version")) {
        (Some("valkey"), Some(own)) => format!("Valkey {own}"),
        _ => format!("Redis {version}"),
    };
    if number < OLDEST_VERSION {
        let (major, minor) = OLDEST_VERSION;
        return Finding::bad("server", format!("{named}; {major}.{minor} or later is needed"));
    }
    let mode = match facts.info("redis_mode") {
        Some("cluster") => "a node of a Cluster",
        _ => "a single server",
    };
    Finding::good("server", format!("{named}, {mode}"))
}

fn encryption(shared: &Shared, connection: &Connection) -> Finding {
    if shared.is_tls {
        Finding::good("TLS", "connections are encrypted, and the server's certificate is verified")
    } else if connection.endpoint.is_local() {
        Finding::good("TLS", "not used, the server is on this machine")
    } else {
        Finding::warning(
            "TLS",
            "not used: whoever is on the network in between can read and change everything, the \
             password included",
        )
    }
}

fn clocks(facts: &NodeFacts, sent: Timestamp, answered: Timestamp) -> Finding {
    let Some(now) = facts.now else {
        return Finding::warning("clock", "cannot be seen without the right to use TIME");
    };
    // The server looked at its clock at some time between the two.
    let ahead = now.since(answered);
    let behind = sent.since(now);
    let apart = ahead.max(behind);
    if apart <= NOTABLE_DIFFERENCE {
        return Finding::good("clock", "the server's clock agrees with this machine's");
    }
    let direction = if ahead > behind { "ahead of" } else { "behind" };
    let text = format!(
        "the server's clock is {} s {direction} this machine's: set both by NTP",
        apart.as_secs()
    );
    if apart <= LARGE_DIFFERENCE {
        Finding::warning("clock", text)
    } else {
        Finding::bad("clock", format!("{text}, or tokens end before their time"))
    }
}

fn persistence(facts: &NodeFacts) -> Finding {
    const WHAT: &str = "persistence";
    for status in ["aof_last_write_status", "rdb_last_bgsave_status"] {
        if facts.info(status).is_some_and(|status| status != "ok") {
            return Finding::bad(
                WHAT,
                format!("the server could not write to its disk ({status}): look at its log"),
            );
        }
    }
    match (facts.info("aof_enabled"), facts.config("appendfsync"), facts.config("save")) {
        (Some("1"), Some("always"), _) => Finding::good(
            WHAT,
            "appendonly with appendfsync always: a crash of the server loses nothing that was \
             answered",
        ),
        (Some("1"), Some("everysec"), _) => Finding::warning(
            WHAT,
            "appendfsync everysec: a crash of the machine loses the last second: logouts are \
             undone, used codes and refresh tokens can be used again; set appendfsync always",
        ),
        (Some("1"), Some(other), _) => Finding::warning(
            WHAT,
            format!(
                "appendfsync {other}: a crash of the machine loses what the system has not \
                 written yet, half a minute or more; set appendfsync always"
            ),
        ),
        (Some("1"), None, _) => Finding::warning(
            WHAT,
            "appendonly, and CONFIG may not be used: whether appendfsync is always cannot be seen",
        ),
        (Some(_), _, Some("")) => Finding::warning(
            WHAT,
            "none: a restart of the server empties the store, and everybody signs in anew; set \
             appendonly yes and appendfsync always",
        ),
        (Some(_), _, _) => Finding::warning(
            WHAT,
            "snapshots only: a crash of the server loses minutes of logins and logouts, and used \
             codes and refresh tokens can be used again; set appendonly yes and appendfsync always",
        ),
        (None, _, _) => Finding::warning(WHAT, "cannot be seen without the right to use INFO"),
    }
}

fn eviction(facts: &NodeFacts) -> Finding {
    match facts.info("maxmemory_policy") {
        Some("noeviction") => Finding::good("maxmemory-policy", "noeviction"),
        Some(policy) => Finding::bad(
            "maxmemory-policy",
            format!(
                "{policy}: a full server would drop sessions and revocations, and a token that was \
                 revoked would be accepted again; set noeviction"
            ),
        ),
        None => Finding::warning("maxmemory-policy", "cannot be seen; it must be noeviction"),
    }
}

fn fullness(facts: &NodeFacts) -> Option<Finding> {
    let most = facts.number("maxmemory").filter(|most| *most > 0)?;
    let percent = facts.number("used_memory")?.saturating_mul(100) / most;
    let text = format!("{percent} % of maxmemory is used");
    Some(if percent < FULL_PERCENT {
        Finding::good("memory", text)
    } else {
        Finding::warning("memory", format!("{text}: a full server refuses every login"))
    })
}

fn replicas(facts: &NodeFacts) -> Finding {
    const WHAT: &str = "replicas";
    let Some(count) = facts.number("connected_slaves") else {
        return Finding::warning(WHAT, "cannot be seen without the right to use INFO");
    };
    let demanded = facts.config("min-replicas-to-write").and_then(|count| count.parse().ok());
    // INFO says how many replicas are good only where some are demanded.
    let demanded =
        demanded.unwrap_or_else(|| u64::from(facts.info("min_slaves_good_slaves").is_some()));
    match (count, demanded) {
        (0, 0) => Finding::good(WHAT, "none: when the server is down, so is the store"),
        (_, 0) => Finding::warning(
            WHAT,
            format!(
                "{count}, and min-replicas-to-write is 0: a master that is cut off goes on, and \
                 what it answers is lost when a replica takes over; set min-replicas-to-write 1"
            ),
        ),
        (_, demanded) => Finding::good(
            WHAT,
            format!(
                "{count}, of which {demanded} must be there for each write; a failover can still \
                 lose what was written less than {} s before",
                facts.config("min-replicas-max-lag").unwrap_or("min-replicas-max-lag")
            ),
        ),
    }
}

/// The commands that the user has no right to. Each is tried out, on keys that end by themselves.
async fn missing_rights(
    shared: &Shared,
    connection: &Connection,
    deadline: Deadline,
) -> Result<Vec<&'static str>, Fault> {
    let record: &str = &shared.keys.probe("record");
    let set: &str = &shared.keys.probe("set");
    let hash: &str = &shared.keys.probe("hash");
    let stream: &str = &shared.keys.probe("stream");
    let tried: [(&'static str, &[&str]); 23] = [
        ("SCRIPT|LOAD", &["SCRIPT", "LOAD", "return 1"]),
        ("EVALSHA", &["EVALSHA", "e0e1f9fabfc9d4800c877a703b823ac0578ff8db", "0"]),
        ("TIME", &["TIME"]),
        ("SET", &["SET", record, "1"]),
        ("GET", &["GET", record]),
        ("GETEX", &["GETEX", record]),
        ("PEXPIRE", &["PEXPIRE", record, "1000"]),
        ("PTTL", &["PTTL", record]),
        ("PERSIST", &["PERSIST", set]),
        ("ZADD", &["ZADD", set, "GT", "1", "a"]),
        ("ZSCORE", &["ZSCORE", set, "a"]),
        ("ZRANGE", &["ZRANGE", set, "0", "-1"]),
        ("ZRANGEBYLEX", &["ZRANGEBYLEX", set, "-", "+", "LIMIT", "0", "1"]),
        ("ZRANGEBYSCORE", &["ZRANGEBYSCORE", set, "-inf", "+inf", "LIMIT", "0", "1"]),
        ("ZREMRANGEBYSCORE", &["ZREMRANGEBYSCORE", set, "2", "3"]),
        ("ZREM", &["ZREM", set, "b"]),
        ("HSET", &["HSET", hash, "a", "1"]),
        ("HSCAN", &["HSCAN", hash, "0", "COUNT", "1"]),
        ("HDEL", &["HDEL", hash, "b"]),
        ("XADD", &["XADD", stream, "*", "v", "1"]),
        ("XREAD", &["XREAD", "COUNT", "1", "STREAMS", stream, "0-0"]),
        ("XTRIM", &["XTRIM", stream, "MAXLEN", "~", "1"]),
        ("CLUSTER|SLOTS", &["CLUSTER", "SLOTS"]),
    ];
    let mut commands = Pipeline::with_capacity(tried.len());
    for (_, words) in &tried {
        for (at, word) in words.iter().enumerate() {
            if at == 0 {
                commands.cmd(word)
            } else {
                commands.arg(*word)
            };
        }
    }
    for key in [set, hash, stream] {
        commands.cmd("PEXPIRE").arg(key).arg(PROBE_LIFE);
    }
    let values = connection.send(&commands, deadline).await?;
    let refused = tried.iter().zip(values).filter(|((name, _), value)| {
        // Other errors do not matter: the slot may be another node's.
        matches!(value, Value::ServerError(error) if error.code() == "NOPERM")
            && (shared.server.is_cluster() || *name != "CLUSTER|SLOTS")
    });
    Ok(refused.map(|((name, _), _)| *name).collect())
}
