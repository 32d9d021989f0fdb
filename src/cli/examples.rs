//! Examples at the end of the help of a command, one line each, as they are typed.

/// Of `check`.
pub(super) const CHECK: &str = "\
Examples:
  tollhouse check                        everything that is wrong with gateway.toml
  tollhouse -c new.toml check --print    the same of another file, and what is in effect
  tollhouse check --format gnu           one line a problem, for an editor or a build server
  tollhouse check --online --timeout 2s  and whether everybody whom it names can be reached";

/// Of `explain`.
pub(super) const EXPLAIN: &str = "\
Examples:
  tollhouse explain GET /api/orders          which route, and what is missing
  tollhouse explain GET /api/orders --as ann --from 203.0.113.7
  tollhouse explain GET https://api.example/api/orders --token - --live < token
  tollhouse explain POST /api/orders -H Content-Length:12 --as ann --json";

/// Of `user`.
pub(super) const USER: &str = "\
Examples:
  tollhouse user add ann --role admin --email ann@example.com
  tollhouse user passwd ann < new-password
  tollhouse user list --json
  tollhouse user totp ann                a second step, as a QR code";

/// Of `key`.
pub(super) const KEY: &str = "\
Examples:
  tollhouse key list
  tollhouse key rotate --algorithm RS256
  tollhouse key import legacy.pem --algorithm RS256";

/// Of `api-key`.
pub(super) const API_KEY: &str = "\
Examples:
  tollhouse api-key new nightly-job --role export --network 10.0.0.0/8 --expires 2027-03-31
  tollhouse api-key list --json
  tollhouse api-key revoke nightly-job";

/// Of `token`.
pub(super) const TOKEN: &str = "\
Examples:
  tollhouse token inspect < token        header and claims, unverified
  TOKEN=$(tollhouse token mint ann --login native)";

/// Of `session`.
pub(super) const SESSION: &str = "\
Examples:
  tollhouse session list --user ann
  tollhouse session revoke --user ann
  tollhouse session revoke --all --yes   everybody logs in again";

/// Of `dialect`.
pub(super) const DIALECT: &str = "\
Examples:
  tollhouse dialect list
  tollhouse dialect show webitel > own.toml
  tollhouse dialect try nomic https://legacy.example --user ann";

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::{Arguments, MORE_HELP};

    /// The words of each example, without the comment behind it and without redirections.
    fn examples() -> Vec<Vec<String>> {
        let all = [CHECK, EXPLAIN, USER, KEY, API_KEY, TOKEN, SESSION, DIALECT, MORE_HELP];
        let lines = all.iter().flat_map(|text| text.lines()).map(str::trim_start);
        let lines = lines.filter_map(|line| line.get(line.find("tollhouse ")?..));
        let lines = lines.filter(|line| !line.contains('`') && !line.contains("&&"));
        let words = |line: &str| {
            let line = line.split("  ").next().unwrap_or_default();
            let line = line.split(['<', '>']).next().unwrap_or_default();
            line.trim_end_matches(')').split_whitespace().map(str::to_owned).collect()
        };
        lines.map(words).collect()
    }

    #[test]
    fn every_example_is_a_command_that_there_is() {
        let examples = examples();
        assert!(examples.len() > 15, "{examples:?}");
        for words in examples {
            let parsed = Arguments::try_parse_from(&words);
            assert!(parsed.is_ok(), "{words:?}: {}", parsed.unwrap_err());
        }
    }
}
