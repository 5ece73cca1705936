//! `#[derive(Invalidates)]`.

use proc_macro2::TokenStream;
use quote::{format_ident, quote};
use syn::ext::IdentExt;
use syn::parse::Parser;
use syn::punctuated::Punctuated;
use syn::{
    Attribute, Data, DeriveInput, Error, Fields, Ident, Index, LitStr, Member, Meta, Result, Token, Type,
    WherePredicate, parse_quote,
};

use crate::{mentions, refuse, template};

/// Generates the implementation for `input`.
pub(crate) fn derive(input: &DeriveInput) -> Result<TokenStream> {
    let mut derive = Derive { input, bounds: Vec::new() };
    let arms = match &input.data {
        Data::Struct(data) => vec![derive.arm(&input.ident, &quote!(Self), &input.attrs, &data.fields)],
        Data::Enum(data) => {
            let variants = data.variants.iter().map(|variant| {
                let name = &variant.ident;
                derive.arm(name, &quote!(Self::#name), &variant.attrs, &variant.fields)
            });
            variants.chain(misplaced(&input.attrs, "each variant")).collect()
        }
        Data::Union(data) => {
            let why = "a union does not say which field is set; derive `Invalidates` for an enum or a struct";
            return refuse(data.union_token, why);
        }
    };
    let arms = all(arms)?;
    let mut generics = input.generics.clone();
    generics.make_where_clause().predicates.extend(derive.bounds);
    let (name, (impl_generics, ty_generics, bounds)) = (&input.ident, generics.split_for_impl());
    // A reference to an enum without variants cannot be matched without an arm.
    let matched = if arms.is_empty() { quote!(*self) } else { quote!(self) };
    Ok(quote! {
        #[automatically_derived]
        impl #impl_generics ::cache_facade::Invalidates for #name #ty_generics #bounds {
            fn invalidations(&self) -> ::std::vec::Vec<::cache_facade::Invalidation> {
                match #matched { #(#arms)* }
            }
        }
    })
}

struct Derive<'a> {
    input: &'a DeriveInput,
    /// Bounds for the types of placeholders that depend on a parameter.
    bounds: Vec<WherePredicate>,
}

/// A field that a placeholder can name.
struct Field<'a> {
    name: String,
    member: Member,
    of: &'a Type,
}

impl Derive<'_> {
    /// Generates the arm of the variant (or struct) `name` at `path`.
    fn arm(
        &mut self,
        name: &Ident,
        path: &TokenStream,
        attributes: &[Attribute],
        fields: &Fields,
    ) -> Result<TokenStream> {
        let place = format!("`{name}`");
        all(fields.iter().flat_map(|field| misplaced::<()>(&field.attrs, &place)))?;
        let fields: Vec<Field<'_>> = (0..)
            .zip(fields)
            .map(|(index, field)| {
                let index = Index { index, span: name.span() };
                let member = field.ident.clone().map_or(Member::Unnamed(index), Member::Named);
                let text = match &member {
                    Member::Named(name) => name.unraw().to_string(),
                    Member::Unnamed(index) => index.index.to_string(),
                };
                Field { name: text, member, of: &field.ty }
            })
            .collect();
        let attributes: Vec<_> = attributes.iter().filter(|attribute| is_ours(attribute)).collect();
        if attributes.is_empty() {
            let id = fields.first().map_or("*".to_owned(), |field| format!("{{{}}}", field.name));
            let why = format!(
                "`{name}` does not say what it makes stale; write `#[invalidates(\"family:{id}\")]` above it, or \
                 `#[invalidates()]` if it is nothing"
            );
            return refuse(name, why);
        }
        let mut used = Vec::new();
        let texts = all(attributes.into_iter().map(texts))?;
        let invalidations =
            all(texts.iter().flatten().map(|text| self.invalidation(text, &fields, &mut used)))?;
        let bindings = used.iter().map(|(member, binding)| quote!(#member: #binding));
        Ok(quote!(#path { #(#bindings,)* .. } => ::std::vec![#(#invalidations),*],))
    }

    /// Generates the invalidation that `text` describes, and adds the fields in it to `used`.
    fn invalidation(
        &mut self,
        text: &LitStr,
        fields: &[Field<'_>],
        used: &mut Vec<(Member, Ident)>,
    ) -> Result<TokenStream> {
        let value = text.value();
        let (family, rest) =
            value.split_once(':').map_or((&*value, None), |(family, rest)| (family, Some(rest)));
        let family = template::family(text, family)?;
        let segments = rest.map_or(Ok(Vec::new()), |rest| template::segments(text, rest))?;
        let segments = template::tokens(&segments, |placeholder| {
            let Some(field) = fields.iter().find(|field| field.name == placeholder) else {
                let names = template::listed("fields", fields.iter().map(|field| &field.name));
                return refuse(text, format!("there is no field `{placeholder}`; {names}"));
            };
            let binding = format_ident!("field_{}", placeholder);
            let part = template::value(field.of, &TokenStream::new(), &binding);
            if !used.iter().any(|(_, other)| *other == binding) {
                used.push((field.member.clone(), binding));
                self.bound(field.of);
            }
            Ok(part)
        })?;
        Ok(quote!(::cache_facade::__macros::invalidation(#family, #segments)))
    }

    /// Requires that a value of type `of` can be part of a key, where that depends on a type parameter.
    fn bound(&mut self, of: &Type) {
        let of = template::in_option(of).unwrap_or(of);
        if self.input.generics.type_params().any(|parameter| mentions(of, &parameter.ident)) {
            self.bounds.push(parse_quote!(#of: ::cache_facade::KeyPart));
        }
    }
}

fn is_ours(attribute: &Attribute) -> bool {
    attribute.path().is_ident("invalidates")
}

/// An error for each of our attributes where it would have no effect.
fn misplaced<T>(attributes: &[Attribute], place: &str) -> impl Iterator<Item = Result<T>> {
    let why = format!("`#[invalidates]` has no effect here; write it above {place}");
    attributes.iter().filter(|attribute| is_ours(attribute)).map(move |found| refuse(found, &why))
}

/// The texts in the parentheses of an attribute.
fn texts(attribute: &Attribute) -> Result<Punctuated<LitStr, Token![,]>> {
    let why = "write what becomes stale in parentheses, in quotes and with commas between, as in \
               `#[invalidates(\"post:{post}\")]`, or `#[invalidates()]` if it is nothing";
    let Meta::List(list) = &attribute.meta else { return refuse(attribute, why) };
    let texts = Punctuated::parse_terminated.parse2(list.tokens.clone());
    texts.map_err(|error| Error::new(error.span(), why))
}

/// All results, or all errors in one.
fn all<T>(results: impl IntoIterator<Item = Result<T>>) -> Result<Vec<T>> {
    let (mut values, mut errors) = (Vec::new(), Vec::new());
    for result in results {
        result.map_or_else(|error| errors.push(error), |value| values.push(value));
    }
    let joined = errors.into_iter().reduce(|mut all: Error, error| {
        all.combine(error);
        all
    });
    joined.map_or(Ok(values), Err)
}
