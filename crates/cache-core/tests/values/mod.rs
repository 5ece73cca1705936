//! Random values with every kind of part of serde.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::time::Duration;

use proptest::prelude::*;
use serde::{Deserialize, Serialize};

/// A double that is compared bit for bit.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Double(f64);

impl PartialEq for Double {
    fn eq(&self, other: &Self) -> bool {
        self.0.to_bits() == other.0.to_bits()
    }
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Single(f32);

impl PartialEq for Single {
    fn eq(&self, other: &Self) -> bool {
        self.0.to_bits() == other.0.to_bits()
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Unit;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Pair(i16, String);

#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Colour {
    DarkRed,
    #[serde(rename = "ochre: \"1\"")]
    Ochre,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Fields {
    flag: bool,
    small_numbers: (i8, i16, i32, i64, u8, u16, u32, u64),
    large_numbers: (i128, u128),
    doubles: [Double; 2],
    single: Option<Single>,
    character: char,
    text: String,
    unit: (),
    named: (Unit, Pair, Colour),
    time: Duration,
    address: IpAddr,
    option: Option<Box<Tree>>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) enum Tree {
    Leaf,
    Double(Double),
    OptionalDouble(Option<Double>),
    #[expect(clippy::option_option, reason = "what is tested")]
    Nested(Option<Option<Option<u8>>>),
    Nothing(Option<()>),
    Fields(Box<Fields>),
    Option(Option<Box<Tree>>),
    Result(Result<Box<Tree>, String>),
    List(Vec<Tree>),
    Both(Box<Tree>, Box<Tree>),
    ByName(BTreeMap<String, Tree>),
    ByNumber {
        map: HashMap<i64, Tree>,
        by_colour: BTreeMap<Colour, u8>,
        by_flag: BTreeMap<bool, char>,
    },
}

fn double() -> impl Strategy<Value = Double> {
    prop_oneof![
        8 => any::<u64>().prop_map(|bits| Double(f64::from_bits(bits))).prop_filter("finite", |d| d.0.is_finite()),
        4 => (0.0_f64..1.0).prop_map(Double),
        1 => prop_oneof![Just(f64::NAN), Just(f64::INFINITY), Just(-0.0), Just(f64::MIN_POSITIVE)].prop_map(Double),
    ]
}

fn single() -> impl Strategy<Value = Single> {
    prop::num::f32::ANY.prop_map(Single)
}

fn colour() -> impl Strategy<Value = Colour> {
    prop_oneof![Just(Colour::DarkRed), Just(Colour::Ochre)]
}

prop_compose! {
    fn fields(tree: BoxedStrategy<Tree>)(
        flag: bool,
        small_numbers: (i8, i16, i32, i64, u8, u16, u32, u64),
        large_numbers: (i128, u128),
        doubles in [double(), double()],
        single in prop::option::weighted(0.3, single()),
        (character, text) in (any::<char>(), any::<String>()),
        pair in any::<(i16, String)>(),
        colour in colour(),
        nanoseconds: u64,
        address in prop_oneof![any::<u32>().prop_map(|bits| IpAddr::from(bits.to_be_bytes())),
                               any::<u128>().prop_map(|bits| IpAddr::from(bits.to_be_bytes()))],
        option in prop::option::of(tree.prop_map(Box::new)),
    ) -> Fields {
        Fields {
            flag, small_numbers, large_numbers, doubles, single, character, text, unit: (),
            named: (Unit, Pair(pair.0, pair.1), colour),
            time: Duration::from_nanos(nanoseconds), address, option,
        }
    }
}

pub(crate) fn tree() -> impl Strategy<Value = Tree> {
    let leaf = prop_oneof![
        Just(Tree::Leaf),
        double().prop_map(Tree::Double),
        prop::option::of(double()).prop_map(Tree::OptionalDouble),
        any::<Option<Option<Option<u8>>>>().prop_map(Tree::Nested),
        any::<Option<()>>().prop_map(Tree::Nothing),
    ];
    leaf.prop_recursive(6, 24, 4, |tree| {
        let boxed = || tree.clone().prop_map(Box::new);
        let by_number = (
            prop::collection::hash_map(any::<i64>(), tree.clone(), 0..4),
            prop::collection::btree_map(colour(), any::<u8>(), 0..3),
            any::<BTreeMap<bool, char>>(),
        );
        prop_oneof![
            fields(tree.clone().boxed()).prop_map(|fields| Tree::Fields(Box::new(fields))),
            prop::option::of(boxed()).prop_map(Tree::Option),
            prop_oneof![boxed().prop_map(Ok), any::<String>().prop_map(Err)].prop_map(Tree::Result),
            prop::collection::vec(tree.clone(), 0..4).prop_map(Tree::List),
            (boxed(), boxed()).prop_map(|(one, other)| Tree::Both(one, other)),
            prop::collection::btree_map(any::<String>(), tree.clone(), 0..4).prop_map(Tree::ByName),
            by_number.prop_map(|(map, by_colour, by_flag)| Tree::ByNumber { map, by_colour, by_flag }),
        ]
    })
}

/// Returns whether `tree` holds a value that JSON cannot represent.
pub(crate) fn has_no_json(tree: &Tree) -> bool {
    match tree {
        Tree::Leaf => false,
        Tree::Double(double) => !double.0.is_finite(),
        Tree::OptionalDouble(double) => double.is_some_and(|double| !double.0.is_finite()),
        Tree::Nested(nested) => matches!(nested, Some(None | Some(None))),
        Tree::Nothing(nothing) => nothing.is_some(),
        Tree::Fields(fields) => {
            fields.doubles.iter().any(|double| !double.0.is_finite())
                || fields.single.is_some_and(|single| !single.0.is_finite())
                || fields.option.as_deref().is_some_and(has_no_json)
        }
        Tree::Option(option) => option.as_deref().is_some_and(has_no_json),
        Tree::Result(result) => result.as_deref().is_ok_and(has_no_json),
        Tree::List(list) => list.iter().any(has_no_json),
        Tree::Both(one, other) => has_no_json(one) || has_no_json(other),
        Tree::ByName(map) => map.values().any(has_no_json),
        Tree::ByNumber { map, .. } => map.values().any(has_no_json),
    }
}

/// A type that needs a self-describing format, and so reads numbers in the width that JSON gives.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind")]
pub(crate) enum Loose {
    Numbers { small: i8, large: u64, negative: i64, wide: Option<u128>, double: Double },
    Texts { text: String, list: Vec<Option<String>> },
    Flat(Flat),
    Unit,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Flat {
    id: u32,
    #[serde(flatten)]
    rest: BTreeMap<String, Any>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub(crate) enum Any {
    Flag(bool),
    Number(i64),
    Double(Double),
    Text(String),
    List(Vec<Any>),
}

pub(crate) fn loose() -> impl Strategy<Value = Loose> {
    let finite = || double().prop_filter("finite", |double| double.0.is_finite());
    let any_value = prop_oneof![
        any::<bool>().prop_map(Any::Flag),
        any::<i64>().prop_map(Any::Number),
        finite().prop_map(Any::Double),
        any::<String>().prop_map(Any::Text),
    ];
    let any_value =
        any_value.prop_recursive(3, 8, 3, |inner| prop::collection::vec(inner, 0..3).prop_map(Any::List));
    let wide = prop::option::weighted(0.2, any::<u64>().prop_map(u128::from));
    let numbers = (any::<i8>(), any::<u64>(), any::<i64>(), wide, finite());
    prop_oneof![
        numbers.prop_map(|(small, large, negative, wide, double)| {
            Loose::Numbers { small, large, negative, wide, double }
        }),
        any::<(String, Vec<Option<String>>)>().prop_map(|(text, list)| Loose::Texts { text, list }),
        (any::<u32>(), prop::collection::btree_map("[a-h]{2,6}", any_value, 0..4))
            .prop_map(|(id, rest)| Loose::Flat(Flat { id, rest })),
        Just(Loose::Unit),
    ]
}

/// Returns whether `loose` holds an integer of 128 bits, which serde cannot buffer.
pub(crate) fn is_wide(loose: &Loose) -> bool {
    matches!(loose, Loose::Numbers { wide: Some(_), .. })
}
