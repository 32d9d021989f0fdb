//! The services of the generation in effect, for steps that began under an older one.
//!
//! A step keeps the services with which it began. A reload meanwhile may have removed or replaced
//! the source of its user, and the review of that reload found nothing to end, since the step had
//! opened nothing yet. Therefore the last comparison of a step, after its result can be found by
//! reviews, asks the services in effect.

use std::sync::{Arc, Weak};

use arc_swap::ArcSwap;

use super::LoginServices;

/// A reference to the services of the generation in effect. It is weak: the services hold it
/// themselves, and must end with their generation.
#[derive(Debug, Default)]
pub(crate) struct ServicesInEffect(ArcSwap<Weak<LoginServices>>);

impl ServicesInEffect {
    /// Must be called before the first review under `services`.
    pub(crate) fn replace(&self, services: &Arc<LoginServices>) {
        self.0.store(Arc::new(Arc::downgrade(services)));
    }

    /// The services in effect; `None` if the gateway has ended.
    pub(super) fn get(&self) -> Option<Arc<LoginServices>> {
        self.0.load().upgrade()
    }
}
