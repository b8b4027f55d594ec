#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| payfleet_tests::hostile::webhook(bytes));
