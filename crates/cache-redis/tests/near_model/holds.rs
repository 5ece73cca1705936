//! The protocol holds in every configuration.

use crate::bounds::Bounds;
use crate::claims::{self, Claim};
use crate::configurations;

/// Where the search of a whole configuration is cut off in every build.
///
/// The shortest histories of the known mistakes have 14 to 26 steps. A whole configuration has a million states within
/// 16 steps or so; the two smaller forms reach further.
const WHOLE: usize = 30_000;
/// Where the form without lost messages is cut off.
const WITHOUT_LOST_MESSAGES: usize = 120_000;
/// Where the form is cut off in which, besides, only the first version of a value is ever stored: only for the largest
/// configurations. The others have fewer states.
const WITHOUT_REFILLS: usize = 200_000;

/// Searches a configuration in three forms, of which the smallest has `small` states; or the whole of it alone, which has
/// `whole` states.
fn check(name: &str, bounds: &Bounds, claim: Claim, small: usize, whole: usize) {
    if let Some(at_most) = claims::whole_searches() {
        return claim(name, bounds, at_most, whole.min(at_most));
    }
    claim(name, bounds, WHOLE, WHOLE);
    let bounds = Bounds { messages_are_lost: false, ..*bounds };
    let name = format!("{name} without lost messages");
    claim(&name, &bounds, WITHOUT_LOST_MESSAGES, WITHOUT_LOST_MESSAGES);
    let bounds = Bounds { refills: false, ..bounds };
    claim(&format!("{name} and refills"), &bounds, WITHOUT_REFILLS, small);
}

macro_rules! tests {
    ($($test:ident: $bounds:ident, $claim:ident, $small:literal, $whole:literal;)*) => {$(
        #[test]
        fn $test() {
            check(stringify!($bounds), &configurations::$bounds, claims::$claim, $small, $whole);
        }
    )*};
}

// The whole of C2 and K is larger: their searches are cut off at 45 million states.
tests! {
    a: A, holds, 56_852, 27_625_324;
    b: B, holds, 184_612, 9_643_060;
    c: C, holds, 200_000, 34_018_382;
    c2: C2, holds, 200_000, 45_000_000;
    d: D, holds, 200_000, 26_116_110;
    e: E, holds, 61_826, 5_002_222;
    f: F, holds, 184_966, 8_057_111;
    g: G, holds, 118_360, 5_906_801;
    h: H, holds, 106_162, 13_071_686;
    i: I, holds, 43_776, 1_885_286;
    j: J, holds, 104_460, 10_141_020;
    k: K, holds, 200_000, 45_000_000;
    l: L, holds_and_ends, 152_510, 1_144_418;
    m: M, holds_and_ends, 50_948, 2_410_353;
}
