//! libFuzzer's entry to the body `messages`.

#![no_main]
// The file has the bodies of all targets.
#![allow(dead_code)]

#[path = "../../tests/fuzz/bodies.rs"]
mod bodies;

libfuzzer_sys::fuzz_target!(|data: &[u8]| bodies::messages(data));
