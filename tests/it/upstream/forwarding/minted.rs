//! Upstreams that verify tokens of their own: the gateway makes one for each user, in the form and
//! with the key of the upstream.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
use aws_lc_rs::signature::KeyPair;
use aws_lc_rs::{hmac, rsa, signature};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use bytes::Bytes;
use futures_util::future::join_all;
use http::Response;
use serde_json::{Value, json};
use tollhouse::server::ExplainRequest;

use crate::harness::gateway::{PASSWORD, START, hash_of};
use crate::harness::scripted_upstream::eventually;
use crate::harness::upstream::ReceivedRequest;
use crate::harness::{Gateway, GatewayBuilder, Upstream};

/// The secret of the legacy system.
const SECRET: &str = "the secret that the core signs its tokens with";

/// What a datarhei Core verifies in its access tokens.
const CORE_CLAIMS: &str = "{ iss = \"datarhei-core\", sub = \"$user.name\", usefor = \"access\", \
                           exi = \"$access.ttl\", jti = \"$access.id\", roles = \"$user.roles\" }";

/// The secret in a file of its own, and the table that names it.
struct SecretFile {
    _dir: tempfile::TempDir,
    table: String,
}

fn secret() -> SecretFile {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("secret");
    std::fs::write(&path, SECRET).unwrap();
    SecretFile { table: format!("{{ file = {:?} }}", path.display().to_string()), _dir: dir }
}

/// An `[[upstream]]` with a mint, and the routes to it.
fn minting(name: &str, url: &str, keys: &str) -> String {
    format!(
        "[[upstream]]\nname = \"{name}\"\nservers = [\"{url}\"]\n\
         credential = {{ mint = {{ {keys} }} }}\n"
    )
}

fn hs256(secret: &SecretFile, claims: &str, more: &str) -> String {
    format!("algorithm = \"HS256\", secret = {}, claims = {claims}{more}", secret.table)
}

fn decoded(part: &str) -> Vec<u8> {
    URL_SAFE_NO_PAD.decode(part).unwrap()
}

/// Header and claims of a token that the secret signed.
fn verified(token: &str) -> Option<(Value, Value)> {
    let (message, tag) = token.rsplit_once('.')?;
    let key = hmac::Key::new(hmac::HMAC_SHA256, SECRET.as_bytes());
    hmac::verify(&key, message.as_bytes(), &decoded(tag)).ok()?;
    Some(unverified(token))
}

fn unverified(token: &str) -> (Value, Value) {
    let mut parts = token.split('.');
    let mut part = || serde_json::from_slice(&decoded(parts.next().unwrap())).unwrap();
    (part(), part())
}

fn bearer(request: &ReceivedRequest) -> Option<&str> {
    request.header("authorization")?.strip_prefix("Bearer ")
}

fn answer(status: u16) -> Response<Bytes> {
    Response::builder().status(status).body(Bytes::new()).unwrap()
}

/// A legacy system that verifies its own tokens: signature, use and end; it expects the user whom
/// the client says to be.
async fn core(now: Arc<AtomicU64>) -> Upstream {
    Upstream::answering(move |request| {
        let Some((header, claims)) = bearer(request).and_then(verified) else { return answer(401) };
        let times = (claims["iat"].as_u64().unwrap(), claims["exp"].as_u64().unwrap());
        let now = now.load(SeqCst);
        let is_good = header == json!({ "alg": "HS256", "typ": "JWT" })
            && claims["usefor"] == "access"
            && claims["iss"] == "datarhei-core"
            && claims["exi"] == 600
            && times.1 - times.0 == 600
            && times.0 <= now
            && now < times.1;
        match (is_good, claims["sub"].as_str() == request.header("x-expected-user")) {
            (false, _) => answer(401),
            (true, false) => answer(409),
            (true, true) => answer(200),
        }
    })
    .await
}

fn builder(sections: &str) -> GatewayBuilder {
    Gateway::builder().login("native").config(sections)
}

const ROUTE: &str = "[[route]]\npath = \"/\"\nupstream = \"core\"\n";

#[tokio::test]
async fn each_user_has_a_token_that_the_upstream_itself_verifies_and_the_clients_stays_here() {
    let secret = secret();
    let now = Arc::new(AtomicU64::new(START.secs()));
    let core = core(now).await;
    let upstream = minting("core", &core.url(), &hs256(&secret, CORE_CLAIMS, ""));
    let gateway = builder(&format!("{upstream}{ROUTE}")).moving().start().await;
    let client = gateway.client();
    let mut ids = Vec::new();
    for name in ["alice", "bob", "alice"] {
        let token = gateway.token(name).await;
        let call = client.get("/api/v3/x").bearer(&token).header("x-expected-user", name);
        call.send().await.assert_status(200);

        let seen = core.last();
        assert!(!format!("{seen:?}").contains(&token), "the client's own stays here");
        ids.push(unverified(bearer(&seen).unwrap()).1["jti"].clone());
    }
    assert_ne!(ids[0], ids[1]);
    assert_eq!(ids[0], ids[2], "one token for all sessions of a user");
}

#[tokio::test]
async fn two_hundred_users_call_for_an_hour_and_nobody_is_taken_for_another() {
    const USERS: usize = 200;
    let secret = secret();
    let now = Arc::new(AtomicU64::new(START.secs()));
    let core = core(now.clone()).await;
    let upstream = minting("core", &core.url(), &hs256(&secret, CORE_CLAIMS, ""));
    let hash = hash_of(PASSWORD);
    let user = |number| format!("[[user]]\nname = \"u{number}\"\npassword = \"{hash}\"\n");
    let users: String = (0..USERS).map(user).collect();
    let gateway = builder(&format!("{upstream}{ROUTE}"))
        .config("[login_limits]\nper_address = { attempts = 100000, per = \"1m\" }")
        .users(&users)
        .moving()
        .start()
        .await;
    let client = gateway.client();
    let mut sessions: Vec<(String, Value)> = Vec::new();
    for number in 0..USERS {
        let name = format!("u{number}");
        let login = json!({ "username": name, "password": PASSWORD });
        let reply = client.post("/auth/login").json(login).send().await;
        sessions.push((name, reply.assert_status(200).json()));
    }

    let (mut calls, mut due) = (0, 0);
    for _ in 0..13 {
        for some in sessions.chunks_mut(20) {
            let calling = some.iter_mut().map(async |(name, session)| {
                let call = async |session: &Value| {
                    let token = session["access_token"].as_str().unwrap();
                    let call = client.get("/api").bearer(token).header("x-expected-user", name);
                    call.send().await
                };
                let mut reply = call(session).await;
                let mut due = 0;
                if reply.status == 401 {
                    // Only the gateway has that code: its own token has ended.
                    reply.assert_code("token_expired");
                    due += 1;
                    let refresh = json!({ "refresh_token": session["refresh_token"] });
                    let renewed = client.post("/auth/refresh").json(refresh).send().await;
                    *session = renewed.assert_status(200).json();
                    reply = call(session).await;
                }
                reply.assert_status(200);
                due
            });
            due += join_all(calling).await.into_iter().sum::<usize>();
            calls += some.len();
        }
        gateway.advance(Duration::from_secs(300));
        now.fetch_add(300, SeqCst);
    }

    assert_eq!(calls, USERS * 13);
    assert_eq!(due, USERS * 3, "an access token lives for a quarter of an hour, and 30 s more");
    let mut tokens: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for request in core.received() {
        let (_, claims) = verified(bearer(&request).unwrap()).unwrap();
        let of_user = tokens.entry(claims["sub"].as_str().unwrap().to_owned()).or_default();
        if !of_user.contains(&claims["jti"]) {
            of_user.push(claims["jti"].clone());
        }
    }
    assert_eq!(tokens.len(), USERS);
    // Every 600 s, with a call each 300 s: the token of two calls.
    assert!(tokens.values().all(|ids| ids.len() == 7), "a token is used again");
}

#[tokio::test]
async fn a_user_with_other_roles_never_gets_the_old_token() {
    let secret = secret();
    let core = Upstream::start().await;
    let claims =
        "{ sub = \"$user.id\", roles = \"$user.roles|comma\", of = \"$user.claims.tenant\" }";
    let upstream = minting("core", &core.url(), &hs256(&secret, claims, ""));
    let gateway = builder(&format!("{upstream}{ROUTE}")).moving().start().await;
    let roles = async || {
        let token = gateway.token("alice").await;
        gateway.client().get("/").bearer(&token).send().await.assert_status(200);
        let seen = core.last();
        let (_, claims) = verified(bearer(&seen).unwrap()).unwrap();
        assert_eq!(claims["roles"].as_str(), seen.header("x-auth-roles"), "as the gateway knows");
        assert_eq!(claims["of"], "acme");
        claims["roles"].as_str().unwrap().to_owned()
    };
    assert_eq!(roles().await, "admin");

    let path = gateway.dir().join("users.toml");
    let users = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, users.replace("[\"admin\"]", "[\"reader\", \"guest\"]")).unwrap();

    // The file is looked at by the gateway's clock, some seconds apart; the token lives for longer.
    for _ in 0..100 {
        gateway.advance(Duration::from_secs(1));
        if roles().await == "reader,guest" {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("the new roles never came");
}

#[tokio::test]
async fn a_user_without_a_needed_value_is_refused_and_nothing_is_sent() {
    let secret = secret();
    let core = Upstream::start().await;
    let claims = "{ sub = \"$user.name\", tenant = \"$user.claims.tenant\" }";
    let upstream = minting("core", &core.url(), &hs256(&secret, claims, ""));
    let gateway = builder(&format!("{upstream}{ROUTE}")).start().await;
    let token = gateway.token("bob").await;

    let reply = gateway.client().get("/").bearer(&token).send().await;

    reply.assert_status(403).assert_code("not_permitted");
    core.assert_untouched();
    let line = gateway.access_log().pop().unwrap();
    assert!(line["cause"].as_str().unwrap().contains("$user.claims.tenant"), "{line}");
}

#[tokio::test]
async fn whatever_a_client_puts_in_the_place_of_the_token_never_arrives() {
    let secret = secret();
    for (carrier, name, target) in [
        ("{ scheme = \"Token\" }", "authorization", "/x"),
        ("{ field = \"X-Auth-Token\" }", "x-auth-token", "/x"),
        ("{ cookie = \"SID\" }", "cookie", "/x"),
        ("{ query = \"token\" }", "", "/x?a=1&token=forged&TOKEN=forged&tok%65n=forged"),
    ] {
        let core = Upstream::start().await;
        let more = format!(", carrier = {carrier}");
        let upstream = minting("core", &core.url(), &hs256(&secret, CORE_CLAIMS, &more));
        let open = "[[route]]\npath = \"/open\"\nupstream = \"core\"\nauth = []\n";
        let gateway = builder(&format!("{upstream}{ROUTE}{open}")).start().await;
        let token = gateway.token("alice").await;
        let call = |path: &str| {
            let call = gateway.client();
            let path = path.to_owned();
            let token = token.clone();
            async move {
                let call = call.get(&path).bearer(&token).header("x_auth_token", "forged");
                let call = call.header("x-auth-token", "forged");
                let call = call.header("cookie", "a=b; sid=forged; %53ID=forged");
                call.send().await.assert_status(200);
            }
        };
        call(target).await;
        call(&target.replace("/x", "/open")).await;

        let [known, unknown] = &core.received()[..] else { panic!("two requests") };
        let place = |request: &ReceivedRequest| match name {
            "" => request.target.split_once("&token=").map(|(_, token)| token.to_owned()),
            "cookie" => {
                let cookies = request.header("cookie").unwrap_or_default();
                cookies.split("; ").find_map(|one| one.strip_prefix("SID=")).map(str::to_owned)
            }
            _ => request.header(name).map(str::to_owned),
        };
        let sent = place(known).expect(carrier);
        let minted = sent.strip_prefix("Token ").unwrap_or(&sent);
        assert_eq!(verified(minted).expect(carrier).1["sub"], "alice", "{carrier}");
        assert_eq!(place(unknown), None, "{carrier}: an open route is called without a token");
        for request in [known, unknown] {
            let said = match name {
                "" => request.target.clone(),
                name => format!("{:?}", request.headers.get_all(name).iter().collect::<Vec<_>>()),
            };
            assert!(!said.contains("forged"), "{carrier}: {said}");
            assert!(!format!("{request:?}").contains(&token), "{carrier}");
        }
        let logs = gateway.running().access_lines();
        assert!(!logs.contains(minted) && !logs.contains("forged"), "{logs}");
    }
}

#[tokio::test]
async fn a_key_pair_signs_with_the_key_id_that_the_upstream_looks_for() {
    let rsa = rsa::KeyPair::generate(rsa::KeySize::Rsa2048).unwrap();
    let rsa_der = AsDer::<Pkcs8V1Der<'_>>::as_der(&rsa).unwrap().as_ref().to_vec();
    let curve = &signature::ECDSA_P256_SHA256_FIXED_SIGNING;
    let ec = signature::EcdsaKeyPair::generate(curve).unwrap();
    let ec_der = ec.to_pkcs8v1().unwrap().as_ref().to_vec();
    let ed = signature::Ed25519KeyPair::generate().unwrap();
    let ed_der = ed.to_pkcs8().unwrap().as_ref().to_vec();
    let rs256 = &signature::RSA_PKCS1_2048_8192_SHA256 as &dyn signature::VerificationAlgorithm;
    for (algorithm, verifier, der, public) in [
        ("RS256", rs256, rsa_der, rsa.public_key().as_ref()),
        ("ES256", &signature::ECDSA_P256_SHA256_FIXED, ec_der, ec.public_key().as_ref()),
        ("EdDSA", &signature::ED25519, ed_der, ed.public_key().as_ref()),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let pem = format!(
            "-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n",
            STANDARD.encode(der)
        );
        std::fs::write(dir.path().join("key.pem"), pem).unwrap();
        let core = Upstream::start().await;
        let keys = format!(
            "algorithm = \"{algorithm}\", key = {:?}, key_id = \"nomic-2024\", ttl = \"2h\", claims = {{ sub = \
             \"$user.id\", iss = \"nomic\", aud = \"nomic\", nbf = \"$now\" }}",
            dir.path().join("key.pem")
        );
        let upstream = minting("core", &core.url(), &keys);
        let gateway = builder(&format!("{upstream}{ROUTE}")).start().await;
        let token = gateway.token("alice").await;
        gateway.client().get("/").bearer(&token).send().await.assert_status(200);

        let sent = core.only();
        let sent = bearer(&sent).unwrap();
        let (message, tag) = sent.rsplit_once('.').unwrap();
        signature::UnparsedPublicKey::new(verifier, public)
            .verify(message.as_bytes(), &decoded(tag))
            .expect(algorithm);
        let (header, claims) = unverified(sent);
        assert_eq!(header, json!({ "alg": algorithm, "typ": "JWT", "kid": "nomic-2024" }));
        assert_eq!(claims["sub"], "0192f0c1-0000-7000-8000-00000000000a");
        assert_eq!(claims["nbf"], claims["iat"]);
        assert_eq!(claims["exp"].as_u64().unwrap() - claims["iat"].as_u64().unwrap(), 7200);
        let jwks = gateway.client().get("/.well-known/jwks.json").send().await.text();
        assert!(!jwks.contains("nomic-2024"), "the upstream's key is not ours to publish: {jwks}");
        // It opens nothing here.
        gateway.client().get("/").bearer(sent).send().await.assert_status(401);
    }
}

#[tokio::test]
async fn requests_that_wait_for_one_token_have_it_signed_once() {
    let secret = secret();
    let core = Upstream::start().await;
    let upstream = minting("core", &core.url(), &hs256(&secret, CORE_CLAIMS, ""));
    let gateway = builder(&format!("{upstream}{ROUTE}")).start().await;
    let token = gateway.token("alice").await;
    let client = gateway.client();

    join_all((0..50).map(|_| client.get("/").bearer(&token).send())).await;

    let received = core.received();
    let mut tokens: Vec<_> = received.iter().map(|one| bearer(one).unwrap()).collect();
    assert_eq!(tokens.len(), 50);
    tokens.sort_unstable();
    tokens.dedup();
    // A request that found no token may begin a second flight after the first has landed.
    assert!(tokens.len() <= 2, "{}", tokens.len());
}

#[tokio::test]
async fn an_upgrade_is_asked_for_with_the_users_token() {
    let secret = secret();
    let core = Upstream::start().await;
    let upstream = minting("core", &core.url(), &hs256(&secret, CORE_CLAIMS, ""));
    let gateway = builder(&format!("{upstream}{ROUTE}")).start().await;
    let token = gateway.token("bob").await;
    let client = gateway.client();
    let call = client.get("/socket").bearer(&token).header("connection", "upgrade");
    let call = call.header("upgrade", "websocket").header("sec-websocket-version", "13");
    call.header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==").send().await;

    let seen = core.only();
    assert_eq!(seen.header("upgrade"), Some("websocket"));
    assert_eq!(verified(bearer(&seen).unwrap()).unwrap().1["sub"], "bob");
}

#[tokio::test]
async fn a_mirror_gets_the_users_token_in_its_own_form() {
    let secret = secret();
    let (core, shadow) = (Upstream::start().await, Upstream::start().await);
    let other = "{ user = \"$user.name\" }";
    let sections = [
        minting("core", &core.url(), &hs256(&secret, CORE_CLAIMS, "")),
        minting("shadow", &shadow.url(), &hs256(&secret, other, "")),
        format!("{ROUTE}mirror = \"shadow\"\n"),
    ]
    .concat();
    let gateway = builder(&sections).start().await;
    let token = gateway.token("alice").await;
    gateway.client().get("/").bearer(&token).send().await.assert_status(200);

    eventually(|| !shadow.received().is_empty()).await;
    let copy = shadow.only();
    let (_, claims) = verified(bearer(&copy).unwrap()).unwrap();
    assert_eq!((&claims["user"], &claims["sub"]), (&json!("alice"), &Value::Null));
    assert!(!format!("{copy:?}").contains(bearer(&core.only()).unwrap()));
}

#[tokio::test]
async fn a_dry_run_names_the_token_and_does_not_show_it() {
    let secret = secret();
    let core = Upstream::start().await;
    let more = ", carrier = { query = \"token\" }";
    let upstream = minting("core", &core.url(), &hs256(&secret, CORE_CLAIMS, more));
    let gateway = builder(&format!("{upstream}{ROUTE}")).start().await;
    let token = gateway.token("alice").await;
    let request = ExplainRequest {
        method: "GET".to_owned(),
        url: "http://localhost/x?a=1".to_owned(),
        fields: vec![("authorization".to_owned(), format!("Bearer {token}"))],
        as_user: None,
        from: None,
    };
    let explained = gateway.running().explain(&request).await.unwrap();

    let upstream = &explained["upstream"];
    assert_eq!(upstream["target"], "/x?a=1&token=…", "{explained}");
    let credential = "mint, HS256 in { query = \"token\" }: for `alice`";
    assert_eq!(upstream["credential"], credential);
    core.assert_untouched();
}
