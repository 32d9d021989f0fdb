//! The manual's pages of the program and of each command, made from the arguments and the table of
//! `help`, in roff (man(7)). The page of the configuration is made by `manual`.

use std::fmt::Write as _;

use clap::Command;

use super::help::CommandHelp;
use super::help::arguments::{
    arguments, description, full_name, meaning, spelling, summary, usage, visible,
};
use super::roff::escaped;

/// A page and the name of its file.
pub(super) struct ManualPage {
    pub(super) file: String,
    pub(super) text: String,
}

/// The page of the program itself, then those of all commands below it.
pub(super) fn pages(program: Command) -> Vec<ManualPage> {
    let mut program = program.disable_help_subcommand(true);
    program.build();
    let mut pages = Vec::new();
    add(&mut pages, &program, "");
    pages
}

fn add(pages: &mut Vec<ManualPage>, command: &Command, path: &str) {
    let file = format!("{}.1", page_name(command));
    pages.push(ManualPage { file, text: page(command, path) });
    for sub in visible(command) {
        add(pages, sub, format!("{path} {}", sub.get_name()).trim_start());
    }
}

/// The name of a command's page, `tollhouse-user-add`.
fn page_name(command: &Command) -> String {
    full_name(command).replace(' ', "-")
}

/// One page, with the sections of man-pages(7) in its order. It has no date, so that a commit has the
/// same pages whenever it is built.
fn page(command: &Command, path: &str) -> String {
    let name = escaped(&page_name(command));
    let version = env!("CARGO_PKG_VERSION");
    let mut page = format!(".TH {name} 1 \"\" \"tollhouse {version}\"\n");
    // Writing to a `String` cannot fail.
    let _ = writeln!(page, ".SH NAME\n{name} \\- {}", escaped(&summary(command)));
    page.push_str(".SH SYNOPSIS\n");
    for (number, form) in usage(command).iter().enumerate() {
        let line_break = if number == 0 { "" } else { ".br\n" };
        let _ = writeln!(page, "{line_break}.B {}", escaped(form));
    }
    let _ = writeln!(page, ".SH DESCRIPTION\n{}", escaped(&description(command)));
    let arguments = arguments(command, path.is_empty());
    if !arguments.is_empty() {
        page.push_str(".SH OPTIONS\n");
        for arg in arguments {
            term(&mut page, &spelling(arg), &meaning(arg));
        }
    }
    commands(&mut page, command);
    if let Some(help) = CommandHelp::of(path) {
        for (heading, terms) in help.sections {
            let _ = writeln!(page, ".SH \"{}\"", heading.to_uppercase());
            for (name, meaning) in *terms {
                term(&mut page, name, meaning);
            }
        }
        examples(&mut page, help);
    }
    see_also(&mut page, path);
    page
}

fn term(page: &mut String, name: &str, meaning: &str) {
    let _ = writeln!(page, ".TP\n.B {}\n{}", escaped(name), escaped(meaning));
}

/// The pages of the commands below this one.
fn commands(page: &mut String, command: &Command) {
    let commands = visible(command);
    if commands.is_empty() {
        return;
    }
    page.push_str(".SH COMMANDS\n");
    for sub in commands {
        let name = escaped(&page_name(sub));
        let summary = escaped(&summary(sub));
        let _ = writeln!(page, ".TP\n.BR {name} (1)\n{summary}");
    }
}

fn examples(page: &mut String, help: &CommandHelp) {
    page.push_str(".SH EXAMPLES\n");
    for (number, (example, meaning)) in help.examples.iter().enumerate() {
        let paragraph = if number == 0 { "" } else { ".PP\n" };
        if meaning.is_empty() {
            page.push_str(paragraph);
        } else {
            let _ = writeln!(page, "{paragraph}{}:", escaped(meaning));
        }
        page.push_str(".RS 4\n.nf\n");
        for line in example.lines() {
            let _ = writeln!(page, "{}", escaped(line));
        }
        page.push_str(".fi\n.RE\n");
    }
}

/// The page of the command above, and that of the configuration.
fn see_also(page: &mut String, path: &str) {
    page.push_str(".SH \"SEE ALSO\"\n");
    if !path.is_empty() {
        let above = path.rsplit_once(' ').map_or("", |(above, _)| above);
        let above = format!("tollhouse {above}").trim_end().replace(' ', "-");
        let _ = writeln!(page, ".BR {} (1),", escaped(&above));
    }
    page.push_str(".BR gateway.toml (5)\n");
}
