//! Client certificates that a balancer in front tells (RFC 9440, and as nginx and HAProxy write
//! them), and that the gateway tells its upstream.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rcgen::{CertificateParams, DnType, ExtendedKeyUsagePurpose, date_time_ymd};
use tempfile::TempDir;

use super::certificates::Mutual;
use super::{assert_refused, key};
use crate::harness::certs::{CertificateAuthority, ClientIdentity};
use crate::harness::client::TestRequest;
use crate::harness::{Client, Gateway, GatewayBuilder, Upstream};

const TAKES: &str = "auth = [\"certificate\"]";
const ROBOT: &str =
    "[[client_certificate]]\nname = \"robot\"\nsubject = \"CN=robot\"\nroles = [\"writer\"]";

/// A balancer at 127.0.0.1, the authority of its clients, and a gateway that is told by `form`.
struct Balancer {
    authority: CertificateAuthority,
    folder: TempDir,
}

impl Balancer {
    fn new() -> Self {
        let (folder, authority) = (tempfile::tempdir().unwrap(), CertificateAuthority::new());
        std::fs::write(folder.path().join("clients.pem"), authority.pem()).unwrap();
        Self { authority, folder }
    }

    /// A gateway that believes `proxies`, with further keys of the table.
    fn gateway(&self, proxies: &str, keys: &str) -> GatewayBuilder {
        let ca = self.folder.path().join("clients.pem");
        Gateway::builder().moving().config(ROBOT).listener(&format!(
            "trusted_proxies = [\"{proxies}\"]\nforwarded_certificate = {{ ca = {ca:?}{keys} }}"
        ))
    }

    fn named(&self, name: &str) -> ClientIdentity {
        self.issue(name, |_| {})
    }

    fn issue(&self, name: &str, edit: impl FnOnce(&mut CertificateParams)) -> ClientIdentity {
        self.authority.client(|params| {
            params.distinguished_name.push(DnType::CommonName, name);
            edit(params);
        })
    }
}

/// A certificate as RFC 9440 writes it.
fn sequence(identity: &ClientIdentity) -> String {
    format!(":{}:", STANDARD.encode(&identity.der))
}

/// A certificate as nginx escapes it.
fn escaped(identity: &ClientIdentity) -> String {
    let lines = STANDARD.encode(&identity.der).replace('+', "%2B").replace('/', "%2F");
    let lines = lines.replace('=', "%3D");
    format!("-----BEGIN%20CERTIFICATE-----%0A{lines}%0A-----END%20CERTIFICATE-----%0A")
}

fn told<'c>(client: &'c Client, value: &str) -> TestRequest<'c> {
    client.get("/").header("client-cert", value)
}

#[tokio::test]
async fn a_certificate_that_a_balancer_tells_is_whom_it_means() {
    let (upstream, balancer) = (Upstream::start().await, Balancer::new());
    let robot = balancer.named("robot");
    for (keys, field, value) in [
        ("", "client-cert", sequence(&robot)),
        (", field = \"X-SSL-Client-Cert\", form = \"pem\"", "x-ssl-client-cert", escaped(&robot)),
        (
            ", field = \"X-SSL-Client-DER\", form = \"der\"",
            "x-ssl-client-der",
            STANDARD.encode(&robot.der),
        ),
    ] {
        let gateway = balancer
            .gateway("127.0.0.1", keys)
            .route_to(&upstream, &format!("{TAKES}\nrequire = {{ roles = [\"writer\"] }}"))
            .start()
            .await;
        let client = gateway.client();

        for _ in 0..2 {
            client.get("/").header(field, &value).send().await.assert_status(200);
            let seen = upstream.last();
            assert_eq!(seen.header("x-auth-username"), Some("robot"), "{field}");
            assert_eq!(seen.header(field), None, "{field} stays here");
        }
        let arrived = upstream.received().len();
        let reply = client.get("/").send().await;
        assert_refused(&reply, 401, "credential_missing", "a client without one");
        let reply = client.get("/").header(field, "").send().await;
        assert_refused(&reply, 401, "credential_missing", "an empty field");
        let folded = field.replace('-', "_");
        let reply = client.get("/").header(&folded, &value).send().await;
        assert_refused(&reply, 401, "credential_missing", "another spelling");
        assert_eq!(upstream.received().len(), arrived);
    }
}

#[tokio::test]
async fn nobody_but_a_trusted_proxy_is_believed_about_a_certificate() {
    let (upstream, balancer) = (Upstream::start().await, Balancer::new());
    let robot = sequence(&balancer.named("robot"));
    let gateway = balancer
        .gateway("192.0.2.1", "")
        .route(&upstream, "/certificate/", TAKES)
        .route(&upstream, "/open/", "auth = []\nforward_certificate = true")
        .start()
        .await;
    let client = gateway.client();

    let call = client.get("/certificate/").header("client-cert", &robot);
    let call = call.header("client-cert-chain", &robot).header("x-forwarded-for", "192.0.2.1");
    assert_refused(&call.send().await, 401, "credential_missing", "a stranger's field");
    upstream.assert_untouched();

    for name in ["client-cert", "client_cert", "Client.Cert"] {
        client.get("/open/").header(name, &robot).send().await.assert_status(200);
        assert_eq!(upstream.last().header(&name.to_ascii_lowercase()), None, "{name} is removed");
        assert_eq!(upstream.last().header("client-cert"), None);
    }
}

#[tokio::test]
async fn a_certificate_that_a_handshake_would_refuse_is_refused() {
    let (upstream, balancer) = (Upstream::start().await, Balancer::new());
    let stranger = Balancer::new();
    let robot = balancer.named("robot");
    let gateway = balancer.gateway("127.0.0.1", "").route_to(&upstream, TAKES).start().await;
    let client = gateway.client();
    let good = sequence(&robot);
    let early = balancer.issue("robot", |one| one.not_before = date_time_ymd(2027, 1, 1));
    let old = balancer.issue("robot", |one| one.not_after = date_time_ymd(2026, 1, 1));
    let server = balancer.issue("robot", |one| {
        one.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    });
    let mut changed = robot.der.to_vec();
    *changed.last_mut().unwrap() ^= 1;
    let unpadded = good.replace('=', "");

    for (value, code, why) in [
        (sequence(&stranger.named("robot")), "token_invalid", "another authority"),
        (format!(":{}:", STANDARD.encode(&changed)), "token_invalid", "another signature"),
        (sequence(&early), "token_invalid", "not valid yet"),
        (sequence(&old), "token_expired", "expired"),
        (sequence(&server), "token_invalid", "for servers"),
        (sequence(&balancer.named("nobody")), "credential_missing", "without an entry"),
        (good.trim_matches(':').to_owned(), "token_invalid", "no colons"),
        (format!("{good};a=1"), "token_invalid", "a parameter"),
        (format!("{good}, {good}"), "token_invalid", "a list"),
        (escaped(&robot), "token_invalid", "in another form"),
        (format!(":{}:", &good[1..40]), "token_invalid", "cut short"),
        ("CN=robot".to_owned(), "token_invalid", "a name alone"),
        (":%%%:".to_owned(), "token_invalid", "no base64"),
        ("::".to_owned(), "token_invalid", "nothing between the colons"),
    ] {
        assert_refused(&told(&client, &value).send().await, 401, code, why);
    }
    if unpadded != good {
        let reply = told(&client, &unpadded).send().await;
        assert_refused(&reply, 401, "token_invalid", "without padding");
    }
    let twice = told(&client, &good).header("Client-Cert", &good).send().await;
    assert_refused(&twice, 400, "ambiguous_credential", "two certificates");
    let chain = client.get("/").header("client-cert-chain", &good).send().await;
    assert_refused(&chain, 401, "token_invalid", "a chain alone");
    let chain = told(&client, &good).header("client-cert-chain", "nonsense").send().await;
    assert_refused(&chain, 401, "token_invalid", "a chain that cannot be read");
    let chain = [good.as_str(); 9].join(", ");
    let chain = told(&client, &good).header("client-cert-chain", &chain).send().await;
    assert_refused(&chain, 401, "token_invalid", "a chain without end");
    upstream.assert_untouched();

    told(&client, &good).send().await.assert_status(200);
}

#[tokio::test]
async fn a_chain_leads_to_the_authority_and_a_certificate_ends_while_it_is_remembered() {
    let (upstream, balancer) = (Upstream::start().await, Balancer::new());
    let middle = balancer.authority.below("middle");
    let issue = |edit: fn(&mut CertificateParams)| {
        middle.client(|params| {
            params.distinguished_name.push(DnType::CommonName, "robot");
            edit(params);
        })
    };
    let robot = issue(|_| {});
    let brief = issue(|params| params.not_after = date_time_ymd(2026, 11, 23));
    let gateway = balancer.gateway("127.0.0.1", "").route_to(&upstream, TAKES).start().await;
    let client = gateway.client();
    let chain = format!(":{}:", STANDARD.encode(middle.der()));

    let reply = told(&client, &sequence(&robot)).send().await;
    assert_refused(&reply, 401, "token_invalid", "without its chain");
    upstream.assert_untouched();
    for one in [&robot, &brief] {
        let call = told(&client, &sequence(one)).header("client-cert-chain", &chain);
        call.send().await.assert_status(200);
        assert_eq!(upstream.last().header("client-cert-chain"), None);
    }
    let arrived = upstream.received().len();
    gateway.advance(Duration::from_secs(24 * 3600));
    let call = told(&client, &sequence(&brief)).header("client-cert-chain", &chain);
    assert_refused(&call.send().await, 401, "token_expired", "its day is over");
    assert_eq!(upstream.received().len(), arrived);
}

#[tokio::test]
async fn a_broken_certificate_matters_only_where_certificates_are_taken() {
    let (upstream, balancer) = (Upstream::start().await, Balancer::new());
    let (presented, section) = key("reader", "");
    let gateway = balancer
        .gateway("127.0.0.1", "")
        .config(&section)
        .route(&upstream, "/key/", "auth = [\"api_key\"]")
        .route(&upstream, "/either/", "auth = [\"api_key\", \"certificate\"]")
        .start()
        .await;
    let client = gateway.client();

    for path in ["/key/", "/either/"] {
        let call = client.get(path).header("x-api-key", &presented);
        call.header("client-cert", "nonsense").send().await.assert_status(200);
        assert_eq!(upstream.last().header("x-auth-username"), Some("reader"));
        assert_eq!(upstream.last().header("client-cert"), None);
    }
}

#[tokio::test]
async fn an_upstream_is_told_the_certificate_of_the_handshake_and_that_of_the_balancer() {
    let upstream = Upstream::start().await;
    let route = format!("{TAKES}\nforward_certificate = true");
    let mutual = Mutual::new();
    let robot = mutual.named("robot");
    let gateway = mutual
        .builder("client_auth = \"optional\"")
        .config(ROBOT)
        .route(&upstream, "/", &route)
        .route(&upstream, "/open/", "auth = []\nforward_certificate = true")
        .route(&upstream, "/quiet/", TAKES)
        .start()
        .await;
    let client = mutual.client(&gateway, Some(&robot), false);

    client.get("/").header("client-cert", ":AAAA:").send().await.assert_status(200);
    assert_eq!(upstream.last().header("client-cert"), Some(&*sequence(&robot)));
    client.get("/quiet/").send().await.assert_status(200);
    assert_eq!(upstream.last().header("client-cert"), None, "only where the route says so");
    let stranger = mutual.client(&gateway, None, false);
    stranger.get("/open/").header("client-cert", ":AAAA:").send().await.assert_status(200);
    assert_eq!(upstream.last().header("client-cert"), None, "there is none");

    let balancer = Balancer::new();
    let robot = balancer.named("robot");
    let gateway = balancer.gateway("127.0.0.1", "").route_to(&upstream, &route).start().await;
    told(&gateway.client(), &sequence(&robot)).send().await.assert_status(200);
    assert_eq!(upstream.last().header("client-cert"), Some(&*sequence(&robot)));
}

#[tokio::test]
async fn the_certificate_of_a_balancer_itself_is_no_clients() {
    let (upstream, mutual, balancer) = (Upstream::start().await, Mutual::new(), Balancer::new());
    let ca = balancer.folder.path().join("clients.pem");
    let itself = mutual.named("robot");
    let gateway = mutual
        .builder_with(&format!(
            "trusted_proxies = [\"127.0.0.1\"]\nforwarded_certificate = {{ ca = {ca:?} }}"
        ))
        .config(ROBOT)
        .route_to(&upstream, TAKES)
        .start()
        .await;
    let client = mutual.client(&gateway, Some(&itself), false);

    let reply = client.get("/").send().await;
    assert_refused(&reply, 401, "credential_missing", "the balancer's own certificate");
    upstream.assert_untouched();
    told(&client, &sequence(&balancer.named("robot"))).send().await.assert_status(200);
}
