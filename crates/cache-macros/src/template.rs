//! [`Segment`]: a part of the text of a key, a group or a pattern, in which placeholders name fields or arguments.

use std::fmt::Display;

use proc_macro2::TokenStream;
use quote::{quote, quote_spanned};
use syn::spanned::Spanned;
use syn::{GenericArgument, Ident, LitStr, PathArguments, Result, Type};

use crate::refuse;

/// The longest segment in bytes that a key keeps as text.
const LONGEST: usize = 200;

/// The longest family, in bytes.
const LONGEST_FAMILY: usize = 64;

/// One segment between colons.
pub(crate) enum Segment {
    /// Text that is the same in every key.
    Text(String),
    /// The value of the field or argument of this name.
    Value(String),
    /// Any text, of any number of segments.
    Any,
}

/// Reads the segments of `text`, which is `literal` or a part of it.
pub(crate) fn segments(literal: &LitStr, text: &str) -> Result<Vec<Segment>> {
    text.split(':').map(|text| segment(literal, text)).collect()
}

/// Reads a segment that is the family of keys.
pub(crate) fn family(literal: &LitStr, text: &str) -> Result<String> {
    let why = match segment(literal, text)? {
        Segment::Text(family) if family.len() <= LONGEST_FAMILY => return Ok(family),
        Segment::Text(family) => {
            format!("a family of {} bytes is over the limit of {LONGEST_FAMILY}; shorten it", family.len())
        }
        Segment::Value(name) => {
            format!("the family is no placeholder; begin with its name, as in \"user:{{{name}}}\"")
        }
        Segment::Any => {
            "this matches the keys of every family; begin with a family, as in \"post:*\", or call \
                         `Cache::clear` to clear everything"
                .to_owned()
        }
    };
    refuse(literal, why)
}

fn segment(literal: &LitStr, text: &str) -> Result<Segment> {
    if text == "*" {
        return Ok(Segment::Any);
    }
    let count = |sign: char| text.matches(sign).count();
    let inner = text.strip_prefix('{').and_then(|rest| rest.strip_suffix('}'));
    let inner = inner.filter(|_| count('{') == 1 && count('}') == 1);
    let is_special = |c: &char| ":%?[]\\".contains(*c) || c.is_whitespace() || c.is_control();
    let why = if let Some(name) = inner {
        if !name.is_empty() && name.chars().all(|c| c.is_alphanumeric() || c == '_') {
            return Ok(Segment::Value(name.to_owned()));
        }
        format!("`{text}` is no placeholder; write a name or a number alone, as in `{{id}}` or `{{0}}`")
    } else if text.is_empty() {
        "a segment is empty; write text or a `{placeholder}` before and after each colon".to_owned()
    } else if count('{') != count('}') {
        format!("unbalanced braces in `{text}`; a placeholder is a name alone, as in `{{id}}`")
    } else if count('{') > 0 {
        format!(
            "`{text}` mixes a placeholder with other text, and joined values can give two things one key; give each \
             placeholder a segment of its own, as in `page:{{page}}`"
        )
    } else if count('*') > 0 {
        format!("`*` in `{text}` is not alone; it stands for whole segments, as in `avatar:*:64x64`")
    } else if let Some(bad) = text.chars().find(is_special) {
        format!(
            "`{text}` has {bad:?} in it, which keys escape; use letters, digits, `_`, `-` and `.` (the value of a \
             placeholder may be any text)"
        )
    } else if text.len() > LONGEST {
        format!("a segment of {} bytes is over the limit of {LONGEST}; shorten it", text.len())
    } else {
        return Ok(Segment::Text(text.to_owned()));
    };
    refuse(literal, why)
}

/// Generates the segments in the form that `cache_facade::__macros` takes; `value` generates one for a placeholder.
pub(crate) fn tokens(
    segments: &[Segment],
    mut value: impl FnMut(&str) -> Result<TokenStream>,
) -> Result<TokenStream> {
    let segments = segments.iter().map(|segment| match segment {
        Segment::Text(text) => Ok(quote!(::cache_facade::__macros::part(&#text))),
        Segment::Value(name) => value(name),
        Segment::Any => Ok(quote!(::cache_facade::__macros::Segment::Any)),
    });
    let segments = segments.collect::<Result<Vec<_>>>()?;
    Ok(quote!(&[#(#segments),*]))
}

/// Generates the segment of the type `of` at `name`, behind `sign`, with errors at the type. An `Option` may be absent.
pub(crate) fn value(of: &Type, sign: &TokenStream, name: &Ident) -> TokenStream {
    let call = if in_option(of).is_some() { quote!(optional_part) } else { quote!(part) };
    let mut name = name.clone();
    name.set_span(name.span().located_at(of.span()));
    quote_spanned!(of.span()=> ::cache_facade::__macros::#call(#sign #name))
}

/// The type in an `Option`, behind references.
pub(crate) fn in_option(of: &Type) -> Option<&Type> {
    match of {
        Type::Reference(reference) => in_option(&reference.elem),
        Type::Group(group) => in_option(&group.elem),
        Type::Path(path) => {
            let last = path.path.segments.last().filter(|last| last.ident == "Option")?;
            let PathArguments::AngleBracketed(arguments) = &last.arguments else { return None };
            let GenericArgument::Type(inner) = arguments.args.first()? else { return None };
            Some(inner)
        }
        _ => None,
    }
}

/// The names of things in a sentence.
pub(crate) fn listed(things: &str, names: impl Iterator<Item = impl Display>) -> String {
    let names: Vec<_> = names.map(|name| format!("`{name}`")).collect();
    if names.is_empty() {
        format!("it has no {things}")
    } else {
        format!("the {things} are {}", names.join(", "))
    }
}
