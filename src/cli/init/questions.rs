//! The questions of `tollhouse init`, in the order in which they are asked.
//!
//! The meaning of an answer is in `answers`, how it is got in `interview`.

use std::net::SocketAddr;
use std::path::Path;

use clap::ValueEnum;
use http::Uri;

use super::super::place::GatewayPlace;
use super::super::{CommandError, environment};
use super::answers::{Answers, FolderRule, SecretPlace, TlsOrigin, UserOrigin};
use super::args::{InitArgs, TlsKind, UsersKind};
use super::interview::{Interview, Question};
use crate::dialect::Dialect;
use crate::settings::HttpUsers;

/// The state folder of a service and of a container.
const SERVICE_STATE: &str = "/var/lib/tollhouse";
/// The address that a container listens on; the host's port is another matter.
const CONTAINER_ADDRESS: &str = "0.0.0.0:8443";

/// The answers before the first question.
pub(super) fn first_answers(args: &InitArgs, place: &GatewayPlace) -> Answers {
    let state = place.state.as_ref().map(|state| state.display().to_string());
    let is_service = args.systemd || args.compose;
    let state = state.or_else(|| is_service.then(|| SERVICE_STATE.to_owned()));
    Answers { state, ..Answers::trial() }
}

/// Asks everything that is to be known for these flags.
pub(super) fn ask_all(
    interview: &mut Interview<'_>,
    args: &InitArgs,
    path: &Path,
) -> Result<(), CommandError> {
    let folder = path.parent().unwrap_or(Path::new(""));
    let is_here = [Path::new(""), Path::new(".")].contains(&folder);
    // The service and the container use the file elsewhere.
    let rule = if is_here && !args.systemd && !args.compose {
        FolderRule::Same
    } else {
        FolderRule::Elsewhere
    };
    ask_upstream(interview, args)?;
    ask_dialects(interview, args)?;
    ask_users(interview, args, rule)?;
    ask_names(interview, args)?;
    ask_tls(interview, args, rule)?;
    ask_listen(interview, args)
}

fn ask_upstream(interview: &mut Interview<'_>, args: &InitArgs) -> Result<(), CommandError> {
    let question = Question {
        flag: "--upstream URL",
        text: "Which service is protected? http://HOST:PORT, https://HOST, or unix:/PATH;\n\
               builtin:echo answers with what it received, for a try.",
        default: Some("builtin:echo"),
        is_optional: false,
    };
    interview.ask(&question, args.upstream.as_deref(), |answers, text| {
        text.clone_into(&mut answers.upstream);
        Ok(())
    })
}

fn ask_dialects(interview: &mut Interview<'_>, args: &InitArgs) -> Result<(), CommandError> {
    let question = Question {
        flag: "--dialect NAME",
        text: "How do its clients log in? native (for new clients), webitel, datarhei, aviate, nomic,\n\
               avenia; several with commas between them.",
        default: Some("native"),
        is_optional: false,
    };
    interview.ask(&question, joined(&args.dialects).as_deref(), |answers, text| {
        let dialects = listed(text);
        if let Some(unknown) = dialects.iter().find(|name| Dialect::builtin(name).is_none()) {
            let known = Dialect::builtin_names().collect::<Vec<_>>().join(", ");
            return Err(format!("names no dialect: there is no `{unknown}`, but {known}"));
        }
        if dialects.is_empty() {
            return Err("names no dialect".to_owned());
        }
        answers.dialects = dialects;
        answers.mail = answers.sends_mail().then(|| {
            // Both are asked for next.
            ("127.0.0.1:25".to_owned(), "login@localhost".to_owned())
        });
        Ok(())
    })?;
    if interview.answers.mail.is_some() { ask_mail(interview, args) } else { Ok(()) }
}

fn ask_mail(interview: &mut Interview<'_>, args: &InitArgs) -> Result<(), CommandError> {
    let server = Question {
        flag: "--mail-server SERVER",
        text: "This dialect sends one-time codes. By which mail server? HOST:PORT, with STARTTLS.",
        default: None,
        is_optional: false,
    };
    interview.ask(&server, args.mail_server.as_deref(), |answers, text| {
        let from = answers.mail.take().map(|(_, from)| from).unwrap_or_default();
        answers.mail = Some((text.to_owned(), from));
        Ok(())
    })?;
    let from = Question {
        flag: "--mail-from ADDRESS",
        text: "From which address? login@example.com, say.",
        default: None,
        is_optional: false,
    };
    interview.ask(&from, args.mail_from.as_deref(), |answers, text| {
        let server = answers.mail.take().map(|(server, _)| server).unwrap_or_default();
        answers.mail = Some((server, text.to_owned()));
        Ok(())
    })
}

fn ask_users(
    interview: &mut Interview<'_>,
    args: &InitArgs,
    rule: FolderRule,
) -> Result<(), CommandError> {
    let question = Question {
        flag: "--users KIND",
        text: "Where do the users live? file (a new one, with a first user), htpasswd, sql, ldap, or\n\
               legacy (the legacy login is asked, and passwords are imported).",
        default: Some("file"),
        is_optional: false,
    };
    let given = args.users.and_then(|kind| kind.to_possible_value());
    let given = given.as_ref().map(clap::builder::PossibleValue::get_name);
    let kinds = [
        ("file", UsersKind::File),
        ("htpasswd", UsersKind::Htpasswd),
        ("sql", UsersKind::Sql),
        ("ldap", UsersKind::Ldap),
        ("legacy", UsersKind::Legacy),
    ];
    match interview.choose(&question, given, &kinds)? {
        None | Some(UsersKind::File) => Ok(()),
        Some(UsersKind::Htpasswd) => ask_htpasswd(interview, args, rule),
        Some(UsersKind::Sql) => ask_sql(interview, args, rule),
        Some(UsersKind::Ldap) => ask_ldap(interview, args, rule),
        Some(UsersKind::Legacy) => ask_legacy(interview, args),
    }
}

fn ask_htpasswd(
    interview: &mut Interview<'_>,
    args: &InitArgs,
    rule: FolderRule,
) -> Result<(), CommandError> {
    let question = Question {
        flag: "--htpasswd FILE",
        text: "Which file? It is made by `htpasswd -B`.",
        default: None,
        is_optional: false,
    };
    interview.ask(&question, args.htpasswd.as_deref(), |answers, text| {
        answers.users = UserOrigin::Htpasswd { path: rule.path(text) };
        Ok(())
    })
}

fn ask_sql(
    interview: &mut Interview<'_>,
    args: &InitArgs,
    rule: FolderRule,
) -> Result<(), CommandError> {
    let url = Question {
        flag: "--sql-url URL",
        text: "Which database? postgres://USER@HOST/DB, mysql://USER@HOST/DB or sqlite:PATH. An URL with\n\
               a password stands elsewhere: env:NAME (a variable that is set) or file:PATH.",
        default: None,
        is_optional: false,
    };
    interview.ask(&url, args.sql_url.as_deref(), |answers, text| {
        let url = SecretPlace::parse(text, rule);
        let query = format!("select name, password from users where name = {}", bound_name(&url));
        answers.users = UserOrigin::Sql { url, query };
        Ok(())
    })?;
    let query = Question {
        flag: "--sql-query QUERY",
        text: "Which query finds one user by a name? The name is $1 (in MySQL and MariaDB ?), and the\n\
               columns are called id, name, email, password, roles, disabled; name and password are\n\
               needed: select name, password from users where name = $1",
        default: None,
        is_optional: false,
    };
    interview.ask(&query, args.sql_query.as_deref(), |answers, text| {
        if let UserOrigin::Sql { query, .. } = &mut answers.users {
            text.clone_into(query);
        }
        Ok(())
    })
}

/// How the database of this URL writes the first bound value. A secret that cannot be read is found
/// by the check.
fn bound_name(url: &SecretPlace) -> &'static str {
    let text = match url {
        SecretPlace::Inline(url) => url.clone(),
        SecretPlace::Variable(name) => environment(name).unwrap_or_default(),
        SecretPlace::File(path) => std::fs::read_to_string(path).unwrap_or_default(),
    };
    if text.starts_with("mysql:") || text.starts_with("mariadb:") { "?" } else { "$1" }
}

fn ask_ldap(
    interview: &mut Interview<'_>,
    args: &InitArgs,
    rule: FolderRule,
) -> Result<(), CommandError> {
    ask_directory(interview, args)?;
    let dn = Question {
        flag: "--ldap-bind-dn DN",
        text: "As whom are searches made? A DN; or - for nobody.",
        default: Some("-"),
        is_optional: true,
    };
    let Some(dn) = interview.text(&dn, args.ldap_bind_dn.as_deref())?.filter(|dn| dn != "-") else {
        return Ok(());
    };
    let password = Question {
        flag: "--ldap-bind-password PLACE",
        text: "Where is its password? env:NAME (a variable that is set) or file:PATH.",
        default: None,
        is_optional: false,
    };
    interview.ask(&password, args.ldap_bind_password.as_deref(), |answers, text| {
        if let UserOrigin::Ldap { bind, .. } = &mut answers.users {
            *bind = Some((dn.clone(), SecretPlace::parse(text, rule)));
        }
        Ok(())
    })
}

/// The directory itself: where it is, and how users are found in it.
fn ask_directory(interview: &mut Interview<'_>, args: &InitArgs) -> Result<(), CommandError> {
    const FILTER: &str = "(uid={name})";
    let url = Question {
        flag: "--ldap-url URL",
        text: "Which directory? ldaps://HOST, or ldap://HOST with StartTLS.",
        default: None,
        is_optional: false,
    };
    interview.ask(&url, args.ldap_url.as_deref(), |answers, text| {
        // The others are asked for next.
        let base = "dc=example,dc=com".to_owned();
        let url = text.to_owned();
        let filter = FILTER.to_owned();
        answers.users = UserOrigin::Ldap { url, base, filter, bind: None };
        Ok(())
    })?;
    let base = Question {
        flag: "--ldap-base DN",
        text: "Below which entry are the users? ou=people,dc=example,dc=com, say.",
        default: None,
        is_optional: false,
    };
    interview.ask(&base, args.ldap_base.as_deref(), |answers, text| {
        if let UserOrigin::Ldap { base, .. } = &mut answers.users {
            text.clone_into(base);
        }
        Ok(())
    })?;
    let filter = Question {
        flag: "--ldap-filter FILTER",
        text: "Which filter finds one user by {name}? In Active Directory (sAMAccountName={name}).",
        default: Some(FILTER),
        is_optional: true,
    };
    interview.ask(&filter, args.ldap_filter.as_deref(), |answers, text| {
        if let UserOrigin::Ldap { filter, .. } = &mut answers.users {
            text.clone_into(filter);
        }
        Ok(())
    })
}

fn ask_legacy(interview: &mut Interview<'_>, args: &InitArgs) -> Result<(), CommandError> {
    let first = interview.answers.dialects.first().cloned();
    let dialect = Question {
        flag: "--legacy-dialect NAME",
        text: "Which dialect does the legacy login speak?",
        default: first.as_deref(),
        is_optional: true,
    };
    interview.ask(&dialect, args.legacy_dialect.as_deref(), |answers, text| {
        let url = "https://legacy.example".to_owned();
        let dialect = text.to_owned();
        answers.users = UserOrigin::Legacy { url, dialect, allow_http: false };
        Ok(())
    })?;
    let url = Question {
        flag: "--legacy-url URL",
        text: "Where is the legacy login? The dialect's paths come after this URL.",
        default: None,
        is_optional: false,
    };
    let is_plain = |text: &str| {
        HttpUsers::parse_url(text).as_ref().is_some_and(|url: &Uri| HttpUsers::is_in_the_clear(url))
    };
    interview.ask(&url, args.legacy_url.as_deref(), |answers, text| {
        if let UserOrigin::Legacy { url, allow_http, .. } = &mut answers.users {
            text.clone_into(url);
            // Whether that is accepted is the next question.
            *allow_http = is_plain(text);
        }
        Ok(())
    })?;
    let is_in_the_clear =
        matches!(interview.answers.users, UserOrigin::Legacy { allow_http: true, .. });
    let risk = "Every password travels to it in the clear. Is that accepted?";
    if is_in_the_clear && !interview.confirm(risk, args.allow_http)? {
        return Err(CommandError::Usage(anyhow::anyhow!(
            "--legacy-url: sends every password in the clear: write https://, or --allow-http"
        )));
    }
    Ok(())
}

fn ask_names(interview: &mut Interview<'_>, args: &InitArgs) -> Result<(), CommandError> {
    let question = Question {
        flag: "--name HOST",
        text: "By which host names do clients call? Several with commas between them; the first is the\n\
               issuer of tokens.",
        default: Some("localhost"),
        is_optional: false,
    };
    interview.ask(&question, joined(&args.names).as_deref(), |answers, text| {
        answers.names = listed(text);
        // A self-signed certificate has all of them in it, so the check looks at each.
        if answers.names.is_empty() { Err("names no host".to_owned()) } else { Ok(()) }
    })
}

fn ask_tls(
    interview: &mut Interview<'_>,
    args: &InitArgs,
    rule: FolderRule,
) -> Result<(), CommandError> {
    let is_local = interview.answers.has_local_names();
    let has_files = args.certificate.is_some() || args.key.is_some();
    let question = Question {
        flag: "--tls KIND",
        text: "Where does TLS come from? self-signed (for a try), files (a chain and a key), acme (Let's\n\
               Encrypt issues it), or proxy (TLS ends in front of the gateway).",
        default: Some(if is_local && !has_files { "self-signed" } else { "files" }),
        is_optional: is_local || has_files,
    };
    let given = args.tls.and_then(|kind| kind.to_possible_value());
    let given = given.as_ref().map(clap::builder::PossibleValue::get_name);
    let kinds = [
        ("self-signed", TlsKind::SelfSigned),
        ("files", TlsKind::Files),
        ("acme", TlsKind::Acme),
        ("proxy", TlsKind::Proxy),
    ];
    match interview.choose(&question, given, &kinds)? {
        None | Some(TlsKind::SelfSigned) => Ok(()),
        Some(TlsKind::Files) => ask_certificate(interview, args, rule),
        Some(TlsKind::Acme) => ask_acme(interview, args),
        Some(TlsKind::Proxy) => ask_proxies(interview, args),
    }
}

fn ask_acme(interview: &mut Interview<'_>, args: &InitArgs) -> Result<(), CommandError> {
    let question = Question {
        flag: "--acme-email ADDRESS",
        text: "Where does Let's Encrypt reach the operator? An e-mail address; or - for nowhere.",
        default: Some("-"),
        is_optional: true,
    };
    interview.ask(&question, args.acme_email.as_deref(), |answers, text| {
        answers.tls = TlsOrigin::Acme { email: (text != "-").then(|| text.to_owned()) };
        Ok(())
    })
}

fn ask_certificate(
    interview: &mut Interview<'_>,
    args: &InitArgs,
    rule: FolderRule,
) -> Result<(), CommandError> {
    let chain = Question {
        flag: "--certificate FILE",
        text: "In which file is the certificate chain (PEM)?",
        default: None,
        is_optional: false,
    };
    // The key is asked for next, so that nothing is said of it here.
    let unfinished = Some("certificates[0].key");
    interview.ask_part(&chain, args.certificate.as_deref(), unfinished, |answers, text| {
        answers.tls = TlsOrigin::Files { chain: rule.path(text), key: String::new() };
        Ok(())
    })?;
    let key = Question {
        flag: "--key FILE",
        text: "And its private key (PEM)?",
        default: None,
        is_optional: false,
    };
    interview.ask(&key, args.key.as_deref(), |answers, text| {
        if let TlsOrigin::Files { key, .. } = &mut answers.tls {
            *key = rule.path(text);
        }
        Ok(())
    })
}

fn ask_proxies(interview: &mut Interview<'_>, args: &InitArgs) -> Result<(), CommandError> {
    let question = Question {
        flag: "--proxy NET",
        text: "At which addresses does TLS end? Their X-Forwarded-* is believed; several with commas.",
        // In a container every peer is another machine, so there is no usual answer.
        default: (!args.compose).then_some("127.0.0.1"),
        is_optional: !args.compose,
    };
    interview.ask(&question, joined(&args.proxies).as_deref(), |answers, text| {
        answers.tls = TlsOrigin::Proxy { peers: listed(text) };
        Ok(())
    })
}

fn ask_listen(interview: &mut Interview<'_>, args: &InitArgs) -> Result<(), CommandError> {
    let is_local = interview.answers.has_local_names();
    let default = match &interview.answers.tls {
        _ if args.compose => CONTAINER_ADDRESS,
        TlsOrigin::Proxy { .. } => "127.0.0.1:8080",
        _ if is_local => "127.0.0.1:8443",
        _ => "0.0.0.0:443",
    };
    let question = Question {
        flag: "--listen ADDRESS",
        text: "Where does it listen? ADDRESS:PORT, unix:/PATH, or fd:NAME for a socket of systemd.",
        default: Some(default),
        is_optional: true,
    };
    interview.ask(&question, args.listen.as_deref(), |answers, text| {
        if args.compose && ["127.", "localhost", "[::1]"].iter().any(|own| text.starts_with(own)) {
            return Err("is the container's own: nobody outside of it could call".to_owned());
        }
        if args.compose && text.parse::<SocketAddr>().is_err() {
            return Err("is no ADDRESS:PORT, which a container needs".to_owned());
        }
        text.clone_into(&mut answers.listen);
        Ok(())
    })
}

/// The values of a flag that may be given several times, as they are typed on the terminal.
fn joined(values: &[String]) -> Option<String> {
    (!values.is_empty()).then(|| values.join(","))
}

fn listed(text: &str) -> Vec<String> {
    let words = text.split([',', ' ']).map(str::trim);
    words.filter(|word| !word.is_empty()).map(str::to_owned).collect()
}
