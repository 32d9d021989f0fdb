//! A breadth-first search through all states of a protocol. The first violation that it finds is
//! therefore a shortest one.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt;
use std::hash::Hash;

/// A protocol as states and the steps between them.
pub(super) trait Protocol {
    type State: Clone + Eq + Hash;
    type Step: Copy + fmt::Debug;

    /// The state in which everything begins.
    fn initial(&self) -> Self::State;

    /// The same state with what does not matter left out, for example which node is which. Of the
    /// states that are equal then, one is looked at.
    fn essence(&self, state: &Self::State) -> Self::State;

    /// Every step that is possible in this state.
    fn steps(&self, state: &Self::State) -> Vec<Self::Step>;

    /// The state after a step; an error says which promise the step has broken.
    fn take(&self, state: &Self::State, step: Self::Step) -> Result<Self::State, String>;
}

/// The result of a search.
#[derive(Debug)]
pub(super) struct Searched<S> {
    /// Number of different states that can be reached.
    pub(super) states: usize,
    pub(super) counterexample: Option<Counterexample<S>>,
}

/// The steps that lead to a broken promise.
#[derive(Debug)]
pub(super) struct Counterexample<S> {
    pub(super) broken: String,
    pub(super) steps: Vec<S>,
}

/// Looks at every state that can be reached, until a promise is broken. Panics if there are more
/// than `most`: a protocol that outgrew its bounds must not pass because nobody waited.
pub(super) fn search<P: Protocol>(protocol: &P, most: usize) -> Searched<P::Step> {
    // Each state once, by its number; and for each number the step that led there first.
    let mut numbers: HashMap<P::State, usize> = HashMap::new();
    let mut origins: Vec<Option<(usize, P::Step)>> = vec![None];
    let mut frontier = vec![(0, protocol.initial())];
    numbers.insert(protocol.essence(&protocol.initial()), 0);
    while !frontier.is_empty() {
        let mut next = Vec::new();
        for (number, state) in frontier {
            for step in protocol.steps(&state) {
                let reached = match protocol.take(&state, step) {
                    Ok(reached) => reached,
                    Err(broken) => {
                        let mut steps = way_to(&origins, number);
                        steps.push(step);
                        let counterexample = Some(Counterexample { broken, steps });
                        return Searched { states: origins.len(), counterexample };
                    }
                };
                if let Entry::Vacant(place) = numbers.entry(protocol.essence(&reached)) {
                    place.insert(origins.len());
                    next.push((origins.len(), reached));
                    origins.push(Some((number, step)));
                    assert!(origins.len() <= most, "more than {most} states");
                }
            }
        }
        frontier = next;
    }
    Searched { states: origins.len(), counterexample: None }
}

fn way_to<S: Copy>(origins: &[Option<(usize, S)>], number: usize) -> Vec<S> {
    let mut steps = Vec::new();
    let mut at = number;
    while let Some((before, step)) = origins[at] {
        steps.push(step);
        at = before;
    }
    steps.reverse();
    steps
}

impl<S: fmt::Debug> fmt::Display for Counterexample<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (nth, step) in self.steps.iter().enumerate() {
            writeln!(f, "{:>3}. {step:?}", nth + 1)?;
        }
        write!(f, "     broken: {}", self.broken)
    }
}
