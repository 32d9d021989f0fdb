//! The lines with which a start and a reload report themselves: what is served where, one line for
//! each listener.
//!
//! They are for people who look at a terminal or at a log. Programs ask the admin socket instead,
//! so the wording may change.

use crate::admin;
use crate::listener::{BoundAddress, RunningListeners};
use crate::settings::{BindAddress, Config, ListenerSettings};

/// Logs a line for each listener, and one with the addresses for operators. `admin` is the address
/// of the probes, if there is one. Addresses are the real ones, so a port 0 of the configuration is
/// shown as the port that the system has chosen.
pub(super) fn announce(
    config: &Config,
    listening: &RunningListeners,
    admin: Option<std::net::SocketAddr>,
) {
    for (listener, address) in config.listeners.iter().zip(listening.addresses()) {
        let place = place(listener, &address);
        let names = names(listener, listening);
        tracing::info!("tollhouse {VERSION} serves {place}{names}: {}", content(config, listener));
    }
    let socket = config.state.dir.join(admin::SOCKET);
    let probes = admin.map(|address| format!("http://{address} (probes and metrics) and "));
    tracing::info!("for operators: {}{}", probes.unwrap_or_default(), socket.display());
}

const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The address as a person would type it, or the socket's name.
fn place(listener: &ListenerSettings, address: &BoundAddress) -> String {
    let scheme = if listener.tls.is_some() { "https" } else { "http" };
    match (&listener.bind, address) {
        (BindAddress::Descriptor(name), address) => format!("{scheme} on fd:{name} ({address})"),
        (_, BoundAddress::Tcp(address)) => format!("{scheme}://{address}"),
        (_, BoundAddress::Unix(path)) => format!("{scheme} on unix:{}", path.display()),
    }
}

/// The names in the listener's certificates, in brackets; empty without TLS.
fn names(listener: &ListenerSettings, listening: &RunningListeners) -> String {
    let Some(tls) = &listener.tls else { return String::new() };
    let served = listening.certificates();
    let served = served.iter().filter(|served| served.listener() == listener.name);
    let mut names: Vec<String> = Vec::new();
    let all = served.flat_map(|served| served.facts()).flat_map(|facts| facts.names);
    // The facts of a certificate contain no addresses, but a self-signed certificate may be for an
    // address; therefore its configured names are added.
    for name in all.chain(tls.self_signed.iter().cloned()) {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    if names.is_empty() { String::new() } else { format!(" ({})", names.join(", ")) }
}

fn content(config: &Config, listener: &ListenerSettings) -> String {
    if listener.redirect_to_https {
        return "redirects to https".to_owned();
    }
    let logins = config.logins.len();
    let routes = config.routes.len();
    format!("{}, {}", counted(logins, "login"), counted(routes, "route"))
}

fn counted(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}
