//! What `docs/migration` shows side by side is run side by side: the old configuration and ours get
//! the same requests and let in the same ones, except where the page says that they differ.

use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http::Response;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde_json::{Value, json};

use super::configurations;
use super::page::{Block, Page};
use crate::harness::issuer::IssuerKey;
use crate::harness::process::{Process, free_port, root, until};
use crate::harness::upstream::ReceivedRequest;
use crate::harness::{Client, Upstream};

const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef";

/// A field by which the requests of the comparison are known.
const OF_A_CLIENT: &str = "x-compared";

/// A request of the comparison: its name, path, token, and the status that it gets.
type Case<'a> = (&'static str, &'static str, Option<&'a str>, u16);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nginx_and_tollhouse_let_in_the_same_requests() {
    let page = migration("nginx-auth-request.md");
    let key = EncodingKey::from_secret(SECRET).unwrap();
    let mint = |changes: Value| token(Algorithm::HS256, &key, "https://login.example", changes);
    let admin = mint(json!({ "preferred_username": "ann", "roles": ["admin"] }));
    let user = mint(json!({ "preferred_username": "bob", "roles": ["user"] }));
    let expired = mint(json!({ "exp": 1_000_000_000 }));
    let others = mint(json!({ "aud": "billing" }));
    let stranger = mint(json!({ "iss": "https://elsewhere.example" }));
    let forged = EncodingKey::from_secret(b"another secret that is long enough!").unwrap();
    let forged = token(Algorithm::HS256, &forged, "https://login.example", json!({}));
    let cases: [Case<'_>; 11] = [
        ("an open path needs no token", "/ping", None, 200),
        ("no token", "/orders", None, 401),
        ("no token", "/admin/users", None, 401),
        ("a user", "/orders", Some(&user), 200),
        ("a user without the role", "/admin/users", Some(&user), 403),
        ("an administrator", "/admin/users", Some(&admin), 200),
        ("expired", "/orders", Some(&expired), 401),
        ("for another audience", "/orders", Some(&others), 401),
        ("of another issuer", "/orders", Some(&stranger), 401),
        ("signed with another secret", "/orders", Some(&forged), 401),
        ("no token at all", "/orders", Some("e30.e30.e30"), 401),
    ];

    let app = Upstream::start().await;
    let verifier = Upstream::answering(verify).await;
    let before = Server::nginx(block(&page, "nginx", 0), verifier.address, app.address);
    let asked = gateway(block(&page, "toml", 0), &app);
    let asks_ours = address(&asked);
    let with_ours = Server::nginx(block(&page, "nginx", 0), asks_ours, app.address);
    let in_path = gateway(block(&page, "toml", 1), &app);

    for (what, at) in [
        ("nginx as before", before.address),
        ("nginx that asks Tollhouse", with_ours.address),
        ("Tollhouse in the path", address(&in_path)),
    ] {
        compare(what, at, &app, &cases).await;
    }
    // As the page says of a field that the client sends itself, where nginx sets none.
    assert_eq!(seen(&app, before.address, "/ping").await.header("x-user"), Some("forged"));
    assert_eq!(seen(&app, address(&in_path), "/ping").await.header("x-user"), None);
}

/// The first step of the way over.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn copies_of_requests_show_whom_tollhouse_would_refuse() {
    let page = migration("nginx-auth-request.md");
    let app = Upstream::start().await;
    let observing = "path = \"=/_verify\"\nenforce = false\n";
    let ours = block(&page, "toml", 0).replace("path = \"=/_verify\"\n", observing);
    let ours = gateway(&ours, &app);
    ours.wait_for_commands();
    let looking = block(&page, "nginx", 1).replace("127.0.0.1:9002", &address(&ours).to_string());
    let verifier = "location /_verify {\ninternal;\nproxy_pass http://127.0.0.1:9000;\n}\n";
    let text = format!("server {{\nlisten 443 ssl;\n{looking}{verifier}}}\n");
    let before = Server::nginx(&text, app.address, app.address);

    Client::plain(before.address).get("/orders").send().await.assert_status(200);

    until("the copy is judged", || {
        let told = ours.command(&["observe"]).ok();
        told.contains("would refuse 1 of 1").then(|| assert!(told.contains("credential_missing")))
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn haproxy_and_tollhouse_let_in_the_same_requests() {
    let page = migration("haproxy-jwt-verify.md");
    let signing = IssuerKey::rs256("first");
    let key = EncodingKey::from_rsa_pem(signing.pem.as_bytes()).unwrap();
    let mint = |changes: Value| token(Algorithm::RS256, &key, "https://idp.example/", changes);
    let user = mint(json!({ "sub": "bob", "scope": "read" }));
    let admin = mint(json!({ "sub": "ann", "scope": "read admin" }));
    let expired = mint(json!({ "exp": 1_000_000_000 }));
    let others = mint(json!({ "aud": "billing" }));
    let stranger = mint(json!({ "iss": "https://elsewhere.example/" }));
    let forged = EncodingKey::from_rsa_pem(IssuerKey::rs256("other").pem.as_bytes()).unwrap();
    let forged = token(Algorithm::RS256, &forged, "https://idp.example/", json!({}));
    let secret = EncodingKey::from_secret(SECRET).unwrap();
    let confused = token(Algorithm::HS256, &secret, "https://idp.example/", json!({}));
    let cases: [Case<'_>; 11] = [
        ("an open path needs no token", "/ping", None, 200),
        ("no token", "/orders", None, 401),
        ("a user", "/orders", Some(&user), 200),
        ("a user without the scope", "/admin/users", Some(&user), 403),
        ("an administrator", "/admin/users", Some(&admin), 200),
        ("expired", "/orders", Some(&expired), 401),
        ("for another audience", "/orders", Some(&others), 401),
        ("of another issuer", "/orders", Some(&stranger), 401),
        ("signed with another key", "/orders", Some(&forged), 401),
        ("another algorithm", "/orders", Some(&confused), 401),
        ("no token at all", "/orders", Some("e30.e30.e30"), 401),
    ];

    let app = Upstream::start().await;
    let public = rcgen::KeyPair::from_pem(&signing.pem).unwrap().public_key_pem();
    let before = Server::haproxy(block(&page, "haproxy", 0), &public, app.address);
    let after = gateway_with(block(&page, "toml", 0), &app, &public);

    compare("HAProxy", before.address, &app, &cases).await;
    compare("Tollhouse", address(&after), &app, &cases).await;
    // The differences that the page names.
    let endless = mint(json!({ "exp": null, "sub": "bob" }));
    let nearly = mint(json!({ "sub": "bob", "scope": "superadmin" }));
    compare(
        "HAProxy",
        before.address,
        &app,
        &[
            ("without an end", "/orders", Some(&endless), 200),
            ("a scope that contains the word", "/admin/users", Some(&nearly), 200),
        ],
    )
    .await;
    compare(
        "Tollhouse",
        address(&after),
        &app,
        &[
            ("without an end", "/orders", Some(&endless), 401),
            ("a scope that contains the word", "/admin/users", Some(&nearly), 403),
        ],
    )
    .await;
}

/// Sends every request, and looks at the status and at what the application saw.
async fn compare(what: &str, at: SocketAddr, app: &Upstream, cases: &[Case<'_>]) {
    let client = Client::plain(at);
    for (name, path, token, status) in cases {
        let before = arrived(app, path).len();
        let mut request = client.get(path).header(OF_A_CLIENT, "yes").header("x-user", "forged");
        if let Some(token) = token {
            request = request.bearer(token);
        }
        let reply = request.send().await;

        assert_eq!(reply.status, *status, "{what}: {name}: {}", reply.text());
        let came = arrived(app, path).split_off(before);
        assert_eq!(came.len(), usize::from(*status == 200), "{what}: {name}: {came:?}");
        if let (Some(token), Some(request)) = (token, came.first()) {
            assert_eq!(request.header("x-user"), Some(&*name_in(token)), "{what}: {name}");
        }
    }
}

/// The request as the application saw it, with a field of the client's own.
async fn seen(app: &Upstream, at: SocketAddr, path: &str) -> ReceivedRequest {
    let client = Client::plain(at);
    let request = client.get(path).header(OF_A_CLIENT, "yes").header("x-user", "forged");
    request.send().await.assert_status(200);
    arrived(app, path).pop().unwrap()
}

/// What a client's requests for a path became; checks of health are none of those.
fn arrived(app: &Upstream, path: &str) -> Vec<ReceivedRequest> {
    let received = app.received().into_iter().filter(|request| request.target == path);
    received.filter(|request| request.header(OF_A_CLIENT).is_some()).collect()
}

/// The small server that nginx asked: a JWT of the login, by its shared secret.
fn verify(request: &ReceivedRequest) -> Response<Bytes> {
    let answer = |status: u16, user: Option<&str>| {
        let response = Response::builder().status(status);
        let response =
            user.into_iter().fold(response, |response, user| response.header("x-auth-user", user));
        response.body(Bytes::new()).unwrap()
    };
    let mut rules = Validation::new(Algorithm::HS256);
    rules.set_audience(&["api"]);
    rules.set_issuer(&["https://login.example"]);
    let token = request.header("authorization").and_then(|value| value.strip_prefix("Bearer "));
    let key = DecodingKey::from_secret(SECRET).unwrap();
    let claims = token.and_then(|token| jsonwebtoken::decode::<Value>(token, &key, &rules).ok());
    let Some(claims) = claims.map(|decoded| decoded.claims) else { return answer(401, None) };
    let is_admin = claims["roles"].as_array().is_some_and(|roles| roles.contains(&json!("admin")));
    match request.target == "/_verify/admin" && !is_admin {
        true => answer(403, None),
        false => answer(200, claims["preferred_username"].as_str()),
    }
}

/// A token of an hour with these claims over the usual ones; `null` leaves one out.
fn token(algorithm: Algorithm, key: &EncodingKey, issuer: &str, changes: Value) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let mut claims =
        json!({ "iss": issuer, "aud": "api", "sub": "7", "iat": now, "exp": now + 3600 });
    for (name, value) in changes.as_object().unwrap() {
        claims[name] = value.clone();
    }
    claims.as_object_mut().unwrap().retain(|_, value| !value.is_null());
    jsonwebtoken::encode(&Header::new(algorithm), &claims, key).unwrap()
}

/// The user's name in a token.
fn name_in(token: &str) -> String {
    let claims = jsonwebtoken::dangerous::insecure_decode::<Value>(token).unwrap().claims;
    let name = claims.get("preferred_username").or(claims.get("sub"));
    name.and_then(Value::as_str).unwrap().to_owned()
}

fn migration(name: &str) -> Page {
    Page::load(&root().join("docs/migration").join(name))
}

fn block<'a>(page: &'a Page, language: &str, number: usize) -> &'a str {
    let blocks = page.blocks.iter().filter(|block: &&Block| block.is(language));
    &blocks.into_iter().nth(number).unwrap().text
}

/// A gateway on a configuration of the page, without TLS and on a free port.
fn gateway(text: &str, app: &Upstream) -> Process {
    gateway_with(text, app, "")
}

fn gateway_with(text: &str, app: &Upstream, public_key: &str) -> Process {
    let folder = tempfile::tempdir().unwrap();
    let mut table: toml::Table = text.parse().unwrap();
    let port = free_port();
    let listener = table["listener"].as_array_mut().unwrap()[0].as_table_mut().unwrap();
    listener.remove("tls");
    listener.insert("address".to_owned(), format!("127.0.0.1:{port}").into());
    let text = toml::to_string(&table).unwrap();
    let text = text
        .replace("/var/lib/tollhouse", "state")
        .replace("/etc/tollhouse/idp.pub.pem", "key.pem")
        .replace("127.0.0.1:9001", &app.address.to_string())
        .replace("env = \"JWT_SECRET\"", "file = \"secret\"");
    for (name, content) in
        [("gateway.toml", text.as_bytes()), ("secret", SECRET), ("key.pem", public_key.as_bytes())]
    {
        configurations::write(&folder.path().join(name), std::str::from_utf8(content).unwrap());
    }
    Process::start(folder, port)
}

fn address(process: &Process) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], process.port))
}

/// An nginx or an HAProxy; ended when dropped.
struct Server {
    child: Child,
    address: SocketAddr,
    _folder: tempfile::TempDir,
}

impl Server {
    fn nginx(text: &str, verifier: SocketAddr, app: SocketAddr) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let text: String = text
            .lines()
            .filter(|line| !line.contains("ssl_certificate"))
            .map(|line| format!("{line}\n"))
            .collect();
        let text = text
            .replace("listen 443 ssl", &format!("listen {address}"))
            .replace("127.0.0.1:9000", &verifier.to_string())
            .replace("127.0.0.1:9001", &app.to_string());
        let file = configurations::write_nginx(&text, folder.path());
        let mut command = Command::new("nginx");
        command.args(["-e", "stderr", "-g", "daemon off; master_process off;"]);
        command.arg("-p").arg(folder.path()).arg("-c").arg(file);
        Self::start(command, address, folder)
    }

    fn haproxy(text: &str, public_key: &str, app: SocketAddr) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let key = folder.path().join("key.pem");
        configurations::write(&key, public_key);
        let text = text
            .replace("bind :443 ssl crt /etc/haproxy/api.pem", &format!("bind {address}"))
            .replace("/etc/haproxy/idp.pub.pem", &key.display().to_string())
            .replace("127.0.0.1:9001", &app.to_string());
        let file = configurations::write_haproxy(&text, folder.path());
        let mut command = Command::new("haproxy");
        command.args(["-db", "-f"]).arg(file);
        Self::start(command, address, folder)
    }

    fn start(mut command: Command, address: SocketAddr, folder: tempfile::TempDir) -> Self {
        let log = std::fs::File::create(folder.path().join("log")).unwrap();
        command.stdout(Stdio::null()).stderr(log);
        let child = command.spawn().unwrap();
        let server = Self { child, address, _folder: folder };
        until("the server", || std::net::TcpStream::connect(address).ok());
        server
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
