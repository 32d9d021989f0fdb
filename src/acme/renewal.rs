//! Looks after one certificate for as long as the configuration names it: orders it when it is
//! missing or due, and tries again after a failure.
//!
//! The certificate in its file is the only state that lasts. After a restart it is read again, and
//! nothing is ordered if it is good. The server runs one of these for each certificate, on the
//! background runtime.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use instant_acme::{CertificateIdentifier, Error};
use zeroize::Zeroizing;

use super::AcmeContext;
use super::certificate::IssuedCertificate;
use super::conditions::{CertificateCondition, ConditionPlace};
use super::files::certificate_path;
use super::http_client::AcmeHttpClient;
use super::order::{ChallengeKind, OrderClient, OrderError, write};
use super::schedule;
use crate::clock::Timestamp;
use crate::format::{error_chain, excerpt};
use crate::secret;
use crate::settings::AcmeSettings;
use crate::telemetry::metrics::AcmeOrderResult;

/// Upper bound on one order. Each call has a bound of its own; this one is for an authority that
/// always answers and never comes to an end.
const ORDER_LIMIT: Duration = Duration::from_secs(10 * 60);
/// The shortest time from a certificate to the next order: a tenth of its life within these bounds.
/// An authority that suggests renewing each new certificate at once, or issues one that has ended,
/// would otherwise be asked for one after the other.
const REST: (Duration, Duration) = (Duration::from_secs(60), Duration::from_secs(3600));
/// When the authority is asked again about a renewal if it could not be asked, or suggests nothing.
const ASK_AGAIN: Duration = Duration::from_secs(6 * 3600);
/// Upper bound on the characters of a cause: part of it is chosen by the authority.
const LONGEST_CAUSE: usize = 500;

/// One certificate, and how far its renewal has come.
pub(crate) struct AcmeRenewal {
    settings: AcmeSettings,
    context: AcmeContext,
    path: PathBuf,
    condition: ConditionPlace,
    /// The challenges that can be answered; the one that succeeded last comes first.
    kinds: Vec<ChallengeKind>,
    plan: RenewalPlan,
}

/// The times of the next steps. They are drawn anew after a restart, which does no harm.
#[derive(Debug, Default)]
struct RenewalPlan {
    /// Orders that failed since the last that succeeded, and the cause of the latest.
    failures: u32,
    cause: Option<String>,
    /// No order is placed before this time.
    rest_until: Timestamp,
    /// When the certificate is renewed; drawn once for each certificate or window.
    renew_at: Option<Timestamp>,
    /// The window that the authority suggested last.
    window: Option<(Timestamp, Timestamp)>,
    /// When the authority is asked about the window.
    ask_at: Timestamp,
}

impl AcmeRenewal {
    /// Prepares to look after the certificate of `settings`. `has_http` says whether there is a
    /// listener that can answer HTTP-01.
    pub(crate) fn new(settings: AcmeSettings, has_http: bool, context: AcmeContext) -> Self {
        let path = certificate_path(&context.state, &settings);
        let condition = context.conditions.enter();
        let kinds = match has_http {
            true => vec![ChallengeKind::Tls, ChallengeKind::Http],
            false => vec![ChallengeKind::Tls],
        };
        Self { settings, context, path, condition, kinds, plan: RenewalPlan::default() }
    }

    /// Looks after the certificate; it never ends by itself.
    pub(crate) async fn run(mut self) {
        let mut certificate = self.read().await;
        loop {
            let now = self.context.clock.now();
            self.report(certificate.as_ref());
            let due = match &certificate {
                None => now,
                Some(certificate) => {
                    if now >= self.plan.ask_at {
                        self.ask(certificate).await;
                    }
                    self.renewal_time(certificate)
                }
            };
            let due = due.max(self.plan.rest_until);
            if due <= self.context.clock.now() {
                if let Some(renewed) = self.renew(certificate.as_ref()).await {
                    certificate = Some(renewed);
                }
                continue;
            }
            let next = if certificate.is_some() { due.min(self.plan.ask_at) } else { due };
            self.context.clock.sleep_until(next).await;
        }
    }

    /// The certificate of the file; `None` if one has to be ordered.
    async fn read(&self) -> Option<IssuedCertificate> {
        let path = self.path.clone();
        let read = self.context.background.block_on_thread(move || std::fs::read(path)).await?;
        let text = match read {
            Ok(text) => Zeroizing::new(text),
            Err(error) => {
                if error.kind() != io::ErrorKind::NotFound {
                    tracing::warn!(file = %self.path.display(), %error, "a certificate cannot be read");
                }
                return None;
            }
        };
        match IssuedCertificate::parse(&text, &self.settings.domains) {
            Ok(certificate) => Some(certificate),
            Err(fault) => {
                let file = self.path.display();
                tracing::warn!(%file, %fault, "a certificate cannot be served: another is ordered");
                None
            }
        }
    }

    /// When the certificate is renewed, as the authority suggests or after two thirds of its life.
    fn renewal_time(&mut self, certificate: &IssuedCertificate) -> Timestamp {
        let own = || schedule::own_time(certificate.not_before, certificate.lifetime(), drawn());
        *self.plan.renew_at.get_or_insert_with(own)
    }

    /// Asks the authority when to renew (RFC 9773). If it cannot be asked, the last plan holds.
    async fn ask(&mut self, certificate: &IssuedCertificate) {
        let now = self.context.clock.now();
        self.plan.ask_at = now.plus(ASK_AGAIN);
        let Ok(id) = CertificateIdentifier::try_from(&certificate.leaf) else { return };
        let answer = async {
            let client = self.client()?;
            Ok::<_, OrderError>(client.account().await?.renewal_info(&id).await?)
        };
        let (suggested, pause) = match answer.await {
            Ok(suggested) => suggested,
            Err(OrderError::Acme(Error::Unsupported(_))) => return,
            Err(error) => {
                let names = self.names();
                let cause = cause_of(&error);
                tracing::debug!(names, cause, "the authority does not say when to renew");
                return;
            }
        };
        self.plan.ask_at = now.plus(schedule::pause(pause));
        let instant = |at: i64| Timestamp::from_secs(u64::try_from(at).unwrap_or(0));
        let window = suggested.suggested_window;
        let window = (instant(window.start.unix_timestamp()), instant(window.end.unix_timestamp()));
        // A time is drawn once for a window: with each draw of a new time the renewal would move
        // towards the beginning of the window.
        if self.plan.window != Some(window) {
            let not_before = certificate.not_before;
            let lifetime = certificate.lifetime();
            let at = schedule::suggested_time(window, not_before, lifetime, drawn());
            tracing::info!(names = self.names(), %at, "the authority suggests when to renew");
            self.plan.renew_at = Some(at);
            self.plan.window = Some(window);
        }
    }

    fn client(&self) -> Result<OrderClient<'_>, OrderError> {
        Ok(OrderClient {
            settings: &self.settings,
            state: &self.context.state,
            challenges: &self.context.challenges,
            background: &self.context.background,
            http: AcmeHttpClient::new(&self.settings, self.context.clock.clone())?,
        })
    }

    /// Places an order. Returns the certificate, which is served then; `None` after a failure, which
    /// is logged and counted.
    async fn renew(&mut self, last: Option<&IssuedCertificate>) -> Option<IssuedCertificate> {
        let names = self.names();
        let directory = self.settings.directory.to_string();
        let meanwhile = if last.is_some() { "the last one" } else { "a self-signed one" };
        tracing::info!(names, directory, "orders a certificate, {meanwhile} is served meanwhile");
        // One order at a time: two orders with a name in common would take each other's answer away.
        let challenges = self.context.challenges.clone();
        let ordered = {
            let _turn = challenges.turn().await;
            let ordering = self.order(last);
            match tokio::time::timeout(ORDER_LIMIT, ordering).await {
                Ok(ordered) => ordered,
                Err(_) => Err((format!("it was not done within {ORDER_LIMIT:?}"), None)),
            }
        };
        let now = self.context.clock.now();
        let name = &self.settings.domains;
        let metrics = &self.context.metrics;
        let first = name.first().map(String::as_str).unwrap_or_default();
        match ordered {
            Ok(certificate) => {
                metrics.acme_order(first, AcmeOrderResult::Succeeded);
                tracing::info!(names, until = %certificate.not_after, "has a new certificate");
                let rest = (certificate.lifetime() / 10).clamp(REST.0, REST.1);
                self.plan = RenewalPlan { rest_until: now.plus(rest), ..RenewalPlan::default() };
                let served = self.context.served.clone();
                self.context.background.block_on_thread(move || served()).await;
                Some(certificate)
            }
            Err((cause, retry_after)) => {
                metrics.acme_order(first, AcmeOrderResult::Failed);
                self.plan.failures = self.plan.failures.saturating_add(1);
                let wait = schedule::wait_after(self.plan.failures, retry_after, drawn());
                self.plan.rest_until = now.plus(wait);
                let failures = self.plan.failures;
                let next = self.plan.rest_until;
                tracing::warn!(
                    names, cause, failures, %next,
                    "no certificate was issued, {meanwhile} is served on"
                );
                self.plan.cause = Some(cause);
                None
            }
        }
    }

    /// Orders with the preferred challenge, and once more with the other one if the names could not
    /// be verified by it; then writes the file. The error is the cause, and the wait that the
    /// authority asked for.
    async fn order(
        &mut self,
        last: Option<&IssuedCertificate>,
    ) -> Result<IssuedCertificate, (String, Option<Duration>)> {
        let mut kinds = self.kinds.clone();
        let client = self.client().map_err(|error| (cause_of(&error), None))?;
        let mut ordered = client.order(&kinds, last).await;
        if kinds.len() > 1
            && let Err(error) = &ordered
            && error.is_of_challenge()
        {
            tracing::info!(cause = cause_of(error), "tries the other challenge");
            kinds.rotate_left(1);
            ordered = client.order(&kinds, last).await;
        }
        let failed = |error: &OrderError| (cause_of(error), client.http.asked_to_wait());
        let (pem, certificate) = ordered.map_err(|error| failed(&error))?;
        let written = write(&self.context.background, self.path.clone(), pem).await;
        written.map_err(|error| {
            (format!("{} could not be written: {error}", self.path.display()), None)
        })?;
        self.kinds = kinds;
        Ok(certificate)
    }

    fn names(&self) -> String {
        self.settings.domains.join(", ")
    }

    fn report(&self, certificate: Option<&IssuedCertificate>) {
        self.condition.set(CertificateCondition {
            names: self.names(),
            not_after: certificate.map(|certificate| certificate.not_after),
            failure: self.plan.cause.clone().map(|cause| (cause, self.plan.rest_until)),
        });
    }
}

/// The cause on one line, without control characters and not too long.
fn cause_of(error: &OrderError) -> String {
    let text = error_chain(error);
    excerpt(&text.split_whitespace().collect::<Vec<_>>().join(" "), LONGEST_CAUSE)
}

fn drawn() -> schedule::Drawn {
    schedule::Drawn::from_be_bytes(secret::random())
}
