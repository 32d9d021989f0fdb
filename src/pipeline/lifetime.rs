//! Computes the ends that the streams of a request (tunnels and long answers) must not outlive.
//!
//! The ends depend on the route's `close_at` setting and on the kind of credential. The waiting
//! itself is done by `upstream::StreamLifetime`; nothing is looked up in the session store here.
//! `route::forward` is the caller.

use super::RequestContext;
use crate::authn::VerifiedCredential;
use crate::clock::Timestamp;
use crate::gateway::ServedRoute;
use crate::identity::{API_KEY_ISSUER, BASIC_ISSUER, CERTIFICATE_ISSUER};
use crate::session::StreamOrigin;
use crate::settings::CloseAt;
use crate::upstream::StreamLifetime;

impl RequestContext<'_> {
    /// The ends of a request's streams: the route's own, and by `close_at` the caller's token or
    /// session, or the credential of a caller without a session. `close_at = "token"` ends
    /// everything with the token; by default only tunnels end with it, and answers with the
    /// session.
    pub(super) fn lifetime(
        &self,
        route: &ServedRoute,
        verified: Option<&VerifiedCredential>,
    ) -> StreamLifetime {
        let streams = route.config.streams;
        let (token, session) = verified.map_or((None, None), |verified| self.ends_of(verified));
        let (tunnel_until, answer_until) = match streams.close_at {
            CloseAt::ByKind => (token, session),
            CloseAt::Token => (token, token),
            // A tunnel of a caller without a session ends with the token; otherwise it could stay
            // open for ever.
            CloseAt::Session => (session.or(token), session),
        };
        StreamLifetime {
            route: route.end.clone(),
            origin: verified.map(origin),
            token: verified.and_then(VerifiedCredential::foreign_token),
            tunnel_until,
            answer_until,
            notice: streams.close_notice,
            // On a route that only observes nobody is refused, so the number of tunnels is not
            // limited.
            max_tunnels: if route.config.enforce { streams.max_tunnels } else { usize::MAX },
        }
    }

    /// The end of the caller's token and of the caller's session. For a credential that is neither,
    /// both are the end of the credential.
    fn ends_of(&self, verified: &VerifiedCredential) -> (Option<Timestamp>, Option<Timestamp>) {
        let expires = Some(verified.expires).filter(|expires| *expires != Timestamp::NEVER);
        let lives = &self.generation.config.token;
        match &*verified.identity.issuer {
            API_KEY_ISSUER | CERTIFICATE_ISSUER => (expires, expires),
            // A password has no end of its own. Its streams live as long as a token and a session
            // would that the user could have got for it.
            BASIC_ISSUER => {
                (Some(self.now.plus(lives.access_ttl)), Some(self.now.plus(lives.refresh_ttl)))
            }
            _ => (expires, self.session_end(verified)),
        }
    }

    /// The absolute end of the token's session, computed from the session id and the login's
    /// settings, so that the store is not asked for each request. It is never before the token's
    /// own end, in case the settings have become stricter since.
    fn session_end(&self, verified: &VerifiedCredential) -> Option<Timestamp> {
        let began = verified.identity.session?.began()?;
        let login = &*verified.identity.login;
        let mut logins = self.generation.config.logins.iter();
        let login = logins.find(|one| one.name == login)?;
        Some(began.plus(login.refresh_ttl).max(verified.expires))
    }
}

/// The key under which streams are registered: the session, the configured entry, or the credential
/// itself.
fn origin(verified: &VerifiedCredential) -> StreamOrigin {
    match (verified.identity.session, &*verified.identity.issuer) {
        (Some(session), _) => StreamOrigin::Session(session),
        (None, API_KEY_ISSUER | CERTIFICATE_ISSUER) => StreamOrigin::Entry(verified.digest),
        (None, _) => StreamOrigin::Credential(verified.digest),
    }
}
