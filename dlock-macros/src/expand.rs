//! The plan → the function's new block. All that it calls is in `dlock::__private`; the logic is there.

use proc_macro2::{Ident, Span, TokenStream};
use quote::{ToTokens, TokenStreamExt, quote, quote_spanned};
use syn::spanned::Spanned;
use syn::{Path, Stmt, Type};

use crate::parse::{Key, Timeout};
use crate::target::{Parameter, Target};
use crate::validate::{Hold, InBody, Plan, Wait, named};

/// Puts the lock around the body.
pub(crate) fn expand(plan: Plan<'_>) {
    let acquire = acquire(&plan);
    let Plan {
        dlock,
        hold,
        on_error,
        busy,
        target:
            Target {
                block,
                returns,
                returned_at,
                ..
            },
        ..
    } = plan;
    let [acquired, guard, body, returned, error] =
        ["acquired", "guard", "body", "returned", "error"].map(local);

    let return_type = return_type(&dlock, returns);
    let mut future = quote! { async move };
    block.brace_token.surround(&mut future, |inside| {
        return_type.to_tokens(inside);
        inside.append_all(&block.stmts);
    });
    let held = match &hold {
        Hold::Xact(_) => quote! { ::core::result::Result::Ok(()) => return #future.await, },
        Hold::Session | Hold::Pinned(..) => {
            let session = session(&dlock, &hold, &guard);
            quote! {
                ::core::result::Result::Ok(#guard) => {
                    let #returned = {
                        #session
                        let #body = ::core::pin::pin!(#future);
                        #dlock::__private::unless_lost(#guard.lost(), #body).await
                    };
                    match #returned {
                        ::core::option::Option::Some(#returned) => {
                            #dlock::__private::released(#guard.release().await);
                            return #returned;
                        }
                        ::core::option::Option::None => #dlock::__private::lost(&#guard),
                    }
                }
            }
        }
    };
    let busy = busy.map(|busy| {
        quote! {
            ::core::result::Result::Err(#dlock::Error::Timeout { .. }) => return #busy,
        }
    });
    let failed = match on_error {
        Some(on_error) => {
            let function = private("on_error", &dlock, on_error.span());
            quote_spanned! {on_error.span()=> #function(#error, #on_error) }
        }
        None => {
            let function = private("failed", &dlock, returned_at);
            quote_spanned! {returned_at=> #function(#error) }
        }
    };
    let locked = quote! {
        let #acquired = #acquire;
        let #error = match #acquired {
            #held
            #busy
            ::core::result::Result::Err(#error) => #error,
        };
        #failed
    };
    block.stmts = vec![Stmt::Expr(syn::Expr::Verbatim(locked), None)];
}

fn acquire(plan: &Plan<'_>) -> TokenStream {
    let Plan { dlock, db, .. } = plan;
    let [key_name, wait] = ["key", "wait"].map(local);
    let key = match &plan.key {
        Key::Format(text) => quote! { #dlock::__private::key(::core::format_args!(#text)) },
        Key::Into(key) => {
            let function = private("into_key", dlock, key.span());
            quote_spanned! {key.span()=> #function(#key) }
        }
    };
    let shared = plan
        .shared
        .as_ref()
        .map(|shared| quote_spanned! {shared.span()=> .shared() });
    let timeout = match &plan.wait {
        Wait::Default => None,
        Wait::Not(name) => Some((name, quote! { ::core::time::Duration::ZERO })),
        Wait::Timeout(name, Timeout::Expr(_)) => Some((name, quote! { #wait })),
        Wait::Timeout(name, Timeout::Literal(timeout)) => {
            let (seconds, nanos) = (timeout.as_secs(), timeout.subsec_nanos());
            Some((
                name,
                quote! { ::core::time::Duration::new(#seconds, #nanos) },
            ))
        }
    };
    let timeout = timeout.map(|(name, timeout)| quote_spanned! {name.span()=> .timeout(#timeout) });
    // What is made on the way to it, such as the guard of a mutex, does not live while the lock is waited for.
    let wait = match &plan.wait {
        Wait::Timeout(name, Timeout::Expr(timeout)) => {
            let duration = quote_spanned! {name.span()=> ::core::time::Duration };
            Some(quote! { let #wait: #duration = #timeout; })
        }
        Wait::Timeout(_, Timeout::Literal(_)) | Wait::Default | Wait::Not(_) => None,
    };
    let hold = match &plan.hold {
        Hold::Session => None,
        Hold::Xact(xact) => Some(quote_spanned! {xact.span()=> .xact() }),
        Hold::Pinned(pinned, _) => Some(quote_spanned! {pinned.span()=> .pinned() }),
    };
    // The method looks through references and smart pointers. For a generic type, the function
    // `pool_of` puts the missing bound into rustc's error.
    let (pool, lock) = match parameter(plan) {
        Some(parameter) if parameter.is_generic => {
            let (pool, pool_of) = (local("pool"), private("pool_of", dlock, db.span()));
            let reference = (!parameter.is_reference).then(|| quote! { & });
            let bind = quote_spanned! {db.span()=> let #pool = #pool_of(#reference #db); };
            (Some(bind), quote! { #pool.__dlock(#key_name) })
        }
        // For a type that has no locks, rustc's error is better than for a reference to it.
        Some(parameter) if parameter.is_reference => (
            None,
            quote_spanned! {db.span()=> (*#db).__dlock(#key_name) },
        ),
        _ => (None, quote_spanned! {db.span()=> (#db).__dlock(#key_name) }),
    };
    let acquire = quote_spanned! {db.span()=> .acquire().await };
    quote! {
        {
            let #key_name = #key;
            #wait
            use #dlock::__private::LockedOn as _;
            #pool
            #lock #shared #timeout #hold #acquire
        }
    }
}

/// The parameter of the function that `db` names, if it does. A lock of a transaction is on no
/// generic type.
fn parameter<'a>(plan: &'a Plan<'_>) -> Option<&'a Parameter> {
    let name = named(&plan.db).filter(|_| !matches!(plan.hold, Hold::Xact(_)))?;
    let mut parameters = plan.target.parameters.iter();
    parameters.find(|parameter| parameter.name == *name)
}

/// An edge that is never taken tells rustc what `?` and `return` in the body lead to.
fn return_type(dlock: &Path, returns: Option<Type>) -> Option<TokenStream> {
    let returns = returns.filter(|returns| !matches!(returns, Type::Never(_)))?;
    Some(quote! {
        if false {
            return #dlock::__private::never::<#returns>();
        }
    })
}

/// What the body of a pinned lock works on.
fn session(dlock: &Path, hold: &Hold, guard: &Ident) -> Option<TokenStream> {
    let Hold::Pinned(_, in_body) = hold else {
        return None;
    };
    Some(match in_body {
        InBody::Replaces(name) => {
            let function = private("in_the_place_of", dlock, name.span());
            let session = quote_spanned! {name.span()=> #function(&#name, &#guard) };
            quote! {
                #[allow(unused_variables)]
                let #name = #session;
            }
        }
        // Not to use it is a mistake, of which rustc warns.
        InBody::New(name) => quote! { let #name = ::core::ops::Deref::deref(&#guard); },
    })
}

/// A name that the user's code cannot see.
fn local(name: &str) -> Ident {
    Ident::new(&format!("__dlock_{name}"), Span::mixed_site())
}

/// A function of `dlock::__private` for what is written at `span`: rustc points there when it does not fit.
fn private(function: &str, dlock: &Path, span: Span) -> TokenStream {
    let function = Ident::new(function, Span::call_site());
    let tokens = quote! { #dlock::__private::#function };
    tokens
        .into_iter()
        .map(|mut token| {
            token.set_span(span.resolved_at(token.span()));
            token
        })
        .collect()
}
