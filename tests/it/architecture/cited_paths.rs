//! Files that the documents name: each is there, so that a reader who follows a path arrives.

use std::path::{Path, PathBuf};

#[test]
fn files_that_documents_name_exist() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut documents: Vec<PathBuf> =
        ["README.md", "CONTRIBUTING.md", "SECURITY.md"].map(|name| root.join(name)).into();
    for folder in ["docs", "docs/decisions"] {
        let files = std::fs::read_dir(root.join(folder)).unwrap();
        let files = files.map(|file| file.unwrap().path());
        documents.extend(files.filter(|file| file.extension().is_some_and(|end| end == "md")));
    }
    let mut missing = Vec::new();
    for document in &documents {
        let text = std::fs::read_to_string(document).unwrap();
        for path in cited(&text).filter(|path| !root.join(path).exists()) {
            missing.push(format!("{}: {path}", document.display()));
        }
    }

    assert!(documents.len() > 20, "{documents:?}");
    assert!(missing.is_empty(), "paths that lead nowhere:\n{}", missing.join("\n"));
}

/// Words between backticks that are paths of the repository.
fn cited(text: &str) -> impl Iterator<Item = &str> {
    let words = text.split('`').skip(1).step_by(2);
    words.filter(|word| {
        let is_path = ["src/", "tests/", "benches/", "deploy/", "docs/", "crates/", "fuzz/"];
        is_path.iter().any(|start| word.starts_with(start))
            && word.chars().all(|c| c.is_ascii_alphanumeric() || "/._-".contains(c))
    })
}
