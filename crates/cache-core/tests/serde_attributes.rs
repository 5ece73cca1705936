//! Values of every kind of serde type either come back through bincode or are refused with an error.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::fmt::{self, Debug};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::num::{NonZeroU32, Wrapping};
use std::ops::{Bound, Range};
use std::path::PathBuf;
use std::sync::atomic::AtomicU32;
use std::time::{Duration, SystemTime};

use cache_core::{Codec, ErrorKind, RoundTrips};
use serde::de::{DeserializeOwned, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

#[track_caller]
fn comes_back<T: Serialize + DeserializeOwned + Debug + PartialEq + 'static>(value: T) {
    let encoded = RoundTrips::new().encode(Codec::Bincode, &value).expect("it comes back");
    let bare = bincode::serde::encode_to_vec(&value, bincode::config::standard()).expect("bincode takes it");
    assert_eq!(encoded.payload, bare, "the bytes are bincode's own");
    assert_eq!(Codec::Bincode.decode::<T>(&encoded.payload, encoded.shape).ok().as_ref(), Some(&value));
    let listed = RoundTrips::new().encode(Codec::Bincode, &vec![Some((1_u8, value))]);
    assert!(listed.is_ok(), "inside other types too");
}

#[track_caller]
fn refused<T: Serialize + DeserializeOwned + Debug + 'static>(value: &T) {
    let trips = RoundTrips::new();
    let refusal = trips.encode(Codec::Bincode, value).expect_err("it does not come back");
    assert!(refusal.is_first);
    assert_eq!(refusal.error.kind(), ErrorKind::Encode);
    let text = refusal.error.to_string();
    assert!(text.contains(std::any::type_name::<T>()) && text.contains("Codec::Json"), "{text}");
    assert!(trips.encode(Codec::Bincode, value).is_err_and(|refusal| !refusal.is_first));
}

#[test]
fn numbers_texts_and_units_come_back() {
    comes_back((i8::MIN, i16::MIN, i32::MIN, i64::MIN, i128::MIN));
    comes_back((u8::MAX, u16::MAX, u32::MAX, u64::MAX, u128::MAX));
    comes_back((usize::MAX, isize::MIN, true, 'é', 1.5_f32, f64::NEG_INFINITY));
    comes_back((String::new(), String::from("text"), (), [0_u8; 0], [1_u16; 32]));
    comes_back((NonZeroU32::MIN, Wrapping(3_i32), Some(Some(None::<u8>)), Ok::<u8, String>(1)));
}

#[test]
fn collections_and_pointers_come_back() {
    comes_back(vec![vec![1_u8], vec![], vec![2, 3]]);
    comes_back(HashMap::from([(1_u8, vec!["a".to_owned()]), (2, vec![]), (3, vec!["b".into(); 2])]));
    comes_back((BTreeMap::from([("k".to_owned(), 1.0)]), BTreeSet::from([1]), HashSet::from(['x', 'y'])));
    comes_back((VecDeque::from([1, 2]), Box::new(5_u8), Box::<str>::from("b"), Box::<[u8]>::from([1, 2])));
    comes_back((Cow::<'static, str>::Owned("c".into()), Cow::<'static, [u8]>::Owned(vec![1])));
    comes_back(std::cell::RefCell::new(vec![1]));
}

#[test]
fn types_of_the_standard_library_come_back() {
    comes_back((Duration::new(5, 6), SystemTime::UNIX_EPOCH + Duration::from_millis(1)));
    comes_back((IpAddr::V4(Ipv4Addr::LOCALHOST), Ipv6Addr::LOCALHOST, SocketAddr::from(([1, 2, 3, 4], 80))));
    comes_back((PathBuf::from("/a/b"), Range { start: 1, end: 2 }, Bound::Excluded(3_u8)));
    comes_back(std::marker::PhantomData::<u8>);
    let atomic = Codec::Bincode.encode(&AtomicU32::new(5)).unwrap();
    let back: AtomicU32 = Codec::Bincode.decode(&atomic.payload, atomic.shape).unwrap();
    assert_eq!(back.into_inner(), 5);
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Unit;

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Newtype(u64);

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Tuple(u64, String);

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Empty {}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Generic<'a, T> {
    value: T,
    text: Cow<'a, str>,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
struct Transparent {
    inner: Vec<u8>,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Renamed {
    first_name: String,
    #[serde(rename = "LAST")]
    last_name: String,
    #[serde(default)]
    age: u8,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename = "other")]
struct Skipping {
    kept: u8,
    #[serde(skip)]
    skipped: u8,
    last: u8,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct With {
    #[serde(with = "as_text")]
    number: u64,
    #[serde(serialize_with = "as_text::serialize", deserialize_with = "as_text::deserialize")]
    other: u64,
}

mod as_text {
    use super::{Deserialize, Deserializer, Serializer};

    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes the field by reference")]
    pub(super) fn serialize<S: Serializer>(number: &u64, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(number)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(from = "(u8, u8)", into = "(u8, u8)")]
struct Converted {
    sum: u16,
}

impl From<(u8, u8)> for Converted {
    fn from((high, low): (u8, u8)) -> Self {
        Self { sum: u16::from_be_bytes([high, low]) }
    }
}

impl From<Converted> for (u8, u8) {
    fn from(Converted { sum }: Converted) -> Self {
        let [high, low] = sum.to_be_bytes();
        (high, low)
    }
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
enum Plain {
    Unit,
    #[serde(rename = "renamed")]
    Newtype(Box<Plain>),
    Tuple(u8, u16),
    Struct {
        a: u8,
        b: Vec<Plain>,
    },
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "t", content = "c")]
enum Adjacent {
    Newtype(u8),
    Struct { a: u8 },
    Unit,
}

#[test]
fn derived_types_come_back() {
    comes_back((Unit, Newtype(1), Tuple(2, "t".into()), Empty {}));
    comes_back(Generic { value: Some(Newtype(3)), text: "borrowed or not".into() });
    comes_back(Transparent { inner: vec![1, 2] });
    comes_back(Renamed { first_name: "a".into(), last_name: "b".into(), age: 3 });
    comes_back(Skipping { kept: 1, skipped: 0, last: 2 });
    comes_back(With { number: 12, other: 34 });
    comes_back(Converted { sum: 515 });
    comes_back(vec![
        Plain::Unit,
        Plain::Newtype(Box::new(Plain::Tuple(1, 2))),
        Plain::Struct { a: 1, b: vec![Plain::Unit, Plain::Struct { a: 2, b: vec![] }] },
    ]);
}

/// Bytes as `serde_bytes` serializes them, deserialized as borrowed or owned.
#[derive(Debug, PartialEq)]
struct Blob<const OWNED: bool>(Vec<u8>);

impl<const OWNED: bool> Serialize for Blob<OWNED> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de, const OWNED: bool> Deserialize<'de> for Blob<OWNED> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Bytes<const OWNED: bool>;

        impl<const OWNED: bool> Visitor<'_> for Bytes<OWNED> {
            type Value = Vec<u8>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("bytes")
            }

            fn visit_bytes<E: serde::de::Error>(self, bytes: &[u8]) -> Result<Vec<u8>, E> {
                if OWNED { Err(E::custom("asked for owned bytes")) } else { Ok(bytes.to_vec()) }
            }

            fn visit_byte_buf<E: serde::de::Error>(self, bytes: Vec<u8>) -> Result<Vec<u8>, E> {
                Ok(bytes)
            }
        }

        let bytes = if OWNED {
            deserializer.deserialize_byte_buf(Bytes::<OWNED>)
        } else {
            deserializer.deserialize_bytes(Bytes::<OWNED>)
        };
        bytes.map(Self)
    }
}

/// Text in human-readable formats and a number in others, as in date libraries.
#[derive(Debug, PartialEq)]
struct Date(i64);

impl Serialize for Date {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.collect_str(&self.0)
        } else {
            serializer.serialize_newtype_struct("Date", &self.0)
        }
    }
}

impl<'de> Deserialize<'de> for Date {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(rename = "Date")]
        struct Raw(i64);

        if deserializer.is_human_readable() {
            String::deserialize(deserializer)?.parse().map(Self).map_err(serde::de::Error::custom)
        } else {
            Raw::deserialize(deserializer).map(|raw| Self(raw.0))
        }
    }
}

#[test]
fn types_with_manual_implementations_come_back() {
    comes_back((Blob::<true>(vec![1, 2, 3]), Blob::<false>(vec![]), Date(-5)));
}

#[derive(Debug, Serialize, Deserialize)]
struct Sparse {
    a: u8,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    b: Option<u8>,
    c: Option<u8>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Flat {
    a: u8,
    #[serde(flatten)]
    rest: Newest,
}

#[derive(Debug, Serialize, Deserialize)]
struct FlatMap {
    a: u8,
    #[serde(flatten)]
    rest: BTreeMap<String, u8>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Newest {
    b: u8,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(untagged)]
enum Untagged {
    Number(u8),
    Text(String),
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "kind")]
enum Internal {
    A { x: u8 },
}

#[derive(Debug, Serialize, Deserialize)]
struct Alias {
    #[serde(alias = "old_name")]
    name: u8,
    other: u8,
}

#[derive(Debug, Serialize, Deserialize)]
struct OneWay {
    a: u8,
    #[serde(skip_serializing, default)]
    #[expect(dead_code, reason = "it is not serialized and never read")]
    b: u8,
}

#[derive(Debug, Serialize, Deserialize)]
struct OtherWay {
    a: u8,
    #[serde(skip_deserializing)]
    b: u8,
    c: u8,
}

#[derive(Debug, Serialize, Deserialize)]
struct TwoNames {
    #[serde(rename(serialize = "out", deserialize = "in"))]
    a: u8,
}

/// Serialized as another kind than it is deserialized, which bare bincode does not notice.
#[derive(Debug, Serialize, Deserialize)]
struct TwoKinds {
    #[serde(serialize_with = "small")]
    a: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes the field by reference")]
fn small<S: Serializer>(number: &u64, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u8(u8::try_from(*number).unwrap_or(u8::MAX))
}

#[test]
fn types_that_need_a_self_describing_format_are_refused_by_name() {
    refused(&Untagged::Number(1));
    refused(&Internal::A { x: 1 });
    refused(&Flat { a: 1, rest: Newest { b: 2 } });
    refused(&FlatMap { a: 1, rest: BTreeMap::from([("b".into(), 2)]) });
    refused(&serde_json::json!({"any": ["value", 1]}));
}

#[test]
fn types_that_are_not_deserialized_as_they_are_serialized_are_refused_by_name() {
    refused(&Alias { name: 1, other: 2 });
    refused(&OneWay { a: 1, b: 2 });
    refused(&OtherWay { a: 1, b: 2, c: 3 });
    refused(&TwoNames { a: 1 });
    refused(&TwoKinds { a: 1 });
}

#[test]
fn a_value_with_a_skipped_field_is_refused_at_any_time() {
    let trips = RoundTrips::new();
    assert!(trips.encode(Codec::Bincode, &Sparse { a: 1, b: Some(2), c: None }).is_ok());
    let refusal = trips.encode(Codec::Bincode, &Sparse { a: 1, b: None, c: Some(3) }).unwrap_err();
    assert!(refusal.is_first && refusal.error.to_string().contains("field b"));
    assert!(trips.encode(Codec::Bincode, &Sparse { a: 1, b: Some(2), c: Some(3) }).is_ok());
}

#[test]
fn a_variant_that_does_not_come_back_is_found_when_it_first_occurs() {
    #[derive(Debug, Serialize, Deserialize)]
    enum Gap {
        First,
        #[serde(skip_deserializing)]
        #[expect(dead_code, reason = "it shifts the indices of later variants")]
        Middle,
        Last,
    }
    let trips = RoundTrips::new();
    assert!(trips.encode(Codec::Bincode, &vec![Gap::First]).is_ok());
    assert!(trips.encode(Codec::Bincode, &Vec::<Gap>::new()).is_ok());
    assert!(trips.encode(Codec::Bincode, &vec![Gap::First, Gap::Last]).unwrap_err().is_first);
    assert!(!trips.encode(Codec::Bincode, &vec![Gap::Last]).unwrap_err().is_first);
    assert!(trips.encode(Codec::Bincode, &vec![Gap::First]).is_ok(), "its other variants are still stored");
}

#[test]
fn the_first_list_with_elements_is_compared_after_an_empty_one() {
    let trips = RoundTrips::new();
    assert!(trips.encode(Codec::Bincode, &Vec::<TwoKinds>::new()).is_ok());
    assert!(trips.encode(Codec::Bincode, &vec![TwoKinds { a: 1 }]).is_err());
}

#[test]
fn an_adjacently_tagged_enum_comes_back_or_is_refused_variant_by_variant() {
    for value in [Adjacent::Newtype(1), Adjacent::Struct { a: 1 }, Adjacent::Unit] {
        if let Ok(encoded) = RoundTrips::new().encode(Codec::Bincode, &value) {
            let back: Adjacent = Codec::Bincode.decode(&encoded.payload, encoded.shape).unwrap();
            assert_eq!(back, value);
        }
    }
}

#[cfg(feature = "json")]
#[test]
fn json_stores_types_that_bincode_refuses() {
    let trips = RoundTrips::new();
    assert!(trips.encode(Codec::Json, &Untagged::Text("t".into())).is_ok());
    assert!(trips.encode(Codec::Json, &Internal::A { x: 1 }).is_ok());
    assert!(trips.encode(Codec::Json, &Flat { a: 1, rest: Newest { b: 2 } }).is_ok());
    assert!(trips.encode(Codec::Json, &Alias { name: 1, other: 2 }).is_ok());
    let sparse = trips.encode(Codec::Json, &Sparse { a: 1, b: None, c: None }).unwrap();
    assert_eq!((sparse.shape, &*sparse.payload), (0, &br#"{"a":1,"c":null}"#[..]));
    assert!(trips.encode(Codec::Json, &TwoNames { a: 1 }).unwrap_err().is_first);
}
