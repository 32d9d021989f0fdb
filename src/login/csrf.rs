//! Forged requests at the endpoints of a login: the session's own value, which only its pages know.

use super::{Login, LoginError, LoginRequest};
use crate::dialect::{Carrier, Endpoint, Reason, server};
use crate::identity::SessionId;
use crate::secret;
use crate::token;

impl Login {
    /// Refuses a request by cookie that does not repeat `$session.csrf` of this session, where the
    /// dialect demands it. `pipeline` has looked before at where the request comes from.
    pub(super) fn demand_csrf(
        &self,
        endpoint: &Endpoint,
        call: &LoginRequest,
        session: SessionId,
    ) -> Result<(), LoginError> {
        let Some(field) = &self.config.dialect.csrf.field else { return Ok(()) };
        let headers = &call.head.headers;
        let has = |carrier: &Carrier| match carrier {
            Carrier::Cookie(name) => server::cookie_values(headers, name).next().is_some(),
            _ => false,
        };
        if !endpoint.step.changes_session() || !endpoint.cookies().any(has) {
            return Ok(());
        }
        let expected = token::csrf_token(&self.services.store.secret(), session);
        let mut values = headers.get_all(field).iter();
        match (values.next(), values.next()) {
            (Some(value), None)
                if secret::equal(value.as_bytes(), expected.expose().as_bytes()) =>
            {
                Ok(())
            }
            _ => {
                let cause = "by cookie, without the session's value against forged requests";
                Err(LoginError::new(Reason::NotPermitted, cause))
            }
        }
    }
}
