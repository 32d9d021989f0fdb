//! Composition: a checked configuration becomes one immutable generation.
//!
//! A reload builds a whole new `Generation` and swaps it in; a request loads it once and keeps
//! it to its end. What outlives a reload (store, keys, streams, counters, logs) is in `Shared`.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use arc_swap::ArcSwap;

use crate::authn::{Verifier, VerifierOptions};
use crate::clock::Clock;
use crate::config::{self, Config};
use crate::dialect::{Endpoint, ErrorForm, Step};
use crate::login::{Login, Services};
use crate::routing::{LoginEntry, RouteEntry, RouteTable};
use crate::runtime::BackRoom;
use crate::telemetry::Sink;
use crate::telemetry::metrics::{Metrics, RouteMetrics};
use crate::upstream::{HeaderPlan, Pool};

/// A gateway at work.
#[derive(Debug)]
pub(crate) struct Gateway {
    pub(crate) shared: Shared,
    generation: ArcSwap<Generation>,
}

/// What survives a reload.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) clock: Clock,
    pub(crate) back_room: BackRoom,
    pub(crate) workers: usize,
    pub(crate) services: Arc<Services>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) access: Sink,
    pub(crate) draining: AtomicBool,
    pub(crate) reloads: AtomicU64,
}
