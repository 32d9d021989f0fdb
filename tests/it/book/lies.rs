//! Pages that say what is not so: each has to be noticed, or nothing that the book says was tested.

use super::page::Page;
use super::{checked, session};

/// What is wrong with a page of this text.
fn wrong_with(text: &str) -> Option<String> {
    let page = match Page::parse("a-page.md", text) {
        Ok(page) => page,
        Err(wrong) => return Some(wrong),
    };
    let checked = page.blocks.iter().try_for_each(checked);
    checked.and_then(|()| session::follow(&page)).err()
}

/// A page whose commands need no gateway.
fn page(rest: &str) -> String {
    format!("# A page\n\n<!-- file: gateway.toml -->\n```text\n```\n\n{rest}\n")
}

#[test]
fn a_page_that_says_what_is_not_so_is_noticed() {
    for (text, noticed, why) in [
        ("```sh\nfalse\ntrue\n```", "a command failed", "not only the last command counts"),
        ("```sh\necho $unset\n```", "a command failed", "a variable that nobody has set"),
        ("```sh\n[[ a = a ]]\n```", "a command failed", "what is not POSIX"),
        ("```sh\necho a\n```\n\n```text\nb\n```", "the page says", "another output"),
        ("```sh\necho a >&2\n```\n```text\n```", "the page says", "output on the other stream"),
        ("<!-- exits 78 -->\n```sh\ntrue\n```", "ended with 0", "a success in place of a failure"),
        (
            "```sh\ncurl --json '{}' http://127.0.0.1\n```",
            "not every curl",
            "an option of a new curl",
        ),
        ("```toml\n[[route]]\npath = \"/\"\nupstraem = \"a\"\n```", "upstraem", "no such key"),
        (
            "```toml\n[[upstream]]\nname = \"a\"\nservers = [\"builtin:echo\"]\n```",
            "unused_upstream",
            "a warning",
        ),
        ("```nginx\nproxy_pas http://127.0.0.1;\n```", "proxy_pas", "no such directive"),
        ("```haproxy\nfrontend a\n  bnd :80\n```", "bnd", "no such keyword"),
        ("```json\n{\n```", "EOF", "no JSON"),
        ("```ruby\nputs 1\n```", "nothing checks", "a language that nobody checks"),
        ("<!-- not run -->\n```sh\nfalse\n```", "none that the tests know", "no reason"),
        ("<!-- fiel: a -->\n```text\n```", "none that the tests know", "a misspelt mark"),
        ("```sh\ntrue\n", "has no end", "a fence that is not closed"),
    ] {
        let wrong = wrong_with(&page(text)).unwrap_or_else(|| panic!("{why}: {text}"));
        assert!(wrong.contains(noticed), "{why}: {wrong}");
    }
}

#[test]
fn a_page_that_is_right_is_left_alone() {
    let text = "```sh\nname=ann\n```\n\nProse.\n\n```sh\necho \"$name at 127.0.0.1:4711\"\n```\n\n\
                ```text\n… at 127.0.0.1:4711\n```\n\n<!-- exits 3 -->\n```sh\n(exit 3)\n```\n\n\
                <!-- not run: a test must not -->\n```sh\nrm -r state\n```";

    assert_eq!(wrong_with(&page(text)), None);
}
