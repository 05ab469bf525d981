//! `engine/fuzz/run segment_recover`: see there.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| travertine_engine::conformance::hostile::segment_recover(bytes));
