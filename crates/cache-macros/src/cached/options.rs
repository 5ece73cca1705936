//! [`Options`]: the arguments of `#[cached(..)]`.

use proc_macro2::{Span, TokenStream};
use quote::{ToTokens, quote};
use syn::parse::{Parse, ParseStream, Parser};
use syn::{Error, Expr, Lit, LitStr, Result};

use crate::refuse;
use crate::template::{self, Segment};

const NAMES: [&str; 7] =
    ["family", "key", "cache", "ttl", "stale_while_revalidate", "stale_if_error", "negative"];

/// The arguments of `#[cached(..)]`.
pub(crate) struct Options {
    pub(crate) family: String,
    /// The text of the key, for errors about it.
    pub(crate) key: LitStr,
    /// The segments after the family: at least one, and none is [`Segment::Any`].
    pub(crate) segments: Vec<Segment>,
    /// The text that names the cache, and the expression in it.
    pub(crate) cache: Option<(LitStr, Expr)>,
    pub(crate) ttl: TokenStream,
    pub(crate) stale_while_revalidate: TokenStream,
    pub(crate) stale_if_error: TokenStream,
    /// The text, for errors about it, and the time.
    pub(crate) negative: Option<(LitStr, TokenStream)>,
}

impl Parse for Options {
    fn parse(input: ParseStream<'_>) -> Result<Self> {
        let mut found: Vec<(&str, LitStr)> = Vec::new();
        let parser = syn::meta::parser(|meta| {
            let Some(name) = NAMES.into_iter().find(|name| meta.path.is_ident(name)) else {
                return refuse(
                    &meta.path,
                    format!("unknown option; {}", template::listed("options", NAMES.iter())),
                );
            };
            if found.iter().any(|(other, _)| *other == name) {
                return refuse(&meta.path, format!("`{name}` is given twice; keep one of them"));
            }
            match meta.value()?.parse()? {
                Lit::Str(value) => found.push((name, value)),
                other => return refuse(&other, format!("write the value in quotes: `{name} = \"..\"`")),
            }
            Ok(())
        });
        parser.parse2(input.parse()?)?;
        let take =
            |name: &str| found.iter().find(|(other, _)| *other == name).map(|(_, value)| value.clone());
        let required = |name: &str| {
            let why = format!("`{name}` is missing; write `#[cached(family = \"user\", key = \"{{id}}\")]`");
            take(name).ok_or_else(|| Error::new(Span::call_site(), why))
        };
        let time = |name: &str| take(name).as_ref().map(duration).transpose().map(optional);
        let (family, key) = (required("family")?, required("key")?);
        let segments = template::segments(&key, &key.value())?;
        if segments.iter().any(|segment| matches!(segment, Segment::Any)) {
            return refuse(key, "a key names one value and has no `*`; use a `{placeholder}`");
        }
        Ok(Self {
            family: template::family(&family, &family.value())?,
            key,
            segments,
            cache: take("cache").map(|text| Ok::<_, Error>((text.clone(), text.parse()?))).transpose()?,
            ttl: time("ttl")?,
            stale_while_revalidate: time("stale_while_revalidate")?,
            stale_if_error: time("stale_if_error")?,
            negative: take("negative").map(|text| duration(&text).map(|time| (text, time))).transpose()?,
        })
    }
}

fn optional(value: Option<impl ToTokens>) -> TokenStream {
    value.map_or(quote!(::core::option::Option::None), |value| quote!(::core::option::Option::Some(#value)))
}

/// Generates the time that `literal` gives with a unit.
fn duration(literal: &LitStr) -> Result<TokenStream> {
    let text = literal.value();
    let units = [('s', 1), ('m', 60), ('h', 60 * 60), ('d', 24 * 60 * 60)];
    let seconds = units.into_iter().find_map(|(unit, seconds)| {
        let number: u32 = text.strip_suffix(unit)?.parse().ok()?;
        (number > 0).then(|| u64::from(number) * seconds)
    });
    match seconds {
        Some(seconds) => Ok(quote!(::core::time::Duration::from_secs(#seconds))),
        None => refuse(
            literal,
            format!(
                "{text:?} is no time; write a whole number above 0 and a unit: \"60s\", \"5m\", \"2h\" or \"1d\""
            ),
        ),
    }
}
