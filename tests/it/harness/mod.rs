//! What the tests start and speak through: a gateway from TOML text, a recording upstream,
//! clients from typed requests down to raw bytes, an OpenID provider, a real SMTP server, a real
//! directory, real databases, a real
//! certificate authority, certificates.

pub mod acme_relay;
pub mod certs;
pub mod client;
pub mod daemon;
pub mod gateway;
pub mod haproxy;
pub mod http2_frames;
pub mod issuer;
pub mod listener;
pub mod load;
pub mod mariadb;
pub mod pebble;
pub mod postgres;
pub mod process;
pub mod redis;
pub mod relay;
pub mod scripted_upstream;
pub mod service;
pub mod slapd;
pub mod smtp;
pub mod tenant;
pub mod terminal;
pub mod tls_gateway;
pub mod upstream;

pub use self::acme_relay::AcmeRelay;
pub use self::client::{Client, Reply, raw_exchange};
pub use self::gateway::{Gateway, GatewayBuilder};
pub use self::haproxy::HaProxy;
pub use self::issuer::OpenIdProvider;
pub use self::mariadb::MariaDb;
pub use self::pebble::Pebble;
pub use self::postgres::Postgres;
pub use self::redis::Redis;
pub use self::relay::Relay;
pub use self::service::{Service, ServiceProtocol};
pub use self::slapd::Slapd;
pub use self::smtp::Smtp;
pub use self::tenant::Tenant;
pub use self::upstream::Upstream;
