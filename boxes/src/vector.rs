//! The methods of vectors that are one instruction each, whatever their width.

/// Implements [`Word`](super::stream::Word) by the instructions named.
macro_rules! word {
    ($name:ident, add $add:ident, xor $xor:ident, rotate |$vector:ident, $by:ident| $rotate:expr) => {
        // SAFETY: only called where the machine has the instructions.
        unsafe impl $crate::stream::Word for $name {
            #[inline(always)]
            unsafe fn add(self, other: Self) -> Self {
                // SAFETY: promised by the caller.
                unsafe { $name($add(self.0, other.0)) }
            }

            #[inline(always)]
            unsafe fn xor(self, other: Self) -> Self {
                // SAFETY: promised by the caller.
                unsafe { $name($xor(self.0, other.0)) }
            }

            #[inline(always)]
            unsafe fn rotate<const $by: i32>(self) -> Self {
                let $vector = self.0;
                // SAFETY: promised by the caller.
                unsafe { $name($rotate) }
            }
        }
    };
}

/// Implements [`Words`](super::stream::Words) by the instructions named.
macro_rules! words {
    (
        $name:ident, lanes $lanes:literal, splat $splat:ident, load $load:ident,
        store_blocks |$x:ident, $to:ident| $store:expr
    ) => {
        // SAFETY: only called where the machine has the instructions.
        unsafe impl $crate::stream::Words for $name {
            const LANES: usize = $lanes;

            #[inline(always)]
            unsafe fn splat(word: u32) -> Self {
                // SAFETY: promised by the caller.
                unsafe { $name($splat(word.cast_signed())) }
            }

            #[inline(always)]
            unsafe fn load(from: *const u32) -> Self {
                // SAFETY: promised by the caller.
                unsafe { $name($load(from.cast())) }
            }

            #[inline(always)]
            unsafe fn store_blocks($x: &[Self; 16], $to: *mut u8) {
                // SAFETY: promised by the caller. A vector and its words are the same bytes.
                unsafe { $store }
            }
        }
    };
}

/// Implements [`Limbs`](super::auth::Limbs) by the instructions named.
macro_rules! limbs {
    (
        $name:ident, lanes $lanes:literal, order $order:expr, ones $ones:expr,
        splat $splat:ident, load $load:ident, store $store:ident,
        add $add:ident, multiply $multiply:ident, and $and:ident, or $or:ident, xor $xor:ident,
        right |$right_of:ident, $right_by:ident| $right:expr,
        left |$left_of:ident, $left_by:ident| $left:expr,
        low $low:ident, high $high:ident,
        gather |$from:ident| $gather:expr,
        blocks |$start:ident| $blocks:expr
    ) => {
        // SAFETY: only called where the machine has the instructions.
        unsafe impl $crate::auth::Limbs for $name {
            const LANES: usize = $lanes;
            const ORDER: &'static [usize] = &$order;

            #[inline(always)]
            unsafe fn splat(limb: u64) -> Self {
                // SAFETY: promised by the caller.
                unsafe { $name($splat(limb.cast_signed())) }
            }

            #[inline(always)]
            unsafe fn load(from: *const u64) -> Self {
                // SAFETY: promised by the caller.
                unsafe { $name($load(from.cast())) }
            }

            #[inline(always)]
            unsafe fn store(self, to: *mut u64) {
                // SAFETY: promised by the caller.
                unsafe { $store(to.cast(), self.0) }
            }

            #[inline(always)]
            unsafe fn add(self, other: Self) -> Self {
                // SAFETY: promised by the caller.
                unsafe { $name($add(self.0, other.0)) }
            }

            #[inline(always)]
            unsafe fn multiply(self, other: Self) -> Self {
                // SAFETY: promised by the caller.
                unsafe { $name($multiply(self.0, other.0)) }
            }

            #[inline(always)]
            unsafe fn and(self, other: Self) -> Self {
                // SAFETY: promised by the caller.
                unsafe { $name($and(self.0, other.0)) }
            }

            #[inline(always)]
            unsafe fn or(self, other: Self) -> Self {
                // SAFETY: promised by the caller.
                unsafe { $name($or(self.0, other.0)) }
            }

            #[inline(always)]
            unsafe fn flip(self) -> Self {
                // SAFETY: promised by the caller.
                unsafe { $name($xor(self.0, $ones)) }
            }

            #[inline(always)]
            unsafe fn right<const $right_by: u32>(self) -> Self {
                let $right_of = self.0;
                // SAFETY: promised by the caller.
                unsafe { $name($right) }
            }

            #[inline(always)]
            unsafe fn left<const $left_by: u32>(self) -> Self {
                let $left_of = self.0;
                // SAFETY: promised by the caller.
                unsafe { $name($left) }
            }

            #[inline(always)]
            unsafe fn gather($from: &[*const u8; $crate::auth::WIDEST]) -> [Self; 2] {
                // SAFETY: promised by the caller.
                unsafe {
                    let [a, b] = $gather;
                    [$name($low(a, b)), $name($high(a, b))]
                }
            }

            #[inline(always)]
            unsafe fn load_blocks($start: *const u8) -> [Self; 2] {
                // SAFETY: promised by the caller.
                unsafe {
                    let [a, b] = $blocks;
                    [$name($low(a, b)), $name($high(a, b))]
                }
            }
        }
    };
}

pub(crate) use {limbs, word, words};
