//! A type that changed between two builds reads as a miss; an unchanged one reads its values.

use std::fmt::Debug;

use cache_core::{Codec, ErrorKind};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// Decodes a value of another build's type as `B`.
fn reads<B: DeserializeOwned>(written: &(impl Serialize + ?Sized)) -> Option<B> {
    let encoded = Codec::Bincode.encode(written).expect("the samples encode");
    match Codec::Bincode.decode(&encoded.payload, encoded.shape) {
        Ok(value) => Some(value),
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::Decode);
            None
        }
    }
}

fn shape(value: &(impl Serialize + ?Sized)) -> u64 {
    Codec::Bincode.encode(value).expect("the samples encode").shape
}

use old::State;

mod old {
    use super::{Deserialize, Serialize};

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    pub(crate) struct Image {
        pub(crate) id: u32,
        pub(crate) name: String,
        pub(crate) size: (u32, u32),
        pub(crate) note: Option<String>,
        pub(crate) state: State,
    }

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    pub(crate) enum State {
        Ready,
        Failed(String),
        Busy { since: u64, by: u64 },
        Moved(u64, u64),
    }

    pub(crate) fn image() -> Image {
        Image { id: 7, name: "n".into(), size: (1, 1), note: Some("x".into()), state: State::Ready }
    }
}

/// A struct like `old::Image`, with the changes of a newer build.
macro_rules! newer {
    ($module:ident { $($field:ident: $kind:ty),* $(,)? }) => {
        mod $module {
            use super::*;

            #[derive(Debug, PartialEq, Serialize, Deserialize)]
            pub(crate) struct Image { $(pub(crate) $field: $kind),* }
        }
    };
}

newer!(same { id: u32, name: String, size: (u32, u32), note: Option<String>, state: State });
newer!(added { id: u32, name: String, size: (u32, u32), note: Option<String>, state: State, more: () });
newer!(added_first { more: (), id: u32, name: String, size: (u32, u32), note: Option<String>, state: State });
newer!(removed { id: u32, name: String, size: (u32, u32), note: Option<String> });
newer!(reordered { id: u32, name: String, note: Option<String>, size: (u32, u32), state: State });
newer!(renamed { id: u32, title: String, size: (u32, u32), note: Option<String>, state: State });
newer!(swapped { name: u32, id: String, size: (u32, u32), note: Option<String>, state: State });
newer!(wider { id: u64, name: String, size: (u32, u32), note: Option<String>, state: State });
newer!(signed { id: i32, name: String, size: (u32, u32), note: Option<String>, state: State });
newer!(bytes { id: u32, name: Vec<u8>, size: (u32, u32), note: Option<String>, state: State });
newer!(chars { id: u32, name: Vec<char>, size: (u32, u32), note: Option<String>, state: State });
newer!(list { id: u32, name: String, size: Vec<u32>, note: Option<String>, state: State });
newer!(array { id: u32, name: String, size: [u32; 3], note: Option<String>, state: State });
newer!(nested { id: u32, name: String, size: ((u32,), u32), note: Option<String>, state: State });
newer!(optional { id: u32, name: Option<String>, size: (u32, u32), note: Option<String>, state: State });
newer!(required { id: u32, name: String, size: (u32, u32), note: String, state: State });
newer!(listed { id: u32, name: String, size: (u32, u32), note: Vec<String>, state: State });
newer!(flag { id: u32, name: String, size: (u32, u32), note: Option<String>, state: bool });
newer!(outcome { id: u32, name: String, size: (u32, u32), note: Option<String>, state: Option<()> });
newer!(unsigned { id: u32, name: String, size: (u32, u32), note: Option<String>, state: u32 });

#[test]
fn an_unchanged_struct_reads_values_of_another_build() {
    let old::Image { id, name, size, note, state } = old::image();
    assert_eq!(reads(&old::image()), Some(same::Image { id, name, size, note, state }));
}

#[test]
fn a_changed_struct_reads_as_a_miss() {
    fn refused<B: DeserializeOwned + Debug + PartialEq>(change: &str) {
        assert_eq!(reads::<B>(&old::image()), None, "{change}");
        assert_eq!(reads::<Vec<B>>(&[old::image(), old::image()]), None, "{change}, in a list");
        assert_eq!(reads::<Option<B>>(&Some(old::image())), None, "{change}, in an option");
    }
    refused::<added::Image>("a field of no bytes added");
    refused::<added_first::Image>("a field of no bytes added at the beginning");
    refused::<removed::Image>("a field removed");
    refused::<reordered::Image>("fields reordered");
    refused::<renamed::Image>("a field renamed");
    refused::<swapped::Image>("names swapped");
    refused::<wider::Image>("u32 to u64");
    refused::<signed::Image>("u32 to i32");
    refused::<bytes::Image>("String to Vec<u8>");
    refused::<chars::Image>("String to Vec<char>");
    refused::<list::Image>("a tuple to a list");
    refused::<array::Image>("a pair to an array of three");
    refused::<nested::Image>("a part wrapped in a tuple");
    refused::<optional::Image>("a field made optional");
    refused::<required::Image>("a field made required");
    refused::<listed::Image>("an option to a list");
    refused::<flag::Image>("an enum to a bool");
    refused::<outcome::Image>("an enum to an option");
    refused::<unsigned::Image>("an enum to a number");
}

/// The bytes do not show the order of such fields: bare bincode reads the wrong value.
#[test]
fn fields_of_one_type_that_were_reordered_read_as_a_miss() {
    #[derive(Serialize)]
    struct Old {
        width: u32,
        height: u32,
    }
    #[derive(Debug, PartialEq, Deserialize)]
    struct New {
        height: u32,
        width: u32,
    }
    let old = Old { width: 4, height: 3 };
    let bytes = bincode::serde::encode_to_vec(&old, bincode::config::standard()).unwrap();
    let (wrong, _) = bincode::serde::decode_from_slice(&bytes, bincode::config::standard()).unwrap();
    assert_eq!(New { height: 4, width: 3 }, wrong);
    assert_eq!(reads::<New>(&old), None);
}

#[test]
fn an_option_around_a_struct_is_not_a_struct_around_an_option() {
    #[derive(Serialize)]
    struct Old {
        x: u8,
    }
    #[derive(Debug, PartialEq, Deserialize)]
    struct New {
        x: Option<u8>,
    }
    assert_eq!(reads::<New>(&Some(Old { x: 1 })), None);
    assert_eq!(reads::<(Option<u8>,)>(&Some((1_u8,))), None);
    assert_eq!(reads::<Option<New>>(&Old { x: 1 }), None);
}

mod states {
    use super::{Deserialize, Serialize};

    macro_rules! newer {
        ($module:ident { $($variant:tt)* }) => {
            pub(crate) mod $module {
                use super::{Deserialize, Serialize};

                #[derive(Debug, PartialEq, Serialize, Deserialize)]
                pub(crate) enum State { $($variant)* }
            }
        };
    }
    newer!(appended { Ready, Failed(String), Busy { since: u64, by: u64 }, Moved(u64, u64), New });
    newer!(inserted { Ready, New, Failed(String), Busy { since: u64, by: u64 }, Moved(u64, u64) });
    newer!(reordered { Failed(String), Ready, Moved(u64, u64), Busy { since: u64, by: u64 } });
    newer!(renamed { Fine, Broken(String), Occupied { since: u64, by: u64 }, Gone(u64, u64) });
    newer!(swapped { Failed, Ready(String), Moved { since: u64, by: u64 }, Busy(u64, u64) });
    newer!(reshaped { Ready(), Failed { why: String }, Busy(u64, u64), Moved { from: u64, to: u64 } });
    newer!(refielded { Ready, Failed(Vec<u8>), Busy { by: u64, since: u64 }, Moved(u64, i64) });
    newer!(shrunk { Ready });
}

fn all_states() -> [old::State; 4] {
    [State::Ready, State::Failed("why".into()), State::Busy { since: 1, by: 2 }, State::Moved(3, 4)]
}

#[test]
fn an_enum_whose_variants_changed_reads_as_a_miss() {
    fn refused<B: DeserializeOwned + Debug + PartialEq>(change: &str, from: usize) {
        for state in &all_states()[from..] {
            assert_eq!(reads::<B>(state), None, "{change}: {state:?}");
        }
    }
    refused::<states::inserted::State>("a variant inserted", 1);
    refused::<states::reordered::State>("variants reordered", 0);
    refused::<states::renamed::State>("variants renamed", 0);
    refused::<states::swapped::State>("names swapped", 0);
    refused::<states::reshaped::State>("forms changed", 0);
    refused::<states::refielded::State>("contents changed", 1);
    refused::<states::shrunk::State>("variants removed", 1);
}

#[test]
fn variants_that_did_not_change_are_still_read() {
    use states::{appended, inserted, shrunk};
    for state in &all_states() {
        assert!(reads::<appended::State>(state).is_some(), "{state:?}");
    }
    assert_eq!(reads(&old::State::Ready), Some(inserted::State::Ready));
    assert_eq!(reads(&old::State::Ready), Some(shrunk::State::Ready));
}

#[test]
fn a_changed_struct_deep_inside_reads_as_a_miss() {
    #[derive(Serialize)]
    struct OldLeaf {
        a: u16,
    }
    #[derive(Debug, PartialEq, Deserialize)]
    struct NewLeaf {
        b: u16,
    }
    type Deep = Vec<Option<(u8, Box<std::collections::BTreeMap<String, NewLeaf>>)>>;

    let deep = |a| vec![Some((1_u8, Box::new(std::collections::BTreeMap::from([("k", OldLeaf { a })]))))];
    assert_eq!(reads::<Deep>(&deep(5)), None);
}

#[test]
fn an_owned_type_reads_values_of_its_borrowing_twin() {
    #[derive(Serialize)]
    struct PageRef<'a> {
        title: &'a str,
        images: &'a [u32],
    }
    #[derive(Debug, PartialEq, Deserialize)]
    struct Page {
        title: String,
        images: Vec<u32>,
    }
    let written = PageRef { title: "t", images: &[1, 2] };
    assert_eq!(reads(&written), Some(Page { title: "t".into(), images: vec![1, 2] }));
    assert_eq!(reads("text"), Some(String::from("text")));
    assert_eq!(reads(&[1_u8, 2][..]), Some(vec![1_u8, 2]));
}

#[test]
fn an_empty_list_reads_as_any_empty_list() {
    assert_eq!(reads::<Vec<String>>(&Vec::<u64>::new()), Some(vec![]));
    assert_eq!(reads::<Vec<String>>(&vec![1_u64]), None);
    assert_eq!(reads::<Option<String>>(&None::<u64>), Some(None));
}

/// Shapes are stored: they must not change between versions, compilers or platforms.
#[test]
fn shapes_equal_the_golden_file() {
    let mut lines = vec![
        format!("{:016x} bool", shape(&true)),
        format!("{:016x} u8", shape(&1_u8)),
        format!("{:016x} u64", shape(&1_u64)),
        format!("{:016x} i128", shape(&1_i128)),
        format!("{:016x} f64", shape(&1.0_f64)),
        format!("{:016x} char", shape(&'c')),
        format!("{:016x} text", shape("text")),
        format!("{:016x} unit", shape(&())),
        format!("{:016x} none", shape(&None::<u8>)),
        format!("{:016x} some(u8)", shape(&Some(1_u8))),
        format!("{:016x} list of 2 u8", shape(&vec![1_u8, 2])),
        format!("{:016x} map of 1", shape(&std::collections::BTreeMap::from([(1_u8, "x")]))),
        format!("{:016x} pair", shape(&(1_u8, "x"))),
        format!("{:016x} struct", shape(&old::image())),
    ];
    lines.extend(all_states().iter().map(|state| format!("{:016x} {state:?}", shape(state))));
    assert_eq!(lines.join("\n"), include_str!("golden/shapes-v1.txt").trim());
}
