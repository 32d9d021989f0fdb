//! Every error answer of every built-in dialect, byte for byte.
//!
//! `tests/cases/dialect/NAME.errors` lists what the dialect answers for each reason, first on
//! routes, then what its endpoints answer differently. A wire change shows there. To accept one:
//! `TOLLHOUSE_BLESS=1 cargo test --test it dialect_errors`.

use std::path::Path;

use tollhouse::clock::Timestamp;
use tollhouse::dialect::{Dialect, ErrorFormat, ErrorValues, Reason, RequestValues};

fn listing(dialect: &Dialect) -> String {
    let mut text = "on routes\n".to_owned();
    for reason in Reason::ALL {
        write(&mut text, &dialect.errors, *reason);
    }
    for endpoint in &dialect.endpoints {
        text.push_str(&format!("\n{} {}\n", endpoint.method, endpoint.path));
        for reason in Reason::ALL {
            let mut common = String::new();
            let mut own = String::new();
            write(&mut common, &dialect.errors, *reason);
            write(&mut own, &endpoint.errors, *reason);
            if own != common {
                text.push_str(&own);
            }
        }
    }
    text
}

fn write(text: &mut String, form: &ErrorFormat, reason: Reason) {
    let answer = form.render(&ErrorValues {
        reason,
        path: "/the/path",
        request_id: "the-request",
        detail: None,
        request: &RequestValues::default(),
        now: Timestamp::from_millis(1_677_273_555_137),
    });
    text.push_str(&format!("  {}: {}", reason.code(), answer.status.as_u16()));
    if !form.challenge(reason) {
        text.push_str(" (no challenge)");
    }
    for (name, value) in &answer.headers {
        text.push_str(&format!(" | {name}: {}", String::from_utf8_lossy(value.as_bytes())));
    }
    let body = String::from_utf8_lossy(&answer.body);
    text.push_str(&format!("\n    {}\n", if body.is_empty() { "(no body)" } else { &*body }));
}

#[test]
fn every_error_answer_is_the_recorded_one() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases/dialect");
    for name in Dialect::builtin_names() {
        let dialect = Dialect::builtin(name).expect("built in");
        let found = listing(&dialect);
        let file = folder.join(format!("{name}.errors"));
        if std::env::var_os("TOLLHOUSE_BLESS").is_some() {
            std::fs::create_dir_all(&folder).expect("makes the folder");
            std::fs::write(&file, &found).expect("writes the file");
        }

        let recorded = std::fs::read_to_string(&file).unwrap_or_default();

        for (number, (recorded, found)) in recorded.lines().zip(found.lines()).enumerate() {
            assert_eq!(recorded, found, "{}:{}", file.display(), number + 1);
        }
        assert_eq!(recorded.len(), found.len(), "{} has other lines", file.display());
    }
}
