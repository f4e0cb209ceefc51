//! Numbers of five limbs of 26 bits, for machines that multiply 32 bits at a time.

use super::auth::{Limbs, Number};

const MASK: u64 = (1 << 26) - 1;

/// A multiplier for each lane.
pub(crate) struct Multiplier<V> {
    r: [V; 5],
    /// Five times `r[1..]`.
    s: [V; 4],
}

// SAFETY: nothing is used but the methods of `Limbs`, where they may be.
unsafe impl<V: Limbs> Number for [V; 5] {
    type Vector = V;
    type Multiplier = Multiplier<V>;
    type One = [u64; 5];
    const ABOVE: u64 = 1 << 24;

    #[inline(always)]
    unsafe fn from_limbs(limb: impl FnMut(usize) -> V) -> Self {
        std::array::from_fn(limb)
    }

    #[inline(always)]
    fn limb(&self, index: usize) -> V {
        self[index]
    }

    #[inline(always)]
    unsafe fn new([low, high]: [V; 2], above: V) -> Self {
        // SAFETY: promised by the caller.
        unsafe {
            let mask = V::splat(MASK);
            [
                low.and(mask),
                low.right::<26>().and(mask),
                low.right::<52>().or(high.left::<12>()).and(mask),
                high.right::<14>().and(mask),
                high.right::<40>().or(above),
            ]
        }
    }

    #[inline(always)]
    unsafe fn plus(self, b: Self) -> Self {
        let a = self;
        // SAFETY: promised by the caller.
        unsafe { [a[0].add(b[0]), a[1].add(b[1]), a[2].add(b[2]), a[3].add(b[3]), a[4].add(b[4])] }
    }

    #[inline(always)]
    unsafe fn carry(self) -> Self {
        // SAFETY: promised by the caller.
        unsafe {
            let mut h = carry_up(self);
            let top = h[4].right::<26>();
            h[4] = h[4].and(V::splat(MASK));
            h[0] = h[0].add(top.add(top.left::<2>()));
            h[1] = h[1].add(h[0].right::<26>());
            h[0] = h[0].and(V::splat(MASK));
            h
        }
    }

    #[inline(always)]
    unsafe fn multiplier(self) -> Multiplier<V> {
        let mut s = [self[1], self[2], self[3], self[4]];
        for limb in &mut s {
            // SAFETY: promised by the caller.
            *limb = unsafe { limb.add(limb.left::<2>()) };
        }
        Multiplier { r: self, s }
    }

    #[inline(always)]
    unsafe fn times(self, multiplier: &Multiplier<V>) -> Self {
        let h = self;
        // SAFETY: promised by the caller.
        unsafe {
            let [r0, r1, r2, r3, r4] = multiplier.r;
            // 2^130 is 5.
            let [s1, s2, s3, s4] = multiplier.s;
            let mut d0 = dot(h, [r0, s4, s3, s2, s1]);
            let mut d1 = dot(h, [r1, r0, s4, s3, s2]);
            let mut d2 = dot(h, [r2, r1, r0, s4, s3]);
            let mut d3 = dot(h, [r3, r2, r1, r0, s4]);
            let mut d4 = dot(h, [r4, r3, r2, r1, r0]);
            let mask = V::splat(MASK);
            // Two chains of carries side by side.
            d1 = d1.add(d0.right::<26>());
            d0 = d0.and(mask);
            d4 = d4.add(d3.right::<26>());
            d3 = d3.and(mask);
            d2 = d2.add(d1.right::<26>());
            d1 = d1.and(mask);
            let top = d4.right::<26>();
            d0 = d0.add(top.add(top.left::<2>()));
            d4 = d4.and(mask);
            d3 = d3.add(d2.right::<26>());
            d2 = d2.and(mask);
            d1 = d1.add(d0.right::<26>());
            d0 = d0.and(mask);
            d4 = d4.add(d3.right::<26>());
            d3 = d3.and(mask);
            [d0, d1, d2, d3, d4]
        }
    }

    #[inline(always)]
    unsafe fn finish(self, keys: [V; 2]) -> [V; 2] {
        // SAFETY: promised by the caller.
        unsafe {
            let mut h = self.carry().carry();
            // h - (2^130 - 5), where that is not negative.
            let mut g = h;
            g[0] = g[0].add(V::splat(5));
            g = carry_up(g);
            let is_larger = g[4].right::<26>().multiply(V::splat(MASK));
            let is_smaller = is_larger.flip();
            for i in 0..5 {
                h[i] = g[i].and(is_larger).or(h[i].and(is_smaller));
            }
            let [h0, h1, h2, h3, h4] = carry_up(h.plus(Self::new(keys, V::splat(0))));
            [
                h0.or(h1.left::<26>()).or(h2.left::<52>()),
                h2.right::<12>().or(h3.left::<14>()).or(h4.left::<40>()),
            ]
        }
    }
}

/// The sum of the products.
#[inline(always)]
unsafe fn dot<V: Limbs>(a: [V; 5], b: [V; 5]) -> V {
    // SAFETY: promised by the caller.
    unsafe {
        let low = a[0].multiply(b[0]).add(a[1].multiply(b[1]));
        let high = a[2].multiply(b[2]).add(a[3].multiply(b[3]));
        low.add(high).add(a[4].multiply(b[4]))
    }
}

/// Carries from each limb to the next, except from the highest.
#[inline(always)]
unsafe fn carry_up<V: Limbs>(mut h: [V; 5]) -> [V; 5] {
    // SAFETY: promised by the caller.
    unsafe {
        for i in 0..4 {
            h[i + 1] = h[i + 1].add(h[i].right::<26>());
            h[i] = h[i].and(V::splat(MASK));
        }
    }
    h
}
