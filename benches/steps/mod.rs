//! The inner steps of a request, each made ready so that it can be measured alone.
//!
//! Used by `inner` (instructions, by valgrind) and `inner_time` (nanoseconds). Making ready is
//! never measured: what a step takes is built before, from the library's public interface, as the
//! pipeline builds it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // A benchmark may fail loudly.
#![allow(unreachable_pub)] // Included by two programs: nothing here is anybody's interface.

pub mod proof;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use http::request::{Parts, Request};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri};
use tollhouse::authority::Authority;
use tollhouse::client::{Client, RequestBounds, Scheme};
use tollhouse::clock::Timestamp;
use tollhouse::headers::{
    self, CredentialFields, ForwardedCredential, HeaderEdits, HeaderFacts, RequestId,
    ReservedHeaders,
};
use tollhouse::identity::{Claims, Identity, IdentityField, SessionId, Subject};
use tollhouse::routing::{PathAnomalies, Pattern, RouteEntry, RouteMatch, RouteTable, Target};
use tollhouse::secret::RandomPool;
use tollhouse::settings::{AccessFormat, HeaderRules, ValuePart, ValueTemplate};
use tollhouse::telemetry::access_line;
use tollhouse::telemetry::access_record::{AccessRecord, RequestOutcome};
use tollhouse::telemetry::metrics::Metrics;

/// When all of this happens.
pub const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);

/// What a listener lets a request ask for, as it is by default.
pub const BOUNDS: RequestBounds = RequestBounds {
    uri_bytes: 8 * 1024,
    header_count: 100,
    body_idle: Duration::from_secs(30),
    body_rate: None,
};

/// A request as a browser or a client library sends it, for `path`.
pub fn head(path: &str) -> Parts {
    let request = Request::get(path)
        .header("host", "api.example.com")
        .header(
            "user-agent",
            "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0",
        )
        .header("accept", "application/json")
        .header("accept-language", "en-GB,en;q=0.7")
        .header("accept-encoding", "gzip, deflate, br")
        .header("authorization", format!("Bearer {}", "e".repeat(400)))
        .header("cache-control", "no-cache")
        .header("x-requested-with", "XMLHttpRequest");
    request.body(()).unwrap().into_parts().0
}

/// The one reading of a request.
pub fn parse(head: &Parts) -> Target {
    Target::parse(head, BOUNDS).unwrap()
}

/// A table of `routes` routes on one host, of the kinds that occur: prefixes of two and three
/// segments, exact paths and patterns; and a request for one of the last of them.
pub struct Routes {
    table: RouteTable<(), usize>,
    target: Target,
}

impl Routes {
    pub fn new(routes: usize) -> Self {
        let mut table = RouteTable::new();
        let hosts = ["*".to_owned()];
        for route in 0..routes {
            let path = match route % 4 {
                0 => format!("/service{route}/"),
                1 => format!("/api/v2/service{route}/"),
                2 => format!("=/exact/service{route}"),
                _ => format!("/api/v2/service{route}/{{id}}/items"),
            };
            let pattern = Pattern::parse(&path).unwrap();
            let place = RouteEntry {
                hosts: &hosts,
                pattern: &pattern,
                methods: &[],
                allowed: PathAnomalies::default(),
                case_insensitive: false,
            };
            table.add_route(&place, &route).unwrap();
        }
        let wanted = (0..routes).rev().find(|route| route % 4 == 1).unwrap();
        let target = parse(&head(&format!("/api/v2/service{wanted}/items/7?page=2")));
        Self { table, target }
    }

    /// The look-up.
    pub fn find(&self) -> usize {
        match self.table.find(&self.target) {
            RouteMatch::Route(route) => *route,
            other => panic!("no route: {other:?}"),
        }
    }
}

/// A client on a plain connection from this machine.
fn client() -> Client {
    Client {
        address: Some(IpAddr::V4(Ipv4Addr::LOCALHOST)),
        peer: Some(SocketAddr::from((Ipv4Addr::LOCALHOST, 50_000))),
        local: Some(SocketAddr::from((Ipv4Addr::LOCALHOST, 8443))),
        listener: "127.0.0.1:8443".into(),
        scheme: Scheme::Http,
        sni: None,
        names: None,
        certificate: None,
        certificate_fault: None,
        trusted_proxy: false,
        address_text: Default::default(),
        only_health: false,
        redirect: false,
        bounds: BOUNDS,
    }
}

/// Somebody with two roles and two scopes.
fn identity() -> Identity {
    Identity {
        subject: Subject::new("5f0c3c1e-0000-4000-8000-000000000001"),
        username: "bob".into(),
        source: "local".into(),
        issuer: "self".into(),
        login: "native".into(),
        session: Some(SessionId::new(NOW)),
        roles: vec!["reader".into(), "writer".into()],
        scopes: vec!["orders".into(), "invoices".into()],
        claims: Claims::new(),
    }
}

/// The fields of one request on its way through: what a client may not say goes, what we say
/// comes, and a route's own rules.
pub struct Fields {
    protected: ReservedHeaders,
    rules: HeaderEdits,
    client: Client,
    identity: Identity,
    /// Made once for a token, as the verifier does it.
    identity_fields: Vec<IdentityField>,
    request_id: RequestId,
}

impl Fields {
    pub fn new() -> Self {
        let name = HeaderName::from_static;
        let text = |text: &str| ValueTemplate(vec![ValuePart::Text(text.to_owned())]);
        let rules = HeaderRules {
            set: vec![
                (
                    name("x-tenant"),
                    ValueTemplate(vec![ValuePart::Text("t-".to_owned()), ValuePart::Subject]),
                ),
                (name("x-gateway"), text("tollhouse")),
            ],
            remove: vec![name("x-requested-with")],
        };
        let rules = HeaderEdits::build(&rules).unwrap();
        let protected = ReservedHeaders::new(rules.names());
        let request_id = RequestId::new(NOW, &RandomPool::default());
        let identity = identity();
        let identity_fields = headers::identity_fields(&identity);
        Self { protected, rules, client: client(), identity, identity_fields, request_id }
    }

    /// Every step on a request's fields, in the order of the pipeline.
    pub fn pass(&self, mut head: Parts) -> HeaderMap {
        headers::strip_inbound(&mut head, &self.protected, &self.client, false);
        headers::remove_credentials(
            &mut head,
            ForwardedCredential::Nothing,
            CredentialFields::default(),
        );
        let facts = self.facts();
        headers::set_forwarded(&mut head.headers, &facts);
        headers::set_identity(&mut head.headers, &self.identity_fields);
        self.rules.apply(&mut head.headers, &facts);
        head.headers
    }

    /// A route's own rules alone.
    pub fn rules(&self, mut fields: HeaderMap) -> HeaderMap {
        self.rules.apply(&mut fields, &self.facts());
        fields
    }

    fn facts(&self) -> HeaderFacts<'_> {
        HeaderFacts {
            client: &self.client,
            identity: Some(&self.identity),
            request_id: &self.request_id,
            host: "api.example.com",
            authority: "api.example.com",
            prefix: None,
        }
    }
}

/// A whole line of the access log.
pub fn record() -> AccessRecord {
    let identity = identity();
    AccessRecord {
        method: Method::GET,
        uri: Uri::from_static("/api/v2/service7/items/7?page=2"),
        host: Authority::parse("api.example.com"),
        protocol: "1.1",
        client_address: Some(HeaderValue::from_static("127.0.0.1")),
        user_agent: Some(HeaderValue::from_static("Mozilla/5.0 (X11; Linux x86_64; rv:128.0)")),
        request_id: Some(RequestId::new(NOW, &RandomPool::default()).value().clone()),
        route: Some(Metrics::new().route("/api/v2/")),
        subject: Some(identity.subject),
        session: identity.session,
        upstream: Some("127.0.0.1:9000".into()),
        outcome: RequestOutcome::Forwarded,
        bytes_out: 12,
        status: 200,
        duration: Duration::from_micros(412),
        upstream_duration: Some(Duration::from_micros(350)),
        ..AccessRecord::default()
    }
}

/// Writes it.
pub fn write(record: &AccessRecord, line: &mut Vec<u8>) {
    line.clear();
    access_line::write(record, AccessFormat::Json, NOW, line);
}
