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
            let acquired = {
                let key = ::dlock::__private::key(::core::format_args!("invoice/{id}"));
                use ::dlock::DLockExt as _;
                (db).dlock(key).timeout(::core::time::Duration::new(90u64, 0u32)).acquire().await
            };
            let error = match acquired {
                ::core::result::Result::Ok(guard) => {
                    let returned = {
                        let body = ::core::pin::pin!(async move {
                            if false {
                                return ::dlock::__private::never::<Result<bool, AppError> >();
                            }
                            let invoice = find(db, id).await?;
                            invoice.pay().await
                        });
                        ::dlock::__private::unless_lost(guard.lost(), body).await
                    };
                    match returned {
                        ::core::option::Option::Some(returned) => {
                            ::dlock::__private::released(guard.release().await);
                            return returned;
                        }
                        ::core::option::Option::None => ::dlock::__private::lost(guard.key()),
                    }
                }
                ::core::result::Result::Err(::dlock::Error::Timeout { .. }) => return Ok(false),
                ::core::result::Result::Err(error) => error,
            };
            ::dlock::__private::failed(error)
        }
    };
    let expanded = lock(arguments, function).expect("there is no mistake in it");
    assert_eq!(expanded.to_string(), expected.to_string());
}
