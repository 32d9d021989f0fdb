//! The program as its operators use it: start, reload, restart, commands, logs, metrics.

pub(crate) mod acme; // certificates from an authority
pub(crate) mod admin; // probes and metrics by TCP, everything else by the unix socket
pub(crate) mod check;
pub(crate) mod check_online; // whom a configuration names, asked before a start
pub(crate) mod check_store; // what a check finds about a store that gateways share
pub(crate) mod cli; // every command of the real program
pub(crate) mod commands; // commands for a running gateway
pub(crate) mod config_cases; // gateway.toml: every problem of every section
pub(crate) mod dry_run; // tollhouse explain: what would become of a request
pub(crate) mod load_balancers; // what stands in front of the gateway, as the page about it says
pub(crate) mod readme; // what the first start says to paste
pub(crate) mod reload; // a configuration in the place of another, while the gateway serves
pub(crate) mod reload_load; // reloads one after the other, while clients ask
pub(crate) mod restart; // a successor starts while the last requests of the old gateway go on
pub(crate) mod runbook; // pages that explain every warning, error, metric and reason
pub(crate) mod schema; // the keys of gateway.toml for editors and for the book
pub(crate) mod service_manager; // what systemd is told, and its unit
pub(crate) mod shutdown; // SIGTERM drains, a second one ends at once, SIGUSR1 reopens the logs
pub(crate) mod starting;
pub(crate) mod takeover; // a successor gets the sockets of the gateway that runs
pub(crate) mod telemetry; // lines on their way to a file
pub(crate) mod watch; // changed files come into effect by themselves
