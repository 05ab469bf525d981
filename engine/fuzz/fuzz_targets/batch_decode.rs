//! `engine/fuzz/run batch_decode`: see there.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| travertine_engine::conformance::hostile::batch_decode(bytes));
