//! The programs that may call a login's endpoints (clients in the words of RFC 6749).
//!
//! Where a login lists `clients`, each request at an endpoint whose dialect looks for one must come
//! from one of them. It is verified before anything about the user is read. A refresh token belongs
//! to the program it was issued to (RFC 6749, section 6); `refresh` compares them.

use percent_encoding::percent_decode_str;

use super::{Login, LoginError, LoginRequest};
use crate::dialect::{Endpoint, PresentedProgram, Reason, server};
use crate::secret;
use crate::settings::LoginClient;

impl Login {
    /// The id of the program that calls; `None` where none is demanded.
    ///
    /// # Errors
    /// `InvalidClient` for a program that is missing, unknown or has another secret, and the refusal
    /// of a request that cannot be read.
    pub(super) fn verified_program(
        &self,
        endpoint: &Endpoint,
        call: &LoginRequest,
    ) -> Result<Option<String>, LoginError> {
        if self.config.clients.is_empty() || endpoint.program.is_none() {
            return Ok(None);
        }
        let presented = server::read_program(endpoint, &call.head, &call.variables, &call.body)?;
        let source = self.attempt_source(call);
        let refused = |cause| source.failed("-", Reason::InvalidClient, cause);
        let Some(presented) = presented else {
            return Err(refused("the request names no program"));
        };
        // Whoever guesses at secrets is counted like whoever guesses at passwords.
        source.reserve_program()?;
        let decoded = decoded(&presented);
        let spellings = [Some(&presented), decoded.as_ref()];
        let known = spellings.into_iter().flatten().find_map(|program| self.known(program));
        let Some(client) = known else {
            return Err(refused("an unknown program, or another secret"));
        };
        source.refund_program();
        Ok(Some(client.id.clone()))
    }

    /// The client that the program has proved to be. Every client is compared, and in constant time:
    /// the time of the answer must not tell which ids exist.
    fn known(&self, program: &PresentedProgram) -> Option<&LoginClient> {
        let presented = program.secret.as_ref().map_or("", |secret| secret.expose());
        self.config.clients.iter().fold(None, |found, client| {
            let expected = client.secret.as_ref().map_or("", |secret| secret.expose());
            let is_id = secret::equal(program.id.as_bytes(), client.id.as_bytes());
            let is_secret = secret::equal(presented.as_bytes(), expected.as_bytes());
            if is_id & is_secret { Some(client) } else { found }
        })
    }
}

/// The program as RFC 6749 section 2.3.1 writes it in `Authorization: Basic`, form-encoded. Most
/// programs write id and secret as they are.
fn decoded(program: &PresentedProgram) -> Option<PresentedProgram> {
    let decode = |text: &str| {
        let text = text.replace('+', " ");
        percent_decode_str(&text).decode_utf8().ok().map(|text| text.into_owned())
    };
    let secret = program.secret.as_ref().filter(|_| program.may_be_encoded)?;
    Some(PresentedProgram {
        id: decode(&program.id)?,
        secret: Some(decode(secret.expose())?.into()),
        may_be_encoded: false,
    })
}
