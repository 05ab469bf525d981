//! `cargo fuzz run record_decode --sanitizer=none`
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| travertine_engine::conformance::hostile::record_decode(bytes));
