//! The names of warnings, and those that an operator accepts beforehand.
//!
//! `accept = ["reveal_unknown_user"]` in a table silences the warning of that name about the
//! table and all below it. The names are part of what operators rely on: none changes its meaning.

use std::fmt;

use super::issues::{Issue, KeyPath, Position, Severity};
use super::item::Item;
use super::suggest::no_such;

macro_rules! warning_names {
    ($($variant:ident => $name:literal,)*) => {
        /// What is warned of.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum WarningName {
            $($variant,)*
        }

        impl WarningName {
            /// Each of them with its name.
            pub const ALL: &[(&str, Self)] = &[$(($name, Self::$variant),)*];

            /// As `accept` has it.
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
    /// Whether it may come and go without the file being changed: then nothing is said of it
    /// where it is accepted and not there.
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

/// One name in an `accept`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Acceptance {
    /// The table it stands in.
    pub at: KeyPath,
    pub name: WarningName,
    /// Where the name itself stands.
    element: (KeyPath, Position),
}

impl Acceptance {
    /// Reads the `accept` of the table at `at`.
    pub(super) fn read(item: &Item<'_>, at: &KeyPath) -> Vec<Self> {
        let read = |element: &Item<'_>| {
            let name = element.text()?;
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

    /// Whether it silences `issue`.
    pub fn covers(&self, issue: &Issue) -> bool {
        issue.severity == Severity::Warning(self.name) && issue.path.is_within(&self.at)
    }
}

/// Takes the warnings away that were accepted, and warns of acceptances that nothing needs.
pub(super) fn silence(issues: &mut Vec<Issue>, accepted: &[Acceptance]) {
    let is_unused = |one: &&Acceptance| {
        !one.name.is_of_the_day() && !issues.iter().any(|issue| one.covers(issue))
    };
    let unused = accepted.iter().filter(is_unused).map(|one| {
        let (path, position) = one.element.clone();
        Issue {
            position: Some(position),
            path,
            value: format!("{:?}", one.name.as_str()),
            remedy: "accepts a warning that is not given here: leave it out".to_owned(),
            severity: Severity::Warning(WarningName::AcceptUnused),
        }
    });
    let unused: Vec<Issue> = unused.collect();
    issues.retain(|issue| !accepted.iter().any(|one| one.covers(issue)));
    issues.extend(unused);
}
