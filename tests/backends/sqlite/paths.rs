//! One database has one set of locks, by whatever path it is opened; two databases have two.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use dlock::{DLockExt, DLockGuard};
use dlock_tests::{Way, connect};

use super::database::Scratch;
use crate::suite::{Outcome, Peer};

const KEY: i64 = 42;

/// From the current directory of this process.
fn relative(file: &Path) -> Outcome<PathBuf> {
    let here = std::env::current_dir()?;
    let up: PathBuf = here.components().skip(1).map(|_| "..").collect();
    Ok(up.join(file.strip_prefix("/")?))
}

/// The ways to the database of this scratch.
fn urls(scratch: &Scratch) -> Outcome<Vec<String>> {
    let file = scratch.file();
    let folder = scratch.folder.join("folder");
    symlink(&scratch.folder, &folder)?;
    let link = scratch.folder.join("link.db");
    symlink(&file, &link)?;
    let name = scratch.folder.file_name().expect("it has a name");
    let dots = folder.join(".").join("..").join(name).join("app.db");
    let linked = folder.join("app.db");
    let relative = relative(&file)?;
    let paths = [&file, &relative, &linked, &link, &dots];
    let mut urls: Vec<String> = paths
        .iter()
        .map(|path| format!("sqlite:{}", path.display()))
        .collect();
    urls.push(format!("sqlite://{}?mode=ro", file.display()));
    urls.push(format!("sqlite:file:{}", file.display()));
    urls.push(format!("sqlite:file:{}?mode=rwc", link.display()));
    urls.push(format!(
        "sqlite:file:{}",
        file.display().to_string().replace("app", "%2561pp")
    ));
    Ok(urls)
}

#[tokio::test]
async fn every_path_to_a_database_leads_to_the_same_locks() -> Outcome {
    let scratch = Scratch::create().await;
    let mut dbs = Vec::new();
    for url in urls(&scratch)? {
        dbs.push((connect(&url, 1).await, url));
    }
    for (holder, path) in &dbs {
        let guard: DLockGuard = holder.dlock(KEY).await?;
        for (asker, other) in &dbs {
            let got = asker.dlock(KEY).try_acquire().await?;
            assert!(got.is_none(), "{other} while held by {path}");
        }
        guard.release().await?;
    }
    let folders = fs::read_dir(&scratch.folder)?.filter(|entry| {
        let entry = entry.as_ref().expect("an entry");
        entry.path().extension().is_some_and(|end| end == "dlock")
    });
    assert_eq!(folders.count(), 1);
    Ok(())
}

#[tokio::test]
async fn a_process_in_the_folder_of_the_database_meets_one_elsewhere() -> Outcome {
    let scratch = Scratch::create().await;
    let db = scratch.db().await;
    let cd = format!("cd {}", scratch.folder.display());
    symlink(scratch.file(), scratch.folder.join("link.db"))?;
    for url in ["sqlite:app.db", "sqlite://link.db", "sqlite:file:./app.db"] {
        let mut peer = Peer::start_after(&cd, url).await?;
        peer.hold(KEY, Way::PLAIN).await?;
        assert!(db.dlock(KEY).try_acquire().await?.is_none(), "{url}");
        peer.release(KEY).await?;
        let guard = db.dlock(KEY).await?;
        assert!(!peer.try_hold(KEY, Way::PLAIN).await?, "{url}");
        guard.release().await?;
    }
    Ok(())
}

#[tokio::test]
async fn two_databases_in_one_folder_do_not_meet() -> Outcome {
    let scratch = Scratch::create().await;
    let db = scratch.db().await;
    let guard = db.dlock(KEY).await?;
    for name in ["other.db", "app", "app.db2", "App.db"] {
        let url = format!("sqlite:{}?mode=rwc", scratch.folder.join(name).display());
        let other = connect(&url, 1).await;
        let theirs = other.dlock(KEY).try_acquire().await?;
        assert!(theirs.is_some(), "{name}");
        assert!(scratch.folder.join(format!("{name}.dlock")).is_dir());
    }
    Ok(guard.release().await?)
}

#[tokio::test]
async fn a_name_with_blanks_signs_and_umlauts_is_a_name() -> Outcome {
    let scratch = Scratch::create().await;
    let name = "Mein 100% Büro #1?.db";
    let file = scratch.folder.join(name);
    let url = file.display().to_string().replace('%', "%25");
    let url = url.replace('?', "%3f").replace('#', "%23");
    let url = format!("sqlite:{url}?mode=rwc");
    let (ours, theirs) = (connect(&url, 1).await, connect(&url, 1).await);
    let guard = ours.dlock(KEY).await?;
    assert!(file.is_file());
    assert!(scratch.folder.join(format!("{name}.dlock")).is_dir());
    assert!(theirs.dlock(KEY).try_acquire().await?.is_none());
    Ok(guard.release().await?)
}
