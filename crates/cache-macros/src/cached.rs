//! `#[cached(..)]`.

mod arguments;
mod options;

use proc_macro2::{Span, TokenStream};
use quote::{ToTokens, format_ident, quote, quote_spanned};
use syn::ext::IdentExt;
use syn::spanned::Spanned;
use syn::{
    Attribute, GenericParam, Generics, Ident, ItemFn, Result, ReturnType, Token, Type, Visibility,
    parse_quote,
};

use self::arguments::Argument;
pub(crate) use self::options::Options;
use crate::template::{self, Segment};
use crate::{mentions, refuse};

/// A function to be cached.
pub(crate) struct Cached {
    options: Options,
    function: ItemFn,
    arguments: Vec<Argument>,
}

impl Cached {
    pub(crate) fn read(options: Options, function: ItemFn) -> Result<Self> {
        if function.sig.asyncness.is_none() {
            let why =
                "only an `async fn` can be cached, because the cache is read with `.await`; add `async`";
            return refuse(function.sig.fn_token, why);
        }
        let arguments = function.sig.inputs.iter().map(arguments::read).collect::<Result<_>>()?;
        Ok(Self { options, function, arguments })
    }

    /// Generates the cached function, and the functions of its key and group.
    pub(crate) fn expand(&self) -> Result<TokenStream> {
        let segments = &*self.options.segments;
        let key = self.accessor("key", &quote!(CacheKey), segments)?;
        let group = self.accessor("group", &quote!(CacheGroup), segments.get(..1).unwrap_or_default())?;
        let function = self.function()?;
        Ok(quote!(#function #key #group))
    }

    /// The argument of this name, or an error at `text`, which names it.
    fn argument(&self, text: &impl ToTokens, name: &str) -> Result<&Argument> {
        let found = self.arguments.iter().find(|argument| argument.name.unraw() == name);
        let names = self.arguments.iter().map(|argument| &argument.name);
        let why = || format!("there is no argument `{name}`; {}", template::listed("arguments", names));
        found.map_or_else(|| refuse(text, why()), Ok)
    }

    /// The segments as expressions over the arguments, and the arguments in them.
    fn key_parts(&self, segments: &[Segment]) -> Result<(TokenStream, Vec<&Argument>)> {
        let mut used: Vec<&Argument> = Vec::new();
        let tokens = template::tokens(segments, |placeholder| {
            let argument = self.argument(&self.options.key, placeholder)?;
            if !used.iter().any(|other| other.name == argument.name) {
                used.push(argument);
            }
            Ok(template::value(&argument.of, &quote!(&), &argument.name))
        })?;
        Ok((tokens, used))
    }

    /// A name that is the macro's for the compiler, which so does not warn where it is unused.
    fn name(&self, name: impl FnOnce(Ident) -> String) -> Ident {
        let function = &self.function.sig.ident;
        Ident::new(&name(function.unraw()), Span::call_site().located_at(function.span()))
    }

    /// Generates the function that makes the key, or the group, of a value.
    fn accessor(&self, what: &str, of: &TokenStream, segments: &[Segment]) -> Result<TokenStream> {
        let (parts, used) = self.key_parts(segments)?;
        let inputs = used.iter().map(|Argument { name, of, .. }| quote!(#name: #of));
        let inputs = quote!(#(#inputs),*);
        let generics = only_used(&self.function.sig.generics, &inputs);
        let (visibility, family, bounds) = (&self.function.vis, &self.options.family, &generics.where_clause);
        let (name, maker) = (self.name(|function| format!("{function}_{what}")), format_ident!("{what}"));
        let conditions = self.function.attrs.iter().filter(|attribute| attribute.path().is_ident("cfg"));
        let doc = format!("The {what} under which `{}` keeps its value.", self.function.sig.ident);
        Ok(quote! {
            #(#conditions)*
            #[doc = #doc]
            #visibility fn #name #generics (#inputs) -> ::cache_facade::#of #bounds {
                ::cache_facade::__macros::#maker(#family, #parts)
            }
        })
    }

    /// Generates the function that reads through the cache, and the one with the body as it was written.
    fn function(&self) -> Result<TokenStream> {
        let Self { options, function, arguments } = self;
        let (parts, mut used) = self.key_parts(&options.segments)?;
        let cache = match &options.cache {
            None => quote!(::cache_facade::__macros::process_cache().await),
            Some((text, cache)) => {
                if let syn::Expr::Path(path) = cache
                    && let Some(name) = path.path.get_ident()
                {
                    used.push(self.argument(text, &name.to_string())?);
                }
                quote!(::cache_facade::Cache::clone(&#cache))
            }
        };

        // The body keeps its signature, in a function of its own.
        let body = self.name(|function| format!("__{function}_body"));
        let mut original = function.clone();
        original
            .attrs
            .retain(|attribute| ["allow", "cfg"].iter().any(|name| attribute.path().is_ident(name)));
        // It is `async` for the sake of the cache, also where nothing in it waits.
        let hidden: Vec<Attribute> = parse_quote!(#[doc(hidden)] #[allow(clippy::unused_async)]);
        original.attrs.extend(hidden);
        (original.vis, original.sig.ident) = (Visibility::Inherited, body.clone());
        // What the key or the call uses is no unused argument, also where the body does without it.
        let used = used.iter().map(|argument| &argument.name).filter(|name| *name != "self");
        original.block.stmts.insert(0, parse_quote!(let _ = (#(&#used,)*);));
        let (inside, beside, path) = if is_beside(function) {
            (None, Some(original), quote!(Self::#body))
        } else {
            (Some(original), None, quote!(#body))
        };

        let of_types = function.sig.generics.params.iter().filter_map(|parameter| match parameter {
            GenericParam::Lifetime(_) => None,
            GenericParam::Type(_) | GenericParam::Const(_) => Some(ident_of(parameter)),
        });
        let owned = arguments.iter().map(Argument::owned);
        let passed = arguments.iter().map(Argument::passed);
        let load = quote!(move || async move { #path::<#(#of_types),*>(#(#passed),*).await });
        let call = if returned(function)?.1 {
            quote! {
                ::cache_facade::__macros::load(&__cache, &__key, __options, #load).await.map_err(|error| {
                    use ::cache_facade::__macros::{ByClone as _, ByFrom as _};
                    (&::cache_facade::__macros::LoaderError(error)).to_own()
                })
            }
        } else {
            quote!(::cache_facade::__macros::load_infallible(&__cache, &__key, __options, #load).await)
        };
        let Options { family, ttl, stale_while_revalidate, stale_if_error, .. } = options;
        let negative = options.negative.as_ref().map(|(text, time)| {
            quote_spanned!(text.span()=> let __options = ::cache_facade::__macros::negative(__options, #time);)
        });
        let check = check_of_result(function)?;
        let (attributes, visibility, mut signature) = (&function.attrs, &function.vis, function.sig.clone());
        signature.inputs.iter_mut().for_each(arguments::take_mut);
        Ok(quote! {
            #(#attributes)*
            #visibility #signature {
                #check
                #inside
                let __key = ::cache_facade::__macros::key(#family, #parts);
                let __cache = #cache;
                let __options =
                    ::cache_facade::__macros::options(#ttl, #stale_while_revalidate, #stale_if_error);
                #negative
                #(#owned)*
                #call
            }
            #beside
        })
    }
}

/// The type that a function returns, and whether it is a `Result`, of which an alias such as `io::Result` has only the name.
fn returned(function: &ItemFn) -> Result<(&Type, bool)> {
    let ReturnType::Type(_, returned) = &function.sig.output else {
        let why = "a cached function returns the value to keep, and this one returns nothing; add `-> ..`";
        return refuse(&function.sig.ident, why);
    };
    let Type::Path(path) = &**returned else { return Ok((returned, false)) };
    let last = path.path.segments.last();
    Ok((returned, last.is_some_and(|last| last.ident.to_string().ends_with("Result"))))
}

/// Generates a check that the type is a `Result` where it has the name of one, and none under another name, whose errors would be
/// kept as values.
fn check_of_result(function: &ItemFn) -> Result<TokenStream> {
    let (returned, is_result) = returned(function)?;
    let why = if is_result {
        "this is no `Result`, and `#[cached]` knows one by the end of its name alone: give the type another name, or return \
         `Result<.., std::convert::Infallible>`"
    } else {
        "this alias is a `Result`, which `#[cached]` knows by its name alone: write `Result<..>`, or end the name of the alias in \
         `Result`, or errors would be kept as values"
    };
    let not = (!is_result).then(<Token![!]>::default);
    let check = quote_spanned! {returned.span()=> {
        #[allow(unused_imports)]
        use ::cache_facade::__macros::NoResult as _;
        ::core::assert!(#not ::cache_facade::__macros::Returned::<#returned>::IS_RESULT, #why);
    }};
    // A constant item is checked also where nothing calls the function, and cannot name parameters of the function or of the
    // implementation around it.
    let mut parameters = function.sig.generics.params.iter();
    Ok(if is_beside(function) || parameters.any(|of| mentions(returned, ident_of(of))) {
        quote!(const #check;)
    } else {
        quote!(const _: () = #check;)
    })
}

/// Whether the body needs the same `Self`, and has to be beside the cached function.
fn is_beside(function: &ItemFn) -> bool {
    function.sig.receiver().is_some() || mentions(function, &format_ident!("Self"))
}

/// The parameters of `generics` that `inputs` name, with the bounds that name no other.
fn only_used(generics: &Generics, inputs: &TokenStream) -> Generics {
    let (used, unused): (Vec<_>, Vec<_>) =
        generics.params.iter().cloned().partition(|parameter| mentions(inputs, ident_of(parameter)));
    let mut generics = Generics { params: used.into_iter().collect(), ..generics.clone() };
    if let Some(clause) = &mut generics.where_clause {
        let names_unused = |bound| unused.iter().any(|parameter| mentions(bound, ident_of(parameter)));
        let bounds = clause.predicates.iter().filter(|bound| !names_unused(*bound)).cloned();
        clause.predicates = bounds.collect();
    }
    generics
}

fn ident_of(parameter: &GenericParam) -> &Ident {
    match parameter {
        GenericParam::Lifetime(parameter) => &parameter.lifetime.ident,
        GenericParam::Type(parameter) => &parameter.ident,
        GenericParam::Const(parameter) => &parameter.ident,
    }
}
