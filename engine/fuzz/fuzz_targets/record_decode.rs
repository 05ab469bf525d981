//! `engine/fuzz/run record_decode`: see there.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| travertine_engine::conformance::hostile::record_decode(bytes));
