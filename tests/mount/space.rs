//! Mounts whose program has few descriptors.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};

use super::*;

/// Half of these are for the users of the mount.
const FEW: &str = "--rlimit-nofile=64";

/// Every path below a directory, with its inode number.
fn walk(dir: &Path) -> Vec<(PathBuf, u64)> {
    let mut found = Vec::new();
    // No directory stays open while those below it are read.
    let paths: Vec<_> = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    for path in paths {
        let stat = fs::symlink_metadata(&path).unwrap();
        if stat.is_dir() {
            found.extend(walk(&path));
        }
        found.push((path, stat.ino()));
    }
    found
}

#[test]
fn a_tree_of_any_size_and_depth_is_walked_with_few_descriptors() {
    if !can_mount() {
        return;
    }
    for handles in HANDLES {
        for cache in ["--cache=never", "--cache=auto"] {
            let mount = Mounted::new(&[FEW, handles, cache]);
            for dir in 0..40 {
                let dir = mount.on_host(&format!("{dir}/deep/deeper"));
                fs::create_dir_all(&dir).unwrap();
                for file in 0..20 {
                    fs::write(dir.join(file.to_string()), "x").unwrap();
                }
            }
            let deepest = (0..60).map(|_| "d").collect::<Vec<_>>().join("/");
            fs::create_dir_all(mount.on_host(&deepest)).unwrap();
            for _ in 0..2 {
                let strip = |root: PathBuf| {
                    let mut found = walk(&root);
                    for (path, _) in &mut found {
                        *path = path.strip_prefix(&root).unwrap().to_owned();
                    }
                    found.sort();
                    found
                };
                assert_eq!(strip(mount.root()), strip(mount.on_host("")), "{handles}, {cache}");
            }
            let open = mount.process.descriptors().unwrap();
            assert!(open <= 64, "{handles}, {cache}: {open}");
            mount.finish();
        }
    }
}

#[test]
fn too_many_open_files_are_an_error_of_who_opens_more_and_of_nobody_else() {
    if !can_mount() {
        return;
    }
    for handles in HANDLES {
        let mount = Mounted::new(&[FEW, handles, "--cache=never"]);
        for file in 0..200 {
            fs::write(mount.on_host(&format!("file{file}")), format!("content {file}")).unwrap();
        }
        let mut open = Vec::new();
        let mut refused = 0;
        for file in 0..200 {
            match File::open(mount.at(&format!("file{file}"))) {
                Ok(opened) => open.push((file, opened)),
                Err(error) => {
                    assert_eq!(error.raw_os_error(), Some(libc::ENFILE), "{handles}");
                    refused += 1;
                }
            }
        }
        assert!(open.len() >= 16 && refused > 0, "{handles}: {}", open.len());
        // What is open is what it was.
        for (file, opened) in &mut open {
            let mut content = String::new();
            opened.read_to_string(&mut content).unwrap();
            assert_eq!(content, format!("content {file}"), "{handles}");
        }
        // What cannot be done is an error, and leaves nothing behind.
        let made = File::options().write(true).create_new(true).mode(0o600).open(mount.at("new"));
        let error = made.expect_err("there is no room").raw_os_error();
        assert_eq!(error, Some(libc::ENFILE), "{handles}");
        drop(open);
        // As if nothing had been.
        assert_eq!(walk(&mount.root()).len(), walk(&mount.on_host("")).len(), "{handles}");
        for file in 0..200 {
            let content = fs::read_to_string(mount.at(&format!("file{file}"))).unwrap();
            assert_eq!(content, format!("content {file}"), "{handles}");
        }
        fs::write(mount.at("new"), "").unwrap();
        mount.finish();
    }
}

#[test]
fn names_are_made_moved_and_removed_with_few_descriptors() {
    if !can_mount() {
        return;
    }
    for handles in HANDLES {
        let mount = Mounted::new(&[FEW, handles]);
        for dir in 0..50 {
            fs::create_dir(mount.at(&format!("{dir}"))).unwrap();
            for file in 0..10 {
                fs::write(mount.at(&format!("{dir}/{file}")), format!("{dir}/{file}")).unwrap();
            }
        }
        for dir in 0..50 {
            for file in 0..10 {
                let to = mount.at(&format!("{}/moved{file}", (dir + 17) % 50));
                fs::rename(mount.at(&format!("{dir}/{file}")), to).unwrap();
            }
        }
        for dir in 0..50 {
            fs::rename(mount.at(&format!("{dir}")), mount.at(&format!("dir{dir}"))).unwrap();
        }
        for dir in 0..50 {
            for file in 0..10 {
                let at = format!("dir{}/moved{file}", (dir + 17) % 50);
                for path in [mount.at(&at), mount.on_host(&at)] {
                    let content = fs::read_to_string(path).unwrap();
                    assert_eq!(content, format!("{dir}/{file}"), "{handles}: {at}");
                }
            }
        }
        for dir in 0..50 {
            fs::remove_dir_all(mount.at(&format!("dir{dir}"))).unwrap();
        }
        assert_eq!(fs::read_dir(mount.on_host("")).unwrap().count(), 0);
        mount.finish();
    }
}
