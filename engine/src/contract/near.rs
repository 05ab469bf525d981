//! Asking the processor for memory that will be looked at soon.
//!
//! A look at memory that is far away holds up all that comes after it, once the processor has no more room
//! for what waits. A request does not: who asks for the lines of many places first, and looks at them then,
//! waits for all of them side by side.
//!
//! It changes nothing that anybody sees, and may do nothing at all: so it does on processors where there is
//! no safe and stable way to ask.
#![cfg_attr(
    all(target_arch = "x86_64", not(miri)),
    expect(unsafe_code, reason = "a hint to the processor, argued below")
)]

/// Bytes of a line of memory.
const LINE: usize = 64;

/// Asks for all of these bytes.
#[inline]
pub fn bring(bytes: &[u8]) {
    lines(bytes.as_ptr(), bytes.len());
}

/// Asks for a value, not for what it points to.
#[inline]
pub fn bring_value<T>(value: &T) {
    lines(std::ptr::from_ref(value).cast(), size_of::<T>());
}

#[inline]
fn lines(start: *const u8, bytes: usize) {
    // They may begin anywhere in a line.
    let within = start.addr() % LINE;
    for line in (0..bytes + within).step_by(LINE) {
        ask(start.wrapping_sub(within).wrapping_add(line));
    }
}

#[inline(always)]
fn ask(place: *const u8) {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    // SAFETY: what is asked for is not read: no address makes it fail, and nothing depends on what lies
    // there. Every x86_64 has the instruction.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch::<{ _MM_HINT_T0 }>(place.cast());
    }
    #[cfg(not(all(target_arch = "x86_64", not(miri))))]
    let _ = place;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_is_asked_for_stays_as_it_is() {
        let mut bytes = vec![7_u8; 1000];
        for range in [0..0, 0..1, 999..1000, 63..65, 0..1000] {
            bring(&bytes[range]);
        }
        bring_value(&bytes);
        bring_value(&());
        bytes[999] = 8;
        bring(&bytes);
        assert!(bytes[..999].iter().all(|byte| *byte == 7) && bytes[999] == 8);
        ask(std::ptr::null());
    }
}
