//! The groups of values that answers and claims can show, by what they are about.

/// A group of placeholders that are known under the same condition. Keys and tokens are groups of
/// their own, because they give access and must not appear everywhere. See `PlaceholderScope` for
/// where each group may be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ValueGroup {
    /// The present time.
    Clock,
    /// The dialect and its login.
    Common,
    Config,
    User,
    /// The number that the dialect has for the user's roles.
    RoleNumber,
    Session,
    SessionId,
    SessionKey,
    SessionCsrf,
    Access,
    AccessToken,
    Refresh,
    RefreshToken,
    Pending,
    Error,
    /// Values of the client's request, and `$null`.
    Request,
}
