//! [`Argument`]: how an argument of a cached function reaches its body, which may outlive the call.

use proc_macro2::{TokenStream, TokenTree};
use quote::{ToTokens, format_ident, quote, quote_spanned};
use syn::spanned::Spanned;
use syn::{FnArg, Ident, Pat, Result, Token, Type};

use crate::refuse;

/// An argument of a cached function.
pub(crate) struct Argument {
    /// The name in the signature, `self` included.
    pub(crate) name: Ident,
    /// The name of the body's own.
    own: Ident,
    pub(crate) of: Type,
}

/// Reads an argument, and refuses what cannot be given to a body that may outlive the call.
pub(crate) fn read(input: &FnArg) -> Result<Argument> {
    let argument = match input {
        FnArg::Receiver(receiver) => Argument {
            name: Ident::from(receiver.self_token),
            own: format_ident!("__self"),
            of: (*receiver.ty).clone(),
        },
        FnArg::Typed(argument) => {
            let Pat::Ident(pattern) = &*argument.pat else {
                let why =
                    "an argument of a cached function is a plain name; take the value apart in the body";
                return refuse(&argument.pat, why);
            };
            let (name, own) = (pattern.ident.clone(), pattern.ident.clone());
            Argument { name, own, of: (*argument.ty).clone() }
        }
    };
    let inner = match &argument.of {
        Type::Reference(reference) if reference.mutability.is_some() => {
            let why = "the body of a cached function runs on a miss alone, in a task of its own, and cannot change what \
                       the caller has; take a value, or a `&` to a type that can be cloned";
            return refuse(&argument.of, why);
        }
        Type::Reference(reference) => &*reference.elem,
        other => other,
    };
    if borrows(inner) {
        let why = "the body of a cached function may outlive the call, and a type with a reference inside cannot be \
                   cloned for it; take the owned form, such as `Option<String>` for `Option<&str>`";
        return refuse(&argument.of, why);
    }
    Ok(argument)
}

impl Argument {
    /// The statement that makes it the body's own. An error that it cannot be cloned is at its type.
    pub(crate) fn owned(&self) -> TokenStream {
        let Self { name, own, of } = self;
        if self.is_lent() {
            quote_spanned!(of.span()=> let #own = ::cache_facade::__macros::owned(#name);)
        } else {
            quote!(let #own = #name;)
        }
    }

    /// The argument of the call of the body.
    pub(crate) fn passed(&self) -> TokenStream {
        let lent = self.is_lent().then(<Token![&]>::default);
        let own = &self.own;
        quote!(#lent #own)
    }

    /// Whether the caller lends it for the call alone.
    fn is_lent(&self) -> bool {
        let is_static = |lifetime: &syn::Lifetime| lifetime.ident == "static";
        matches!(&self.of, Type::Reference(reference) if !reference.lifetime.as_ref().is_some_and(is_static))
    }
}

/// Takes the `mut` of an argument away: only the body changes it.
pub(crate) fn take_mut(input: &mut FnArg) {
    if let FnArg::Typed(argument) = input
        && let Pat::Ident(name) = &mut *argument.pat
    {
        name.mutability = None;
    }
}

/// Whether a type has a reference or a lifetime in it, other than `'static`. Those in parentheses, as of functions, do not
/// count.
fn borrows(of: &Type) -> bool {
    let tokens: Vec<TokenTree> = of.to_token_stream().into_iter().collect();
    let follows =
        |place: usize, text: &str| tokens.get(place + 1).is_some_and(|next| next.to_string() == text);
    tokens.iter().enumerate().any(|(place, token)| match token {
        TokenTree::Punct(sign) if sign.as_char() == '&' => !follows(place, "'"),
        TokenTree::Punct(sign) if sign.as_char() == '\'' => !follows(place, "static"),
        _ => false,
    })
}
