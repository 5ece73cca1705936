//! The protocol holds in every configuration.
//!
//! Each test names the number of states that it must see at least.

/// Searches for every build, cut off so that all together take about 20 seconds of two cores.
///
/// The shortest histories of the known mistakes have 14 to 26 steps. A whole configuration has a million states within
/// 16 steps or so; the smaller ones reach further.
mod quick {
    use crate::bounds::Bounds;
    use crate::claims::{self, Claim};
    use crate::configurations;

    /// Where the search of the whole configuration is cut off.
    const WHOLE: usize = 30_000;
    /// Where the one without lost messages is cut off.
    const WITHOUT_LOST_MESSAGES: usize = 120_000;
    /// Where the smallest is cut off: only those of C and D.
    const WITHOUT_REFILLS: usize = 200_000;

    /// Searches a configuration in three sizes. The last one, where only the first version of a value is ever stored,
    /// has `states`.
    fn quick(name: &str, bounds: &Bounds, claim: Claim, states: usize) {
        claim(name, bounds, WHOLE, WHOLE);
        let (bounds, least) = (Bounds { messages_are_lost: false, ..*bounds }, WITHOUT_LOST_MESSAGES);
        claim(&format!("{name} without lost messages"), &bounds, least, least);
        let bounds = Bounds { refills: false, ..bounds };
        claim(&format!("{name} without lost messages and refills"), &bounds, WITHOUT_REFILLS, states);
    }

    macro_rules! tests {
        ($($test:ident: $bounds:ident, $claim:ident, $states:literal;)*) => {$(
            #[test]
            fn $test() {
                quick(stringify!($bounds), &configurations::$bounds, claims::$claim, $states);
            }
        )*};
    }

    tests! {
        a: A, holds, 56_852;
        b: B, holds, 184_612;
        c: C, holds, 200_000;
        d: D, holds, 200_000;
        e: E, holds, 61_826;
        f: F, holds, 184_966;
        g: G, holds, 118_360;
        h: H, holds, 106_162;
        i: I, holds, 43_776;
        j: J, holds, 104_460;
        l: L, holds_and_ends, 152_510;
        m: M, holds_and_ends, 50_948;
    }
}

/// Searches of the whole configurations.
mod full {
    use crate::{claims, configurations};

    /// Where a search is cut off.
    const AT_MOST: usize = 45_000_000;

    macro_rules! tests {
        ($($test:ident: $bounds:ident, $claim:ident, $states:literal;)*) => {$(
            #[test]
            #[ignore = "a search of all states, for a release build"]
            fn $test() {
                claims::$claim(stringify!($bounds), &configurations::$bounds, AT_MOST, $states);
            }
        )*};
    }

    tests! {
        a: A, holds, 0;
        b: B, holds, 0;
        c: C, holds, 0;
        c2: C2, holds, 0;
        d: D, holds, 0;
        e: E, holds, 0;
        f: F, holds, 0;
        g: G, holds, 0;
        h: H, holds, 0;
        i: I, holds, 0;
        j: J, holds, 0;
        l: L, holds_and_ends, 0;
        m: M, holds_and_ends, 0;
    }
}
