//! The key by which credentials of legacy systems are sealed.
//!
//! It is never in the store that has what it seals. Gateways that share a store derive it from the
//! store's own seal, which all of them have; a gateway with a store of its own keeps it in a file of
//! the state folder.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::durable_file;
use crate::secret::{Secret, random};
use crate::session::shared::{SEAL_LEN, Seal};
use crate::settings::Config;

/// The file in the state folder.
const FILE: &str = "kept-credentials.key";

/// The reasons why the key cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SealKeyError {
    #[error("`{}` cannot be read or made", path.display())]
    File {
        path: PathBuf,
        #[source]
        source: io::Error,
    },

    #[error("`{}` has not {SEAL_LEN} bytes; without it, users with a session have to log in anew: remove it to go on so", path.display())]
    Length { path: PathBuf },
}

/// The seal of kept credentials. The file is made if it is missing; it is readable by its owner
/// alone.
///
/// # Errors
/// If the file cannot be read or made, or is of another length.
pub fn kept_seal(config: &Config) -> Result<Seal, SealKeyError> {
    if let Some(store) = config.store.shared() {
        let seal = Seal::new(&store.seal);
        return Ok(Seal::new(&seal.derive(&[b"kept credentials"])));
    }
    let path = config.state.dir.join(FILE);
    let key = read_or_make(&path)?;
    Ok(Seal::new(&key))
}

fn read_or_make(path: &Path) -> Result<Secret<[u8; SEAL_LEN]>, SealKeyError> {
    let failed = |source| SealKeyError::File { path: path.to_owned(), source };
    match fs::read(path) {
        Ok(bytes) => {
            let bytes = Secret::new(bytes);
            let key: Result<[u8; SEAL_LEN], _> = bytes.expose().as_slice().try_into();
            key.map(Secret::new).map_err(|_| SealKeyError::Length { path: path.to_owned() })
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let key: [u8; SEAL_LEN] = random();
            durable_file::write(path, &key, 0o600).map_err(failed)?;
            Ok(Secret::new(key))
        }
        Err(error) => Err(failed(error)),
    }
}
