use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls_pki_types::CertificateDer;
use tokio::runtime::Handle;
use tollhouse_core::secret::SecretString;
use tollhouse_store::shared::{
    RecordKind, RedisDatabase, RedisOptions, SharedDatabase, SharedOpenError,
};

use super::server::{RedisServer, options, trusting};
use crate::shared_database::{key, value, write};

struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    fn certificate(&self) -> CertificateDer<'static> {
        self.0.der().clone()
    }

    /// A server whose certificate is for `name`, and that takes no connections without TLS.
    fn server(&self, name: &str) -> RedisServer {
        let dir = tempfile::tempdir().unwrap().keep();
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new([name.to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &self.0).unwrap();
        let (cert_file, key_file) = (dir.join("cert.pem"), dir.join("key.pem"));
        std::fs::write(&cert_file, certificate.pem()).unwrap();
        std::fs::write(&key_file, key.serialize_pem()).unwrap();
        let server = RedisServer::with_tls(cert_file.to_str().unwrap(), key_file.to_str().unwrap());
        std::fs::remove_dir_all(dir).unwrap();
        server
    }
}

fn open(options: &RedisOptions) -> RedisDatabase {
    RedisDatabase::new(options, Handle::current()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_is_spoken_and_the_certificate_is_verified() {
    let (authority, other) = (Authority::new(), Authority::new());
    let server = authority.server("127.0.0.1");
    let mut options = options(&server.url().replace("redis://", "rediss://"));

    options.tls = trusting(&[&authority.certificate()]);
    let database = open(&options);
    database.prepare().await.unwrap();
    let session = key(RecordKind::Session, "a");
    write(&database, &session, None, "one").await;
    let mut follower = database.follow();
    crate::shared_database::load(&mut *follower).await;
    assert_eq!(value(&database, &session).await.as_deref(), Some("one"));

    options.tls = trusting(&[&other.certificate()]);
    let error = open(&options).prepare().await.unwrap_err();
    assert!(matches!(error, SharedOpenError::Tls { .. }), "{error:?}");
    assert!(!error.is_temporary());

    // A certificate of the right authority, and of another host.
    let server = authority.server("db.example");
    options.url = SecretString::new(server.url().replace("redis://", "rediss://"));
    options.tls = trusting(&[&authority.certificate()]);
    let error = open(&options).prepare().await.unwrap_err();
    assert!(matches!(error, SharedOpenError::Tls { .. }), "{error:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_without_tls_is_no_answer_to_a_client_with_tls() {
    let server = RedisServer::start();
    let options = options(&server.url().replace("redis://", "rediss://"));

    let error = open(&options).prepare().await.unwrap_err();

    // It waits for the end of a line, so it cannot be told from a server that hangs.
    assert!(error.is_temporary(), "{error}");
    assert!(error.to_string().contains("speak no TLS on this port"), "{error}");
}

#[tokio::test]
async fn plain_connections_do_not_leave_this_machine() {
    for url in [
        "redis://:hunter2@db.example",
        "redis+sentinel://:hunter2@127.0.0.1,192.0.2.1/main",
        "redis+cluster://:hunter2@[::1]:1,[2001:db8::1]:1",
    ] {
        let mut options = options(url);
        let error = RedisDatabase::new(&options, Handle::current()).unwrap_err().to_string();
        assert!(error.contains("asks for no TLS") && error.contains("rediss://"), "{error}");
        assert!(!error.contains("hunter2"), "{error}");

        options.demands_tls = false;
        let debug = format!("{:?}", open(&options));
        assert!(!debug.contains("hunter2"), "{debug}");
        let debug = format!("{options:?}");
        assert!(!debug.contains("hunter2"), "{debug}");
    }
    let mut options = options("redis://localhost");
    options.key_prefix = "{one slot}".to_owned();
    let error = RedisDatabase::new(&options, Handle::current()).unwrap_err();
    assert!(matches!(error, SharedOpenError::Setting(_)), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_is_needed_and_never_told() {
    let server = RedisServer::with(&["--requirepass", "right/@word"]);
    let host = format!("127.0.0.1:{}", server.port);

    for (url, works) in [
        (format!("redis://:right%2F%40word@{host}"), true),
        (format!("redis://default:right%2F%40word@{host}/2"), true),
        (format!("redis://:wrongword@{host}"), false),
        (format!("redis://someone:right%2F%40word@{host}"), false),
        (format!("redis://{host}"), false),
    ] {
        let opened = open(&options(&url)).prepare().await;

        assert_eq!(opened.is_ok(), works, "{url}: {opened:?}");
        if let Err(error) = opened {
            let text = error.to_string();
            assert!(matches!(error, SharedOpenError::Credentials { .. }), "{url}: {text}");
            assert!(!text.contains("word@") && !text.contains("wrongword"), "{text}");
        }
    }
    server.cli(&["AUTH", "right/@word"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_unix_socket_is_this_machine() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("redis.sock");
    let path = path.to_str().unwrap();
    let _server = RedisServer::with(&["--unixsocket", path]);
    let database = open(&options(&format!("redis+unix://{path}?db=1")));

    database.prepare().await.unwrap();

    let session = key(RecordKind::Session, "a");
    write(&database, &session, None, "one").await;
    assert_eq!(value(&database, &session).await.as_deref(), Some("one"));
}
