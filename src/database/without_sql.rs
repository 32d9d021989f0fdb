//! Stand-ins for databases in a build without the feature `sql`: types that have no values, so that
//! the modules that ask a database stay as they are. `config` refuses every database first.

use std::convert::Infallible;
use std::fmt;
use std::path::Path;

use serde_json::Value;
use tokio::time::Instant;

use super::step_error::StepError;
use super::{AccessMode, DatabaseError, DatabaseOptions};
use crate::secret::SecretString;

#[derive(Clone, Debug)]
pub enum DatabaseAddress {}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    #[error("needs a build with `sql`")]
    LeftOut,
}

impl fmt::Display for DatabaseAddress {
    fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {}
    }
}

impl DatabaseAddress {
    /// # Errors
    ///
    /// Always.
    pub fn parse(_: &SecretString, _: &Path) -> Result<Self, AddressError> {
        Err(AddressError::LeftOut)
    }

    pub fn kind(&self) -> &'static str {
        match *self {}
    }

    pub fn host(&self) -> Option<&str> {
        match *self {}
    }

    pub fn is_local(&self) -> bool {
        match *self {}
    }
}

#[derive(Clone, Debug, PartialEq)]
pub enum QueryRow {}

impl QueryRow {
    pub fn value(&self, _: &str) -> Option<&Value> {
        match *self {}
    }

    pub fn text(&self, _: &str) -> Option<String> {
        match *self {}
    }

    pub fn columns(&self) -> std::iter::Empty<&str> {
        match *self {}
    }

    pub(super) fn whole(self) -> Result<Self, DatabaseError> {
        match self {}
    }

    pub(super) fn part(self, _: &[&str]) -> Result<Self, DatabaseError> {
        match self {}
    }
}

pub(super) struct DatabaseConnection {
    pub(super) made: Instant,
    none: Infallible,
}

impl DatabaseConnection {
    pub(super) async fn open(
        address: &DatabaseAddress,
        _: &DatabaseOptions,
        _: AccessMode,
    ) -> Result<Self, StepError> {
        match *address {}
    }

    pub(super) async fn rows(
        &mut self,
        _: &str,
        _: &[&str],
        _: usize,
    ) -> Result<Vec<QueryRow>, StepError> {
        match self.none {}
    }

    pub(super) async fn columns(self, _: &str) -> Result<Vec<String>, StepError> {
        match self.none {}
    }

    pub(super) async fn change(self, _: &str, _: &[&str]) -> Result<u64, StepError> {
        match self.none {}
    }
}
