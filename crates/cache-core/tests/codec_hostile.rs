//! Hostile bytes are never decoded to a wrong value, and never cause a panic, an abort, a long loop or a large allocation.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use cache_core::{Codec, ErrorKind, RoundTrips};
use proptest::prelude::*;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Decodes `bytes`, and asserts the kind of an error.
fn decode<T: DeserializeOwned>(bytes: &[u8], shape: u64) -> Option<T> {
    let decoded = Codec::Bincode.decode(bytes, shape);
    decoded.inspect_err(|error| assert_eq!(error.kind(), ErrorKind::Decode)).ok()
}

fn refusal<T: DeserializeOwned>(bytes: &[u8]) -> String {
    Codec::Bincode.decode::<T>(bytes, 0).err().expect("no such value exists").to_string()
}

/// Encodes a number of 64 bits.
fn length(length: u64) -> Vec<u8> {
    bincode::serde::encode_to_vec(length, bincode::config::standard()).expect("numbers encode")
}

#[test]
fn a_claimed_length_allocates_nothing() {
    for claimed in [1 << 20, 1 << 40, u64::MAX] {
        let bytes = length(claimed);
        for text in [refusal::<String>(&bytes), refusal::<Box<str>>(&bytes), refusal::<Bytes>(&bytes)] {
            assert!(text.contains("UnexpectedEnd"), "{text}");
        }
        for text in [refusal::<Vec<u64>>(&bytes), refusal::<HashMap<u64, String>>(&bytes)] {
            assert!(text.contains("more elements than its bytes can hold"), "{text}");
        }
    }
}

#[derive(Debug)]
struct Bytes;

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;

        impl serde::de::Visitor<'_> for Visitor {
            type Value = Bytes;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("bytes")
            }

            fn visit_byte_buf<E>(self, _: Vec<u8>) -> Result<Bytes, E> {
                Ok(Bytes)
            }
        }

        deserializer.deserialize_byte_buf(Visitor)
    }
}

#[test]
fn elements_without_bytes_do_not_spin() {
    #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
    struct Nothing {
        nothing: (),
    }
    for text in [refusal::<Vec<()>>(&length(1 << 40)), refusal::<Vec<Nothing>>(&length(1 << 40))] {
        assert!(text.contains("more elements than its bytes can hold"), "{text}");
    }
    // Many lists that each claim as many elements as a single list may have.
    let mut nested = length(10_000);
    (0..10_000).for_each(|_| nested.extend(length(60_000)));
    assert!(refusal::<Vec<Vec<()>>>(&nested).contains("more elements"));
    // A long list is stored, an absurdly long one is refused.
    let trips = RoundTrips::new();
    assert!(trips.encode(Codec::Bincode, &vec![Nothing { nothing: () }; 60_000]).is_ok());
    let absurd = RoundTrips::new().encode(Codec::Bincode, &vec![(); 100_000]).unwrap_err();
    assert!(absurd.is_first);
}

/// One byte a level.
#[derive(Debug, Serialize, Deserialize)]
enum Chain {
    End,
    Next(Box<Chain>),
}

/// A type that takes much stack at each level.
#[derive(Debug, Serialize, Deserialize)]
struct Tree {
    name: String,
    numbers: [u64; 16],
    pair: Option<(u64, String)>,
    labels: BTreeMap<String, String>,
    children: Vec<Tree>,
}

#[test]
fn deep_nesting_is_an_error_and_does_not_overflow_the_stack() {
    fn run() {
        for bytes in [vec![1; 20_000], vec![1; 2_000_000]] {
            assert!(refusal::<Chain>(&bytes).contains("nested deeper than 128 levels"));
        }
        // An empty name, zeros, no pair, no labels, one child: 20 bytes a level.
        let level = [[0; 19].as_slice(), &[1]].concat();
        assert!(refusal::<Tree>(&level.repeat(10_000)).contains("nested deeper than 128 levels"));
        let chain = (0..2_000).fold(Chain::End, |chain, _| Chain::Next(Box::new(chain)));
        let error = Codec::Bincode.encode(&chain).unwrap_err();
        assert!(error.kind() == ErrorKind::Encode && error.to_string().contains("128"));
    }
    // The default stack size of threads in tokio and the standard library.
    std::thread::Builder::new().stack_size(2 << 20).spawn(run).unwrap().join().unwrap();
}

#[test]
fn nesting_of_128_levels_comes_back_and_of_129_is_refused() {
    let chain = |levels| (0..levels).fold(Chain::End, |chain, _| Chain::Next(Box::new(chain)));
    let trips = RoundTrips::new();
    assert!(trips.encode(Codec::Bincode, &chain(128)).is_ok());
    assert!(trips.encode(Codec::Bincode, &chain(129)).is_err());
    assert!(trips.encode(Codec::Bincode, &chain(1)).is_ok(), "other values of the type are stored");
}

#[test]
fn surplus_or_missing_bytes_are_a_miss() {
    type Value = (u32, String, Vec<u64>);

    let encoded = Codec::Bincode.encode(&(7_u32, "text", vec![1_u64, 2])).unwrap();
    let longer = [&encoded.payload[..], &[0]].concat();
    assert!(decode::<Value>(&longer, encoded.shape).is_none());
    for length in 0..encoded.payload.len() {
        assert!(decode::<Value>(&encoded.payload[..length], encoded.shape).is_none());
    }
    assert!(decode::<Value>(&encoded.payload, encoded.shape ^ 1).is_none());
}

/// A type whose own code panics.
#[derive(Debug)]
struct Panics;

impl Serialize for Panics {
    #[expect(clippy::panic, reason = "what is tested")]
    fn serialize<S: Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
        panic!("while it is serialized")
    }
}

impl<'de> Deserialize<'de> for Panics {
    #[expect(clippy::panic, reason = "what is tested")]
    fn deserialize<D: Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
        panic!("while it is deserialized")
    }
}

#[test]
fn a_panic_of_the_types_own_code_is_an_error() {
    assert_eq!(Codec::Bincode.encode(&Panics).unwrap_err().kind(), ErrorKind::Encode);
    assert!(decode::<Panics>(&[], 0).is_none());
}

#[test]
fn no_error_quotes_the_value() {
    #[derive(Debug, Deserialize)]
    #[serde(try_from = "String")]
    struct Picky;

    impl TryFrom<String> for Picky {
        type Error = String;

        fn try_from(text: String) -> Result<Self, String> {
            Err(format!("{text} is refused"))
        }
    }

    let secret = Codec::Bincode.encode("hunter2").unwrap();
    let mut errors = vec![
        format!("{:?}", Codec::Bincode.decode::<Picky>(&secret.payload, secret.shape).unwrap_err()),
        format!("{:?}", Codec::Bincode.decode::<char>(&secret.payload, secret.shape).unwrap_err()),
    ];
    #[cfg(feature = "json")]
    errors.extend([
        format!("{:?}", Codec::Json.decode::<Picky>(br#""hunter2""#, 0).unwrap_err()),
        format!("{:?}", Codec::Json.decode::<u64>(br#""hunter2""#, 0).unwrap_err()),
    ]);
    errors.dedup();
    assert!(errors.iter().all(|error| !error.contains("hunter2") && error.contains("decode")), "{errors:?}");
}

/// A visitor that leaves a part of a tuple unread would read it as the next value.
#[test]
fn a_part_left_unread_is_a_miss() {
    #[derive(Debug)]
    struct First(u8);

    impl<'de> Deserialize<'de> for First {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            struct Visitor;

            impl<'de> serde::de::Visitor<'de> for Visitor {
                type Value = First;

                fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                    f.write_str("a pair")
                }

                fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut parts: A) -> Result<First, A::Error> {
                    Ok(First(parts.next_element()?.unwrap_or_default()))
                }
            }

            deserializer.deserialize_tuple(2, Visitor)
        }
    }

    let encoded = Codec::Bincode.encode(&((1_u8, ()), 3_u8)).unwrap();
    let decoded = decode::<(First, u8)>(&encoded.payload, encoded.shape);
    assert!(decoded.is_none(), "{:?}", decoded.map(|(First(first), second)| (first, second)));
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Record {
    id: u64,
    name: String,
    parts: Vec<Option<Part>>,
    place: (f64, f32),
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
enum Part {
    Empty,
    Named { name: String, size: u32 },
    Pair(i8, char),
    Inner(Box<Part>),
}

fn part() -> impl Strategy<Value = Part> {
    let leaf = prop_oneof![
        Just(Part::Empty),
        (".{0,8}", any::<u32>()).prop_map(|(name, size)| Part::Named { name, size }),
        (any::<i8>(), any::<char>()).prop_map(|(a, b)| Part::Pair(a, b)),
    ];
    leaf.prop_recursive(4, 8, 1, |inner| inner.prop_map(|part| Part::Inner(Box::new(part))))
}

prop_compose! {
    fn record()(
        id: u64,
        name in ".{0,20}",
        parts in prop::collection::vec(prop::option::of(part()), 0..6),
        place in (-1e9_f64..1e9, -1e9_f32..1e9),
    ) -> Record {
        Record { id, name, parts, place }
    }
}

/// Checks that the value is not decoded as another type; from bare bincode most of these types can be.
macro_rules! confused {
    ($written:ident: $name:expr; $($kind:ty),* $(,)?) => {$(
        if std::any::type_name::<$kind>() != $name
            && let Some(value) = decode::<$kind>(&$written.payload, $written.shape)
        {
            panic!("a {} was read as {}: {value:?}", $name, std::any::type_name::<$kind>());
        }
    )*};
}

fn never_another_type<T: Serialize>(value: &T) {
    let written = Codec::Bincode.encode(value).expect("the samples encode");
    let name = std::any::type_name::<T>();
    confused!(
        written: name;
        bool, u8, i8, u16, u32, i32, u64, i64, u128, i128, f32, f64, char, String, (),
        (u8,), (u8, u8), (u8, u8, u8), [u8; 4], [u32; 2], (u32, u32), (u32, String), (u64, String), (u64, Vec<u8>),
        (i64, String), (u64, Vec<char>), (String, u64), (u64, String, bool), Vec<(u8, u8)>,
        BTreeMap<u8, u8>, BTreeMap<u64, String>, Vec<(u64, String)>, BTreeMap<String, u64>,
        Option<Option<u8>>, Option<(u8,)>, (Option<u8>,), Result<u8, u8>, Part, Record, Duration,
        Option<Part>, (Part, Part), (Record, u8), Vec<Record>, Option<Record>,
    );
}

proptest! {
    #[test]
    fn bytes_of_one_type_are_never_read_as_another(
        record in record(), part in part(), a: u8, b: u8, n: u64, m: i64, text in ".{1,6}", map: BTreeMap<u8, u8>,
    ) {
        never_another_type(&record);
        never_another_type(&part);
        never_another_type(&(part.clone(), part.clone()));
        never_another_type(&Some(part));
        never_another_type(&vec![record.clone()]);
        never_another_type(&(record, a));
        never_another_type(&a);
        never_another_type(&n);
        never_another_type(&m);
        never_another_type(&u128::from(n));
        never_another_type(&(a, b));
        never_another_type(&[a, b, a, b]);
        never_another_type(&(a > b));
        never_another_type(&text);
        never_another_type(&(n, text.clone()));
        never_another_type(&(m, text.clone()));
        never_another_type(&(text.clone(), n));
        never_another_type(&(n, text.clone().into_bytes()));
        never_another_type(&vec![(n, text)]);
        if !map.is_empty() {
            never_another_type(&map);
            never_another_type(&map.into_iter().collect::<Vec<_>>());
        }
        never_another_type(&Duration::from_nanos(n));
        never_another_type(&Ok::<u8, u8>(a));
        never_another_type(&Some((a,)));
        never_another_type(&(Some(a),));
    }

    #[test]
    fn every_record_comes_back(record in record()) {
        let encoded = Codec::Bincode.encode(&record).unwrap();
        prop_assert_eq!(Codec::Bincode.decode::<Record>(&encoded.payload, encoded.shape).unwrap(), record);
    }

    #[test]
    fn damaged_bytes_are_a_value_of_the_type_or_a_miss(
        record in record(), damage in prop::collection::vec((any::<usize>(), any::<u8>()), 1..6),
    ) {
        let encoded = Codec::Bincode.encode(&record).unwrap();
        let mut bytes = encoded.payload.to_vec();
        for (at, byte) in damage {
            let at = at % bytes.len();
            bytes[at] = byte;
        }
        decode::<Record>(&bytes, encoded.shape);
    }

    #[test]
    fn random_bytes_are_never_decoded(bytes in prop::collection::vec(any::<u8>(), 0..300), shape: u64) {
        prop_assert!(decode::<Record>(&bytes, shape).is_none());
        prop_assert!(decode::<Vec<Part>>(&bytes, shape).is_none());
        prop_assert!(decode::<BTreeMap<String, Tree>>(&bytes, shape).is_none());
    }
}
