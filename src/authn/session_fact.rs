//! Facts about a session that clients repeat beside their token, as the user's id.
//!
//! Such a fact is no secret, and the token alone would prove the session. It is compared because the
//! legacy system refused a request whose two parts disagreed.

use crate::dialect::SessionFact;
use crate::identity::Identity;
use crate::secret::{SecretString, equal};

/// True if `presented` is the fact about this identity.
pub(crate) fn agrees(fact: SessionFact, identity: &Identity, presented: &SecretString) -> bool {
    let session = identity.session.map(|session| session.to_string());
    let expected = match fact {
        SessionFact::UserId => identity.subject.as_str(),
        SessionFact::UserName => &identity.username,
        SessionFact::SessionId => session.as_deref().unwrap_or_default(),
    };
    !expected.is_empty() && equal(presented.expose().as_bytes(), expected.as_bytes())
}
