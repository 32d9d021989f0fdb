//! A switch that changes the format of the diagnostics while the process runs.
//!
//! The `tracing` subscriber belongs to the program (`cli`), which passes this switch to the
//! gateway. A gateway in a test has no switch, and leaves the format as it is.

use std::fmt;
use std::sync::Arc;

use crate::settings::LogFormat;

/// Changes the format of the diagnostics from the next line on. Clones are the same switch. Access
/// and audit lines are always JSON and are not affected.
#[derive(Clone)]
pub struct LogFormatSwitch(Arc<dyn Fn(LogFormat) + Send + Sync>);

impl LogFormatSwitch {
    /// `change` is called with every format that a reload asks for. It must not wait, because a
    /// reload calls it. It is also called when the format did not change.
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
