//! What a request's streams must not outlive.

use super::Exchange;
use crate::authn::Verified;
use crate::clock::Timestamp;
use crate::config::CloseAt;
use crate::gateway::Route;
use crate::identity::{API_KEY_ISSUER, BASIC_ISSUER, CERTIFICATE_ISSUER};
use crate::session::StreamOrigin;
use crate::upstream::Watch;

impl Exchange<'_> {
    /// The route's rule for everybody; besides, by `close_at`, the caller's token or session, or
    /// his credential where he has no session.
    pub(super) fn watch(&self, route: &Route, verified: Option<&Verified>) -> Watch {
        let streams = route.config.streams;
        let (token, session) = verified.map_or((None, None), |verified| self.ends_of(verified));
        let (tunnel_until, answer_until) = match streams.close_at {
            CloseAt::ByKind => (token, session),
            CloseAt::Token => (token, token),
            // A tunnel of somebody without a session ends all the same.
            CloseAt::Session => (session.or(token), session),
        };
        Watch {
            route: route.end.clone(),
            origin: verified.map(origin),
            token: verified.and_then(Verified::foreign_token),
            tunnel_until,
            answer_until,
            notice: streams.close_notice,
            // Where nothing is enforced nobody is turned away.
            max_tunnels: if route.config.enforce { streams.max_tunnels } else { usize::MAX },
        }
    }

    /// When the caller's token ends, and when his session does; both are his credential's end
    /// where that is neither.
    fn ends_of(&self, verified: &Verified) -> (Option<Timestamp>, Option<Timestamp>) {
        let expires = Some(verified.expires).filter(|expires| *expires != Timestamp::NEVER);
        let lives = &self.generation.config.token;
        match &*verified.identity.issuer {
            API_KEY_ISSUER | CERTIFICATE_ISSUER => (expires, expires),
            // As long as the token and the session would live that he could have logged in for.
            BASIC_ISSUER => {
                (Some(self.now.plus(lives.access_ttl)), Some(self.now.plus(lives.refresh_ttl)))
            }
            _ => (expires, self.session_end(verified)),
        }
    }

    /// The absolute end of the token's session, reckoned from its id and its login's settings:
    /// the store is not asked for every request. Never before the token's own end, in case the
    /// settings have become stricter since.
    fn session_end(&self, verified: &Verified) -> Option<Timestamp> {
        let began = verified.identity.session?.began()?;
        let login = &*verified.identity.login;
        let mut logins = self.generation.config.logins.iter();
        let login = logins.find(|one| one.name == login)?;
        Some(began.plus(login.refresh_ttl).max(verified.expires))
    }
}

fn origin(verified: &Verified) -> StreamOrigin {
    match (verified.identity.session, &*verified.identity.issuer) {
        (Some(session), _) => StreamOrigin::Session(session),
        (None, API_KEY_ISSUER | CERTIFICATE_ISSUER) => StreamOrigin::Entry(verified.digest),
        (None, _) => StreamOrigin::Credential(verified.digest),
    }
}
