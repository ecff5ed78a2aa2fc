//! Imports point one way: no modules of one folder import each other, over however many others.

use std::collections::{BTreeMap, BTreeSet};
use std::{fs, mem, path::Path};

fn sources(folder: &Path, module: &[String], found: &mut Vec<(Vec<String>, String)>) {
    for entry in fs::read_dir(folder).expect("a folder of sources") {
        let path = entry.expect("an entry").path();
        let name = path.file_stem().expect("a name").display().to_string();
        let inner = [module, std::slice::from_ref(&name)].concat();
        match &*name {
            "tests" | "simulation" => {}
            _ if path.is_dir() => sources(&path, &inner, found),
            "mod" | "lib" => found.push((module.into(), fs::read_to_string(path).expect("text"))),
            _ => found.push((inner, fs::read_to_string(path).expect("text"))),
        }
    }
}

/// `a::{b, c::d}` as `a::b` and `a::c::d`.
fn paths(tree: &str) -> Vec<String> {
    let Some((start, rest)) = tree.split_once('{') else {
        return vec![tree.to_owned()];
    };
    let (mut depth, mut part, mut found) = (0, String::new(), Vec::new());
    for letter in rest.chars() {
        match (letter, depth) {
            (',' | '}', 0) => found.extend(paths(&mem::take(&mut part))),
            _ => part.push(letter),
        }
        depth += i32::from(letter == '{') - i32::from(letter == '}');
    }
    found.iter().map(|path| format!("{start}{path}")).collect()
}

/// The full path of an import, if it is of this crate.
fn target(module: &[String], path: &str) -> Option<Vec<String>> {
    let mut target = module.to_vec();
    for (index, name) in path.split("::").enumerate() {
        match name {
            "crate" => target.clear(),
            "super" => drop(target.pop()),
            "self" => {}
            _ if index == 0 => return None,
            name => target.push(name.to_owned()),
        }
    }
    Some(target)
}

#[test]
fn no_modules_import_each_other() {
    let (root, mut found) = (Path::new(env!("CARGO_MANIFEST_DIR")), Vec::new());
    sources(&root.join("../dlock/src"), &[], &mut found);
    let modules: BTreeSet<&[String]> = found.iter().map(|(module, _)| &**module).collect();
    let mut arrows: BTreeMap<&[String], BTreeSet<&[String]>> = BTreeMap::new();
    for (from, text) in &found {
        let uses = text
            .split("use ")
            .skip(1)
            .map(|rest| rest.split(';').next().unwrap_or(rest));
        let paths = uses.flat_map(|tree| paths(&tree.split_whitespace().collect::<String>()));
        for to in paths.filter_map(|path| target(from, &path)) {
            let common = from.iter().zip(&to).take_while(|(a, b)| a == b).count();
            let to = to.get(..=common).and_then(|to| modules.get(to));
            if let (Some(from), Some(to)) = (from.get(..=common), to) {
                arrows.entry(from).or_default().insert(to);
            }
        }
    }
    assert!(arrows.len() > 50, "{arrows:?}");
    // A module that imports none of those that are left is in no circle.
    let mut before = usize::MAX;
    while mem::replace(&mut before, arrows.len()) > arrows.len() {
        let left: BTreeSet<_> = arrows.keys().copied().collect();
        arrows.retain(|_, to| to.iter().any(|to| left.contains(to)));
    }
    assert!(arrows.is_empty(), "these import each other: {arrows:#?}");
}
