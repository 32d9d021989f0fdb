//! The findings of `check --online` about a PostgreSQL server. Nothing is changed there.
//!
//! Each fact is queried by itself: servers that only speak like PostgreSQL do not know all
//! settings, and an unknown one is then a finding and no failure.

use std::time::Duration;

use sqlx::postgres::PgRow;
use tollhouse_core::clock::{Clock, Timestamp};

use super::fault::StepFault;
use super::migrations::{VERSION, missing_rights, version};
use super::pool::{ConnectionPool, column, last};
use super::wakeup::Wakeup;
use super::{PostgresDatabase, is_original};
use crate::shared::Finding;

/// A difference of clocks above which an operator should look after them. Nodes decide by the
/// database's clock where they share something, and by their own when they verify a token.
const NOTABLE_DIFFERENCE: Duration = Duration::from_secs(2);
/// A difference that ends tokens before their time.
const LARGE_DIFFERENCE: Duration = Duration::from_secs(30);
/// The oldest version that gets corrections from its makers.
const OLDEST_MAJOR: u32 = 13;
/// How long a notification may take.
const NOTIFICATION_LIMIT: Duration = Duration::from_secs(2);

pub(super) async fn inspect(database: &PostgresDatabase) -> Vec<Finding> {
    let pool = database.pool_for_opening();
    let mut findings = vec![tls(database)];
    let version = match text(&pool, "SELECT version()").await {
        Ok(version) => version,
        Err(fault) => {
            findings.insert(0, Finding::bad("connection", database.open_error(fault).to_string()));
            return findings;
        }
    };
    findings.insert(0, server(&database.address.at, &version));
    findings.push(writable(&pool).await);
    findings.extend(tables(database, &pool).await);
    findings.push(clock(&pool).await);
    findings.push(durability(&pool).await);
    findings.push(notifications(database, &pool).await);
    pool.close().await;
    findings
}

fn tls(database: &PostgresDatabase) -> Finding {
    let address = &database.address;
    if address.uses_tls {
        Finding::good("TLS", "the server's certificate and name are verified")
    } else if address.is_local {
        Finding::good("TLS", "none is needed: the server is this machine")
    } else {
        let text = "off, as `tls` = \"none\" says: whoever is on the way can read and change \
                    everything";
        Finding::warning("TLS", text)
    }
}

fn server(at: &str, version: &str) -> Finding {
    const WHAT: &str = "server";
    let name = version.split(" on ").next().unwrap_or_default();
    if !is_original(version) {
        let text = format!(
            "{at} is {name}: the statements are plain enough for it, but the gateway is only \
             tested with PostgreSQL; YugabyteDB needs --ysql_sequence_cache_minval=1"
        );
        return Finding::warning(WHAT, text);
    }
    let number = name.split_whitespace().nth(1).unwrap_or_default();
    let digits = number.split(|digit: char| !digit.is_ascii_digit()).next().unwrap_or_default();
    match digits.parse::<u32>() {
        Ok(major) if major < OLDEST_MAJOR => Finding::warning(
            WHAT,
            format!("{at} is {name}, which gets no corrections any more: update the server"),
        ),
        _ => Finding::good(WHAT, format!("{at} is {name}")),
    }
}

async fn writable(pool: &ConnectionPool) -> Finding {
    const WHAT: &str = "writing";
    match text(pool, "SELECT current_setting('transaction_read_only')").await {
        Ok(setting) if setting == "off" => Finding::good(WHAT, "the server takes writes"),
        Ok(_) => Finding::bad(
            WHAT,
            "the server is read-only, as a standby is: let `url` lead to the primary server",
        ),
        Err(fault) => unknown(WHAT, &fault),
    }
}

/// The version of the tables, and the rights to them.
async fn tables(database: &PostgresDatabase, pool: &ConnectionPool) -> Vec<Finding> {
    const WHAT: &str = "tables";
    const RIGHTS: &str = "rights";
    let place = &database.place;
    let found = match version(pool, place).await {
        Ok(found) => found,
        Err(fault) => {
            let error = fault.into_open_error(&place.at, &place.remedy_to_use());
            return vec![Finding::bad(WHAT, error.to_string())];
        }
    };
    match found {
        Some(found) if found > VERSION => {
            return vec![Finding::bad(WHAT, place.newer(found).to_string())];
        }
        None => return vec![creatable(database, pool).await],
        _ => {}
    }
    let schema = &place.schema;
    let state = match found {
        Some(VERSION) => format!("schema `{schema}` has version {VERSION}"),
        _ => format!("schema `{schema}` is brought to version {VERSION} at the next start"),
    };
    let rights = match missing_rights(pool, place).await {
        Ok(missing) if missing.is_empty() => {
            Finding::good(RIGHTS, format!("`{}` may use all tables", place.user))
        }
        Ok(missing) => Finding::bad(
            RIGHTS,
            format!(
                "`{}` has not all rights to {}; an administrator of the database can enter: {}",
                place.user,
                missing.join(", "),
                place.remedy_to_use()
            ),
        ),
        Err(fault) => unknown(RIGHTS, &fault),
    };
    vec![Finding::good(WHAT, state), rights]
}

/// There are no tables yet.
async fn creatable(database: &PostgresDatabase, pool: &ConnectionPool) -> Finding {
    const WHAT: &str = "tables";
    let place = &database.place;
    let schema = &place.schema;
    let script = format!(
        "SELECT CASE WHEN EXISTS (SELECT 1 FROM pg_namespace WHERE nspname = '{schema}') \
         THEN has_schema_privilege('{schema}', 'CREATE') \
         ELSE has_database_privilege(current_database(), 'CREATE') END::text"
    );
    match text(pool, &script).await {
        Ok(answer) if answer == "true" => {
            Finding::good(WHAT, format!("schema `{schema}` gets its tables at the next start"))
        }
        Ok(_) => Finding::bad(
            WHAT,
            format!(
                "there are none in schema `{schema}`, and `{}` may not make them; an administrator \
                 of the database can enter: {}",
                place.user,
                place.remedy_to_create()
            ),
        ),
        Err(fault) => unknown(WHAT, &fault),
    }
}

async fn clock(pool: &ConnectionPool) -> Finding {
    const WHAT: &str = "clock";
    let own = Clock::system();
    let before = own.now();
    let begun = own.monotonic();
    let script = "SELECT floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint::text";
    let answer = text(pool, script).await;
    let taken = own.monotonic().saturating_sub(begun);
    let millis = match answer.map(|text| text.parse::<u64>()) {
        Ok(Ok(millis)) => millis,
        Ok(Err(_)) => return unknown(WHAT, &StepFault::of("its time is no number")),
        Err(fault) => return unknown(WHAT, &fault),
    };
    // The server looked at its clock about in the middle of the question.
    let theirs = Timestamp::from_millis(millis);
    let ours = before.plus(taken / 2);
    let difference = theirs.since(ours).max(ours.since(theirs));
    let text = format!("it differs from this machine's by {difference:?}");
    if difference > LARGE_DIFFERENCE {
        Finding::bad(WHAT, format!("{text}: set both by NTP, or tokens end before their time"))
    } else if difference > NOTABLE_DIFFERENCE {
        Finding::warning(WHAT, format!("{text}: set both by NTP"))
    } else {
        Finding::good(WHAT, text)
    }
}

/// The finding about the changes that a crash of the server, or the loss of a standby, may lose.
async fn durability(pool: &ConnectionPool) -> Finding {
    const WHAT: &str = "synchronous_commit";
    const LOST: &str = "the last logouts, used codes and spent refresh tokens may count as never \
                        used";
    let commit = match text(pool, "SELECT current_setting('synchronous_commit')").await {
        Ok(setting) => setting,
        Err(fault) => return unknown(WHAT, &fault),
    };
    let setting = |name| format!("SELECT current_setting('{name}')");
    let standbys = text(pool, &setting("synchronous_standby_names")).await.unwrap_or_default();
    let is_off = |value: Result<String, StepFault>| value.is_ok_and(|value| value == "off");
    if is_off(text(pool, &setting("fsync")).await) {
        return Finding::warning(
            WHAT,
            format!("`fsync` is off: after a crash of its machine {LOST}"),
        );
    }
    match commit.as_str() {
        "off" => Finding::warning(
            WHAT,
            format!("off: after a crash of the server {LOST}; set it to on for this user"),
        ),
        "local" if !standbys.is_empty() => Finding::warning(
            WHAT,
            format!("local: when a standby takes over, {LOST}; set it to on for this user"),
        ),
        _ if standbys.is_empty() => Finding::good(
            WHAT,
            format!(
                "{commit}, without synchronous standbys: a crash loses nothing; if a standby \
                     takes over, {LOST}"
            ),
        ),
        _ => Finding::good(WHAT, format!("{commit}, with synchronous standbys")),
    }
}

async fn notifications(database: &PostgresDatabase, pool: &ConnectionPool) -> Finding {
    const WHAT: &str = "notifications";
    let statements = &database.statements;
    let mut wakeup = Wakeup::new(database.address.connect.clone(), statements.channel.clone());
    // Repeated, because nothing says when the other connection listens.
    let notifying = async {
        loop {
            let _ = pool.try_run(&statements.notify()).await;
            tokio::time::sleep(NOTIFICATION_LIMIT / 20).await;
        }
    };
    tokio::select! {
        () = wakeup.woken() => Finding::good(WHAT, "they arrive: logouts reach other nodes at once"),
        () = notifying => unknown(WHAT, &StepFault::of("no end")),
        () = tokio::time::sleep(NOTIFICATION_LIMIT) => Finding::good(
            WHAT,
            "they do not arrive, as through a pooler in transaction mode: logouts reach other \
             nodes within 250 ms",
        ),
    }
}

/// A text that the server does not have, or refuses.
fn unknown(what: &str, fault: &StepFault) -> Finding {
    Finding::warning(what, format!("could not be found out: {fault}"))
}

/// The first column of the first row of a query, which is a text.
async fn text(pool: &ConnectionPool, query: &str) -> Result<String, StepFault> {
    let rows = last(pool.try_run(query).await?).rows;
    let row: &PgRow = rows.first().ok_or_else(|| StepFault::of("there was no answer"))?;
    column(row, 0).map_err(|error| StepFault::of(error.0))
}
