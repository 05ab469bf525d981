//! `engine/fuzz/run wire_server`: see there.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| travertine_net::hostile::server(bytes));
