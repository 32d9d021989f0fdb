//! A request that is refused before its body was read, over HTTP/2 by the real curl: a reset that
//! comes while it sends would cost it the answer.

use std::path::Path;
use std::process::{Command, Stdio};

use crate::harness::{Gateway, Upstream, certs};

const TRIES: usize = 20;
const SIZES: [usize; 3] = [1 << 10, 16 << 10, 64 << 10];

/// A refusal of each kind, and what a request has to be for it.
const REFUSALS: [(&str, &str); 8] = [
    ("401", "/private"),
    ("403", "/admin"),
    ("404", "/nowhere"),
    ("405", "/read"),
    ("413", "/small"),
    ("429", "/limited"),
    ("502", "/broken"),
    ("503", "/closed"),
];

/// `curl` over HTTP/2, once for each try, all on connections of their own: what each was answered.
fn statuses(url: &str, file: &Path, headers: &[&str]) -> Vec<String> {
    let ask = || {
        let mut curl = Command::new("curl");
        curl.args(["--silent", "--show-error", "--insecure", "--http2", "--max-time", "20"])
            .args(["--output", "/dev/null", "--write-out", "%{http_version} %{http_code}"])
            .args(["--request", "POST", "--data-binary", &format!("@{}", file.display())]);
        for header in headers {
            curl.args(["--header", header]);
        }
        curl.arg(url).stdout(Stdio::piped()).stderr(Stdio::piped());
        curl.spawn().expect("curl is installed (tests/run installs it)")
    };
    let running: Vec<_> = (0..TRIES).map(|_| ask()).collect();
    let finished = running.into_iter().map(|curl| curl.wait_with_output().unwrap());
    finished
        .map(|output| {
            let said = String::from_utf8_lossy(&output.stdout).into_owned();
            let failed = String::from_utf8_lossy(&output.stderr).into_owned();
            if output.status.success() { said } else { format!("{said} {failed}") }
        })
        .collect()
}

fn file(dir: &Path, size: usize) -> std::path::PathBuf {
    let path = dir.join(format!("body-{size}"));
    std::fs::write(&path, vec![b'x'; size]).unwrap();
    path
}

async fn gateway(upstream: &Upstream, dir: &Path) -> Gateway {
    let certificate = certs::Certificate::make(dir, "a", &["localhost"]);
    Gateway::builder()
        .tls(&certificate, "")
        .config(
            "[login_limits]\nper_address = { attempts = 1000, per = \"10m\" }\n\
             per_account = { attempts = 1000, per = \"10m\" }",
        )
        .login("native")
        .route(upstream, "/private", "")
        .route(upstream, "/admin", "require = { roles = [\"nobody\"] }")
        .route(upstream, "/read", "methods = [\"GET\"]\nauth = []")
        .route(upstream, "/small", "body_limit = \"16B\"\nauth = []")
        .route(
            upstream,
            "/limited",
            "auth = []\nrate_limit = { requests = 1, per = \"1h\", by = \"route\" }",
        )
        .route(upstream, "/closed", "auth = []\nmaintenance = true")
        .config(
            "[[upstream]]\nname = \"gone\"\nservers = [\"http://127.0.0.1:1\"]\n\
             [[route]]\npath = \"/broken\"\nupstream = \"gone\"\nauth = []",
        )
        .start()
        .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_post_refused_over_http2_reaches_curl_every_time() {
    let (upstream, dir) = (Upstream::start().await, tempfile::tempdir().unwrap());
    let gateway = gateway(&upstream, dir.path()).await;
    let base = format!("https://localhost:{}", gateway.address().port());
    let login = file(dir.path(), 0);
    std::fs::write(
        &login,
        format!(r#"{{"username":"bob","password":"{}"}}"#, crate::harness::gateway::PASSWORD),
    )
    .unwrap();
    let token = token(&format!("{base}/auth/login"), &login);
    let bearer = format!("Authorization: Bearer {token}");
    // The one request that the limit lets through.
    statuses_of_one(&format!("{base}/limited"));
    let seen = upstream.received().len();

    for (status, path) in REFUSALS {
        for size in SIZES {
            let body = file(dir.path(), size);
            let headers = ["Expect:", if status == "403" { &bearer } else { "X-None: 0" }];
            let answers = statuses(&format!("{base}{path}"), &body, &headers);

            let expected = format!("2 {status}");
            let heard = answers.iter().filter(|answer| **answer == expected).count();
            assert_eq!(heard, TRIES, "{status} with {size} bytes: {answers:?}");
        }
    }

    assert_eq!(upstream.received().len(), seen, "no refused request reaches it");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_login_refused_over_http2_reaches_curl_every_time() {
    let (upstream, dir) = (Upstream::start().await, tempfile::tempdir().unwrap());
    let gateway = gateway(&upstream, dir.path()).await;
    let base = format!("https://localhost:{}", gateway.address().port());

    for (path, size, status) in [
        ("/auth/login", 1 << 10, "400"),
        ("/auth/login", 60 << 10, "400"),
        ("/auth/login", 100 << 10, "413"),
        ("/auth/verify", 16 << 10, "400"),
        ("/auth/refresh", 16 << 10, "400"),
        ("/auth/logout", 16 << 10, "401"),
        ("/auth/logout-all", 16 << 10, "401"),
    ] {
        let body = file(dir.path(), size);
        let headers = ["Expect:", "Content-Type: application/json"];
        let answers = statuses(&format!("{base}{path}"), &body, &headers);

        let expected = format!("2 {status}");
        let heard = answers.iter().filter(|answer| **answer == expected).count();
        assert_eq!(heard, TRIES, "{path} with {size} bytes: {answers:?}");
    }
    upstream.assert_untouched();
}

/// The peer that operators compare us with, held to the same by the same client.
#[test]
fn nginx_where_installed_is_heard_every_time_too() {
    let Some(nginx) =
        ["/usr/sbin/nginx", "/usr/bin/nginx"].into_iter().find(|at| Path::new(at).exists())
    else {
        // It is no part of what the tests need: without it there is nothing to compare with.
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let certificate = certs::Certificate::make(dir.path(), "a", &["localhost"]);
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let at = dir.path().display();
    let config = format!(
        "daemon off; master_process off; pid {at}/pid; error_log {at}/error.log; events {{}}\n\
         http {{ access_log off; client_body_temp_path {at}; proxy_temp_path {at};\n\
         fastcgi_temp_path {at}; uwsgi_temp_path {at}; scgi_temp_path {at};\n\
         server {{ listen 127.0.0.1:{port} ssl http2; ssl_certificate {}; ssl_certificate_key {};\n\
         location /private {{ return 401; }} }} }}",
        certificate.chain.display(),
        certificate.key.display()
    );
    std::fs::write(dir.path().join("nginx.conf"), config).unwrap();
    let mut running = Command::new(nginx)
        .args(["-p", &at.to_string(), "-c", "nginx.conf"])
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
        assert!(running.try_wait().unwrap().is_none(), "nginx ended");
        std::thread::yield_now();
    }

    let url = format!("https://127.0.0.1:{port}/private");
    let answers = statuses(&url, &file(dir.path(), 64 << 10), &["Expect:"]);
    running.kill().unwrap();
    running.wait().unwrap();

    let heard = answers.iter().filter(|answer| *answer == "2 401").count();
    assert_eq!(heard, TRIES, "{answers:?}");
}

/// The access token of a login.
fn token(url: &str, login: &Path) -> String {
    let output = Command::new("curl")
        .args(["--silent", "--insecure", "--http2", "--header", "Content-Type: application/json"])
        .args(["--data-binary", &format!("@{}", login.display()), url])
        .output()
        .unwrap();
    let answer: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    answer["access_token"].as_str().unwrap().to_owned()
}

fn statuses_of_one(url: &str) {
    let output =
        Command::new("curl").args(["--silent", "--insecure", "--http2", url]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
