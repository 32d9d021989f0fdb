//! The end of each command's help: examples, exit status, files and variables.
//!
//! All of it is in one table, from which `--help`, the manual and the command reference are made.
//! A test runs every example as it is printed.

pub(super) mod arguments;
mod texts;

use std::fmt::Write as _;

use clap::Command;

/// Terms, each with its meaning.
pub(super) type HelpTerms = &'static [(&'static str, &'static str)];

/// The end of the help of one command, after its options.
pub(super) struct CommandHelp {
    /// The words of the command after `tollhouse`; empty for the program itself.
    pub(super) command: &'static str,
    /// Lines for a shell, each with its meaning, which may be empty.
    pub(super) examples: HelpTerms,
    /// Headings, each with its terms.
    pub(super) sections: &'static [(&'static str, HelpTerms)],
}

/// The column at which the meaning of an example begins, if the example leaves room for it.
const MEANING: usize = 40;

impl CommandHelp {
    /// The help of a command, by its words after `tollhouse`.
    pub(super) fn of(command: &str) -> Option<&'static Self> {
        texts::ALL.iter().find(|help| help.command == command)
    }

    fn examples_text(&self) -> String {
        let mut text = String::from("Examples:");
        for (line, meaning) in self.examples {
            // Writing to a `String` cannot fail.
            let _ = match (*meaning, line.len() + 3 <= MEANING) {
                ("", _) => write!(text, "\n  {line}"),
                (meaning, true) => write!(text, "\n  {line:width$}{meaning}", width = MEANING - 2),
                (meaning, false) => write!(text, "\n  {line}\n      {meaning}"),
            };
        }
        text
    }

    fn text(&self) -> String {
        let mut text = self.examples_text();
        for (heading, terms) in self.sections {
            let _ = write!(text, "\n\n{heading}:");
            let width = terms.iter().map(|(term, _)| term.len()).max().unwrap_or_default();
            for (term, meaning) in *terms {
                let _ = write!(text, "\n  {term:width$}  {meaning}");
            }
        }
        text
    }
}

/// The command with the end of the help of itself and of all below it.
pub(super) fn described(command: Command) -> Command {
    describe(command, "")
}

fn describe(mut command: Command, path: &str) -> Command {
    let names: Vec<String> =
        command.get_subcommands().map(|sub| sub.get_name().to_owned()).collect();
    for name in names {
        let path = format!("{path} {name}");
        command = command.mut_subcommand(name, |sub| describe(sub, path.trim_start()));
    }
    match CommandHelp::of(path) {
        Some(help) => command.after_help(help.examples_text()).after_long_help(help.text()),
        None => command,
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;
    use crate::cli::Arguments;

    /// Every command of the tree, by its words.
    fn commands(command: &Command, path: &str, found: &mut Vec<String>) {
        found.push(path.to_owned());
        for sub in command.get_subcommands() {
            commands(sub, format!("{path} {}", sub.get_name()).trim_start(), found);
        }
    }

    #[test]
    fn every_command_has_examples_and_exit_statuses_and_nothing_else_has() {
        let mut all = Vec::new();
        commands(&Arguments::command(), "", &mut all);

        for command in &all {
            let help = CommandHelp::of(command);
            let help = help.unwrap_or_else(|| panic!("`{command}` is not in cli/help/texts.rs"));
            assert!(!help.examples.is_empty(), "`{command}` has no example");
            assert!(help.sections.iter().any(|(name, _)| *name == "Exit status"), "`{command}`");
        }
        for help in texts::ALL {
            assert!(all.iter().any(|command| command == help.command), "no `{}`", help.command);
        }
        assert_eq!(all.len(), texts::ALL.len(), "one each");
    }

    #[test]
    fn no_line_is_broken_by_a_terminal_of_100_columns() {
        for help in texts::ALL {
            let text = help.text();
            let long = text.lines().find(|line| line.chars().count() > 100);
            assert_eq!(long, None, "`{}`", help.command);
        }
    }
}
