//! The facts that clap has of a command and its arguments, in words, for the manual and the reference.

use std::fmt::Write as _;

use clap::builder::{PossibleValue, StyledStr};
use clap::{Arg, Command};

/// The commands below a command that are not hidden.
pub(in crate::cli) fn visible(command: &Command) -> Vec<&Command> {
    command.get_subcommands().filter(|sub| !sub.is_hide_set()).collect()
}

/// The name of a built command as it is typed, `tollhouse user add`.
pub(in crate::cli) fn full_name(command: &Command) -> &str {
    command.get_bin_name().unwrap_or_else(|| command.get_name())
}

/// The usage of a built command, `tollhouse user add [OPTIONS] <NAME>`, a line for each form.
pub(in crate::cli) fn usage(command: &Command) -> Vec<String> {
    let usage = command.clone().render_usage().to_string();
    let usage = usage.strip_prefix("Usage: ").unwrap_or(&usage);
    usage.lines().map(|line| line.trim().to_owned()).filter(|line| !line.is_empty()).collect()
}

/// The first sentence about a command, without its end.
pub(in crate::cli) fn summary(command: &Command) -> String {
    let about = command.get_about().map(ToString::to_string).unwrap_or_default();
    about.lines().next().unwrap_or_default().trim().trim_end_matches('.').to_owned()
}

/// Everything that is said about a command before its arguments.
pub(in crate::cli) fn description(command: &Command) -> String {
    sentence(command.get_long_about().or_else(|| command.get_about()))
}

/// The arguments to explain: not the hidden ones and `--help`. Those that every command takes are
/// explained at the program alone.
pub(in crate::cli) fn arguments(command: &Command, is_program: bool) -> Vec<&Arg> {
    let is_own = |arg: &&Arg| {
        let is_usual = ["help", "version"].contains(&arg.get_id().as_str());
        !arg.is_hide_set() && !is_usual && (is_program || !arg.is_global_set())
    };
    command.get_arguments().filter(is_own).collect()
}

/// An argument as it is written: `-c, --config <FILE>`.
pub(in crate::cli) fn spelling(arg: &Arg) -> String {
    match arg.get_short().filter(|_| arg.get_long().is_some()) {
        Some(short) => format!("-{short}, {arg}"),
        None => arg.to_string(),
    }
}

/// The help of an argument, with its values, its default and its variable.
pub(in crate::cli) fn meaning(arg: &Arg) -> String {
    let mut text = sentence(arg.get_long_help().or_else(|| arg.get_help()));
    if arg.get_action().takes_values() {
        let values: Vec<PossibleValue> = arg.get_possible_values();
        let values = values.iter().filter(|value| !value.is_hide_set());
        let values: Vec<String> = values
            .map(|value| match value.get_help() {
                Some(help) => format!("`{}` ({help})", value.get_name()),
                None => format!("`{}`", value.get_name()),
            })
            .collect();
        let defaults = arg.get_default_values().iter().map(|value| value.to_string_lossy());
        let defaults: Vec<String> = defaults.map(|value| format!("`{value}`")).collect();
        for (before, list) in [("One of", values), ("By default", defaults)] {
            if !list.is_empty() {
                // Writing to a `String` cannot fail.
                let _ = write!(text, " {before} {}.", list.join(", "));
            }
        }
    }
    if let Some(variable) = arg.get_env() {
        let _ = write!(text, " Variable `{}`.", variable.to_string_lossy());
    }
    text.trim_start().to_owned()
}

/// A help text on one line, ended by a full stop.
fn sentence(text: Option<&StyledStr>) -> String {
    let text = text.map(ToString::to_string).unwrap_or_default();
    let words: Vec<&str> = text.split_whitespace().collect();
    let text = words.join(" ");
    if text.is_empty() || text.ends_with(['.', '!', '?']) { text } else { format!("{text}.") }
}
