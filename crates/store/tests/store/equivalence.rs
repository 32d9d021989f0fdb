//! Every store gives the same answers: random operations are carried out by each of them and by a
//! model of the contract, and each answer is compared.
//!
//! Outside of what is drawn is what the stores may do differently: more known addresses or counts
//! than one record of the shared store has room for, and requests whose times go backwards.

mod model;
mod random;
mod steps;

use std::sync::Arc;

use proptest::prelude::proptest;
use proptest::test_runner::{Config, TestCaseError};
use tempfile::TempDir;
use tollhouse_store::Store;

use self::model::Model;
use self::random::{Choice, Run, choices};
use self::steps::{carry_out, marks};
use crate::samples;
use crate::shared_samples::{memory_database, open_shared};

/// Number of operations of a run, at most.
const LENGTH: usize = 80;

fn cases(number: u32) -> Config {
    Config { cases: number, failure_persistence: None, ..Config::default() }
}

proptest! {
    #![proptest_config(cases(100))]

    #[test]
    fn the_embedded_store_does_what_the_model_does(choices in choices(LENGTH)) {
        let dir = quick_folder();
        let store = || samples::open(dir.path()) as Arc<dyn Store>;
        compare(choices, Model::default(), async || store())?;
    }
}

proptest! {
    #![proptest_config(cases(500))]

    #[test]
    fn a_shared_store_in_memory_does_what_the_model_does(choices in choices(LENGTH)) {
        compare(choices, Model::of_shared_store(), async || open_shared(memory_database()).await as Arc<dyn Store>)?;
    }
}

#[cfg(feature = "redis")]
#[test]
fn a_shared_store_in_redis_does_what_the_model_does() {
    use crate::redis::{RedisServer, two_nodes_apart};

    let server = RedisServer::forgetful();
    let mut runner = proptest::test_runner::TestRunner::new(cases(50));
    let nth = std::cell::Cell::new(0);
    let compared = runner.run(&choices(LENGTH), |choices| {
        // Each case, also one that proptest makes smaller, begins with an empty store.
        nth.set(nth.get() + 1);
        compare(choices, Model::of_shared_store(), async || {
            let nodes = two_nodes_apart(&server, &format!("case {}", nth.get()));
            open_shared(nodes.first).await as Arc<dyn Store>
        })
    });
    compared.unwrap();
}

#[cfg(feature = "postgres")]
proptest! {
    #![proptest_config(cases(30))]

    #[test]
    fn a_shared_store_in_postgres_does_what_the_model_does(choices in choices(LENGTH)) {
        compare(choices, Model::of_shared_store(), async || {
            open_shared(crate::postgres::two_nodes().await.first).await as Arc<dyn Store>
        })?;
    }
}

/// A folder in memory where the system has one: this is about answers, not about what a disk keeps.
fn quick_folder() -> TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

/// Carries the choices out by a store and by the model, and compares each answer.
fn compare(
    choices: Vec<Choice>,
    model: Model,
    open: impl AsyncFnOnce() -> Arc<dyn Store>,
) -> Result<(), TestCaseError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let store = open().await;
        let result = compare_answers(choices, model, &*store).await;
        store.close().await;
        result
    })
}

/// Carries the choices out by a store, which must be empty, and by the model. On failure the error
/// names the step; all steps before it were answered alike.
async fn compare_answers(
    choices: Vec<Choice>,
    mut model: Model,
    store: &dyn Store,
) -> Result<(), TestCaseError> {
    let mut run = Run::new();
    for (nth, choice) in choices.into_iter().enumerate() {
        let Some(step) = run.step(choice) else { continue };
        let now = run.now;
        let expected = model.carry_out(&step, now);
        let answer = carry_out(store, &step, now).await;
        if answer != expected {
            return Err(TestCaseError::fail(format!(
                "step {nth}, at {now}: {step:?}\nexpected {expected:?}\nfound    {answer:?}"
            )));
        }
        run.note(&step, &expected);
        let of = run.credentials();
        let (expected, found) = (model.marks(&of, now), marks(store, &of, now));
        if found != expected {
            return Err(TestCaseError::fail(format!(
                "what is revoked after step {nth}, at {now}: {step:?}\nexpected {expected:?}\n\
                 found    {found:?}"
            )));
        }
    }
    Ok(())
}
