//! Vectors of whatever processor a function runs on.

/// Defines a function that runs `$body` compiled for what this processor has. `$body`, `#[inline(always)]` with all that it calls,
/// is told whether a fused multiply-add is one instruction; nothing else changes a bit of its results.
macro_rules! for_this_processor {
    ($(#[$doc:meta])* $vis:vis fn $name:ident($($argument:ident: $type:ty),*) $(-> $result:ty)? = $body:ident) => {
        $(#[$doc])*
        $vis fn $name($($argument: $type),*) $(-> $result)? {
            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx512f")]
                fn avx512($($argument: $type),*) $(-> $result)? {
                    $body::<true>($($argument),*)
                }
                #[target_feature(enable = "avx2,fma")]
                fn avx2($($argument: $type),*) $(-> $result)? {
                    $body::<true>($($argument),*)
                }
                if std::arch::is_x86_feature_detected!("avx512f") {
                    #[expect(unsafe_code, reason = "a function for some processors only")]
                    // SAFETY: this processor has the feature that the function is compiled for.
                    return unsafe { avx512($($argument),*) };
                }
                if std::arch::is_x86_feature_detected!("avx2") && std::arch::is_x86_feature_detected!("fma") {
                    #[expect(unsafe_code, reason = "a function for some processors only")]
                    // SAFETY: this processor has the features that the function is compiled for.
                    return unsafe { avx2($($argument),*) };
                }
            }
            $body::<{ cfg!(target_arch = "aarch64") }>($($argument),*)
        }
    };
}

pub(crate) use for_this_processor;
