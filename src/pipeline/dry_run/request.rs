//! The request that is to be explained: from an operator's words to a head and a client.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use http::header::{self, HeaderName, HeaderValue};
use http::request::Parts;
use http::{Method, Uri};
use serde::{Deserialize, Serialize};

use super::DryRun;
use super::explanation::RequestFacts;
use super::upstream::without_credentials;
use crate::client::Client;
use crate::settings::{BindAddress, Config, ListenerSettings};

/// The address that a request comes from if the operator names none: this machine.
const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// Makes the client that connects to a listener from an address and means a host. The listeners are
/// above the pipeline, so their function is passed in.
pub(crate) type ImaginedConnect = fn(&ListenerSettings, IpAddr, Option<&str>) -> Client;

/// A request as an operator describes it. Credentials are among its fields.
#[derive(Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct ExplainRequest {
    pub method: String,
    /// With a host, or a path alone: then `Host` is among the fields, or the host is `localhost`.
    pub url: String,
    #[serde(default)]
    pub fields: Vec<(String, String)>,
    /// The name of the user for whom the request is made, as though the user had logged in.
    #[serde(default)]
    pub as_user: Option<String>,
    /// The client's address.
    #[serde(default)]
    pub from: Option<IpAddr>,
}

impl fmt::Debug for ExplainRequest {
    /// Without the values of the fields, which may be credentials.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.fields.iter().map(|(name, _)| name.as_str()).collect();
        f.debug_struct("ExplainRequest")
            .field("method", &self.method)
            .field("fields", &names)
            .finish_non_exhaustive()
    }
}

/// The reasons why there is no explanation.
#[derive(Debug, thiserror::Error)]
pub enum ExplainError {
    /// Not a request that could be sent.
    #[error("{0}")]
    Request(String),
    /// The user that the request should be made for.
    #[error("{0}")]
    User(String),
    /// The view for the dry run could not be made.
    #[error("{0}")]
    Build(String),
}

/// A request, and the client that sends it.
pub(super) struct WrittenRequest {
    pub(super) head: Parts,
    pub(super) client: Arc<Client>,
}

impl ExplainRequest {
    /// Checks that the request can be written as HTTP.
    ///
    /// # Errors
    /// A method, a URL or a field that no request can have.
    pub fn check(&self) -> Result<(), ExplainError> {
        self.head().map(drop)
    }

    /// The request as HTTP, with the client that sends it.
    pub(super) fn write(
        &self,
        config: &Config,
        connect: ImaginedConnect,
    ) -> Result<WrittenRequest, ExplainError> {
        let (head, url) = self.head()?;
        let listener = listener_of(config, &url)
            .ok_or_else(|| ExplainError::Request("there is no listener".to_owned()))?;
        let client = connect(listener, self.from.unwrap_or(HERE), url.host());
        Ok(WrittenRequest { head, client: Arc::new(client) })
    }

    /// The head of the request, and the URL that it is for.
    fn head(&self) -> Result<(Parts, Uri), ExplainError> {
        let refused = |what: String| ExplainError::Request(what);
        let method = Method::from_bytes(self.method.as_bytes())
            .map_err(|_| refused(format!("`{}` is no method", self.method)))?;
        let url: Uri =
            self.url.parse().map_err(|_| refused("neither a URL nor a path".to_owned()))?;
        let target = url.path_and_query().map_or("/", |target| target.as_str());
        let (mut head, ()) = http::Request::new(()).into_parts();
        head.method = method;
        head.uri = target.parse().map_err(|_| refused("the URL has no path".to_owned()))?;
        for (name, value) in &self.fields {
            let unwritable = || refused(format!("`{name}` is no header field with its value"));
            let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| unwritable())?;
            let value = HeaderValue::from_str(value).map_err(|_| unwritable())?;
            head.headers.append(name, value);
        }
        if !head.headers.contains_key(header::HOST) {
            let host = url.authority().map_or("localhost", |authority| authority.as_str());
            let host = HeaderValue::from_str(host)
                .map_err(|_| refused("the URL has no host that could be sent".to_owned()))?;
            head.headers.insert(header::HOST, host);
        }
        // hyper removes the length beside a transfer coding before the pipeline sees it.
        if head.headers.contains_key(header::TRANSFER_ENCODING) {
            head.headers.remove(header::CONTENT_LENGTH);
        }
        Ok((head, url))
    }
}

/// The listener that the URL leads to: the one with its port, else the first one with its scheme,
/// else the first one.
fn listener_of<'c>(config: &'c Config, url: &Uri) -> Option<&'c ListenerSettings> {
    let has_port = |listener: &&ListenerSettings| match listener.bind {
        BindAddress::Tcp(address) => Some(address.port()) == url.port_u16(),
        BindAddress::Unix(_) | BindAddress::Descriptor(_) => false,
    };
    let speaks = |listener: &&ListenerSettings| match url.scheme_str() {
        Some("http") => listener.tls.is_none(),
        Some("https") => listener.tls.is_some(),
        _ => true,
    };
    let all = || config.listeners.iter();
    all().find(has_port).or_else(|| all().find(speaks)).or_else(|| all().next())
}

impl DryRun<'_> {
    /// The request as the gateway reads it.
    pub(super) fn request(&self) -> RequestFacts {
        let target = self.target.as_ref().ok();
        let raw = self.head.uri.path_and_query().map_or("/", |target| target.as_str());
        RequestFacts {
            method: self.head.method.to_string(),
            target: without_credentials(raw, self.route().map_or(&[], |it| it.carriers.removed())),
            host: target.and_then(|target| target.host()).map(str::to_owned),
            path: target.map(|target| target.path().to_owned()),
            scheme: self.client.scheme.as_str(),
            listener: self.client.listener.to_string(),
            client: self.client.address.map(|address| address.to_string()),
            is_trusted_proxy: self.client.trusted_proxy,
        }
    }
}
