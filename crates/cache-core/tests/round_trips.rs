//! A stored value decodes to the value that was encoded; any other value is refused, and only that value.

mod values;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt::Debug;

use cache_core::{Codec, ErrorKind, RoundTrips};
use proptest::test_runner::{Config, TestCaseError, TestRunner};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use values::{Loose, Tree};

#[cfg(feature = "json")]
const CODECS: [Codec; 2] = [Codec::Bincode, Codec::Json];
#[cfg(not(feature = "json"))]
const CODECS: [Codec; 1] = [Codec::Bincode];

/// Returns whether `value` is stored, and asserts that a stored value comes back.
#[track_caller]
fn is_stored<T>(trips: &RoundTrips, codec: Codec, value: &T) -> bool
where
    T: Serialize + DeserializeOwned + Debug + PartialEq + 'static,
{
    match trips.encode(codec, value) {
        Ok(encoded) => {
            assert_eq!(codec.decode::<T>(&encoded.payload, encoded.shape).as_ref().ok(), Some(value));
            true
        }
        Err(refusal) => {
            let text = refusal.error.to_string();
            assert_eq!(refusal.error.kind(), ErrorKind::Encode);
            assert!(text.contains(std::any::type_name::<T>()), "{text}");
            false
        }
    }
}

/// Checks random values of one type in sequence, with one memory of the type.
fn law<T>(values: &impl proptest::strategy::Strategy<Value = T>, is_right: impl Fn(Codec, &T, bool) -> bool)
where
    T: Serialize + DeserializeOwned + Debug + PartialEq + 'static,
{
    let trips = RoundTrips::new();
    let mut runner = TestRunner::new(Config { cases: 3_000, failure_persistence: None, ..Config::default() });
    let outcome = runner.run(values, |value| {
        for codec in CODECS {
            let is_stored = is_stored(&trips, codec, &value);
            if !is_right(codec, &value, is_stored) {
                return Err(TestCaseError::fail(format!("{codec:?}: stored: {is_stored}")));
            }
        }
        Ok(())
    });
    assert!(outcome.is_ok(), "{outcome:?}");
}

#[test]
fn random_values_come_back_unless_the_codec_cannot_represent_them() {
    law(&values::tree(), |codec, value: &Tree, is_stored| {
        is_stored == (codec == Codec::Bincode || !values::has_no_json(value))
    });
}

#[test]
fn random_values_of_types_that_need_a_self_describing_format_come_back_or_are_refused() {
    law(&values::loose(), |codec, value: &Loose, is_stored| {
        is_stored == (codec != Codec::Bincode && !values::is_wide(value))
    });
}

#[test]
fn collections_without_an_order_come_back() {
    let trips = RoundTrips::new();
    let map: HashMap<String, Option<f32>> =
        (0_u16..500).map(|n| (n.to_string(), n.is_multiple_of(3).then_some(f32::from(n) / 7.0))).collect();
    let set: HashSet<(u32, Option<char>)> = (0..500).map(|n| (n * n, char::from_u32(n))).collect();
    for codec in CODECS {
        assert!(is_stored(&trips, codec, &map));
        assert!(is_stored(&trips, codec, &set));
    }
}

/// Values over 9 can be serialized and not deserialized.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "u32", into = "u32")]
struct Digit(u32);

impl From<Digit> for u32 {
    fn from(digit: Digit) -> Self {
        digit.0
    }
}

impl TryFrom<u32> for Digit {
    type Error = &'static str;

    fn try_from(digit: u32) -> Result<Self, Self::Error> {
        if digit < 10 { Ok(Self(digit)) } else { Err("not a digit") }
    }
}

#[test]
fn one_refused_value_does_not_affect_other_values_of_its_type() {
    for codec in CODECS {
        let trips = RoundTrips::new();
        assert!(trips.encode(codec, &Digit(10)).is_err_and(|refusal| refusal.is_first));
        assert!(trips.encode(codec, &Digit(11)).is_err_and(|refusal| !refusal.is_first), "reported once");
        assert!(is_stored(&trips, codec, &Digit(9)));
        assert!(
            trips.encode(codec, &Digit(12)).is_ok(),
            "a sort of value that came back is not compared again"
        );
        assert!(trips.encode_compared(codec, &Digit(12)).is_err(), "unless encode_compared is called");
        assert!(is_stored(&trips, codec, &Digit(8)));
    }
}

#[test]
fn a_value_that_is_read_as_another_is_refused() {
    /// A skipped field is read as another value.
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Sparse {
        #[serde(skip_serializing_if = "is_zero", default = "one")]
        number: u8,
    }

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Rounded {
        #[serde(deserialize_with = "cut")]
        text: String,
    }

    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes the field by reference")]
    fn is_zero(number: &u8) -> bool {
        *number == 0
    }

    fn one() -> u8 {
        1
    }

    fn cut<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
        String::deserialize(deserializer).map(|text| text.chars().take(3).collect())
    }

    for codec in CODECS {
        let trips = RoundTrips::new();
        assert!(is_stored(&trips, codec, &Sparse { number: 7 }));
        assert!(!is_stored(&trips, codec, &Sparse { number: 0 }));
        assert!(!is_stored(&trips, codec, &Rounded { text: "long".into() }));
        assert!(is_stored(&trips, codec, &Rounded { text: "cut".into() }));
    }
}

#[test]
fn too_many_elements_without_bytes_are_refused_in_any_value_of_a_type() {
    let trips = RoundTrips::new();
    assert!(is_stored(&trips, Codec::Bincode, &vec![(); 60_000]));
    assert!(!is_stored(&trips, Codec::Bincode, &vec![(); 70_000]));
    assert!(is_stored(&trips, Codec::Bincode, &(vec![(); 60_000], "x".repeat(10_000))));
    assert!(is_stored(&trips, Codec::Bincode, &vec![(); 65_000]));
}

#[cfg(feature = "json")]
mod json {
    use super::*;

    #[track_caller]
    fn comes_back<T>(value: &T)
    where
        T: Serialize + DeserializeOwned + Debug + PartialEq + 'static,
    {
        assert!(is_stored(&RoundTrips::new(), Codec::Json, value), "{value:?}");
    }

    #[test]
    fn every_finite_float_and_every_integer_comes_back_bit_for_bit() {
        let mut state = 1_u64;
        let mut random = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            state ^ (state >> 29)
        };
        for _ in 0..20_000 {
            let (any, unit) = (f64::from_bits(random()), (random() >> 11) as f64 / (1_u64 << 53) as f64);
            let single = f32::from_bits(u32::try_from(random() >> 32).expect("32 bits are left"));
            for double in [any, unit, f64::from(single)].into_iter().filter(|double| double.is_finite()) {
                let written = Codec::Json.encode(&double).unwrap();
                let read: f64 = Codec::Json.decode(&written.payload, 0).unwrap();
                assert_eq!(read.to_bits(), double.to_bits(), "{double:?}");
            }
            if single.is_finite() {
                let written = Codec::Json.encode(&single).unwrap();
                let read: f32 = Codec::Json.decode(&written.payload, 0).unwrap();
                assert_eq!(read.to_bits(), single.to_bits(), "{single:?}");
            }
        }
        comes_back(&(u64::MAX, i64::MIN, u128::MAX, i128::MIN, 0.921_568_632_125_854_5_f64));
        let zero = Codec::Json.encode(&-0.0_f64).unwrap();
        assert_eq!(Codec::Json.decode::<f64>(&zero.payload, 0).unwrap().to_bits(), (-0.0_f64).to_bits());
        comes_back(
            &serde_json::json!({"x": 0.921_568_632_125_854_5, "y": [u64::MAX, i64::MIN, -0.0, 1e300], "z": null}),
        );
    }

    /// Checks that `bad`, which JSON cannot represent, is refused before and after `good` values are stored.
    #[track_caller]
    fn is_refused_alone<T>(good: &T, bad: &T)
    where
        T: Serialize + DeserializeOwned + Debug + PartialEq + 'static,
    {
        let trips = RoundTrips::new();
        let first = trips.encode(Codec::Json, bad).expect_err("JSON cannot represent it");
        assert!(first.is_first && first.error.to_string().contains("Codec::Bincode"), "{}", first.error);
        for _ in 0..3 {
            assert!(is_stored(&trips, Codec::Json, good), "other values of the type are stored");
            assert!(trips.encode(Codec::Json, bad).is_err_and(|refusal| !refusal.is_first), "{bad:?}");
        }
        assert_eq!(
            Codec::Json.encode(bad).expect_err("JSON cannot represent it").kind(),
            ErrorKind::Encode,
            "without a comparison too"
        );
        assert!(trips.encode(Codec::Bincode, bad).is_ok());
    }

    #[test]
    fn a_value_that_json_writes_as_null_and_reads_as_another_is_refused() {
        #[derive(Debug, PartialEq, Serialize, Deserialize)]
        struct Unit;

        #[derive(Debug, PartialEq, Serialize, Deserialize)]
        struct Wrapped(Option<u8>);

        is_refused_alone(&1.5, &f64::NAN);
        is_refused_alone(&1.5, &f32::INFINITY);
        is_refused_alone(&Some(1.5), &Some(f64::NAN));
        is_refused_alone(&None, &Some(f64::NEG_INFINITY));
        is_refused_alone(&Some(Some(1_u8)), &Some(None));
        is_refused_alone(&None, &Some(None::<u8>));
        is_refused_alone(&None, &Some(()));
        is_refused_alone(&None, &Some(Unit));
        is_refused_alone(&Some(Wrapped(Some(1))), &Some(Wrapped(None)));
        is_refused_alone(&vec![(1, Some(None::<()>)); 0], &vec![(1, Some(None::<()>))]);
        is_refused_alone(
            &BTreeMap::from([("a", 1.0)]).into_iter().map(|(k, v)| (k.to_owned(), v)).collect(),
            &BTreeMap::from([("a".to_owned(), f64::NAN)]),
        );
        let null = serde_json::Value::Null;
        let trips = RoundTrips::new();
        assert!(is_stored(&trips, Codec::Json, &Some(serde_json::json!(1))));
        assert!(trips.encode(Codec::Json, &Some(null.clone())).is_err());
        assert!(
            is_stored(&trips, Codec::Json, &null) && is_stored(&trips, Codec::Json, &vec![Some(vec![()])])
        );
    }

    #[test]
    fn a_type_that_reads_null_as_the_value_it_wrote_is_stored() {
        /// The usual type that distinguishes "absent" from "null".
        #[derive(Debug, PartialEq, Serialize, Deserialize)]
        struct Patch {
            #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "some")]
            #[expect(clippy::option_option, reason = "what is tested")]
            name: Option<Option<String>>,
        }

        #[derive(Debug, Serialize, Deserialize)]
        struct Measured {
            #[serde(deserialize_with = "null_is_nan")]
            value: f64,
        }

        impl PartialEq for Measured {
            fn eq(&self, other: &Self) -> bool {
                self.value.to_bits() == other.value.to_bits()
            }
        }

        fn some<'de, T, D>(deserializer: D) -> Result<Option<T>, D::Error>
        where
            T: Deserialize<'de>,
            D: serde::Deserializer<'de>,
        {
            T::deserialize(deserializer).map(Some)
        }

        fn null_is_nan<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
            Option::deserialize(deserializer).map(|value| value.unwrap_or(f64::NAN))
        }

        let trips = RoundTrips::new();
        for name in [Some(None), None, Some(Some("n".to_owned())), Some(None)] {
            assert!(is_stored(&trips, Codec::Json, &Patch { name }));
        }
        for value in [f64::NAN, 1.0, f64::NAN] {
            assert!(is_stored(&trips, Codec::Json, &Measured { value }));
        }
        assert!(!is_stored(&trips, Codec::Json, &Measured { value: f64::INFINITY }));
    }

    #[test]
    fn nesting_of_127_levels_comes_back_and_of_128_is_refused_at_any_time() {
        #[derive(Debug, PartialEq, Serialize, Deserialize)]
        enum Chain {
            End,
            Newtype(Box<Chain>),
            Tuple(u8, Box<Chain>),
            Struct { next: Box<Chain> },
            List(Vec<Chain>),
            Some(Option<Box<Chain>>),
        }

        type Link = fn(Chain) -> Chain;

        let links: [(Link, usize); 5] = [
            (|chain| Chain::Newtype(Box::new(chain)), 1),
            (|chain| Chain::Tuple(1, Box::new(chain)), 2),
            (|chain| Chain::Struct { next: Box::new(chain) }, 2),
            (|chain| Chain::List(vec![chain]), 2),
            (|chain| Chain::Some(Some(Box::new(chain))), 1),
        ];
        for (link, levels) in links {
            let trips = RoundTrips::new();
            let chain = |depth: usize| (0..depth / levels).fold(Chain::End, |chain, _| link(chain));
            assert!(is_stored(&trips, Codec::Json, &chain(10)));
            assert!(is_stored(&trips, Codec::Json, &chain(127)));
            let refusal = trips.encode(Codec::Json, &chain(128 + levels - 1)).unwrap_err();
            assert!(refusal.is_first && refusal.error.to_string().contains("127"), "{}", refusal.error);
            assert!(is_stored(&trips, Codec::Json, &chain(126)));
        }
    }

    #[test]
    fn keys_of_maps_come_back_or_are_refused() {
        comes_back(&BTreeMap::from([(u128::MAX, 1), (0, 2)]));
        comes_back(&BTreeMap::from([(i8::MIN, 'a'), (0, 'b')]));
        comes_back(&BTreeMap::from([(true, 1), (false, 2)]));
        comes_back(&BTreeMap::from([('\u{0}', 1), ('é', 2)]));
        comes_back(&BTreeMap::from([(Some("a".to_owned()), 1)]));
        assert!(!is_stored(&RoundTrips::new(), Codec::Json, &BTreeMap::from([((1, 2), 3)])));
        assert!(!is_stored(&RoundTrips::new(), Codec::Json, &BTreeMap::from([(None::<u8>, 3)])));
    }
}
