//! The names of warnings, and the warnings that an operator has accepted.
//!
//! `accept = ["reveal_unknown_user"]` in a table silences the warning of that name about this table
//! and everything below it. Operators rely on the names, so a name never changes its meaning. An
//! acceptance that silences nothing is itself a warning.

use std::fmt;

use super::issues::{FilePosition, Issue, IssueSeverity, KeyPath};
use super::item::SpannedValue;
use super::suggest::no_such;

macro_rules! warning_names {
    ($($variant:ident => $name:literal,)*) => {
        /// The kind of a warning, with the name by which an operator accepts it.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum WarningName {
            $($variant,)*
        }

        impl WarningName {
            /// Every kind with its name.
            pub const ALL: &[(&str, Self)] = &[$(($name, Self::$variant),)*];

            /// The name that is written in `accept`.
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                }
            }
        }
    };
}

warning_names! {
    AcceptUnused => "accept_unused",
    AllowedPaths => "allow_path",
    AnyAudience => "any_audience",
    CertificateExpired => "certificate_expired",
    CertificateNearEnd => "certificate_near_end",
    CertificateNotYetValid => "certificate_not_yet_valid",
    EverybodyPasses => "everybody_passes",
    EverybodyTrusted => "everybody_trusted",
    ForeignRoles => "foreign_roles",
    HashingThreads => "hashing_threads",
    IssuerNoUrl => "issuer_no_url",
    LimitByNobody => "limit_by_nobody",
    MixedUsers => "mixed_users",
    NamesAlone => "names_alone",
    NextSource => "next_source",
    NoRoute => "no_route",
    NoSecondStep => "no_second_step",
    NobodyHasIt => "nobody_has_it",
    OpenAbove => "open_above",
    PlainDatabase => "plain_database",
    PlainDirectory => "plain_directory",
    PlainHttp => "plain_http",
    PlainIssuer => "plain_issuer",
    PlainLegacy => "plain_legacy",
    PlainMail => "plain_mail",
    ProtectedFields => "protected_fields",
    PublicAdmin => "public_admin",
    ReadableSecret => "readable_secret",
    RedirectCircle => "redirect_circle",
    RenamedKey => "renamed_key",
    RevealUnknownUser => "reveal_unknown_user",
    SharedIds => "shared_ids",
    UnknownMethod => "unknown_method",
    UnreachableRoute => "unreachable_route",
    UnusedUpstream => "unused_upstream",
    UnverifiedRequests => "unverified_requests",
    UnverifiedUpstream => "unverified_upstream",
    WeakHashes => "weak_hashes",
}

impl WarningName {
    /// True if the warning may come and go while the file stays the same, as with the age of a
    /// certificate. An acceptance of such a warning is not reported when there is nothing to
    /// silence: tomorrow it may be needed again.
    fn is_of_the_day(self) -> bool {
        matches!(
            self,
            Self::CertificateExpired
                | Self::CertificateNearEnd
                | Self::CertificateNotYetValid
                | Self::HashingThreads
                | Self::ReadableSecret
        )
    }
}

impl fmt::Display for WarningName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One name in an `accept`, with the place where it is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AcceptedWarning {
    /// The table that contains the `accept`.
    pub at: KeyPath,
    pub name: WarningName,
    /// The key path and the position of the name itself.
    element: (KeyPath, FilePosition),
}

impl AcceptedWarning {
    /// Reads the `accept` of the table at `at`. An unknown name is reported with the most similar
    /// one.
    pub(super) fn read(item: &SpannedValue<'_>, at: &KeyPath) -> Vec<Self> {
        let read = |element: &SpannedValue<'_>| {
            let name = element.string()?;
            let known = WarningName::ALL.iter().find(|(known, _)| *known == name);
            if known.is_none() {
                let names = WarningName::ALL.iter().map(|(name, _)| *name);
                element.issue(no_such("warning", name, names));
            }
            let element = (element.at().clone(), element.position());
            known.map(|(_, name)| Self { at: at.clone(), name: *name, element })
        };
        item.list().unwrap_or_default().iter().filter_map(read).collect()
    }

    /// True if this acceptance silences `issue`: the names are equal, and the issue is about the
    /// table or something below it. Nothing else about the issue matters, so later warnings of the
    /// same name are silenced too.
    pub fn covers(&self, issue: &Issue) -> bool {
        issue.severity == IssueSeverity::Warning(self.name) && issue.path.is_within(&self.at)
    }
}

/// Removes the warnings that were accepted, and adds a warning for each acceptance that silences
/// nothing. Errors are never silenced. Called once, when all warnings of the file are known.
pub(super) fn silence(issues: &mut Vec<Issue>, accepted: &[AcceptedWarning]) {
    let is_unused = |one: &&AcceptedWarning| {
        !one.name.is_of_the_day() && !issues.iter().any(|issue| one.covers(issue))
    };
    let unused = accepted.iter().filter(is_unused).map(|one| {
        let (path, position) = one.element.clone();
        Issue {
            position: Some(position),
            path,
            value: format!("{:?}", one.name.as_str()),
            remedy: "accepts a warning that is not given here: leave it out".to_owned(),
            severity: IssueSeverity::Warning(WarningName::AcceptUnused),
        }
    });
    // Collected before anything is removed: an acceptance that silences a warning must be seen to
    // do so.
    let unused: Vec<Issue> = unused.collect();
    issues.retain(|issue| !accepted.iter().any(|one| one.covers(issue)));
    issues.extend(unused);
}
