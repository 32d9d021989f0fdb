//! Every command of the real program, as an operator types it.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use serde_json::{Value, json};

use crate::harness::gateway::PASSWORD;
use crate::harness::process::{
    CommandOutput, ECHO_ROUTES, Process, folder, root, run_in, tollhouse, until, write_config,
};

/// Runs a command in the folder.
fn run(dir: &tempfile::TempDir, words: &[&str]) -> CommandOutput {
    run_in(dir.path(), words, "")
}

fn append(path: &Path, text: &str) {
    let held = fs::read_to_string(path).unwrap();
    fs::write(path, format!("{held}{text}")).unwrap();
}

#[test]
fn a_good_configuration_is_told_to_be_good() {
    let (dir, _) = folder(ECHO_ROUTES);

    for words in [["check"].as_slice(), &["validate"], &["-t"], &["-c", "gateway.toml", "check"]] {
        assert_eq!(run(&dir, words).ok(), "gateway.toml: ok\n", "{words:?}");
    }
    assert!(!dir.path().join("state").exists(), "looking makes nothing");
}

#[test]
fn a_folder_of_ones_own_that_lacks_a_logins_key_is_told_by_check_and_by_run() {
    let (dir, _) = folder(&format!("keys = \"keys\"\n{ECHO_ROUTES}"));
    let path = dir.path().join("gateway.toml");
    let text = fs::read_to_string(&path).unwrap();
    let logins = "[{ dialect = \"native\" }, { dialect = \"nomic\" }, { dialect = \"aviate\" }]";
    fs::write(&path, text.replace("[{ dialect = \"native\" }]", logins)).unwrap();
    let keys = dir.path().join("keys");
    fs::create_dir(&keys).unwrap();
    let put = |name: &str, kind| {
        let key = rcgen::KeyPair::generate_for(kind).unwrap();
        fs::write(keys.join(name), key.serialize_pem()).unwrap();
        fs::set_permissions(keys.join(name), fs::Permissions::from_mode(0o600)).unwrap();
    };
    put("a.pem", &rcgen::PKCS_ECDSA_P256_SHA256);

    let told = run(&dir, &["check"]).failed(78, &["login `nomic` signs with RS256", "RS256.pem"]);
    assert!(told.contains("login `aviate` signs with RS256"), "every login: {told}");
    assert!(!told.contains("native"), "{told}");
    run(&dir, &["run"]).failed(78, &["login `nomic` signs with RS256", "an RSA key"]);
    assert!(!dir.path().join("state/keys").exists(), "looking makes nothing");

    put("b.RS256.pem", &rcgen::PKCS_RSA_SHA256);
    assert_eq!(run(&dir, &["check"]).ok(), "gateway.toml: ok\n", "what it said to do helped");
    put("c.pem", &rcgen::PKCS_ECDSA_P256_SHA256);
    fs::write(keys.join("c.pem"), "no key").unwrap();
    run(&dir, &["check"]).failed(78, &["c.pem", "is refused"]);
}

#[test]
fn every_problem_is_told_by_check_and_by_a_failed_start_in_the_same_words() {
    let (dir, _) = folder("[[route]]\npath = \"/\"\nupstrem = \"u\"\n[helth]\n");

    let told = run(&dir, &["check"]).failed(78, &["gateway.toml has", "upstrem", "helth"]);

    assert_eq!(run(&dir, &["-t"]).failed(78, &[]), told);
    assert_eq!(run(&dir, &["run"]).failed(78, &[]), told);
    assert_eq!(run(&dir, &[]).failed(78, &[]), told);
    assert!(!dir.path().join("state").exists(), "nothing was begun");
}

#[test]
fn a_missing_or_broken_configuration_is_told_with_its_name() {
    let (dir, _) = folder(ECHO_ROUTES);
    fs::write(dir.path().join("broken.toml"), "[[route]\n").unwrap();

    for words in [["check", "-c", "none.toml"], ["run", "-c", "none.toml"]] {
        run(&dir, &words).failed(78, &["none.toml"]);
    }
    run(&dir, &["check", "-c", "broken.toml"]).failed(78, &["broken.toml"]);
    run(&dir, &["dialect", "list", "-c", "broken.toml"]).failed(78, &["broken.toml"]);
}

#[test]
fn what_is_in_effect_is_shown_without_its_secrets() {
    let (dir, _) = folder(&format!(
        "{ECHO_ROUTES}
[mail]
server = \"127.0.0.1:1025\"
tls = \"none\"
from = \"gateway@example.com\"
username = \"gateway\"
password = {{ file = \"mail-password\" }}
"
    ));
    let secret = "hunter2-the-mail-password";
    fs::write(dir.path().join("mail-password"), secret).unwrap();
    let mode = fs::Permissions::from_mode(0o600);
    fs::set_permissions(dir.path().join("mail-password"), mode).unwrap();

    let shown = run(&dir, &["check", "--print"]).ok();

    assert!(!shown.contains(secret) && !shown.contains("hunter2"), "{shown}");
    for part in ["file = \"mail-password\"", "drain_timeout", "access_ttl", "gateway@example.com"] {
        assert!(shown.contains(part), "{part} is not in {shown}");
    }
    fs::write(dir.path().join("gateway.toml"), &shown).unwrap();
    assert_eq!(run(&dir, &["check", "--print"]).ok(), shown, "it is a configuration again");
}

#[test]
fn usage_is_told_with_status_2() {
    let (dir, _) = folder(ECHO_ROUTES);

    for (words, part) in [
        (["chek"].as_slice(), "check"),
        (&["--nonsense"], "--nonsense"),
        (&["user"], "Usage"),
        (&["user", "add"], "<NAME>"),
        (&["user", "add", "zoe", "password"], "password"),
        (&["session", "revoke"], "--all"),
        (&["session", "revoke", "--all", "--user", "alice"], "--user"),
        (&["session", "revoke", "--all", "--source", "staff"], "--source"),
        (&["session", "revoke", "--source", "staff"], "--user"),
        (&["session", "list", "--source", "staff"], "--user"),
        (&["token", "mint", "alice"], "--login"),
        (&["store", "backup"], "<FILE>"),
        (&["completions", "tcsh"], "tcsh"),
    ] {
        run(&dir, words).failed(2, &[part]);
    }
    assert!(run(&dir, &["--help"]).ok().contains("Usage"));
    assert!(run(&dir, &["--version"]).ok().starts_with("tollhouse "));
}

/// The gateway, whose folder it is, could not read it.
#[test]
fn a_users_file_that_root_made_was_roots() {
    const GATEWAY: u32 = 65_534;
    let (dir, _) = folder(ECHO_ROUTES);
    let file = dir.path().join("users.toml");
    if fs::metadata("/proc/self").unwrap().uid() != 0 {
        return;
    }
    fs::remove_file(&file).unwrap();
    std::os::unix::fs::chown(dir.path(), Some(GATEWAY), Some(GATEWAY)).unwrap();

    run_in(dir.path(), &["user", "add", "zoe"], "a long enough password\n").ok();

    let made = fs::metadata(&file).unwrap();
    assert_eq!((made.uid(), made.gid(), made.mode() & 0o777), (GATEWAY, GATEWAY, 0o600));
}

#[test]
fn users_are_added_changed_listed_and_removed() {
    let (dir, _) = folder(ECHO_ROUTES);
    let file = dir.path().join("users.toml");
    fs::remove_file(&file).unwrap();
    let add = ["user", "add", "zoe", "--email", "zoe@example.com", "--role", "ops"];

    let id = run_in(dir.path(), &add, "a long enough password\n").ok();

    let listed = |flag: &[&str]| run(&dir, &[&["user", "list"], flag].concat()).ok();
    let told: Value = serde_json::from_str(&listed(&["--json"])).unwrap();
    assert_eq!(told["id"], id.trim());
    assert_eq!((&told["name"], &told["roles"]), (&json!("zoe"), &json!(["ops"])));
    assert_eq!(told["disabled"], false);
    assert!(!listed(&["--json"]).contains("argon2"), "no hash is shown");
    assert!(fs::read_to_string(&file).unwrap().contains("$argon2id$"));

    run_in(dir.path(), &add, "another long password\n").failed(1, &["zoe"]);
    let passwd = ["user", "passwd", "zoe"];
    let before = fs::read_to_string(&file).unwrap();
    run_in(dir.path(), &passwd, "short\n").failed(1, &["password"]);
    run_in(dir.path(), &passwd, "").failed(1, &["no password on standard input"]);
    assert_eq!(fs::read_to_string(&file).unwrap(), before, "nothing was changed");
    run_in(dir.path(), &passwd, "quite another password\n").ok();
    assert_ne!(fs::read_to_string(&file).unwrap(), before);

    run(&dir, &["user", "disable", "zoe"]).ok();
    assert!(listed(&[]).contains("disabled"), "{}", listed(&[]));
    run(&dir, &["user", "enable", "zoe"]).ok();
    assert!(!listed(&[]).contains("disabled"), "{}", listed(&[]));
    for command in ["passwd", "disable", "enable", "remove"] {
        run(&dir, &["user", command, "yves"]).failed(1, &["yves"]);
    }
    run(&dir, &["user", "remove", "zoe", "--yes"]).ok();
    assert_eq!(listed(&[]), "");
}

#[tokio::test]
async fn a_user_who_was_added_beside_a_running_gateway_can_log_in() {
    let process = Process::with_echo("");
    let words = ["user", "add", "zoe"];

    run_in(process.dir.path(), &words, &format!("{PASSWORD}\n")).ok();

    let client = process.client();
    let since = std::time::Instant::now();
    loop {
        let login = json!({ "username": "zoe", "password": PASSWORD });
        let status = client.post("/auth/login").json(login).send().await.status;
        if status == 200 {
            break;
        }
        assert!(since.elapsed() < std::time::Duration::from_secs(8), "{status}");
        tokio::time::sleep(std::time::Duration::from_millis(500)).await;
    }
}

#[test]
fn the_users_file_that_is_meant_must_be_named_where_there_are_several() {
    let (dir, port) = folder("");
    let text = fs::read_to_string(dir.path().join("gateway.toml")).unwrap();
    let two = "users = [{ name = \"staff\", kind = \"file\", path = \"users.toml\" }, \
               { name = \"guests\", kind = \"file\", path = \"guests.toml\" }]";
    let line = text.lines().find(|line| line.starts_with("users")).unwrap();
    fs::write(dir.path().join("gateway.toml"), text.replace(line, two)).unwrap();
    assert_ne!(port, 0);

    run(&dir, &["user", "list"]).failed(1, &["--source"]);
    assert!(run(&dir, &["user", "--source", "staff", "list"]).ok().contains("alice"));
    run(&dir, &["user", "--source", "guests", "list"]).failed(1, &["guests.toml"]);
    run(&dir, &["user", "--source", "nobody", "list"]).failed(1, &["nobody"]);
}

#[test]
fn a_password_is_hashed_from_standard_input() {
    let (dir, _) = folder(ECHO_ROUTES);

    let hash = run_in(dir.path(), &["hash"], &format!("{PASSWORD}\n")).ok();

    assert!(hash.starts_with("$argon2id$v=19$") && hash.lines().count() == 1, "{hash}");
    run_in(dir.path(), &["hash"], "short\n").failed(1, &["password"]);
    run_in(dir.path(), &["hash"], "\n").failed(1, &["no password"]);
    assert!(run_in(dir.path(), &["hash", "--any"], "short\n").ok().starts_with("$argon2id$"));
}

#[test]
fn dialects_are_listed_and_shown_so_that_one_can_start_from_them() {
    let (dir, _) = folder(ECHO_ROUTES);
    let listed = run(&dir, &["dialect", "list"]).ok();
    assert_eq!(listed.lines().count(), 18, "{listed}");
    assert!(listed.contains("zabbix           Zabbix, API of version 6.4 and later"), "{listed}");
    for name in listed.lines().filter_map(|line| line.split_whitespace().next()) {
        let shown = run(&dir, &["dialect", "show", name]).ok();
        assert!(shown.parse::<toml::Table>().is_ok(), "{shown}");
    }
    let native = run(&dir, &["dialect", "show", "native"]).ok();
    let mut own: toml::Table = native.parse().unwrap();
    own.insert("name".to_owned(), "mine".into());
    let own = toml::Table::from_iter([("dialect".to_owned(), vec![own].into())]);
    append(&dir.path().join("gateway.toml"), &toml::to_string(&own).unwrap());
    assert_eq!(run(&dir, &["check"]).ok(), "gateway.toml: ok\n");

    let listed = run(&dir, &["dialect", "list"]).ok();
    let shown = run(&dir, &["dialect", "show", "mine"]).ok();

    assert!(
        listed.lines().any(|line| line.split_whitespace().eq(["mine", "in", "gateway.toml"])),
        "{listed}"
    );
    assert!(shown.contains("name = \"mine\""), "{shown}");
    run(&dir, &["dialect", "show", "mime"]).failed(1, &["no dialect `mime`", "native", "mine"]);
}

#[test]
fn completions_and_the_manual_name_every_command() {
    let dir = tempfile::tempdir().unwrap();

    run(&dir, &["man", "."]).ok();
    let reference = run(&dir, &["man", "--markdown"]).ok();
    let commands: Vec<&str> =
        reference.lines().filter_map(|line| line.strip_prefix("## tollhouse ")).collect();
    assert!(commands.len() > 35, "{reference}");

    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = run(&dir, &["completions", shell]).ok();
        for command in &commands {
            let word = command.rsplit(' ').next().unwrap();
            assert!(script.contains(word), "{command} is not completed by {shell}");
        }
    }
    for command in commands {
        let page = dir.path().join(format!("tollhouse-{}.1", command.replace(' ', "-")));
        assert!(page.exists(), "{command} has no page");
    }
}

#[test]
fn output_that_nobody_reads_to_its_end_is_no_fault() {
    let (dir, _) = folder(ECHO_ROUTES);

    for words in ["dialect show native", "dialect list", "check --print", "user list", "man"] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let words: Vec<&str> = words.split(' ').collect();
        let output =
            tollhouse().current_dir(dir.path()).args(&words).stdout(writer).output().unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stderr), "", "{words:?}");
        assert_eq!(output.status.code(), Some(0), "{words:?}");
    }
}

#[tokio::test]
async fn a_minted_token_works_until_its_session_is_revoked() {
    let process = Process::with_echo("");
    let client = process.client();

    let token = process.command(&["token", "mint", "alice", "--login", "native"]).ok();

    let token = token.trim();
    client.get("/").bearer(token).send().await.assert_status(200);
    let inspected = run_in(process.dir.path(), &["token", "inspect"], token).ok();
    let mut parts = serde_json::Deserializer::from_str(&inspected).into_iter::<Value>();
    let (head, claims) = (parts.next().unwrap().unwrap(), parts.next().unwrap().unwrap());
    assert_eq!(head["alg"], "ES256", "{inspected}");
    assert_eq!(claims["iss"], "https://gateway.example", "{inspected}");
    assert!(!inspected.contains(token.rsplit('.').next().unwrap()), "the signature is not shown");

    let listed = process.command(&["session", "list", "--json"]).ok();
    let session: Value = serde_json::from_str(&listed).unwrap();
    assert_eq!((&session["username"], &session["login"]), (&json!("alice"), &json!("native")));
    let id = session["id"].as_str().unwrap();
    assert!(process.command(&["session", "list"]).ok().starts_with(id));
    assert_eq!(process.command(&["session", "revoke", id]).ok(), "1 session ended\n");
    client.get("/").bearer(token).send().await.assert_status(401).assert_code("token_revoked");
    assert_eq!(process.command(&["session", "list"]).ok(), "");
    until("audit", || process.stdout().contains("\"mint\"").then_some(()));
}

#[tokio::test]
async fn sessions_are_listed_and_revoked_by_user_and_all() {
    let process = Process::with_echo("");
    let client = process.client();
    let (alice, bob) = (process.token("alice").await, process.token("bob").await);
    process.token("alice").await;

    let of_alice = process.command(&["session", "list", "--user", "alice"]).ok();
    assert_eq!(of_alice.lines().count(), 2, "{of_alice}");
    let revoke = |words: &[&str]| process.command(&[&["session", "revoke"], words].concat());
    revoke(&["--user", "nobody"]).failed(1, &["user `nobody` is not known"]);
    revoke(&["not-an-id"]).failed(1, &["not a UUID"]);
    revoke(&["--user", "alice", "--source", "shop"]).failed(1, &["user source `shop`"]);
    let theirs = process.command(&["session", "list", "--user", "bob", "--source", "staff"]).ok();
    assert_eq!(theirs.lines().count(), 1, "{theirs}");
    assert_eq!(revoke(&["--user", "alice@example.com"]).ok(), "2 sessions ended\n");
    client.get("/").bearer(&alice).send().await.assert_status(401);
    client.get("/").bearer(&bob).send().await.assert_status(200);

    assert_eq!(revoke(&["--all", "--yes"]).ok(), "1 session ended\n");
    client.get("/").bearer(&bob).send().await.assert_status(401);
    let later = process.token("bob").await;
    client.get("/").bearer(&later).send().await.assert_status(200);
    let mint = |user, login| process.command(&["token", "mint", user, "--login", login]);
    mint("alice", "other").failed(1, &["login `other` is not known"]);
    mint("nobody", "native").failed(1, &["user `nobody` is not known"]);
    mint("dora", "native").failed(1, &["disabled"]);
}

#[test]
fn a_token_is_inspected_without_being_verified() {
    let dir = tempfile::tempdir().unwrap();
    let inspect = |text: &str| run_in(dir.path(), &["token", "inspect"], text);

    // {"alg":"none"} and {"sub":"x"}
    assert!(inspect("eyJhbGciOiJub25lIn0.eyJzdWIiOiJ4In0.\n").ok().contains("\"sub\": \"x\""));
    inspect("two.parts").failed(1, &["three parts"]);
    inspect("!!!.eyJzdWIiOiJ4In0.x").failed(1, &["header is not base64url"]);
    inspect("eyJhbGciOiJub25lIn0.AAAA.x").failed(1, &["claims is not JSON"]);
}

#[tokio::test]
async fn attempts_are_forgotten_when_an_operator_says_so() {
    let process =
        Process::with_echo("[login_limits]\nper_account = { attempts = 2, per = \"10m\" }\n");
    let client = process.client();
    let login = |password| {
        let login = json!({ "username": "alice", "password": password });
        client.post("/auth/login").json(login).send()
    };
    for _ in 0..2 {
        login("wrong password").await.assert_status(401);
    }
    login(PASSWORD).await.assert_status(429);

    process.command(&["limits", "lift", "alice"]).ok();

    login(PASSWORD).await.assert_status(200);
}

#[tokio::test]
async fn keys_are_listed_rotated_imported_and_revoked() {
    let process = Process::with_echo("");
    let client = process.client();
    let token = process.token("alice").await;
    let count = || process.command(&["key", "list"]).ok().lines().count();
    assert_eq!(count(), 1);

    let rotated = process.command(&["key", "rotate"]).ok();
    assert_eq!(rotated.lines().count(), 2, "{rotated}");
    assert!(rotated.contains("pending") && rotated.contains("signing"), "{rotated}");
    client.get("/").bearer(&token).send().await.assert_status(200);
    let published = client.get("/.well-known/jwks.json").send().await.json();
    assert_eq!(published["keys"].as_array().unwrap().len(), 2, "{published}");

    let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
    fs::write(process.path("own.pem"), key.serialize_pem()).unwrap();
    let imported = process.command(&["key", "import", "own.pem"]).ok();
    assert!(imported.contains("EdDSA") && imported.lines().count() == 3, "{imported}");
    fs::write(process.path("bad.pem"), "-----BEGIN NONSENSE-----\n").unwrap();
    process.command(&["key", "import", "bad.pem"]).failed(1, &[]);
    process.command(&["key", "import", "none.pem"]).failed(1, &["none.pem"]);
    process.command(&["key", "rotate", "--algorithm", "XY1"]).failed(1, &["`XY1`"]);
    process.command(&["key", "revoke", "unknown", "--yes"]).failed(1, &["unknown"]);

    let signing = imported.lines().find(|line| line.contains("signing")).unwrap();
    let kid = signing.split_whitespace().next().unwrap();
    let left = process.command(&["key", "revoke", kid, "--yes"]).ok();
    assert!(!left.contains(kid), "{left}");
    client.get("/").bearer(&token).send().await.assert_status(401);
    let token = process.token("alice").await;
    client.get("/").bearer(&token).send().await.assert_status(200);
}

#[tokio::test]
async fn a_gateway_starts_on_a_backup_of_another_s_store() {
    let process = Process::with_echo("");
    let kept = process.command(&["token", "mint", "alice", "--login", "native"]).ok();
    let ended = process.token("bob").await;
    process.command(&["session", "revoke", "--user", "bob"]).ok();

    let told = process.command(&["store", "backup", "copy.redb"]).ok();

    assert_eq!(told.trim(), process.path("copy.redb").display().to_string());
    process.command(&["store", "backup", "none/copy.redb"]).failed(1, &["none"]);
    process.command(&["store", "backup", "copy.redb"]).failed(1, &["copy.redb"]);
    let (dir, port) = folder(ECHO_ROUTES);
    let state = dir.path().join("state");
    fs::create_dir_all(state.join("keys")).unwrap();
    fs::copy(process.path("copy.redb"), state.join("store.redb")).unwrap();
    for key in fs::read_dir(process.path("state/keys")).unwrap() {
        let key = key.unwrap();
        fs::copy(key.path(), state.join("keys").join(key.file_name())).unwrap();
    }
    let second = Process::start(dir, port);
    second.client().get("/").bearer(kept.trim()).send().await.assert_status(200);
    second.client().get("/").bearer(&ended).send().await.assert_status(401);
}

#[tokio::test]
async fn a_reload_puts_a_new_route_to_work_and_a_broken_file_changes_nothing() {
    let process = Process::with_echo("");
    let client = process.client();
    let route = |path: &str| {
        let keys = format!("[[route]]\npath = \"{path}\"\nupstream = \"u\"\nauth = []\n");
        append(&process.path("gateway.toml"), &keys);
    };
    client.get("/first").send().await.assert_status(401);

    route("/first");
    process.signal("HUP");
    process.wait_for_stderr("reloaded");
    client.get("/first").send().await.assert_status(200);

    route("/second");
    assert_eq!(process.command(&["reload"]).ok(), "reloaded\n");
    client.get("/second").send().await.assert_status(200);

    let good = fs::read_to_string(process.path("gateway.toml")).unwrap();
    append(&process.path("gateway.toml"), "[[route]]\npath = \"/third\"\nupstrem = \"u\"\n");
    process.signal("HUP");
    process.wait_for_stderr("not reloaded, the last configuration stays");
    process.wait_for_stderr("upstrem");
    client.get("/second").send().await.assert_status(200);
    client.get("/third").send().await.assert_status(401);

    fs::write(process.path("gateway.toml"), good).unwrap();
    assert_eq!(process.command(&["reload"]).ok(), "reloaded\n");
}

#[tokio::test]
async fn the_admin_socket_tells_why_a_file_was_not_put_to_work() {
    let process = Process::with_echo("");
    // The command reads another file than the gateway, so the gateway is the one that refuses.
    let good = process.path("good.toml");
    fs::copy(process.path("gateway.toml"), &good).unwrap();
    append(&process.path("gateway.toml"), "[helth]\n");

    process.command(&["reload", "-c", "good.toml"]).failed(1, &["helth", "health"]);
    process.client().get("/open/").send().await.assert_status(200);
}

#[test]
fn commands_for_a_running_gateway_say_that_there_is_none() {
    let (dir, _) = folder(ECHO_ROUTES);

    for words in [
        ["session", "list"].as_slice(),
        &["session", "revoke", "--all", "--yes"],
        &["token", "mint", "alice", "--login", "native"],
        &["limits", "lift", "alice"],
        &["key", "list"],
        &["store", "backup", "copy.redb"],
        &["reload"],
    ] {
        run(&dir, words).failed(1, &["no gateway answers on", "admin.sock"]);
    }
}

#[test]
fn a_missing_users_file_is_told_with_what_to_do() {
    let (dir, _) = folder(ECHO_ROUTES);
    fs::remove_file(dir.path().join("users.toml")).unwrap();

    run(&dir, &["run"]).failed(78, &["users.toml", "tollhouse user add", "bootstrap = true"]);

    run(&dir, &["user", "list"]).failed(1, &["users.toml"]);
    run_in(dir.path(), &["user", "add", "zoe"], &format!("{PASSWORD}\n")).ok();
    assert_eq!(run(&dir, &["check"]).ok(), "gateway.toml: ok\n", "what it said to do helped");
}

#[test]
fn a_first_user_can_be_added_before_there_is_a_state_folder() {
    let dir = tempfile::tempdir().unwrap();
    fs::copy(root().join("gateway.toml"), dir.path().join("gateway.toml")).unwrap();

    run_in(dir.path(), &["user", "add", "zoe"], &format!("{PASSWORD}\n")).ok();

    let mode = |name| fs::metadata(dir.path().join(name)).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode("state"), mode("state/users.toml")), (0o700, 0o600));
}

#[test]
fn users_can_be_changed_whatever_else_is_wrong_with_the_configuration() {
    let (dir, _) = folder("[helth]\n");

    run(&dir, &["user", "disable", "bob"]).ok();

    let guests = "users = [{ name = \"guests\", kind = \"file\", pth = \"guests.toml\" }]\n";
    fs::write(dir.path().join("gateway.toml"), guests).unwrap();
    run(&dir, &["user", "list"]).failed(78, &["users[0].pth", "did you mean"]);
}

#[test]
fn a_broken_users_file_is_told_with_its_line() {
    let (dir, _) = folder(ECHO_ROUTES);
    append(&dir.path().join("users.toml"), "\n[[user]]\nname = 7\n");

    run(&dir, &["run"]).failed(78, &["users.toml", "line"]);
}

#[test]
fn a_damaged_or_missing_store_is_refused_with_what_to_do() {
    let (dir, port) = folder(ECHO_ROUTES);
    let mut first = Process::start(dir, port);
    until("served", || first.path("state/admin.sock").exists().then_some(()));
    first.signal("TERM");
    assert_eq!(first.wait(), Some(0), "{}", first.stderr());
    let store = first.path("state/store.redb");
    fs::write(&store, "this is no database").unwrap();

    let refused = ["store.redb", "is damaged", "restore a backup", "--new-state"];
    first.command(&["run"]).failed(1, &refused);
    assert_eq!(fs::read(&store).unwrap(), b"this is no database", "left as it was");

    fs::remove_file(&store).unwrap();
    first.command(&["run"]).failed(1, &["store.redb", "is missing", "--new-state"]);
    assert!(!store.exists());
}

#[test]
fn a_second_gateway_is_refused_and_the_first_goes_on() {
    let first = Process::with_echo("");
    let (other, _) = folder("");
    write_config(other.path(), first.port, ECHO_ROUTES);

    let port = first.port.to_string();
    run(&other, &["run"]).failed(1, &[&port, "in use", "running already"]);
    first.command(&["run"]).failed(1, &["one gateway for each state folder"]);
    let (taken, port) = folder("");
    let admin = format!("[admin]\naddress = \"127.0.0.1:{}\"\n{ECHO_ROUTES}", first.port);
    write_config(taken.path(), port, &admin);
    run(&taken, &["run"]).failed(1, &["admin", &first.port.to_string(), "in use"]);

    assert!(first.command(&["key", "list"]).ok().contains("signing"));
}
