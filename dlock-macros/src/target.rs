//! Where in the function the body is: the block of an `async fn`, or the one that `#[async_trait]` has left of it in a `Box::pin(async move { .. })`.

use proc_macro2::{Group, Ident, Span, TokenStream, TokenTree};
use syn::spanned::Spanned;
use syn::visit::{self, Visit};
use syn::visit_mut::{self, VisitMut};
use syn::{
    AssocType, Block, Error, Expr, FnArg, Generics, Item, ItemFn, Pat, PatIdent, PredicateType,
    Result, ReturnType, Stmt, TraitItemFn, Type, TypeParamBound, WherePredicate, parse_quote,
};

/// The body, and what is known around it.
pub(crate) struct Target<'a> {
    pub(crate) block: &'a mut Block,
    /// What the body returns, as far as it is written down; `_` for an `impl Trait`.
    pub(crate) returns: Option<Type>,
    /// Where to point when that cannot be made of an error.
    pub(crate) returned_at: Span,
    /// The names that the body begins with.
    pub(crate) bindings: Vec<Ident>,
    /// Those of the function's parameters that are nothing but a name.
    pub(crate) parameters: Vec<Parameter>,
}

/// A parameter `db: &C` or `db: C`.
pub(crate) struct Parameter {
    pub(crate) name: Ident,
    pub(crate) is_reference: bool,
    /// `C` is a generic type with the bound `ConnectionTrait`.
    pub(crate) is_generic: bool,
}

impl Target<'_> {
    /// The attribute's arguments as they are written next to the body, where `#[async_trait]` has another word for `self`.
    pub(crate) fn seen_from_here(&self, arguments: TokenStream) -> TokenStream {
        match self.bindings.iter().find(|name| *name == "__self") {
            Some(renamed) => rename_self(arguments, renamed),
            None => arguments,
        }
    }
}

pub(crate) fn function(item: TokenStream) -> Result<ItemFn> {
    let first = item.clone().into_iter().next();
    let first = first.map_or_else(Span::call_site, |token| token.span());
    syn::parse2(item.clone()).map_err(|error| {
        if let Ok(method) = syn::parse2::<TraitItemFn>(item.clone()) {
            let message = "there is no body to run under the lock: put `#[with_dlock]` on the implementations";
            return Error::new(method.sig.ident.span(), message);
        }
        match syn::parse2::<Item>(item) {
            Ok(_) => Error::new(first, "`#[with_dlock]` is for async functions"),
            Err(_) => error,
        }
    })
}

pub(crate) fn find(function: &mut ItemFn) -> Result<Target<'_>> {
    let ItemFn { sig, block, .. } = function;
    if let Some(constness) = &sig.constness {
        let message = "a `const fn` cannot wait for a lock: write `async` in the place of `const`";
        return Err(Error::new(constness.span(), message));
    }
    let mut bindings = Bindings::default();
    for input in &sig.inputs {
        bindings.visit_fn_arg(input);
    }
    let parameters = sig.inputs.iter().filter_map(|input| {
        let FnArg::Typed(input) = input else {
            return None;
        };
        let Pat::Ident(name) = &*input.pat else {
            return None;
        };
        let (is_reference, own) = match &*input.ty {
            Type::Reference(reference) => (true, &*reference.elem),
            own => (false, own),
        };
        Some(Parameter {
            name: name.ident.clone(),
            is_reference,
            is_generic: is_connection_trait(own, &sig.generics),
        })
    });
    let parameters = parameters.collect();
    let returned_at = match &sig.output {
        ReturnType::Default => sig.ident.span(),
        ReturnType::Type(_, returns) => returns.span(),
    };
    if sig.asyncness.is_some() {
        let returns = match &sig.output {
            ReturnType::Default => parse_quote!(()),
            ReturnType::Type(_, returns) => without_impl(returns),
        };
        return Ok(Target {
            block,
            returns: Some(returns),
            returned_at,
            bindings: bindings.0,
            parameters,
        });
    }
    let block = match block.stmts.last_mut() {
        Some(Stmt::Expr(future, None)) => async_block(future),
        _ => None,
    };
    let block = block.ok_or_else(|| {
        let message = "a lock is waited for, so the function must be async: write `async fn` \
                       (and `#[tokio::main]`, `#[tokio::test]` and their like below `#[with_dlock]`)";
        Error::new(sig.fn_token.span(), message)
    })?;
    let body = body_of_async_trait(&block.stmts);
    for statement in &block.stmts[..body.unwrap_or(0)] {
        if let Stmt::Local(local) = statement {
            bindings.visit_pat(&local.pat);
        }
    }
    Ok(Target {
        block: match body {
            Some(at) => block_of(&mut block.stmts[at]),
            None => block,
        },
        returns: output_of_future(&sig.output),
        returned_at,
        bindings: bindings.0,
        parameters,
    })
}

/// `impl ConnectionTrait`, or a parameter of the function with that bound.
fn is_connection_trait(own: &Type, generics: &Generics) -> bool {
    // One that is also a smart pointer is looked through.
    fn any_is<'a>(bounds: impl Iterator<Item = &'a TypeParamBound>) -> bool {
        let names: Vec<&Ident> = bounds
            .filter_map(|bound| match bound {
                TypeParamBound::Trait(bound) => bound.path.segments.last(),
                _ => None,
            })
            .map(|last| &last.ident)
            .collect();
        let has = |bound| names.iter().any(|name| *name == bound);
        has("ConnectionTrait") && !has("Deref")
    }

    match own {
        Type::ImplTrait(own) => any_is(own.bounds.iter()),
        Type::Paren(own) => is_connection_trait(&own.elem, generics),
        Type::Path(own) => {
            let Some(name) = own.path.get_ident() else {
                return false;
            };
            let mut parameters = generics.type_params();
            let Some(parameter) = parameters.find(|parameter| parameter.ident == *name) else {
                return false;
            };
            let clauses = generics.where_clause.iter();
            let clauses = clauses.flat_map(|clause| &clause.predicates);
            let clauses = clauses.filter_map(|clause| match clause {
                WherePredicate::Type(clause) => Some(clause),
                _ => None,
            });
            let is_own = |clause: &&PredicateType| match &clause.bounded_ty {
                Type::Path(bounded) => bounded.path.is_ident(name),
                _ => false,
            };
            let clauses = clauses.filter(is_own).flat_map(|clause| &clause.bounds);
            any_is(parameter.bounds.iter().chain(clauses))
        }
        _ => false,
    }
}

/// The block of `async move { .. }`, in `Box::pin` or not.
fn async_block(future: &mut Expr) -> Option<&mut Block> {
    match future {
        Expr::Async(future) if future.capture.is_some() => Some(&mut future.block),
        Expr::Call(call) if is_box_pin(&call.func) => async_block(call.args.first_mut()?),
        _ => None,
    }
}

fn is_box_pin(function: &Expr) -> bool {
    let Expr::Path(function) = function else {
        return false;
    };
    let mut path = function.path.segments.iter().rev();
    let mut next_is = |name| path.next().is_some_and(|segment| segment.ident == name);
    next_is("pin") && next_is("Box")
}

/// Where `let __ret: T = { body };` or, at the end, `let _: () = { body };` is, which comes after the arguments have been bound.
/// <https://github.com/dtolnay/async-trait/blob/0.1.92/src/expand.rs>
fn body_of_async_trait(statements: &[Stmt]) -> Option<usize> {
    let is_local = |statement: &Stmt| matches!(statement, Stmt::Local(_));
    let at = statements.iter().rposition(is_local)?;
    let Stmt::Local(local) = &statements[at] else {
        return None;
    };
    let Pat::Type(typed) = &local.pat else {
        return None;
    };
    let is_its_name = match &*typed.pat {
        Pat::Ident(name) => name.ident == "__ret",
        Pat::Wild(_) => at + 1 == statements.len(),
        _ => false,
    };
    let init = local.init.as_ref()?;
    (is_its_name && matches!(*init.expr, Expr::Block(_))).then_some(at)
}

fn block_of(body_of_async_trait: &mut Stmt) -> &mut Block {
    if let Stmt::Local(local) = body_of_async_trait
        && let Some(init) = &mut local.init
        && let Expr::Block(body) = &mut *init.expr
    {
        return &mut body.block;
    }
    unreachable!("BUG: that is how it was found")
}

fn rename_self(tokens: TokenStream, renamed: &Ident) -> TokenStream {
    let mut tokens = tokens.into_iter().peekable();
    let mut out = TokenStream::new();
    while let Some(token) = tokens.next() {
        let is_path =
            matches!(tokens.peek(), Some(TokenTree::Punct(next)) if next.as_char() == ':');
        out.extend([match token {
            TokenTree::Ident(word) if word == "self" && !is_path => {
                Ident::new(&renamed.to_string(), word.span()).into()
            }
            TokenTree::Group(group) => {
                let mut renamed =
                    Group::new(group.delimiter(), rename_self(group.stream(), renamed));
                renamed.set_span(group.span());
                renamed.into()
            }
            token => token,
        }]);
    }
    out
}

/// The `T` of `-> Pin<Box<dyn Future<Output = T>>>` and of `-> impl Future<Output = T>`.
fn output_of_future(output: &ReturnType) -> Option<Type> {
    #[derive(Default)]
    struct Output(Option<Type>);

    impl<'ast> Visit<'ast> for Output {
        fn visit_assoc_type(&mut self, assigned: &'ast AssocType) {
            if assigned.ident == "Output" && self.0.is_none() {
                self.0 = Some(without_impl(&assigned.ty));
            }
        }
    }

    let mut found = Output::default();
    found.visit_return_type(output);
    found.0
}

fn without_impl(returns: &Type) -> Type {
    struct Erase;

    impl VisitMut for Erase {
        fn visit_type_mut(&mut self, part: &mut Type) {
            match part {
                Type::ImplTrait(_) => *part = parse_quote!(_),
                _ => visit_mut::visit_type_mut(self, part),
            }
        }
    }

    let mut returns = returns.clone();
    Erase.visit_type_mut(&mut returns);
    returns
}

#[derive(Default)]
struct Bindings(Vec<Ident>);

impl<'ast> Visit<'ast> for Bindings {
    fn visit_pat_ident(&mut self, pattern: &'ast PatIdent) {
        self.0.push(pattern.ident.clone());
        visit::visit_pat_ident(self, pattern);
    }
}
