//! Commands for a running gateway: what they need, what they ask before, and what they say.

mod examples; // every example of the help runs; the reference of commands
mod explain; // the level debug: why a request was decided as it was, without a secret
mod init; // init: a configuration from answers
mod logging; // the diagnostics' filter, form and colour, and the manual
mod manual; // gateway.toml(5)
mod operators; // the group that [admin] socket names
mod place; // which gateway a command is for
mod safety; // what cannot be undone is asked about; what matched nothing fails
mod status; // status, healthcheck and the sample file
