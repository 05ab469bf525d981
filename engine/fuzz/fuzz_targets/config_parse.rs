//! `engine/fuzz/run config_parse`: see there.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| travertine::config::hostile::config_parse(bytes));
