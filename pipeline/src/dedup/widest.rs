//! One function body, compiled for several instruction sets, and called for the widest one at hand.
//!
//! The bodies are integer arithmetic on arrays, so that every instruction set gives the same bits. On aarch64, NEON is part of
//! the baseline and needs no second version.

/// Compiles a function body for wider vectors too, and calls the widest that this processor has.
macro_rules! widest {
    ($(#[$doc:meta])* $visibility:vis fn $name:ident($($argument:ident: $kind:ty),*) $(-> $result:ty)? = $body:ident) => {
        $(#[$doc])*
        $visibility fn $name($($argument: $kind),*) $(-> $result)? {
            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx512f,avx512vl,avx512bw,avx512dq,bmi1,bmi2,popcnt")]
                fn avx512($($argument: $kind),*) $(-> $result)? {
                    $body($($argument),*)
                }
                #[target_feature(enable = "avx2,bmi1,bmi2,popcnt")]
                fn avx2($($argument: $kind),*) $(-> $result)? {
                    $body($($argument),*)
                }
                let has_bits = std::arch::is_x86_feature_detected!("bmi1")
                    && std::arch::is_x86_feature_detected!("bmi2")
                    && std::arch::is_x86_feature_detected!("popcnt");
                let has_avx512 = has_bits
                    && std::arch::is_x86_feature_detected!("avx512f")
                    && std::arch::is_x86_feature_detected!("avx512vl")
                    && std::arch::is_x86_feature_detected!("avx512bw")
                    && std::arch::is_x86_feature_detected!("avx512dq");
                if has_avx512 {
                    #[expect(unsafe_code, reason = "a function for some processors only")]
                    // SAFETY: this processor has the features that the function is compiled for.
                    return unsafe { avx512($($argument),*) };
                }
                if has_bits && std::arch::is_x86_feature_detected!("avx2") {
                    #[expect(unsafe_code, reason = "a function for some processors only")]
                    // SAFETY: this processor has the feature that the function is compiled for.
                    return unsafe { avx2($($argument),*) };
                }
            }
            $body($($argument),*)
        }
    };
}
pub(super) use widest;
