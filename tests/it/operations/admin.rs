//! The operators' side of the real program.

use std::os::unix::fs::PermissionsExt;

use http::Method;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

use crate::harness::certs::Certificate;
use crate::harness::process::{Process, folder, free_port, until};
use crate::harness::{Client, Reply, Upstream};

/// A gateway with an admin address, a protected route `/` to `upstream` and one to nobody.
fn start(upstream: &Upstream) -> (Process, Client) {
    let port = free_port();
    let process = Process::plain(&format!(
        "[admin]\naddress = \"127.0.0.1:{port}\"\n\
         [[upstream]]\nname = \"api\"\nservers = [\"{}\"]\n\
         [[upstream]]\nname = \"gone\"\nservers = [\"http://127.0.0.1:{}\"]\n\
         [[route]]\nname = \"main\"\npath = \"/\"\nupstream = \"api\"\n\
         [[route]]\nname = \"lost\"\npath = \"/lost\"\nupstream = \"gone\"\nauth = []\n",
        upstream.url(),
        free_port(),
    ));
    let admin = Client::plain(([127, 0, 0, 1], port).into());
    // The clients' listener opens first.
    until("admin", || std::net::TcpStream::connect(admin.address).ok());
    (process, admin)
}

/// Asks the admin socket as `curl --unix-socket` would.
async fn ask(process: &Process, request: &str) -> String {
    let mut stream = UnixStream::connect(process.path("state/admin.sock")).await.unwrap();
    let request = format!("{request} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn nothing_can_be_read_or_changed_by_tcp_but_probes_and_metrics() {
    let upstream = Upstream::start().await;
    let (process, admin) = start(&upstream);
    let token = process.token("alice").await;

    for (method, path, status) in [
        (Method::GET, "/livez", 200),
        (Method::HEAD, "/readyz", 200),
        (Method::GET, "/metrics", 200),
        (Method::DELETE, "/livez", 404),
        (Method::POST, "/metrics", 404),
        (Method::GET, "/sessions", 404),
        (Method::DELETE, "/sessions?all=true", 404),
        (Method::POST, "/reload", 404),
        (Method::GET, "/keys", 404),
        (Method::POST, "/keys/rotate", 404),
        (Method::POST, "/tokens", 404),
        (Method::POST, "/limits/lift", 404),
        (Method::POST, "/store/backup", 404),
        (Method::GET, "/", 404),
        (Method::GET, "//livez", 404),
        (Method::GET, "/debug/pprof", 404),
    ] {
        let reply = admin.call(method.clone(), path).send().await;
        assert_eq!(reply.status.as_u16(), status, "{method} {path}: {}", reply.text());
    }

    process.client().get("/").bearer(&token).send().await.assert_status(200);
}

#[tokio::test]
async fn the_clients_side_has_no_operators_paths() {
    let upstream = Upstream::start().await;
    let (process, _) = start(&upstream);

    for path in ["/livez", "/readyz", "/metrics", "/sessions"] {
        process.client().get(path).send().await.assert_status(401);
    }
    upstream.assert_untouched();
}

#[tokio::test]
async fn readiness_lists_its_checks_and_leaves_out_what_it_is_told_to() {
    let upstream = Upstream::start().await;
    let (process, admin) = start(&upstream);

    let checks = "[+] draining ok\n[+] store ok\n[+] keys ok\n";
    for (query, text) in [
        ("", "ready\n".to_owned()),
        ("?verbose", format!("{checks}ready\n")),
        (
            "?verbose&exclude=store",
            format!("{}ready\n", checks.replace("+] store ok", " ] store excluded")),
        ),
    ] {
        let reply = admin.get(&format!("/readyz{query}")).send().await;
        assert_eq!(reply.assert_status(200).text(), text, "{query}");
    }

    std::fs::write(process.path("users.toml"), "[[user]]\nname = 1\n").unwrap();
    let told = until_note(&admin, "note: users: ").await;
    assert!(told.contains("the last good ones stay"), "{told}");
    assert!(told.ends_with("\nready\n"), "still to be sent requests: {told}");
}

async fn until_note(admin: &Client, part: &str) -> String {
    let since = std::time::Instant::now();
    loop {
        let told = admin.get("/readyz?verbose").send().await.text();
        if told.contains(part) {
            return told;
        }
        assert!(since.elapsed() < crate::harness::client::PATIENCE, "{part}: {told}");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn readiness_fails_while_draining_and_the_process_lives() {
    let upstream = Upstream::start().await;
    let (process, admin) = start(&upstream);

    process.signal("TERM");

    // The default delay of 5 s is time enough.
    let since = std::time::Instant::now();
    let reply = loop {
        let reply = admin.get("/readyz?verbose").send().await;
        if reply.status == 503 || since.elapsed() > crate::harness::client::PATIENCE {
            break reply;
        }
    };
    reply.assert_status(503);
    assert!(reply.text().starts_with("[-] draining failed: draining\n"), "{}", reply.text());
    admin.get("/readyz?exclude=draining").send().await.assert_status(200);
    admin.get("/livez").send().await.assert_status(200);
    let metrics = admin.get("/metrics").send().await.text();
    assert!(metrics.contains("\ntollhouse_draining 1\n"), "{metrics}");
}

/// Some of everything: logins of each result, requests that are permitted, refused and failed.
async fn traffic(process: &Process) -> String {
    let client = process.client();
    let token = process.token("alice").await;
    for (name, password) in [("alice", "wrong password"), ("nobody-known", "wrong password")] {
        let login = json!({ "username": name, "password": password });
        client.post("/auth/login").json(login).send().await.assert_status(401);
    }
    client.get("/secret-path/7?q=1").bearer(&token).send().await.assert_status(200);
    client.get("/").send().await.assert_status(401);
    client.get("/").bearer("not.a.token").send().await.assert_status(401);
    client.get("/lost").send().await.assert_status(502);
    let refused = json!({ "refresh_token": "unknown" });
    assert!(client.post("/auth/refresh").json(refused).send().await.status.is_client_error());
    token
}

#[track_caller]
fn assert_sample(text: &str, start: &str, end: &str) {
    let found = text.lines().any(|line| line.starts_with(start) && line.ends_with(end));
    assert!(found, "{start}… {end} is not in\n{text}");
}

#[tokio::test]
async fn metrics_tell_what_was_promised_and_of_nobody() {
    let upstream = Upstream::start().await;
    let (process, admin) = start(&upstream);
    let open = process.client().connect().await;
    let token = traffic(&process).await;

    let reply: Reply = admin.get("/metrics").send().await;

    reply.assert_status(200).assert_header(
        "content-type",
        "application/openmetrics-text; version=1.0.0; charset=utf-8",
    );
    let text = reply.text();
    assert!(text.ends_with("\n# EOF\n"), "{text}");
    let count = "http_server_request_duration_seconds_count{http_route=";
    for (route, method, class, times) in [
        ("main", "GET", "2xx", 1),
        ("main", "GET", "4xx", 2),
        ("lost", "GET", "5xx", 1),
        ("login:native", "POST", "2xx", 1),
    ] {
        let labels = format!(
            "{count}\"{route}\",http_request_method=\"{method}\",\
             http_response_status_class=\"{class}\"}}"
        );
        assert_sample(&text, &labels, &format!(" {times}"));
    }
    let decisions = "tollhouse_auth_decisions_total{";
    for (route, result, reason) in [
        ("main", "permitted", "permitted"),
        ("lost", "permitted", "open"),
        ("main", "refused", "credential_missing"),
    ] {
        let labels =
            format!("{decisions}route=\"{route}\",result=\"{result}\",reason=\"{reason}\"}}");
        assert_sample(&text, &labels, " 1");
    }
    for (start, end) in [
        ("http_server_request_duration_seconds_bucket{le=\"+Inf\"", ""),
        ("tollhouse_logins_total{login=\"native\",result=\"succeeded\"}", " 1"),
        ("tollhouse_logins_total{login=\"native\",result=\"failed\"}", " 2"),
        ("tollhouse_refresh_total{result=\"refused\"}", " 1"),
        ("tollhouse_upstream_up{upstream=\"api\"", " 1"),
        ("tollhouse_upstream_failures_total{upstream=\"gone\"", ""),
        ("tollhouse_store_up", " 1"),
        ("tollhouse_draining", " 0"),
        ("tollhouse_build_info{version=", " 1"),
        ("tollhouse_config_last_reload_successful", " 1"),
    ] {
        assert_sample(&text, start, end);
    }
    let connections = text.lines().find_map(|line| line.strip_prefix("tollhouse_connections "));
    assert!(connections.unwrap().parse::<u32>().unwrap() >= 1, "the open one is counted");
    drop(open);
    for private in ["alice", "nobody-known", "secret-path", &token, "0192f0c1"] {
        assert!(!text.contains(private), "{private} in {text}");
    }
    assert_well_formed(&text);
}

/// Every family is described once, before its samples, and its samples stand together.
#[track_caller]
fn assert_well_formed(text: &str) {
    let mut seen: Vec<&str> = Vec::new();
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let name = rest.split(' ').next().unwrap();
            assert!(!seen.contains(&name), "{name} is described twice in\n{text}");
            seen.push(name);
        } else if !line.starts_with('#') {
            let family = seen.last().unwrap();
            assert!(line.starts_with(family), "{line} under {family} in\n{text}");
        }
    }
}

#[tokio::test]
async fn the_unix_socket_is_its_owners_and_takes_commands() {
    let upstream = Upstream::start().await;
    let (process, _) = start(&upstream);
    let mode = |name| std::fs::metadata(process.path(name)).unwrap().permissions().mode() & 0o777;
    until("socket", || process.path("state/admin.sock").exists().then_some(()));

    assert_eq!((mode("state"), mode("state/admin.sock")), (0o700, 0o600));
    assert!(ask(&process, "GET /livez").await.starts_with("HTTP/1.1 200 "));
    assert!(ask(&process, "GET /metrics").await.ends_with("# EOF\n"));
    assert!(ask(&process, "GET /sessions").await.ends_with("{\"sessions\":[]}\n"));
    assert!(ask(&process, "GET /nothing").await.starts_with("HTTP/1.1 404 "));
    assert!(ask(&process, "DELETE /sessions?usr=x").await.starts_with("HTTP/1.1 400 "));
}

#[tokio::test]
async fn a_reload_that_failed_is_counted_and_audited() {
    let upstream = Upstream::start().await;
    let (process, admin) = start(&upstream);
    std::fs::write(process.path("gateway.toml"), "[[route]\n").unwrap();

    process.signal("HUP");

    process.wait_for_stderr("not reloaded");
    let metrics = admin.get("/metrics").send().await.text();
    assert_sample(&metrics, "tollhouse_config_reloads_total{result=\"failed\"}", " 1");
    assert_sample(&metrics, "tollhouse_config_last_reload_successful", " 0");
    until("audited", || process.stdout().contains("\"event\":\"reload\"").then_some(()));
}

#[tokio::test]
async fn a_pair_that_no_longer_fits_is_a_note_and_a_metric_until_it_is_mended() {
    let (dir, port) = folder("");
    let admin = Client::plain(([127, 0, 0, 1], free_port()).into());
    let file = dir.path().join("gateway.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    let plain = format!("\"127.0.0.1:{port}\"");
    let tls = "tls = { certificates = [{ chain = \"a.pem\", key = \"a.key\" }] }";
    let text = text.replace(&plain, &format!("{plain}, {tls}"));
    std::fs::write(file, format!("{text}[admin]\naddress = \"{}\"\n", admin.address)).unwrap();
    let files = Certificate::make(dir.path(), "a", &["localhost"]);
    let good_key = std::fs::read(&files.key).unwrap();
    let other = Certificate::make(dir.path(), "b", &["localhost"]);
    let process = Process::start(dir, port);
    until("admin", || std::net::TcpStream::connect(admin.address).ok());
    let state = async || {
        let notes = admin.get("/readyz?verbose").send().await.assert_status(200).text();
        let metrics = admin.get("/metrics").send().await.text();
        let listener = format!("{{listener=\"127.0.0.1:{port}\"}}");
        let name = format!("tollhouse_tls_certificate_last_reload_successful{listener}");
        let sample = metrics.lines().find_map(|line| line.strip_prefix(&name)).unwrap().to_owned();
        (notes.contains("serves its certificates of before"), notes, sample)
    };
    let (is_noted, notes, sample) = state().await;
    assert_eq!((is_noted, sample.as_str()), (false, " 1"), "{notes}");

    let cause = "does not belong to the certificate";
    std::fs::copy(&other.key, &files.key).unwrap();
    until("not taken", || process.stderr().contains(cause).then_some(()));
    let (is_noted, notes, sample) = state().await;
    assert!(is_noted && notes.contains(cause) && notes.contains("a.key"), "{notes}");
    assert_eq!(sample, " 0");

    std::fs::write(&files.key, good_key).unwrap();
    for _ in 0..200 {
        let (is_noted, notes, sample) = state().await;
        if !is_noted {
            assert_eq!(sample, " 1", "{notes}");
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    panic!("the note stays though the pair is good again");
}
