//! Nanoseconds of the inner steps of a request, for machines without valgrind; see `inner`.
//!
//! `cargo bench --bench inner_time`, or `… -- 'verify'` for some of them. At the end it says what
//! proving a token that is new costs beside jsonwebtoken, measured in turns.

mod steps;

use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::{BatchSize, BenchmarkId, Criterion};

use self::steps::proof::Proof;
use self::steps::{Fields, Routes};

const ALGORITHMS: [&str; 3] = ["HS256", "RS256", "ES256"];

fn main() {
    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(2))
        .configure_from_args();
    reading(&mut criterion);
    proving(&mut criterion);
    passing(&mut criterion);
    criterion.final_summary();
    for algorithm in ALGORITHMS {
        say_ratio(algorithm);
    }
}

fn reading(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("Target::parse");
    for path in ["/api/v2/service7/items/7?page=2", "/api/v2/caf%c3%a9/items%20all/7?page=2"] {
        let head = steps::head(path);
        group.bench_function(path, |bench| bench.iter(|| steps::parse(black_box(&head))));
    }
    group.finish();
    let mut group = criterion.benchmark_group("RouteTable::find");
    for count in [10, 1_000, 10_000] {
        let routes = Routes::new(count);
        let id = BenchmarkId::from_parameter(count);
        group.bench_function(id, |bench| bench.iter(|| black_box(&routes).find()));
    }
    group.finish();
}

fn proving(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("verify");
    for algorithm in ALGORITHMS {
        let proof = Proof::new(algorithm);
        assert!(proof.remembered() && proof.new_to_us() && proof.by_jsonwebtoken());
        let id = |what| BenchmarkId::new(what, algorithm);
        group.bench_function(id("remembered"), |bench| bench.iter(|| proof.remembered()));
        group.bench_function(id("new"), |bench| bench.iter(|| proof.new_to_us()));
        group.bench_function(id("jsonwebtoken"), |bench| bench.iter(|| proof.by_jsonwebtoken()));
    }
    group.finish();
}

fn passing(criterion: &mut Criterion) {
    let (fields, head) = (Fields::new(), steps::head("/api/v2/service7/items/7"));
    let mut group = criterion.benchmark_group("headers");
    group.bench_function("all steps", |bench| {
        bench.iter_batched(|| head.clone(), |head| fields.pass(head), BatchSize::SmallInput);
    });
    group.bench_function("a route's rules", |bench| {
        let given = || head.headers.clone();
        bench.iter_batched(given, |given| fields.rules(given), BatchSize::SmallInput);
    });
    group.finish();
    let (record, mut line) = (steps::record(), Vec::new());
    criterion.bench_function("Record::write", |bench| {
        bench.iter(|| steps::write(black_box(&record), &mut line));
    });
}

/// What an uncached token costs as a multiple of jsonwebtoken's own work, the median of turns.
#[allow(clippy::print_stdout)] // This program's purpose.
fn say_ratio(algorithm: &str) {
    const TURNS: usize = 101;
    let proof = Proof::new(algorithm);
    let mut ratios: Vec<f64> = (0..TURNS)
        .map(|_| time(|| proof.new_to_us()).div_duration_f64(time(|| proof.by_jsonwebtoken())))
        .collect();
    ratios.sort_by(f64::total_cmp);
    let median = ratios.get(TURNS / 2).copied().unwrap_or_default();
    println!("{algorithm}: a new token costs {median:.2} × jsonwebtoken's decode (bound: 1.20)");
}

fn time(step: impl Fn() -> bool) -> Duration {
    const REPEATS: u32 = 50;
    let start = Instant::now();
    for _ in 0..REPEATS {
        black_box(step());
    }
    start.elapsed()
}
