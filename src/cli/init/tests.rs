//! Whatever is answered, the file says exactly that, and what is accepted passes `check`.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use toml::{Table, Value};

use super::answers::{Answers, SecretPlace, TlsOrigin, UserOrigin};
use super::deployment;
use super::template::gateway_toml;
use super::trial::problems;
use crate::config;

const HTPASSWD: &str = "alice:$2y$06$SdAkW8NZoNrP5c7U8YjOROFV2CUQjthtY4xJvwsK5awigb3DPDFw2\n";

/// A folder with the files that answers name.
struct Folder {
    dir: tempfile::TempDir,
}

impl Folder {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let made = rcgen::generate_simple_self_signed(["api.example.com".to_owned()]).unwrap();
        for (name, text) in [
            ("chain.pem", made.cert.pem()),
            ("key.pem", made.signing_key.serialize_pem()),
            ("htpasswd", HTPASSWD.to_owned()),
            ("secret", "postgres://gateway:hunter2@localhost/shop\n".to_owned()),
        ] {
            fs::write(dir.path().join(name), text).unwrap();
            let mode = fs::Permissions::from_mode(0o600);
            fs::set_permissions(dir.path().join(name), mode).unwrap();
        }
        Self { dir }
    }

    fn config(&self) -> PathBuf {
        self.dir.path().join("gateway.toml")
    }

    fn is_accepted(&self, answers: &Answers) -> bool {
        problems(answers, &self.config(), &environment).is_empty()
    }
}

#[expect(clippy::unnecessary_wraps, reason = "the environment may lack a variable")]
fn environment(_: &str) -> Option<String> {
    Some("postgres://gateway:hunter2@localhost/shop".to_owned())
}

fn text(text: &str) -> String {
    text.to_owned()
}

/// Right answers to the question where the users live, one of each kind.
fn origins() -> Vec<UserOrigin> {
    let mut origins = vec![
        UserOrigin::NewFile,
        UserOrigin::Htpasswd { path: text("htpasswd") },
        UserOrigin::Legacy {
            url: text("http://10.0.0.5:8080"),
            dialect: text("webitel"),
            allow_http: true,
        },
    ];
    if cfg!(feature = "sql") {
        let query = text("select name, password from users where name = $1");
        origins.extend(
            [
                SecretPlace::Inline(text("postgres://gateway@localhost/shop")),
                SecretPlace::Variable(text("SHOP_URL")),
                SecretPlace::File(text("secret")),
            ]
            .map(|url| UserOrigin::Sql { url, query: query.clone() }),
        );
    }
    if cfg!(feature = "ldap") {
        let ldap = |bind| UserOrigin::Ldap {
            url: text("ldaps://ldap.example"),
            base: text("ou=people,dc=example,dc=com"),
            filter: text("(uid={name})"),
            bind,
        };
        let password = SecretPlace::File(text("secret"));
        origins.extend([ldap(None), ldap(Some((text("cn=gateway,dc=example,dc=com"), password)))]);
    }
    origins
}

fn tls_origins() -> [TlsOrigin; 4] {
    [
        TlsOrigin::SelfSigned,
        TlsOrigin::Files { chain: text("chain.pem"), key: text("key.pem") },
        TlsOrigin::Proxy { peers: vec![text("10.0.0.0/8"), text("::1")] },
        TlsOrigin::Acme { email: Some(text("ops@example.org")) },
    ]
}

fn dialect_sets() -> Vec<Vec<String>> {
    let all: Vec<String> = crate::dialect::Dialect::builtin_names().map(text).collect();
    // Two of the dialects have the same paths; both at once want a prefix.
    let all: Vec<String> = all.into_iter().filter(|name| name != "spring_form").collect();
    let without_mail = all.iter().filter(|name| *name != "avenia").cloned();
    let mut sets: Vec<Vec<String>> = all.iter().map(|name| vec![name.clone()]).collect();
    sets.push(vec![text("spring_form")]);
    sets.push(if cfg!(feature = "mail") { all } else { without_mail.collect() });
    sets
}

/// Every choice with right values is accepted, so the other tests are about something.
#[test]
fn every_choice_gives_a_file_that_passes_check() {
    let folder = Folder::new();
    for dialects in dialect_sets() {
        for users in origins() {
            for tls in tls_origins() {
                let mut answers = Answers {
                    dialects: dialects.clone(),
                    users: users.clone(),
                    tls: tls.clone(),
                    // No authority issues a certificate for `localhost`.
                    names: vec![text("api.example.org")],
                    ..Answers::trial()
                };
                if matches!(tls, TlsOrigin::Acme { .. }) && !cfg!(feature = "acme") {
                    continue;
                }
                if answers.sends_mail() {
                    answers.mail = Some((text("smtp.example:465"), text("login@example.com")));
                    if !cfg!(feature = "mail") {
                        continue;
                    }
                }
                let found = problems(&answers, &folder.config(), &environment);
                assert!(found.is_empty(), "{answers:?}: {found:?}\n{}", gateway_toml(&answers));
                assert_says(&answers);
            }
        }
    }
}

/// The file has exactly the tables and values of the answers.
fn assert_says(answers: &Answers) {
    let written = gateway_toml(answers);
    let table: Table = written.parse().unwrap_or_else(|error| panic!("{error}\n{written}"));
    const TABLES: [&str; 8] =
        ["listener", "token", "state", "users", "login", "mail", "upstream", "route"];
    for key in table.keys() {
        assert!(TABLES.contains(&key.as_str()), "{key}: {written}");
    }
    let at = |path: &str| at(&table, path);
    assert_eq!(at("upstream.0.servers"), Some(list(std::slice::from_ref(&answers.upstream))));
    assert_eq!(at("listener.0.address"), Some(answers.listen.clone().into()));
    assert_eq!(at("state.dir"), answers.state.clone().map(Value::from));
    let (server, from) = answers.mail.clone().unzip();
    assert_eq!(
        (at("mail.server"), at("mail.from")),
        (server.map(Value::from), from.map(Value::from))
    );
    for (number, dialect) in answers.dialects.iter().enumerate() {
        assert_eq!(at(&format!("login.{number}.dialect")), Some(dialect.clone().into()));
    }
    match &answers.tls {
        TlsOrigin::SelfSigned => {
            assert_eq!(at("listener.0.tls.self_signed"), Some(list(&answers.names)));
        }
        TlsOrigin::Files { chain, key } => {
            assert_eq!(at("listener.0.tls.certificates.0.chain"), Some(chain.clone().into()));
            assert_eq!(at("listener.0.tls.certificates.0.key"), Some(key.clone().into()));
        }
        TlsOrigin::Acme { email } => {
            assert_eq!(at("listener.0.acme.domains"), Some(list(&answers.names)));
            assert_eq!(at("listener.0.acme.email"), email.clone().map(Value::from));
        }
        TlsOrigin::Proxy { peers } => {
            assert_eq!(at("listener.0.trusted_proxies"), Some(list(peers)));
            assert_eq!(at("listener.0.tls"), None);
        }
    }
    for (key, value) in expected_users(&answers.users) {
        assert_eq!(at(&format!("users.0.{key}")), Some(value), "{key}: {written}");
    }
}

fn expected_users(users: &UserOrigin) -> Vec<(&'static str, Value)> {
    let secret = |place: &SecretPlace| match place {
        SecretPlace::Inline(value) => value.clone().into(),
        SecretPlace::Variable(name) => {
            Table::from_iter([(text("env"), name.clone().into())]).into()
        }
        SecretPlace::File(path) => Table::from_iter([(text("file"), path.clone().into())]).into(),
    };
    let some = |text: &String| Value::from(text.clone());
    match users {
        UserOrigin::NewFile => vec![("bootstrap", true.into())],
        UserOrigin::Htpasswd { path } => vec![("path", some(path))],
        UserOrigin::Sql { url, query } => vec![("url", secret(url)), ("query", some(query))],
        UserOrigin::Ldap { url, base, filter, bind } => {
            let mut expected =
                vec![("url", some(url)), ("base", some(base)), ("filter", some(filter))];
            if let Some((dn, password)) = bind {
                expected.extend([("bind_dn", some(dn)), ("bind_password", secret(password))]);
            }
            expected
        }
        UserOrigin::Legacy { url, dialect, .. } => {
            vec![("url", some(url)), ("dialect", some(dialect)), ("import", true.into())]
        }
    }
}

fn list(values: &[String]) -> Value {
    values.iter().cloned().map(Value::from).collect::<Vec<_>>().into()
}

/// The value at a path such as `users.0.name`.
fn at(table: &Table, path: &str) -> Option<Value> {
    let mut value = Value::from(table.clone());
    for step in path.split('.') {
        value = match value {
            Value::Array(list) => list.get(step.parse::<usize>().unwrap())?.clone(),
            Value::Table(table) => table.get(step)?.clone(),
            _ => return None,
        };
    }
    Some(value)
}

/// Right answers of which one or two are replaced by any text.
fn arbitrary_answers() -> impl Strategy<Value = Answers> {
    let pick = |count: usize| 0..count;
    let choices = (pick(origins().len()), pick(4), pick(dialect_sets().len()));
    let hostile = prop_oneof![
        any::<String>(),
        "[ -~]{0,24}",
        Just(text("x\"\n[admin]\naddress = \"0.0.0.0:1\"")),
        Just(text("localhost\" ] \n[[route]]\nauth = []\n#")),
        "https?://[a-z.]{1,12}(:[0-9]{1,5})?",
        "[a-z]{1,8}(\\.[a-z]{1,8}){0,2}",
        "/[a-z /]{0,12}",
    ];
    let replaced = prop::collection::vec((0_usize..12, hostile), 0..3);
    (choices, replaced).prop_map(|((users, tls, dialects), replaced)| {
        let mut answers = Answers {
            users: origins()[users].clone(),
            tls: tls_origins()[tls].clone(),
            dialects: dialect_sets()[dialects].clone(),
            names: vec![text("api.example.org")],
            ..Answers::trial()
        };
        if answers.sends_mail() {
            answers.mail = Some((text("smtp.example:587"), text("login@example.com")));
        }
        for (field, value) in replaced {
            replace(&mut answers, field, value);
        }
        answers
    })
}

fn replace(answers: &mut Answers, field: usize, value: String) {
    match field {
        0 => answers.upstream = value,
        1 => answers.names = vec![value, text("localhost")],
        2 => answers.listen = value,
        3 => answers.state = Some(value),
        4 => answers.mail = Some((value, text("login@example.com"))),
        5 => answers.mail = Some((text("smtp.example"), value)),
        6 => answers.dialects.push(value),
        7 | 8 => match &mut answers.tls {
            TlsOrigin::SelfSigned => answers.names.push(value),
            TlsOrigin::Files { chain, key } => *(if field == 7 { chain } else { key }) = value,
            TlsOrigin::Acme { email } => *email = Some(value),
            TlsOrigin::Proxy { peers } => peers.push(value),
        },
        _ => match &mut answers.users {
            UserOrigin::NewFile => {}
            UserOrigin::Htpasswd { path } => *path = value,
            UserOrigin::Sql { query, .. } if field == 9 => *query = value,
            UserOrigin::Sql { url, .. } => *url = SecretPlace::Inline(value),
            UserOrigin::Ldap { url, .. } if field == 9 => *url = value,
            UserOrigin::Ldap { base, .. } if field == 10 => *base = value,
            UserOrigin::Ldap { filter, .. } => *filter = value,
            UserOrigin::Legacy { url, .. } if field == 9 => *url = value,
            UserOrigin::Legacy { dialect, .. } => *dialect = value,
        },
    }
}

#[test]
fn a_compose_file_opened_a_plain_listener_to_the_world() {
    let ports = |tls, name: &str| {
        let listen = "0.0.0.0:8443".to_owned();
        let answers = Answers { tls, listen, names: vec![name.to_owned()], ..Answers::trial() };
        let compose = deployment::compose(&answers, Path::new("gateway.toml"));
        compose.lines().find_map(|line| Some(line.split_once("ports: ")?.1.to_owned()))
    };
    let proxy = || TlsOrigin::Proxy { peers: vec!["10.0.0.0/8".to_owned()] };

    let near = Some(r#"["127.0.0.1:8443:8443"]"#.to_owned());
    assert_eq!(ports(proxy(), "api.example.com"), near);
    assert_eq!(ports(TlsOrigin::SelfSigned, "localhost"), near);
    let open = Some(r#"["443:8443"]"#.to_owned());
    assert_eq!(ports(TlsOrigin::Acme { email: None }, "api.example.com"), open);
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 512, failure_persistence: None, ..ProptestConfig::default()
    })]

    #[test]
    fn an_answer_can_be_nothing_but_the_value_of_its_key(answers in arbitrary_answers()) {
        assert_says(&answers);
        let folder = Folder::new();
        if folder.is_accepted(&answers) {
            let written = gateway_toml(&answers);
            fs::write(folder.config(), &written).unwrap();
            let loaded = config::load(&folder.config(), &environment);
            prop_assert!(loaded.is_ok(), "{loaded:?}\n{written}");
        }
    }

    #[test]
    fn a_path_can_be_nothing_but_the_value_of_a_unit_or_compose_file(path in "[ -~]{1,20}") {
        let users = UserOrigin::Htpasswd { path: format!("/{path}") };
        let answers = Answers { users, state: Some(format!("/{path}")), ..Answers::trial() };
        let unit = deployment::drop_in(&answers, &Path::new("/etc").join(&path));
        let compose = deployment::compose(&answers, Path::new(&path));

        let keys: Vec<&str> = unit.lines().filter_map(|line| Some(line.split_once('=')?.0)).collect();
        prop_assert!(keys.iter().all(|key| {
            ["Environment", "ProtectHome", "AmbientCapabilities", "CapabilityBoundingSet"].contains(key)
        }), "{}", unit);
        let written = serde_json::Value::from(format!("/{path}").replace('$', "$$")).to_string();
        prop_assert_eq!(compose.matches(&format!("source: {written}, target: {written}")).count(), 1);
        prop_assert_eq!(compose.lines().count(), 19, "{}", compose);
    }
}
