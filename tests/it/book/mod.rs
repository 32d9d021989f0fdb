//! The book in `docs/`, read as an operator reads it: what it says to paste is pasted, and what it
//! says to write into a file is checked. CONTRIBUTING.md has the conventions.

pub(crate) mod configurations; // TOML by `tollhouse check`, nginx and HAProxy by themselves
pub(crate) mod lies; // pages that are wrong, and that it is noticed
pub(crate) mod links; // between the documents, and the table of contents
pub(crate) mod migrations; // docs/migration: the old configuration and ours, side by side
mod page; // a page as blocks and marks
mod session; // a page's commands, with the gateways that it starts
mod shell;

use self::page::{Block, Page};

use crate::harness::process::root;

/// Blocks that cannot be run in a test, each with its reason. A new one is argued for.
const NOT_RUN_AT_MOST: usize = 40;

/// Only pages whose path contains this are run, where it is set.
const ONLY: &str = "TOLLHOUSE_PAGE";

/// The book, and the README, which is its door. Pages of reference are made from the program; the
/// tests that compare them with it run their examples, too.
fn all_pages() -> Vec<Page> {
    let readme = Page::load(&root().join("README.md"));
    let pages = Page::book().into_iter().chain([readme]);
    pages.filter(|page| !page.name.starts_with("docs/reference/")).collect()
}

fn pages() -> Vec<Page> {
    let only = std::env::var(ONLY).unwrap_or_default();
    all_pages().into_iter().filter(|page| page.name.contains(&only)).collect()
}

#[test]
fn every_command_of_the_book_runs_and_prints_what_it_shows() {
    let wrong: Vec<String> = std::thread::scope(|scope| {
        let pages = pages().into_iter().map(|page| scope.spawn(move || session::follow(&page)));
        let running: Vec<_> = pages.collect();
        running.into_iter().filter_map(|page| page.join().unwrap().err()).collect()
    });

    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

#[test]
fn every_configuration_of_the_book_is_accepted() {
    let mut wrong = Vec::new();
    for page in &pages() {
        for block in page.blocks.iter().filter(|block| block.not_run().is_none()) {
            if let Err(said) = checked(block) {
                wrong.push(format!("{}: {said}", page.place(block)));
            }
        }
    }

    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

fn checked(block: &Block) -> Result<(), String> {
    match block.language.as_str() {
        // Another file than a gateway.toml; whoever reads it says what is wrong with it.
        "toml" if block.file().is_some_and(|file| !file.ends_with("gateway.toml")) => Ok(()),
        "toml" => configurations::check(block),
        "nginx" => configurations::check_nginx(block),
        "haproxy" => configurations::check_haproxy(block),
        "json" => {
            serde_json::from_str::<serde_json::Value>(&block.text).map(drop).or_else(|wrong| {
                if block.text.contains('…') { Ok(()) } else { Err(wrong.to_string()) }
            })
        }
        "sh" | "text" => Ok(()),
        _ if block.file().is_some() => Ok(()),
        other => Err(format!("nothing checks a block of `{other}`")),
    }
}

#[test]
#[allow(clippy::print_stdout)] // For whoever asks with --nocapture.
fn blocks_that_no_test_can_run_are_few_and_say_why() {
    let mut listed = Vec::new();
    for page in &all_pages() {
        for block in &page.blocks {
            listed.extend(block.not_run().map(|why| format!("{}: {why}", page.place(block))));
        }
    }
    println!("{} blocks are not run:\n{}", listed.len(), listed.join("\n"));

    assert!(listed.len() <= NOT_RUN_AT_MOST, "{} blocks:\n{}", listed.len(), listed.join("\n"));
}
