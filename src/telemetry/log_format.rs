//! A way to change the form of the diagnostics while the process runs.
//!
//! The subscriber belongs to the program, which hands this switch to the gateway; a gateway in a
//! test has none and leaves the form as it is.

use std::fmt;
use std::sync::Arc;

use crate::config::LogFormat;

/// Writes the diagnostics in another form from the next line on.
#[derive(Clone)]
pub struct LogFormatSwitch(Arc<dyn Fn(LogFormat) + Send + Sync>);

impl LogFormatSwitch {
    /// `change` is called with every form that a reload asks for.
    pub fn new(change: impl Fn(LogFormat) + Send + Sync + 'static) -> Self {
        Self(Arc::new(change))
    }

    pub(crate) fn change(&self, format: LogFormat) {
        (self.0)(format);
    }
}

impl fmt::Debug for LogFormatSwitch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LogFormatSwitch")
    }
}
