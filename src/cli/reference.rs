//! The reference of all commands as Markdown, made from the arguments and the table of `help`.
//!
//! `docs/reference/commands.md` is this text; a test compares them.

use clap::Command;

use super::help::CommandHelp;
use super::help::arguments::{
    arguments, description, full_name, meaning, spelling, summary, usage, visible,
};

/// Before the first command.
const HEAD: &str = "\
# Commands

Made from the program itself, by `tollhouse man --markdown`: `tollhouse COMMAND --help` has the same text, and `tollhouse man
FOLDER` makes pages for `man` of it. Every command takes `--config` and `--state`, which are explained at `tollhouse` itself.
";

/// The text of the reference for this program.
pub(super) fn markdown(program: Command) -> String {
    let mut program = program.disable_help_subcommand(true);
    program.build();
    let mut page = format!("{HEAD}\n");
    contents(&mut page, &program);
    section(&mut page, &program, "");
    page
}

/// A list of links to all commands.
fn contents(page: &mut String, command: &Command) {
    for sub in visible(command) {
        let children: Vec<String> = visible(sub).into_iter().map(link).collect();
        let children = match children.as_slice() {
            [] => String::new(),
            children => format!(" ({})", children.join(", ")),
        };
        line(page, &format!("- {}{children}: {}", link(sub), summary(sub)));
    }
}

fn link(command: &Command) -> String {
    let name = full_name(command);
    format!("[`{}`](#{})", name.trim_start_matches("tollhouse "), name.replace(' ', "-"))
}

/// The section of a command, followed by those of the commands below it.
fn section(page: &mut String, command: &Command, path: &str) {
    line(page, &format!("\n## {}\n\n{}", full_name(command), description(command)));
    line(page, &format!("\n```text\n{}\n```", usage(command).join("\n")));
    let children = visible(command);
    if !children.is_empty() && !path.is_empty() {
        line(page, "\n| command | does |\n|---|---|");
        for child in &children {
            line(page, &format!("| {} | {} |", link(child), cell(&summary(child))));
        }
    }
    let arguments = arguments(command, path.is_empty());
    if !arguments.is_empty() {
        line(page, "\n| argument | means |\n|---|---|");
        for arg in arguments {
            line(page, &format!("| `{}` | {} |", cell(&spelling(arg)), cell(&meaning(arg))));
        }
    }
    if let Some(help) = CommandHelp::of(path) {
        ending(page, help);
    }
    for child in children {
        section(page, child, format!("{path} {}", child.get_name()).trim_start());
    }
}

/// Examples, exit statuses, files and variables.
fn ending(page: &mut String, help: &CommandHelp) {
    line(page, "\n```sh");
    for (example, meaning) in help.examples {
        if !meaning.is_empty() {
            line(page, &format!("# {meaning}"));
        }
        line(page, example);
    }
    line(page, "```");
    for (heading, terms) in help.sections {
        line(page, &format!("\n{heading}:\n"));
        for (term, meaning) in *terms {
            line(page, &format!("- `{term}`: {meaning}"));
        }
    }
}

/// A text in a table, where a bar would begin the next cell.
fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}

fn line(page: &mut String, text: &str) {
    page.push_str(text);
    page.push('\n');
}
