//! Instructions of the inner steps of a request, so that a regression shows without noise.
//!
//! Needs valgrind and `cargo install --locked --version 0.20.0 gungraun-runner`; then
//! `cargo bench --bench inner`. Each run is compared with the last one. On machines without
//! valgrind `inner_time` measures the same steps by the clock.

#![allow(unused_qualifications)] // In what gungraun's macros write.

mod steps;

use std::hint::black_box;

use gungraun::prelude::*;
use http::HeaderMap;
use http::request::Parts;
use tollhouse::routing::Target;
use tollhouse::telemetry::access_record::AccessRecord;

use self::steps::proof::Proof;
use self::steps::{Fields, Routes};

#[library_benchmark]
#[bench::plain(steps::head("/api/v2/service7/items/7?page=2"))]
#[bench::encoded(steps::head("/api/v2/caf%c3%a9/items%20all/7?page=2"))]
fn target_parse(head: Parts) -> Target {
    black_box(steps::parse(black_box(&head)))
}

#[library_benchmark]
#[bench::of_10(Routes::new(10))]
#[bench::of_1_000(Routes::new(1_000))]
#[bench::of_10_000(Routes::new(10_000))]
fn route_find(routes: Routes) -> (usize, Routes) {
    // Given back, so that dropping the table is not measured.
    (black_box(routes.find()), routes)
}

#[library_benchmark]
#[bench::hs256(Proof::new("HS256"))]
#[bench::rs256(Proof::new("RS256"))]
#[bench::es256(Proof::new("ES256"))]
fn verify_remembered(proof: Proof) -> (bool, Proof) {
    (black_box(proof.remembered()), proof)
}

#[library_benchmark]
#[bench::hs256(Proof::new("HS256"))]
#[bench::rs256(Proof::new("RS256"))]
#[bench::es256(Proof::new("ES256"))]
fn verify_new(proof: Proof) -> (bool, Proof) {
    (black_box(proof.new_to_us()), proof)
}

#[library_benchmark]
#[bench::hs256(Proof::new("HS256"))]
#[bench::rs256(Proof::new("RS256"))]
#[bench::es256(Proof::new("ES256"))]
fn verify_jsonwebtoken(proof: Proof) -> (bool, Proof) {
    (black_box(proof.by_jsonwebtoken()), proof)
}

#[library_benchmark]
#[bench::all((Fields::new(), steps::head("/api/v2/service7/items/7")))]
fn header_steps((fields, head): (Fields, Parts)) -> (HeaderMap, Fields) {
    (black_box(fields.pass(head)), fields)
}

#[library_benchmark]
#[bench::three((Fields::new(), steps::head("/").headers))]
fn header_rules((fields, given): (Fields, HeaderMap)) -> (HeaderMap, Fields) {
    (black_box(fields.rules(given)), fields)
}

#[library_benchmark]
#[bench::whole((steps::record(), Vec::with_capacity(1024)))]
fn record_write((record, mut line): (AccessRecord, Vec<u8>)) -> (Vec<u8>, AccessRecord) {
    steps::write(&record, &mut line);
    (black_box(line), record)
}

library_benchmark_group!(name = reading, benchmarks = [target_parse, route_find]);
library_benchmark_group!(
    name = proving,
    benchmarks = [verify_remembered, verify_new, verify_jsonwebtoken]
);
library_benchmark_group!(name = passing, benchmarks = [header_steps, header_rules, record_write]);

main!(library_benchmark_groups = [reading, proving, passing]);
