//! Connections and messages: accepting, TLS, HTTP/1.1 and HTTP/2, WebSockets, gRPC, bodies.

pub(crate) mod bytes_in; // what access lines say of bodies
pub(crate) mod compression; // answers compressed on their way, and which never are
pub(crate) mod grpc; // calls by gRPC, good and refused, through TLS on both sides
pub(crate) mod listener; // accepting, limits, timeouts and drain
pub(crate) mod proxy_protocol; // PROXY headers from listed peers, and to upstreams
pub(crate) mod refused_bodies; // the reference client hears a refusal while it sends
pub(crate) mod requests; // requests through a whole gateway
pub(crate) mod streams; // WebSockets and long downloads, and when they end
pub(crate) mod tickets; // sessions that another gateway resumes
pub(crate) mod tls; // handshakes and certificates
pub(crate) mod websocket; // WebSockets over HTTP/1.1 and HTTP/2, on either side
