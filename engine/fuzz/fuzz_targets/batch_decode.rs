//! `cargo fuzz run batch_decode --sanitizer=none`
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| travertine_engine::conformance::hostile::batch_decode(bytes));
