//! Hints to the processor about memory that is needed soon.
#![expect(unsafe_code, reason = "instructions that Rust has no functions for")]

use std::arch::asm;

/// Bytes that a processor fetches at once.
const LINE: usize = 64;

/// More than this would push out what is needed sooner.
const MOST: usize = 4 * LINE;

/// What is at an address will be read. It need not be mapped.
pub fn to_read(at: *const u8) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a hint that changes nothing and cannot fault.
    unsafe {
        asm!("prefetcht0 [{at}]", at = in(reg) at, options(nostack, preserves_flags, readonly));
    }
    #[cfg(target_arch = "aarch64")]
    // SAFETY: as above.
    unsafe {
        asm!("prfm pldl1keep, [{at}]", at = in(reg) at, options(nostack, readonly));
    }
}

/// The first of `len` bytes at an address will be written. They need not be mapped.
pub fn to_write(at: *const u8, len: usize) {
    for line in (0..len.min(MOST)).step_by(LINE) {
        let at = at.wrapping_add(line);
        #[cfg(target_arch = "x86_64")]
        // SAFETY: as above; on processors that do not know it, it does nothing.
        unsafe {
            asm!("prefetchw [{at}]", at = in(reg) at, options(nostack, preserves_flags, readonly));
        }
        #[cfg(target_arch = "aarch64")]
        // SAFETY: as above.
        unsafe {
            asm!("prfm pstl1keep, [{at}]", at = in(reg) at, options(nostack, readonly));
        }
    }
}
