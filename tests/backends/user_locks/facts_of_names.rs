//! What the code relies on about names: which ones a server takes, and which are one.

use super::options::name;
use super::raw::get_lock;
use super::{Scene, Server};
use crate::suite::Outcome;

pub(crate) async fn no_name_is_null_or_an_error<S: Server>(scene: &Scene<S>) -> Outcome {
    let mut raw = scene.raw().await?;
    for nothing in ["SELECT GET_LOCK('', 0)", "SELECT GET_LOCK(NULL, 0)"] {
        match S::FOLDS_CASE {
            true => assert_eq!(raw.error(nothing).await?, 3057),
            false => assert_eq!(raw.row(nothing).await?, "NULL"),
        }
    }
    Ok(())
}

pub(crate) async fn a_name_that_is_too_long_has_its_own_error<S: Server>(
    scene: &Scene<S>,
) -> Outcome {
    let mut raw = scene.raw().await?;
    let id = name();
    let (longest, too_long, number) = match S::FOLDS_CASE {
        true => ("x".repeat(64 - id.len()), "x".repeat(65 - id.len()), 4163),
        false => ("x".repeat(192 - id.len()), "x".repeat(193 - id.len()), 1059),
    };
    assert!(raw.can_lock(&format!("{id}{longest}")).await?);
    let too_long = get_lock(format!("{id}{too_long}"), "0");
    assert_eq!(raw.error(&too_long).await?, number);
    // In characters on MySQL, in bytes on MariaDB.
    assert!(
        raw.can_lock(&format!("{id}{}", "é".repeat(64 - id.len())))
            .await?
    );
    Ok(())
}

pub(crate) async fn four_byte_characters_are_no_name_on_mysql<S: Server>(
    scene: &Scene<S>,
) -> Outcome {
    let mut raw = scene.raw().await?;
    let text = format!("{}😀", name());
    match S::FOLDS_CASE {
        true => assert_eq!(raw.error(&get_lock(&text, "0")).await?, 3057),
        false => assert!(raw.can_lock(&text).await?),
    }
    Ok(())
}

pub(crate) async fn nul_cuts_a_name<S: Server>(scene: &Scene<S>) -> Outcome {
    let (mut raw, mut other) = (scene.raw().await?, scene.raw().await?);
    let id = name();
    raw.lock(&format!("{id}\0b")).await?;
    for cut in [id.clone(), format!("{id}\0c")] {
        assert!(!other.gets(&cut).await?, "{cut:?}");
    }
    raw.unlock(&id).await
}

pub(crate) async fn mariadb_compares_bytes_and_mysql_characters<S: Server>(
    scene: &Scene<S>,
) -> Outcome {
    let (mut raw, mut other) = (scene.raw().await?, scene.raw().await?);
    let id = name();
    let text = format!("{id}é");
    other.run("SET NAMES latin1").await?;
    raw.lock(&text).await?;
    // The same character, as latin1 writes it.
    let latin = format!("CONCAT('{id}', _latin1 X'E9')");
    let got = other.row(&format!("SELECT GET_LOCK({latin}, 0)")).await?;
    assert_eq!(got, if S::FOLDS_CASE { "0" } else { "1" });
    raw.unlock(&text).await
}
