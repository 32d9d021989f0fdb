//! Extracts the token of a call from the place where the dialect of its login, or the legacy system
//! that gave it out, has it.
//!
//! A route with `auth = ["login"]` takes tokens as its logins and legacy systems carry theirs: in a field, a cookie, the
//! query, under any scheme of `Authorization`, or as a pair of two places (`[call]` of a dialect).
//! All places are known when the configuration is loaded, so a route without them costs one look at
//! an empty list. A token in two places, or twice in one, is ambiguous. Nothing is verified here.

use std::borrow::Cow;
use std::sync::Arc;

use http::header::{AUTHORIZATION, HeaderName};
use http::request::Parts;

use super::carrier_value::{after, value};
use super::credential::{CredentialError, PartialPair, TokenCredential};
use super::signature::{RequestSignature, SignatureVerifier};
use super::token_place::AcceptedIssuers;
use super::{X_ACCESS_TOKEN, X_KEY, session_fact};
use crate::dialect::{CallCarrier, Carrier, ForgeryRule, SessionFact, server};
use crate::identity::{Identity, SELF_ISSUER};
use crate::secret::SecretString;
use crate::settings::path::hosts_meet;
use crate::settings::{Config, RouteSettings};

/// The places of tokens of one route.
#[derive(Debug, Default)]
pub struct CallCarriers {
    accepted: Vec<AcceptedCarrier>,
    /// Every place in `accepted`, once.
    places: Vec<Carrier>,
    /// Every place in which a login carries a token on these hosts or to this upstream, whether or
    /// not the route takes it, that in which the gateway sends its own to the upstream, and those of
    /// signatures that are taken on the way to this upstream. Bearer tokens, `X-Access-Token` and
    /// `X-Key` are not among them: they never go to an upstream.
    removed: Vec<Carrier>,
    /// How requests to the route are signed, if it takes signatures.
    signature: Option<Arc<SignatureVerifier>>,
}

/// One way to carry a token, and whose tokens come that way.
#[derive(Debug)]
struct AcceptedCarrier {
    /// The place of the token, and that of the key of a pair.
    places: Vec<Carrier>,
    /// What the key of a pair has to agree with; `None` where it is the session's secret key.
    fact: Option<SessionFact>,
    logins: Vec<CarriedLogin>,
    /// The issuers whose tokens count here: the gateway itself, and legacy systems.
    issuers: Vec<String>,
    csrf: ForgeryRule,
}

/// A login whose tokens come in a carrier.
#[derive(Debug)]
struct CarriedLogin {
    name: String,
    /// The field with the session's value against forged requests.
    csrf_field: Option<HeaderName>,
}

/// A token in the place where logins of the route carry theirs, not verified yet.
#[derive(Clone, Debug, PartialEq)]
pub struct CarriedToken {
    pub credential: TokenCredential,
    /// The number of the carrier among those of the route.
    pub carrier: usize,
    /// The fact that the request repeats beside the token, where the carrier demands one.
    pub fact: Option<SecretString>,
}

impl CallCarriers {
    /// The carriers of a route. `signatures` are all of the configuration.
    pub fn new(
        config: &Config,
        route: &RouteSettings,
        signatures: &[Arc<SignatureVerifier>],
    ) -> Self {
        let is_taken =
            |one: &&Arc<SignatureVerifier>| Some(one.name()) == route.signature.as_deref();
        let mut carriers =
            Self { signature: signatures.iter().find(is_taken).cloned(), ..Self::default() };
        if route.takes_logins() {
            for login in config.logins_of(route) {
                for carrier in &login.dialect.call {
                    if !route.has_as_kind(carrier) {
                        let accepted = carriers.accept(carrier);
                        accepted.logins.push(CarriedLogin {
                            name: login.name.clone(),
                            csrf_field: login.dialect.csrf.field.clone(),
                        });
                        accepted.csrf = accepted.csrf.max(login.dialect.csrf.rule);
                    }
                }
            }
        }
        for (issuer, carrier) in config.sessions_of(route) {
            if !route.has_as_kind(carrier) {
                carriers.accept(carrier).issuers.push(issuer.name.clone());
            }
        }
        let is_known = |place: &Carrier| match place {
            Carrier::Scheme(scheme) => scheme == "bearer",
            Carrier::Field(name) => *name == X_ACCESS_TOKEN || *name == X_KEY,
            _ => false,
        };
        let others = config.routes.iter().filter(|other| {
            other.takes_logins() && other.upstream().is_some_and(|to| Some(to) == route.upstream())
        });
        let to_upstream: Vec<&str> =
            others.flat_map(|other| config.logins_of(other)).map(|one| one.name.as_str()).collect();
        for login in &config.logins {
            if hosts_meet(&login.hosts, &route.hosts)
                || route.logins.contains(&login.name)
                || to_upstream.contains(&login.name.as_str())
            {
                let places = login.dialect.call.iter().flat_map(CallCarrier::places);
                for place in places.map(Carrier::folded).filter(|place| !is_known(place)) {
                    add(&mut carriers.removed, place);
                }
            }
        }
        for signature in config.signatures_at(route) {
            for place in signature.places() {
                add(&mut carriers.removed, place.folded());
            }
        }
        // Nobody but the gateway has a token for the upstream, in whichever of its places.
        let upstreams = config.upstreams.iter();
        let to = upstreams.filter(|one| Some(one.name.as_str()) == route.upstream());
        let own = to.filter_map(|one| one.credential.as_ref()).flat_map(|one| one.places());
        for place in own.map(Carrier::folded).filter(|place| !is_known(place)) {
            add(&mut carriers.removed, place);
        }
        // What a legacy system gave out is removed on all routes to an upstream that may be called
        // with it.
        let to_same = config.routes.iter().filter(|other| other.upstream() == route.upstream());
        for (_, carrier) in to_same.flat_map(|other| config.sessions_of(other)) {
            let places = carrier.places().into_iter().map(Carrier::folded);
            for place in places.filter(|place| !is_known(place)) {
                add(&mut carriers.removed, place);
            }
        }
        carriers
    }

    /// The accepted carrier with these places, which is added if it is new.
    fn accept(&mut self, carrier: &CallCarrier) -> &mut AcceptedCarrier {
        let places: Vec<Carrier> = carrier.places().into_iter().map(Carrier::folded).collect();
        for place in &places {
            add(&mut self.places, place.clone());
        }
        let fact = match carrier {
            CallCarrier::Pair(pair) => pair.fact,
            CallCarrier::Token(_) => None,
        };
        let is_same = |known: &AcceptedCarrier| known.places == places && known.fact == fact;
        let known = self.accepted.iter().position(is_same);
        let one = known.map(|number| self.accepted.swap_remove(number));
        let issuers = vec![SELF_ISSUER.to_owned()];
        let (logins, csrf) = (Vec::new(), ForgeryRule::default());
        let one = one.unwrap_or(AcceptedCarrier { places, fact, logins, issuers, csrf });
        self.accepted.push_mut(one)
    }

    /// The token of the request; `None` if no place has anything.
    ///
    /// # Errors
    /// A place that occurs twice, tokens in two places, half a pair, and a value that no token has.
    pub(super) fn extract(&self, head: &Parts) -> Result<Option<CarriedToken>, CredentialError> {
        if self.accepted.is_empty() {
            return Ok(None);
        }
        let mut found: Vec<(&Carrier, Cow<'_, [u8]>)> = Vec::new();
        for place in &self.places {
            let value = value(head, place)?.filter(|value| !self.is_scheme(place, value));
            found.extend(value.map(|value| (place, value)));
        }
        if found.is_empty() {
            return Ok(None);
        }
        let value_of = |place: &Carrier| {
            found.iter().find(|(at, _)| *at == place).map(|(_, value)| value.as_ref())
        };
        let mut complete: Vec<(usize, &AcceptedCarrier)> =
            self.accepted.iter().enumerate().collect();
        complete.retain(|(_, one)| one.places.iter().all(|place| value_of(place).is_some()));
        // The token of a pair may be where another login has its token alone. With the key beside it
        // it is a pair.
        let pairs: Vec<&AcceptedCarrier> =
            complete.iter().map(|(_, one)| *one).filter(|one| one.places.len() > 1).collect();
        complete.retain(|(_, one)| {
            let has_it = |pair: &&AcceptedCarrier| {
                one.places.iter().all(|place| pair.places.contains(place))
            };
            one.places.len() > 1 || !pairs.iter().any(has_it)
        });
        let (carrier, one) = match complete[..] {
            [] => return Err(CredentialError::Half),
            // The places left over have half of another credential.
            [(number, one)] if found.len() == one.places.len() => (number, one),
            _ => return Err(CredentialError::Several),
        };
        let mut values = one.places.iter().map(value_of);
        let token = values.next().flatten();
        let key = values.next().flatten();
        let (credential, fact) = match (one.places.len(), token, one.fact) {
            (1, Some(token), _) => (TokenCredential::carried(token)?, None),
            (_, token, None) => (PartialPair { token, key }.carried()?, None),
            (_, token, Some(_)) => {
                let token = token.ok_or(CredentialError::Half)?;
                let fact = key.and_then(|fact| std::str::from_utf8(fact).ok());
                let fact =
                    fact.ok_or(CredentialError::Malformed("the fact beside it is no text"))?;
                (TokenCredential::carried(token)?, Some(fact.into()))
            }
        };
        Ok(Some(CarriedToken { credential, carrier, fact }))
    }

    /// Extracts the parts of a signature; `None` if the route takes none, or there is none.
    ///
    /// # Errors
    /// As `SignatureVerifier::extract`.
    pub(super) fn extract_signature(
        &self,
        head: &Parts,
    ) -> Result<Option<RequestSignature>, CredentialError> {
        match &self.signature {
            Some(verifier) => verifier.extract(head),
            None => Ok(None),
        }
    }

    /// The places of a signature that the route takes.
    pub fn signature_places(&self) -> &[Carrier] {
        self.signature.as_deref().map_or(&[], SignatureVerifier::places)
    }

    /// How requests to the route are signed, if it takes signatures.
    pub fn signature(&self) -> Option<&Arc<SignatureVerifier>> {
        self.signature.as_ref()
    }

    /// True if a value without a scheme is the name of a scheme that the route takes.
    fn is_scheme(&self, place: &Carrier, value: &[u8]) -> bool {
        let is_same = |one: &Carrier| matches!(one, Carrier::Scheme(name) if value.eq_ignore_ascii_case(name.as_bytes()));
        matches!(place, Carrier::Scheme(scheme) if scheme.is_empty())
            && self.places.iter().any(is_same)
    }

    /// The issuers whose tokens count in a carrier.
    pub fn issuers(&self, number: usize) -> AcceptedIssuers<'_> {
        let one = self.accepted.get(number);
        let names = one.map_or(&[][..], |one| one.issuers.as_slice());
        AcceptedIssuers::carried(names, self.places(number))
    }

    /// True if a verified token may come by the carrier: one of a login or a legacy system that
    /// carries its tokens like this.
    pub fn admits(&self, number: usize, identity: &Identity) -> bool {
        let Some(one) = self.accepted.get(number) else { return false };
        match *identity.issuer == *SELF_ISSUER {
            true => one.login(&identity.login).is_some(),
            false => one.issuers.iter().any(|name| **name == *identity.issuer),
        }
    }

    /// True if tokens of this login come by the carrier.
    pub fn carries(&self, number: usize, login: &str) -> bool {
        self.accepted.get(number).is_some_and(|one| one.login(login).is_some())
    }

    /// The places of a carrier; none if there is no such carrier.
    pub fn places(&self, number: usize) -> &[Carrier] {
        self.accepted.get(number).map_or(&[], |one| one.places.as_slice())
    }

    /// The places of the first carrier by which tokens of this login come.
    pub fn places_of(&self, login: &str) -> Option<&[Carrier]> {
        (0..self.accepted.len())
            .find(|number| self.carries(*number, login))
            .map(|it| self.places(it))
    }

    /// True if the request repeats the fact that the carrier demands beside a token of `identity`.
    pub fn agrees(&self, token: &CarriedToken, identity: &Identity) -> bool {
        let demanded = self.accepted.get(token.carrier).and_then(|one| one.fact);
        match (demanded, &token.fact) {
            (None, _) => true,
            (Some(demanded), Some(fact)) => session_fact::agrees(demanded, identity, fact),
            (Some(_), None) => false,
        }
    }

    /// The field in which requests of this login by cookie repeat the session's value against
    /// forged ones; `None` where none is demanded.
    pub fn csrf_field(&self, number: usize, login: &str) -> Option<&HeaderName> {
        let one = self.accepted.get(number)?;
        one.places.iter().any(Carrier::is_ambient).then(|| one.login(login))??.csrf_field.as_ref()
    }

    /// The rule for forged requests, if a browser sends a part of the credential by itself.
    pub fn forgery_rule(&self, number: usize) -> Option<ForgeryRule> {
        let one = self.accepted.get(number)?;
        one.places.iter().any(Carrier::is_ambient).then_some(one.csrf)
    }

    /// Every place that must not reach the upstream.
    pub fn removed(&self) -> &[Carrier] {
        &self.removed
    }

    /// The fields that must not reach the upstream.
    pub fn fields(&self) -> impl Iterator<Item = &HeaderName> {
        self.removed.iter().filter_map(|place| match place {
            Carrier::Field(name) => Some(name),
            _ => None,
        })
    }

    /// True if the route takes a credential in the query.
    pub fn are_in_query(&self) -> bool {
        self.places
            .iter()
            .chain(self.signature_places())
            .any(|place| matches!(place, Carrier::Query(_)))
    }

    /// All values in the places, however malformed or repeated. A route that only observes looks
    /// among them for tokens of the gateway.
    pub fn values(&self, head: &Parts) -> Vec<SecretString> {
        let text = |value: &[u8]| std::str::from_utf8(value).ok().map(SecretString::from);
        let mut values = Vec::new();
        for place in &self.removed {
            match place {
                Carrier::Field(name) => {
                    let fields = head.headers.get_all(name).iter();
                    values.extend(fields.filter_map(|value| text(value.as_bytes())));
                }
                Carrier::Cookie(name) => {
                    values.extend(server::cookie_values(&head.headers, name).filter_map(text));
                }
                Carrier::Query(name) => {
                    let query = head.uri.query().unwrap_or_default();
                    let pairs = form_urlencoded::parse(query.as_bytes());
                    let pairs = pairs.filter(|(known, _)| known == name);
                    values.extend(pairs.map(|(_, value)| SecretString::new(value.into_owned())));
                }
                Carrier::Scheme(scheme) => {
                    let fields = head.headers.get_all(AUTHORIZATION).iter();
                    let tokens = fields.filter_map(|value| after(value.as_bytes(), scheme));
                    values.extend(tokens.filter_map(text));
                }
                Carrier::Variable(_) | Carrier::Member(..) => {}
            }
        }
        values
    }
}

impl AcceptedCarrier {
    fn login(&self, name: &str) -> Option<&CarriedLogin> {
        self.logins.iter().find(|login| login.name == name)
    }
}

fn add(places: &mut Vec<Carrier>, place: Carrier) {
    if !places.contains(&place) {
        places.push(place);
    }
}
