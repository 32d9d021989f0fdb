//! bcrypt: `$2a$`, `$2b$` and `$2y$`.

use base64::Engine;
use base64::alphabet;
use base64::engine::general_purpose::{GeneralPurpose, NO_PAD};

use super::{BadHash, Cost, Form, HashError, Read, head};
use crate::secret;

/// About two seconds of work.
const MAX_COST: u32 = 15;
const MIN_COST: u32 = 4;
/// bcrypt reads no further; a longer password is refused rather than cut.
const MAX_PASSWORD: usize = 72;
const BASE64: GeneralPurpose = GeneralPurpose::new(&alphabet::BCRYPT, NO_PAD);

const MALFORMED: BadHash = BadHash::Malformed { scheme: "bcrypt" };

pub(super) fn read(text: &str) -> Read {
    let parts: bcrypt::HashParts = text.parse().map_err(|_| MALFORMED)?;
    let cost = parts.get_cost();
    if cost > MAX_COST {
        return Err(BadHash::TooCostly { limit: "bcrypt's cost is at most 15" });
    }
    if cost < MIN_COST {
        return Err(MALFORMED);
    }
    Ok((Form::Bcrypt(text.into()), Cost::Bcrypt { cost }))
}

pub(super) fn verify(password: &[u8], text: &str) -> Result<bool, HashError> {
    let matches = bcrypt::verify(head(password, MAX_PASSWORD), text).map_err(HashError::new)?;
    Ok(matches && password.len() <= MAX_PASSWORD)
}

pub(super) fn dummy(cost: u32) -> (String, Form) {
    let text = format!(
        "$2b${cost:02}${}{}",
        BASE64.encode(secret::random::<16>()),
        BASE64.encode(secret::random::<23>())
    );
    let form = Form::Bcrypt(text.as_str().into());
    (text, form)
}
