//! The gateway as a dry run sees it: a generation beside the one in effect, whose effects end in it.
//!
//! A dry run takes a request through the very pipeline to learn what would become of it. Therefore
//! everything that a request changes is replaced here and not in the pipeline: metrics, logs,
//! counters and pools are its own. They begin with the present state of the real ones where that
//! decides (budgets of rate limits, conditions of servers, keys and verdicts of issuers, revocations,
//! remembered passwords), and are dropped with it. Like a reload, it is built beside the generation
//! in effect, and it is never put into effect.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;

use super::generation::{GenerationParts, build_verifier};
use super::{BuildError, Gateway, Generation, SharedState, WorkerView, cancellations};
use crate::admission::{ByteBudget, FailedAttempts, WorkLimit};
use crate::authn::SeenSignatures;
use crate::clock::Clock;
use crate::login::PasswordCache;
use crate::passwords::HashPool;
use crate::runtime::BackgroundRuntime;
use crate::session::{OpenStreams, Store};
use crate::settings::Config;
use crate::telemetry::audit::AuditLog;
use crate::telemetry::line_writer::LineWriter;
use crate::telemetry::metrics::Metrics;
use crate::throttle::RateLimiter;
use crate::token::KeyRing;
use crate::upstream::UpstreamPool;
use crate::users::UserSources;

/// A step of a request that has an effect outside, and that a dry run therefore leaves out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum OmittedStep {
    /// Asking these issuers about the token.
    TokenLookup { issuers: Vec<Arc<str>> },
    /// Fetching the current keys of these issuers.
    KeyLookup { issuers: Vec<Arc<str>> },
    /// Asking the session store about an opaque token of ours.
    SessionLookup,
    /// Verifying the password of this user at these sources.
    PasswordCheck { name: String, sources: Vec<String> },
    /// The step of a login endpoint.
    LoginStep,
    /// Verifying the signature of a request, which needs its body.
    BodySignature,
    /// Sending a copy to this upstream, for so many of a hundred requests.
    Mirror { upstream: String, percent: u8 },
}

/// The steps that a dry run left out, in order.
#[derive(Debug, Default)]
pub(crate) struct DryRunNotes(Mutex<Vec<OmittedStep>>);

impl DryRunNotes {
    pub(crate) fn add(&self, step: OmittedStep) {
        self.0.lock().push(step);
    }

    pub(crate) fn steps(&self) -> Vec<OmittedStep> {
        self.0.lock().clone()
    }
}

/// The parts of a gateway that a dry run shares with it, or that are opened only to be read.
#[derive(Debug)]
pub(crate) struct DryRunParts {
    pub(crate) clock: Clock,
    pub(crate) background: BackgroundRuntime,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) ring: Arc<KeyRing>,
    pub(crate) hashing: Arc<HashPool>,
    pub(crate) password_cache: Arc<PasswordCache>,
    pub(crate) attempts: Arc<FailedAttempts>,
    pub(crate) program_attempts: Arc<FailedAttempts>,
    pub(crate) seen_signatures: Arc<SeenSignatures>,
    pub(crate) is_draining: bool,
    pub(crate) users: UserSources,
}

impl Gateway {
    /// A view of this gateway for one dry run.
    ///
    /// # Errors
    /// A part cannot be built again, for example because a file has gone.
    pub(crate) fn dry_run(&self) -> Result<Arc<WorkerView>, BuildError> {
        let last = self.generation();
        let shared = &self.shared;
        let parts = DryRunParts {
            clock: shared.clock.clone(),
            background: shared.background.clone(),
            store: shared.store.clone(),
            ring: shared.ring.clone(),
            hashing: shared.hashing.clone(),
            password_cache: shared.password_cache.clone(),
            attempts: shared.attempts.clone(),
            program_attempts: shared.program_attempts.clone(),
            seen_signatures: shared.seen_signatures.clone(),
            is_draining: shared.draining.load(Ordering::Relaxed),
            users: UserSources::clone(&last.services.users),
        };
        dry_run_view(last.config.clone(), parts, Some(&last))
    }
}

/// A view for one dry run on `config`. `last` is the generation in effect, if a gateway runs.
///
/// # Errors
/// A part cannot be built, for example because a file is missing.
pub(crate) fn dry_run_view(
    config: Config,
    parts: DryRunParts,
    last: Option<&Generation>,
) -> Result<Arc<WorkerView>, BuildError> {
    let DryRunParts { clock, background, store, ring, hashing, .. } = parts;
    let shared = SharedState {
        cancellations: cancellations(&store, OpenStreams::default(), &clock),
        workers: 1,
        metrics: Arc::new(Metrics::new()),
        // Lines end in memory, which is dropped with the dry run.
        access: LineWriter::captured().0,
        audit: AuditLog::new(LineWriter::captured().0),
        observed: Arc::default(),
        draining: AtomicBool::new(parts.is_draining),
        password_cache: parts.password_cache,
        services: Arc::default(),
        attempts: parts.attempts,
        program_attempts: parts.program_attempts,
        held_back: WorkLimit::new(1),
        challenges: Arc::default(),
        acme: Arc::default(),
        bodies: ByteBudget::new(config.process.body_memory),
        seen_signatures: parts.seen_signatures,
        dry_run: Some(DryRunNotes::default()),
        clock,
        background,
        store,
        ring,
        hashing,
    };
    // No token is remembered: each is verified from the beginning, with the same result.
    let verifier = build_verifier(&shared, &config, 0, last)?.without_renewals();
    let throttle = match last {
        Some(last) => last.throttle.over(),
        None => RateLimiter::build(&config, None),
    };
    let parts = GenerationParts {
        verifier,
        users: parts.users,
        // No code is sent.
        mailer: None,
        pools: build_pools(&config, last, &shared.clock)?,
        throttle,
        // No system is asked, so no session is renewed there.
        legacy: None,
        // Remembered passwords are those of the generation in effect.
        number: last.map_or(0, |last| last.services.number),
    };
    let generation = Generation::assemble(&shared, config, parts, None)?;
    shared.cancellations.entries.store(Arc::new(generation.credentials().collect()));
    let generation = Arc::new(generation);
    Ok(Arc::new(WorkerView { shared: Arc::new(shared), generation }))
}

/// Pools that send nothing. Their servers are in the condition that they have in `last`.
fn build_pools(
    config: &Config,
    last: Option<&Generation>,
    clock: &Clock,
) -> Result<HashMap<String, Arc<UpstreamPool>>, BuildError> {
    let mut pools = HashMap::new();
    for upstream in &config.upstreams {
        let last = last.and_then(|last| last.pools.get(&upstream.name));
        let pool = UpstreamPool::for_dry_run(upstream, last.map(AsRef::as_ref), clock)?;
        pools.insert(upstream.name.clone(), pool);
    }
    Ok(pools)
}
