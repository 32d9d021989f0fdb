//! Client certificates over real mutual TLS.

use std::time::Duration;

use rcgen::string::Ia5String;
use rcgen::{CertificateParams, DnType, DnValue, SanType, date_time_ymd};
use tempfile::TempDir;
use tollhouse::secret::Digest;

use super::{assert_refused, key};
use crate::harness::certs::{self, Certificate, CertificateAuthority, ClientIdentity};
use crate::harness::{Client, Gateway, GatewayBuilder, Upstream};

const YEAR: Duration = Duration::from_secs(366 * 24 * 3600);
const TAKES: &str = "auth = [\"certificate\"]";

/// A listener that believes one authority, and clients for it.
pub(super) struct Mutual {
    server: Certificate,
    authority: CertificateAuthority,
    dir: TempDir,
}

impl Mutual {
    pub(super) fn new() -> Self {
        let (dir, authority) = (tempfile::tempdir().unwrap(), CertificateAuthority::new());
        let server = Certificate::make(dir.path(), "server", &["localhost"]);
        std::fs::write(dir.path().join("clients.pem"), authority.pem()).unwrap();
        Self { server, authority, dir }
    }

    /// With further keys of `[listener.tls]`.
    pub(super) fn builder(&self, keys: &str) -> GatewayBuilder {
        let clients = self.dir.path().join("clients.pem");
        Gateway::builder().tls(&self.server, &format!("client_ca = {clients:?}\n{keys}"))
    }

    /// With further keys of `[[listener]]`.
    pub(super) fn builder_with(&self, keys: &str) -> GatewayBuilder {
        let clients = self.dir.path().join("clients.pem");
        let builder = Gateway::builder().listener(keys);
        builder.tls(&self.server, &format!("client_ca = {clients:?}"))
    }

    pub(super) fn client(
        &self,
        gateway: &Gateway,
        identity: Option<&ClientIdentity>,
        http2: bool,
    ) -> Client {
        let alpn: &[u8] = if http2 { b"h2" } else { b"http/1.1" };
        let tls = match identity {
            Some(identity) => certs::showing(&self.server.der, alpn, identity),
            None => certs::trusting(std::slice::from_ref(&self.server.der), &[alpn]),
        };
        Client { address: gateway.address(), tls: Some((tls, "localhost".into())), http2 }
    }

    /// A certificate with this common name.
    pub(super) fn named(&self, name: &str) -> ClientIdentity {
        self.authority.client(|params| params.distinguished_name.push(DnType::CommonName, name))
    }
}

fn entry(name: &str, lines: &str) -> String {
    format!("[[client_certificate]]\nname = \"{name}\"\n{lines}\n")
}

fn ia5(text: &str) -> Ia5String {
    text.try_into().unwrap()
}

#[tokio::test]
async fn a_certificate_is_whom_its_subject_name_or_print_means() {
    let (upstream, mutual) = (Upstream::start().await, Mutual::new());
    let of = |edit: fn(&mut CertificateParams)| mutual.authority.client(edit);
    let subject = of(|params| {
        params.distinguished_name.push(DnType::OrganizationName, "acme, inc");
        params.distinguished_name.push(DnType::CommonName, "robot");
    });
    let dns = of(|params| params.subject_alt_names = vec![SanType::DnsName(ia5("Robot.Example"))]);
    let uri = of(|params| params.subject_alt_names = vec![SanType::URI(ia5("spiffe://acme/a"))]);
    let mail = of(|params| params.subject_alt_names = vec![SanType::Rfc822Name(ia5("r@acme.e"))]);
    let print = of(|_| {});
    let hex = Digest::of(&print.der).hex();
    let gateway = mutual
        .builder("client_auth = \"optional\"")
        .config(&entry("by-subject", "subject = \"CN=robot, O=acme\\\\, inc\"\nroles = [\"r\"]"))
        .config(&entry("by-dns", "san = \"dns:robot.example\"\nroles = [\"r\"]"))
        .config(&entry("by-uri", "san = \"uri:spiffe://acme/a\"\nroles = [\"r\"]"))
        .config(&entry("by-mail", "san = \"email:r@acme.e\"\nroles = [\"r\"]"))
        .config(&entry("by-print", &format!("fingerprint = \"{hex}\"\nroles = [\"r\"]")))
        .route_to(&upstream, &format!("{TAKES}\nrequire = {{ roles = [\"r\"] }}"))
        .start()
        .await;

    for (identity, name) in [
        (&subject, "by-subject"),
        (&dns, "by-dns"),
        (&uri, "by-uri"),
        (&mail, "by-mail"),
        (&print, "by-print"),
    ] {
        for http2 in [false, true] {
            let client = mutual.client(&gateway, Some(identity), http2);
            client.get("/").send().await.assert_status(200);

            let seen = upstream.last();
            assert_eq!(seen.header("x-auth-username"), Some(name));
            assert_eq!(seen.header("x-auth-roles"), Some("r"));
        }
    }
}

#[tokio::test]
async fn nearly_the_right_name_is_nobodys() {
    let (upstream, mutual) = (Upstream::start().await, Mutual::new());
    let gateway = mutual
        .builder("client_auth = \"optional\"")
        .config(&entry("subject", "subject = \"CN=robot,O=acme\""))
        .config(&entry("dns", "san = \"dns:robot.example\""))
        .config(&entry("uri", "san = \"uri:spiffe://acme/robot\""))
        .route_to(&upstream, TAKES)
        .start()
        .await;
    let names = |list: &[(DnType, &str)]| {
        let list: Vec<_> =
            list.iter().map(|(kind, name)| (kind.clone(), (*name).to_owned())).collect();
        mutual.authority.client(|params| {
            list.into_iter().for_each(|(kind, name)| params.distinguished_name.push(kind, name));
        })
    };
    let alternative =
        |name: SanType| mutual.authority.client(|params| params.subject_alt_names = vec![name]);
    let (cn, o) = (|| DnType::CommonName, || DnType::OrganizationName);
    let wide = DnValue::BmpString("robot".try_into().unwrap());

    for (identity, why) in [
        (names(&[(o(), "acme"), (cn(), "Robot")]), "another letter"),
        (names(&[(cn(), "robot"), (o(), "acme")]), "another order"),
        (names(&[(cn(), "robot")]), "part of the name"),
        (names(&[(o(), "acme"), (cn(), "robot"), (DnType::OrganizationalUnitName, "x")]), "more"),
        (names(&[(o(), "acme"), (cn(), "robot,O=acme")]), "a name within a value"),
        (names(&[(o(), "acme"), (cn(), "robot ")]), "a space"),
        (names(&[(o(), "acme"), (cn(), "robot\0")]), "a NUL in the subject"),
        (names(&[(cn(), "robot.example")]), "a host in the common name"),
        (
            mutual.authority.client(|params| {
                params.distinguished_name.push(o(), "acme");
                params.distinguished_name.push(cn(), wide);
            }),
            "letters of another width",
        ),
        (alternative(SanType::DnsName(ia5("*.example"))), "a wildcard"),
        (alternative(SanType::DnsName(ia5("robot.example.evil"))), "a longer host"),
        (alternative(SanType::DnsName(ia5("robot.example\0.evil"))), "a NUL in a host"),
        (alternative(SanType::URI(ia5("robot.example"))), "a name of another kind"),
        (alternative(SanType::URI(ia5("spiffe://acme/robot/x"))), "a longer address"),
    ] {
        let reply = mutual.client(&gateway, Some(&identity), false).get("/").send().await;
        assert_refused(&reply, 401, "credential_missing", why);
    }
    let nobody = mutual.client(&gateway, None, false).get("/").send().await;
    assert_refused(&nobody, 401, "credential_missing", "no certificate");
    upstream.assert_untouched();
}

#[tokio::test]
async fn a_good_name_beside_a_nul_is_nobodys_either() {
    let (upstream, mutual) = (Upstream::start().await, Mutual::new());
    let identity = mutual.authority.client(|params| {
        let names = [ia5("robot.example"), ia5("robot.example\0.evil")];
        params.subject_alt_names = names.map(SanType::DnsName).to_vec();
    });
    let hex = Digest::of(&identity.der).hex();
    let gateway = mutual
        .builder("")
        .config(&entry("dns", "san = \"dns:robot.example\""))
        .config(&entry("print", &format!("fingerprint = \"{hex}\"")))
        .route_to(&upstream, TAKES)
        .start()
        .await;

    let reply = mutual.client(&gateway, Some(&identity), false).get("/").send().await;

    assert_refused(&reply, 401, "credential_missing", "it names nobody for certain");
    upstream.assert_untouched();
}

#[tokio::test]
async fn the_first_section_that_fits_decides() {
    let (upstream, mutual) = (Upstream::start().await, Mutual::new());
    let identity = mutual.authority.client(|params| {
        params.distinguished_name.push(DnType::CommonName, "robot");
        params.subject_alt_names = vec![SanType::DnsName(ia5("robot.example"))];
    });
    let hex = Digest::of(&identity.der).hex();
    let gateway = mutual
        .builder("")
        .config(&entry("dns", "san = \"dns:robot.example\""))
        .config(&entry("print", &format!("fingerprint = \"{hex}\"")))
        .config(&entry("subject", "subject = \"CN=robot\""))
        .route_to(&upstream, TAKES)
        .start()
        .await;

    mutual.client(&gateway, Some(&identity), false).get("/").send().await.assert_status(200);

    assert_eq!(upstream.only().header("x-auth-username"), Some("dns"));
}

#[tokio::test]
async fn a_certificate_counts_only_where_nothing_else_is_presented() {
    let (upstream, mutual) = (Upstream::start().await, Mutual::new());
    let (key, section) = key("export", "");
    let robot = mutual.named("robot");
    let gateway = mutual
        .builder("client_auth = \"optional\"")
        .login("native")
        .config(&section)
        .config(&entry("robot", "subject = \"CN=robot\""))
        .route(&upstream, "/all/", "auth = [\"bearer\", \"api_key\", \"certificate\"]")
        .route(&upstream, "/certificate/", TAKES)
        .route(&upstream, "/token/", "auth = [\"bearer\"]")
        .route(&upstream, "/open/", "auth = []")
        .start()
        .await;
    let client = mutual.client(&gateway, Some(&robot), false);
    let login = serde_json::json!({
        "username": "alice", "password": crate::harness::gateway::PASSWORD
    });
    let token = client.post("/auth/login").json(login).send().await.member("access_token");

    for (call, who, why) in [
        (client.get("/all/"), Some("robot"), "nothing else"),
        (client.get("/all/").bearer(&token), Some("alice"), "a token"),
        (client.get("/all/").header("x-api-key", &key), Some("export"), "a key"),
        (client.get("/all/").basic("bob", "x"), Some("robot"), "a kind that is not taken"),
        (client.get("/certificate/").bearer(&token), Some("robot"), "a token that is not taken"),
        (client.get("/open/"), None, "nobody is asked for"),
    ] {
        call.send().await.assert_status(200);
        assert_eq!(upstream.last().header("x-auth-username"), who, "{why}");
        assert_eq!(upstream.last().header("authorization"), None, "{why}");
    }
    let arrived = upstream.received().len();
    let bad = client.get("/all/").bearer("nonsense").send().await;
    assert_refused(&bad, 401, "token_invalid", "the certificate does not stand in for a bad token");
    let none = client.get("/token/").send().await;
    assert_refused(&none, 401, "credential_missing", "certificates are not taken");
    assert_eq!(upstream.received().len(), arrived);
}

#[tokio::test]
async fn only_the_listeners_authority_is_believed() {
    let (upstream, mutual) = (Upstream::start().await, Mutual::new());
    let stranger = CertificateAuthority::new()
        .client(|params| params.distinguished_name.push(DnType::CommonName, "robot"));
    let gateway = mutual
        .builder("client_auth = \"optional\"")
        .config(&entry("robot", "subject = \"CN=robot\""))
        .route_to(&upstream, TAKES)
        .start()
        .await;

    let answer = mutual.client(&gateway, Some(&stranger), false).try_handshake().await;

    assert!(answer.is_empty(), "{}", String::from_utf8_lossy(&answer));
    upstream.assert_untouched();
}

#[tokio::test]
async fn a_certificate_that_has_ended_is_refused_though_its_handshake_was_good() {
    let (upstream, mutual) = (Upstream::start().await, Mutual::new());
    let identity = mutual.authority.client(|params| {
        params.distinguished_name.push(DnType::CommonName, "robot");
        params.not_after = date_time_ymd(2200, 1, 1);
    });
    let gateway = mutual
        .builder("")
        .moving()
        .config(&entry("robot", "subject = \"CN=robot\""))
        .route_to(&upstream, TAKES)
        .start()
        .await;
    let client = mutual.client(&gateway, Some(&identity), false);
    client.get("/").send().await.assert_status(200);

    gateway.advance(200 * YEAR);

    assert_refused(&client.get("/").send().await, 401, "token_expired", "the gateway's clock says");
    assert_eq!(upstream.received().len(), 1);
}

#[tokio::test]
async fn a_host_with_another_certificate_is_misdirected_whoever_calls() {
    let (upstream, mutual) = (Upstream::start().await, Mutual::new());
    let other = Certificate::make(mutual.dir.path(), "other", &["other.example"]);
    let Certificate { chain, key, .. } = &mutual.server;
    let robot = mutual.named("robot");
    let listener = format!(
        "[listener.tls]\n\
         certificates = [{{ chain = {chain:?}, key = {key:?} }}, {{ chain = {:?}, key = {:?} }}]\n\
         client_ca = {:?}",
        other.chain,
        other.key,
        mutual.dir.path().join("clients.pem")
    );
    let gateway = Gateway::builder()
        .listener(&listener)
        .config(&entry("robot", "subject = \"CN=robot\""))
        .route_to(&upstream, TAKES)
        .start()
        .await;
    let client = mutual.client(&gateway, Some(&robot), false);

    let reply = client.get("/").host("other.example").send().await;

    reply.assert_status(421).assert_code("misdirected");
    upstream.assert_untouched();
    client.get("/").send().await.assert_status(200);
}
