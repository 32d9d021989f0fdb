//! The files beside a configuration that `tollhouse init` writes when asked: a drop-in for the
//! systemd unit in `deploy/systemd`, or a compose file for the container image.
//!
//! Both are pure functions of the answers. Values go into them quoted by the rules of their format.

use std::fmt::Write as _;
use std::path::Path;

use super::answers::{Answers, SecretPlace, TlsOrigin, UserOrigin};
use super::args::InitArgs;

/// The drop-in, below the folder of the configuration; it is copied to `/etc/systemd/system`.
pub(super) const DROP_IN: &str = "tollhouse.service.d/override.conf";
pub(super) const COMPOSE: &str = "compose.yaml";

/// The image that `deploy/image` makes.
const IMAGE: &str = concat!("localhost/tollhouse:", env!("CARGO_PKG_VERSION"));
/// Where the image expects its configuration.
const IMAGE_CONFIG: &str = "/etc/tollhouse/gateway.toml";
/// The lowest port that needs no capability.
const FIRST_FREE_PORT: u16 = 1024;

/// The next steps, for the person who has answered.
pub(super) fn next_steps(args: &InitArgs) -> &'static str {
    if args.systemd {
        "\nNext: copy tollhouse.service.d to /etc/systemd/system, then\n  \
         systemctl daemon-reload && systemctl enable --now tollhouse"
    } else if args.compose {
        "\nNext: docker compose up -d"
    } else {
        "\nNext: tollhouse check, and tollhouse to serve"
    }
}

/// The drop-in for a configuration at `path`, which is absolute.
pub(super) fn drop_in(answers: &Answers, path: &Path) -> String {
    let mut text = String::from(
        "# Written by `tollhouse init` for /etc/systemd/system/tollhouse.service.d/override.conf.\n\
         [Service]\n",
    );
    let variable = format!("TOLLHOUSE_CONFIG={}", path.display());
    // Writing to a `String` cannot fail.
    let _ = writeln!(text, "Environment={}", unit_quoted(&variable));
    // The unit hides these folders, and so the configuration.
    if path.starts_with("/home") || path.starts_with("/root") {
        text.push_str("ProtectHome=read-only\n");
    }
    if !needs_low_port(&answers.listen) {
        text.push_str(
            "# No port below 1024 is opened, so there is nothing that only root may do.\n\
             AmbientCapabilities=\nCapabilityBoundingSet=\n",
        );
    }
    if let Some(name) = secret_variable(answers) {
        let name = name.escape_debug();
        let _ = writeln!(text, "# A line `{name}=…` belongs into /etc/default/tollhouse.");
    }
    text
}

/// The compose file beside a configuration at `path`.
pub(super) fn compose(answers: &Answers, path: &Path) -> String {
    let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy();
    let state = answers.state.as_deref().unwrap_or_default();
    let port = answers.listen.rsplit_once(':').map_or("8443", |(_, port)| port);
    // Engines publish a port on all addresses, past most firewalls. That is for clients only: not for
    // a try, and not for a plain listener that a proxy of this machine calls.
    let is_near = answers.has_local_names() || matches!(answers.tls, TlsOrigin::Proxy { .. });
    let published =
        if is_near { format!("127.0.0.1:{port}:{port}") } else { format!("443:{port}") };
    let mut text = format!(
        "# Written by `tollhouse init`: `docker compose up -d`, or `podman-compose up -d`.\n\
         # In a container 127.0.0.1 is the container itself: name the upstream by its service.\n\
         services:\n  gateway:\n    image: {IMAGE}\n    restart: unless-stopped\n    \
         read_only: true\n    cap_drop: [ALL]\n    security_opt: [\"no-new-privileges:true\"]\n    \
         # Longer than drain_delay and drain_timeout together.\n    stop_grace_period: 40s\n    \
         healthcheck: {{ test: [CMD, /tollhouse, healthcheck], interval: 10s }}\n    \
         ports: [{}]\n",
        yaml_quoted(&published)
    );
    if let Some(name) = secret_variable(answers) {
        let _ = writeln!(text, "    environment: [{}]", yaml_quoted(name));
    }
    text.push_str("    volumes:\n");
    mount(&mut text, &format!("./{name}"), IMAGE_CONFIG);
    for file in files(answers) {
        mount(&mut text, file, file);
    }
    let state = yaml_quoted(state);
    let _ = writeln!(text, "      - {{ type: volume, source: state, target: {state} }}");
    text.push_str("volumes:\n  state: {}\n");
    text
}

fn mount(text: &mut String, source: &str, target: &str) {
    let source = yaml_quoted(source);
    let target = yaml_quoted(target);
    let _ = writeln!(
        text,
        "      - {{ type: bind, source: {source}, target: {target}, read_only: true }}"
    );
}

/// True if the listener opens a port that only root may, or a process with `CAP_NET_BIND_SERVICE`.
fn needs_low_port(listen: &str) -> bool {
    let port = listen.rsplit_once(':').and_then(|(_, port)| port.parse::<u16>().ok());
    port.is_some_and(|port| port < FIRST_FREE_PORT)
}

/// The secret of the answers, wherever it is. There is at most one.
fn secret(answers: &Answers) -> Option<&SecretPlace> {
    match &answers.users {
        UserOrigin::Sql { url, .. } => Some(url),
        UserOrigin::Ldap { bind, .. } => bind.as_ref().map(|(_, password)| password),
        UserOrigin::NewFile | UserOrigin::Htpasswd { .. } | UserOrigin::Legacy { .. } => None,
    }
}

fn secret_variable(answers: &Answers) -> Option<&str> {
    match secret(answers)? {
        SecretPlace::Variable(name) => Some(name),
        SecretPlace::Inline(_) | SecretPlace::File(_) => None,
    }
}

/// The files that the configuration names.
fn files(answers: &Answers) -> Vec<&str> {
    let mut files = Vec::new();
    if let TlsOrigin::Files { chain, key } = &answers.tls {
        files.extend([chain.as_str(), key]);
    }
    if let UserOrigin::Htpasswd { path } = &answers.users {
        files.push(path);
    }
    if let Some(SecretPlace::File(path)) = secret(answers) {
        files.push(path);
    }
    files
}

/// A value of a unit file (systemd.syntax(7)): in double quotes, `%` is not a specifier.
fn unit_quoted(value: &str) -> String {
    let escaped = value.replace('\\', "\\\\").replace('"', "\\\"").replace('%', "%%");
    format!("\"{}\"", escaped.replace('\n', "\\n"))
}

/// A YAML string as JSON writes it, which is YAML too. Compose replaces variables in it, unless the
/// dollar is doubled.
fn yaml_quoted(value: &str) -> String {
    serde_json::Value::from(value.replace('$', "$$")).to_string()
}
