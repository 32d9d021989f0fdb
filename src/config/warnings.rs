//! The names of warnings, by which an operator accepts them.
//!
//! Operators rely on the names, so a name never changes its meaning. What an acceptance does is in
//! `accepted`.

use std::fmt;

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
    LongStaleLimit => "long_stale_limit",
    MixedUsers => "mixed_users",
    NamesAlone => "names_alone",
    NextSource => "next_source",
    NoRoute => "no_route",
    NoSecondStep => "no_second_step",
    NobodyHasIt => "nobody_has_it",
    ObservedCredential => "observed_credential",
    OpenAbove => "open_above",
    PlainDatabase => "plain_database",
    PlainDirectory => "plain_directory",
    PlainHttp => "plain_http",
    PlainIssuer => "plain_issuer",
    PlainLegacy => "plain_legacy",
    PlainMail => "plain_mail",
    PlainStore => "plain_store",
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
    WeakSignature => "weak_signature",
}

impl WarningName {
    /// True if the warning may come and go while the file stays the same, as with the age of a
    /// certificate. An acceptance of such a warning is not reported when there is nothing to
    /// silence: tomorrow it may be needed again.
    pub(super) fn is_of_the_day(self) -> bool {
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
