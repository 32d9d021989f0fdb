//! Links between the documents: every file and every heading that one leads to is there. Nothing is
//! fetched.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path, PathBuf};

use super::page::Page;
use crate::harness::process::root;

#[test]
fn every_link_of_the_documents_leads_somewhere() {
    let pages: Vec<Page> = Page::book().into_iter().chain(Page::documents()).collect();
    let headings: BTreeMap<PathBuf, BTreeSet<String>> = pages
        .iter()
        .map(|page| (PathBuf::from(&page.name), anchors(&page.text).collect()))
        .collect();
    let (mut count, mut broken) = (0, Vec::new());
    for page in &pages {
        for target in targets(&prose(&page.text)) {
            count += 1;
            if let Some(wrong) = leads_nowhere(page, &target, &headings) {
                broken.push(format!("{}: {target}: {wrong}", page.name));
            }
        }
    }

    assert!(count > 50, "{count} links were found");
    assert!(broken.is_empty(), "links that lead nowhere:\n{}", broken.join("\n"));
}

#[test]
fn every_page_is_in_the_table_of_contents() {
    let summary = Page::load(&root().join("docs/SUMMARY.md"));
    let listed: BTreeSet<String> = targets(&summary.text).collect();
    let missing: Vec<String> = Page::book()
        .iter()
        .map(|page| page.name.strip_prefix("docs/").unwrap().to_owned())
        .filter(|name| name != "SUMMARY.md" && !listed.contains(name))
        .collect();

    assert!(missing.is_empty(), "not in docs/SUMMARY.md: {missing:?}");
}

fn leads_nowhere(
    page: &Page,
    target: &str,
    headings: &BTreeMap<PathBuf, BTreeSet<String>>,
) -> Option<String> {
    if target.contains("://") || target.starts_with("mailto:") {
        return None;
    }
    let (file, anchor) = target.split_once('#').unwrap_or((target, ""));
    let file = if file.is_empty() {
        PathBuf::from(&page.name)
    } else {
        plain(&Path::new(&page.name).parent().unwrap().join(file))
    };
    if !root().join(&file).exists() {
        return Some("no such file".to_owned());
    }
    let known = anchor.is_empty() || headings.get(&file).is_some_and(|all| all.contains(anchor));
    (!known).then(|| "no such heading".to_owned())
}

/// A path without `.` and `..`.
fn plain(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for component in path.components() {
        match component {
            Component::ParentDir => {
                plain.pop();
            }
            Component::CurDir => {}
            other => plain.push(other),
        }
    }
    plain
}

/// The text without code.
fn prose(text: &str) -> String {
    let mut prose = String::new();
    let mut fenced = false;
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
        } else if !fenced {
            prose.extend(line.split('`').step_by(2));
            prose.push('\n');
        }
    }
    prose
}

/// What links and pictures lead to.
fn targets(text: &str) -> impl Iterator<Item = String> {
    let between = |start: &'static str, end: char| {
        text.split(start).skip(1).filter_map(move |rest| Some(rest.split_once(end)?.0.to_owned()))
    };
    between("](", ')').chain(between("src=\"", '"')).chain(between("href=\"", '"'))
}

/// The anchors of headings, as GitHub and mdBook make them.
fn anchors(text: &str) -> impl Iterator<Item = String> {
    let mut fenced = false;
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    text.lines().filter_map(move |line| {
        fenced ^= line.trim_start().starts_with("```");
        let heading = line.trim_start_matches('#');
        if fenced || heading.len() == line.len() || !heading.starts_with(' ') {
            return None;
        }
        let kept = heading.trim().chars().filter_map(|c| match c {
            ' ' => Some('-'),
            '-' | '_' => Some(c),
            c if c.is_alphanumeric() => Some(c),
            _ => None,
        });
        let anchor = kept.collect::<String>().to_lowercase();
        let before = seen.entry(anchor.clone()).or_insert(0);
        *before += 1;
        Some(if *before > 1 { format!("{anchor}-{}", *before - 1) } else { anchor })
    })
}
