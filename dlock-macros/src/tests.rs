//! What the attribute makes of a function, to be read. That it works is tested in the package `dlock-tests`.

use quote::quote;

use crate::lock;

#[test]
fn a_function_is_one_future_more_and_no_box() {
    let arguments = quote!(key = "invoice/{id}", timeout = "1m30s", busy = Ok(false));
    let function = quote! {
        /// Pays.
        pub async fn pay(db: &DatabaseConnection, id: i64) -> Result<bool, AppError> {
            let invoice = find(db, id).await?;
            invoice.pay().await
        }
    };
    let expected = quote! {
        /// Pays.
        pub async fn pay(db: &DatabaseConnection, id: i64) -> Result<bool, AppError> {
            let __dlock_acquired = {
                let __dlock_key = ::dlock::__private::key(::core::format_args!("invoice/{id}"));
                use ::dlock::__private::LockedOn as _;
                (*db).__dlock(__dlock_key).timeout(::core::time::Duration::new(90u64, 0u32)).acquire().await
            };
            let __dlock_error = match __dlock_acquired {
                ::core::result::Result::Ok(__dlock_guard) => {
                    let __dlock_returned = {
                        let __dlock_body = ::core::pin::pin!(async move {
                            if false {
                                return ::dlock::__private::never::<Result<bool, AppError> >();
                            }
                            let invoice = find(db, id).await?;
                            invoice.pay().await
                        });
                        ::dlock::__private::unless_lost(__dlock_guard.lost(), __dlock_body).await
                    };
                    match __dlock_returned {
                        ::core::option::Option::Some(__dlock_returned) => {
                            ::dlock::__private::released(__dlock_guard.release().await);
                            return __dlock_returned;
                        }
                        ::core::option::Option::None => ::dlock::__private::lost(&__dlock_guard),
                    }
                }
                ::core::result::Result::Err(::dlock::Error::Timeout { .. }) => return Ok(false),
                ::core::result::Result::Err(__dlock_error) => __dlock_error,
            };
            ::dlock::__private::failed(__dlock_error)
        }
    };
    let expanded = lock(arguments, function).expect("there is no mistake in it");
    assert_eq!(expanded.to_string(), expected.to_string());
}
