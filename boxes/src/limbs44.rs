//! Numbers of three limbs, two of 44 and one of 42 bits, for machines that multiply 52 bits at a time.

use super::auth::{Number, WideLimbs};

const MASK: u64 = (1 << 44) - 1;
/// Of the highest limb.
const TOP_MASK: u64 = (1 << 42) - 1;

/// A multiplier for each lane.
pub(crate) struct Multiplier<V> {
    r: [V; 3],
    /// Twenty times `r[1..]`.
    s: [V; 2],
}

// SAFETY: nothing is used but the methods of `WideLimbs`, where they may be.
unsafe impl<V: WideLimbs> Number for [V; 3] {
    type Vector = V;
    type Multiplier = Multiplier<V>;
    type One = [u64; 3];
    const ABOVE: u64 = 1 << 40;

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
                low.right::<44>().or(high.left::<20>()).and(mask),
                high.right::<24>().or(above),
            ]
        }
    }

    #[inline(always)]
    unsafe fn plus(self, b: Self) -> Self {
        // SAFETY: promised by the caller.
        unsafe { [self[0].add(b[0]), self[1].add(b[1]), self[2].add(b[2])] }
    }

    #[inline(always)]
    unsafe fn carry(self) -> Self {
        // SAFETY: promised by the caller.
        unsafe {
            let [h0, h1, h2] = carry_up(self);
            let top = h2.right::<42>();
            wrap(h0, h1, h2.and(V::splat(TOP_MASK)), top)
        }
    }

    #[inline(always)]
    unsafe fn multiplier(self) -> Multiplier<V> {
        // SAFETY: promised by the caller.
        let s = [self[1], self[2]].map(|limb| unsafe { limb.left::<4>().add(limb.left::<2>()) });
        Multiplier { r: self, s }
    }

    #[inline(always)]
    unsafe fn times(self, multiplier: &Multiplier<V>) -> Self {
        // SAFETY: promised by the caller.
        unsafe {
            let [r0, r1, r2] = multiplier.r;
            // 2^132 is 20.
            let [s1, s2] = multiplier.s;
            let (low0, high0) = dot(self, [r0, s2, s1]);
            let (low1, high1) = dot(self, [r1, r0, s2]);
            let (low2, high2) = dot(self, [r2, r1, r0]);
            let mask = V::splat(MASK);
            // What is above 52 bits is above 44 bits by 8 more, and above 42 by 10.
            let low1 = low1.add(low0.right::<44>().add(high0.left::<8>()));
            let low2 = low2.add(low1.right::<44>().add(high1.left::<8>()));
            let top = low2.right::<42>().add(high2.left::<10>());
            wrap(low0.and(mask), low1.and(mask), low2.and(V::splat(TOP_MASK)), top)
        }
    }

    #[inline(always)]
    unsafe fn finish(self, keys: [V; 2]) -> [V; 2] {
        // SAFETY: promised by the caller.
        unsafe {
            let h = self.carry().carry();
            // h - (2^130 - 5), where that is not negative.
            let [g0, g1, g2] = carry_up([h[0].add(V::splat(5)), h[1], h[2]]);
            let is_smaller = g2.right::<42>().add(V::splat(u64::MAX));
            let is_larger = is_smaller.flip();
            let g = [g0, g1, g2.and(V::splat(TOP_MASK))];
            let choose = |i: usize| g[i].and(is_larger).or(h[i].and(is_smaller));
            let h = [choose(0), choose(1), choose(2)];
            let [h0, h1, h2] = carry_up(h.plus(Self::new(keys, V::splat(0))));
            [h0.or(h1.left::<44>()), h1.right::<20>().or(h2.left::<24>())]
        }
    }
}

/// The sums of the lower and of the upper parts of the products. Of a sum that was just carried, the
/// middle limb is known last.
#[inline(always)]
unsafe fn dot<V: WideLimbs>(a: [V; 3], b: [V; 3]) -> (V, V) {
    // SAFETY: promised by the caller.
    unsafe {
        let zero = V::splat(0);
        let low = zero.add_low(a[2], b[2]).add_low(a[0], b[0]).add_low(a[1], b[1]);
        let high = zero.add_high(a[2], b[2]).add_high(a[0], b[0]).add_high(a[1], b[1]);
        (low, high)
    }
}

/// Adds what is above 130 bits, five times, to the lowest limb.
#[inline(always)]
unsafe fn wrap<V: WideLimbs>(h0: V, h1: V, h2: V, top: V) -> [V; 3] {
    // SAFETY: promised by the caller.
    unsafe {
        let h0 = h0.add(top.add(top.left::<2>()));
        [h0.and(V::splat(MASK)), h1.add(h0.right::<44>()), h2]
    }
}

/// Carries from each limb to the next, except from the highest.
#[inline(always)]
unsafe fn carry_up<V: WideLimbs>([h0, h1, h2]: [V; 3]) -> [V; 3] {
    // SAFETY: promised by the caller.
    unsafe {
        let h1 = h1.add(h0.right::<44>());
        let h2 = h2.add(h1.right::<44>());
        let mask = V::splat(MASK);
        [h0.and(mask), h1.and(mask), h2]
    }
}
