//! What the host does to files that users of the mount hold.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::Read;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, symlink};
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{CWD, Dir, Mode, OFlags, RawDir, SeekFrom, openat};

use super::*;

/// Something that the host does.
type Step = (&'static str, fn(&Mounted));

/// Nothing is remembered, so that every step of the host is seen at once.
fn watchful(handles: &str) -> Mounted {
    Mounted::new(&["--cache=never", handles])
}

/// Holds an inode without opening it.
fn hold(path: &Path) -> OwnedFd {
    openat(CWD, path, OFlags::PATH | OFlags::NOFOLLOW, Mode::empty()).unwrap()
}

fn read(file: &File) -> String {
    let mut content = vec![0; 100];
    let len = file.read_at(&mut content, 0).unwrap();
    String::from_utf8(content[..len].to_vec()).unwrap()
}

#[test]
fn data_that_is_not_written_yet_is_data() {
    if !can_mount() {
        return;
    }
    let mount = Mounted::new(&["--writeback"]);
    let file = File::create(mount.at("new")).unwrap();
    file.write_all_at(&[7; 100_000], 100_000).unwrap();
    // As cp does, which takes what is no data for a hole.
    for at in [0, 150_000] {
        assert_eq!(rustix::fs::seek(&file, SeekFrom::Data(at)).unwrap(), at);
        assert_eq!(rustix::fs::seek(&file, SeekFrom::Hole(at)).unwrap(), 200_000);
    }
    let behind = rustix::fs::seek(&file, SeekFrom::Data(200_000));
    assert_eq!(behind, Err(rustix::io::Errno::NXIO));
}

#[test]
fn an_open_file_stays_itself_whatever_happens_to_its_names() {
    if !can_mount() {
        return;
    }
    for handles in HANDLES {
        let mount = watchful(handles);
        let steps: [Step; 5] = [
            ("renamed", |m| fs::rename(m.on_host("file"), m.on_host("moved")).unwrap()),
            ("replaced", |m| {
                fs::write(m.on_host("new"), "another").unwrap();
                fs::rename(m.on_host("new"), m.on_host("file")).unwrap();
            }),
            ("unlinked", |m| fs::remove_file(m.on_host("file")).unwrap()),
            ("made again", |m| {
                fs::remove_file(m.on_host("file")).unwrap();
                fs::write(m.on_host("file"), "another").unwrap();
            }),
            ("a directory now", |m| {
                fs::remove_file(m.on_host("file")).unwrap();
                fs::create_dir(m.on_host("file")).unwrap();
            }),
        ];
        for (what, step) in steps {
            fs::write(mount.on_host("file"), "content").unwrap();
            let file = OpenOptions::new().read(true).write(true).open(mount.at("file")).unwrap();
            let ino = file.metadata().unwrap().ino();
            step(&mount);
            assert_eq!(read(&file), "content", "{handles}, {what}");
            file.write_all_at(b"CON", 0).unwrap();
            file.set_len(5).unwrap();
            file.set_permissions(PermissionsExt::from_mode(0o640)).unwrap();
            file.sync_all().unwrap();
            assert_eq!(read(&file), "CONte", "{handles}, {what}");
            let now = file.metadata().unwrap();
            assert_eq!((now.ino(), now.len(), now.mode() & 0o777), (ino, 5, 0o640));
            drop(file);
            for entry in fs::read_dir(mount.on_host("")).unwrap() {
                let path = entry.unwrap().path();
                fs::remove_file(&path).or_else(|_| fs::remove_dir(&path)).unwrap();
            }
        }
        mount.finish();
    }
}

#[test]
fn a_directory_that_is_held_stays_itself() {
    if !can_mount() {
        return;
    }
    for handles in HANDLES {
        let mount = watchful(handles);
        fs::create_dir(mount.on_host("dir")).unwrap();
        fs::write(mount.on_host("dir/file"), "old").unwrap();
        let dir = hold(&mount.at("dir"));
        fs::rename(mount.on_host("dir"), mount.on_host("moved")).unwrap();
        fs::create_dir(mount.on_host("dir")).unwrap();
        fs::write(mount.on_host("dir/file"), "new").unwrap();
        let flags = OFlags::RDWR | OFlags::CREATE;
        let inside = |name: &str| File::from(openat(&dir, name, flags, 0o600.into()).unwrap());
        assert_eq!(read(&inside("file")), "old", "{handles}");
        drop(inside("made"));
        assert!(mount.on_host("moved/made").exists() && !mount.on_host("dir/made").exists());
        assert_eq!(fs::read(mount.at("dir/file")).unwrap(), b"new", "{handles}");
        fs::remove_dir_all(mount.on_host("moved")).unwrap();
        let error = openat(&dir, "other", flags, 0o600.into()).unwrap_err();
        let gone = [rustix::io::Errno::NOENT, rustix::io::Errno::STALE];
        assert!(gone.contains(&error), "{handles}: {error}");
        drop(dir);
        mount.finish();
    }
}

#[test]
fn a_name_leads_to_what_it_names_now() {
    if !can_mount() {
        return;
    }
    for handles in HANDLES {
        let mount = watchful(handles);
        let (path, host) = (mount.at("name"), mount.on_host("name"));
        for round in 0..20 {
            fs::write(&host, format!("file {round}")).unwrap();
            let ino = fs::metadata(&host).unwrap().ino();
            assert_eq!(fs::read_to_string(&path).unwrap(), format!("file {round}"), "{handles}");
            assert_eq!(fs::metadata(&path).unwrap().ino(), ino);
            fs::rename(&host, mount.on_host("moved")).unwrap();
            assert_eq!(errno(fs::metadata(&path)), libc::ENOENT, "{handles}, round {round}");
            assert_eq!(fs::metadata(mount.at("moved")).unwrap().ino(), ino, "{handles}");
            fs::create_dir(&host).unwrap();
            assert_eq!(fs::read_dir(&path).unwrap().count(), 0);
            fs::remove_dir(&host).unwrap();
            assert_eq!(errno(fs::read_dir(&path)), libc::ENOENT, "{handles}, round {round}");
            symlink("moved", &host).unwrap();
            assert_eq!(fs::read_link(&path).unwrap(), Path::new("moved"));
            assert_eq!(fs::read_to_string(&path).unwrap(), format!("file {round}"));
            fs::remove_file(&host).unwrap();
            assert_eq!(errno(fs::read_link(&path)), libc::ENOENT, "{handles}, round {round}");
        }
        mount.finish();
    }
}

#[test]
fn a_file_with_the_number_of_one_that_is_gone_is_another() {
    if !can_mount() {
        return;
    }
    for handles in HANDLES {
        let mount = watchful(handles);
        let (path, host) = (mount.at("name"), mount.on_host("name"));
        let mut again = 0;
        let mut numbers = HashMap::new();
        for round in 0..50 {
            let content = format!("file {round}");
            fs::write(&host, &content).unwrap();
            let held = hold(&path);
            // The host may use the number for the next one, unless the daemon holds the file.
            let ino = fs::metadata(&host).unwrap().ino();
            again += usize::from(numbers.insert(ino, round).is_some());
            assert_eq!(fs::read_to_string(&path).unwrap(), content, "{handles}");
            fs::remove_file(&host).unwrap();
            fs::write(&host, format!("another {round}")).unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), format!("another {round}"), "{handles}");
            // What is held is the old one, without a name, or nothing; never the new one.
            let way = format!("/proc/self/fd/{}", held.as_raw_fd());
            match fs::read_to_string(way) {
                Ok(found) => assert_eq!(found, content, "{handles}"),
                Err(error) => assert_eq!(error.raw_os_error(), Some(libc::ESTALE), "{handles}"),
            }
            drop(held);
            fs::remove_file(&host).unwrap();
        }
        eprintln!("{handles}: {again} numbers were used again");
        mount.finish();
    }
}

#[test]
fn what_the_host_changes_is_seen_in_the_end() {
    if !can_mount() {
        return;
    }
    for handles in HANDLES {
        let mount = Mounted::new(&[handles]);
        let (path, host) = (mount.at("file"), mount.on_host("file"));
        fs::write(&host, "one").unwrap();
        let file = File::open(&path).unwrap();
        assert_eq!((read(&file), fs::metadata(&path).unwrap().len()), ("one".into(), 3));
        fs::write(&host, "three").unwrap();
        wait_until("the attributes change", || fs::metadata(&path).unwrap().len() == 5);
        wait_until("the content changes", || read(&file) == "three");
        // Also where the size stays.
        fs::write(&host, "seven").unwrap();
        wait_until("the content changes again", || read(&file) == "seven");
        assert_eq!(errno(fs::metadata(mount.at("new"))), libc::ENOENT);
        fs::write(mount.on_host("new"), "").unwrap();
        wait_until("a name appears", || mount.at("new").exists());
        fs::remove_file(mount.on_host("new")).unwrap();
        wait_until("a name goes", || !mount.at("new").exists());
        fs::set_permissions(&host, PermissionsExt::from_mode(0o604)).unwrap();
        wait_until("a mode changes", || fs::metadata(&path).unwrap().mode() & 0o777 == 0o604);
        drop(file);
        mount.finish();
    }
}

#[test]
fn a_listing_is_whole_while_entries_come_and_go() {
    if !can_mount() {
        return;
    }
    for cache in ["--cache=never", "--cache=auto", "--cache=always"] {
        let mount = Mounted::new(&[cache]);
        for entry in 0..500 {
            fs::write(mount.on_host(&format!("stays-{entry}")), "").unwrap();
        }
        for round in 0..5 {
            let dir = openat(CWD, mount.root(), OFlags::DIRECTORY | OFlags::RDONLY, Mode::empty())
                .unwrap();
            // Room for a few entries at a time.
            let mut room = [MaybeUninit::uninit(); 600];
            let mut listing = RawDir::new(&dir, &mut room);
            let mut found: HashMap<String, usize> = HashMap::new();
            let mut step = 0;
            while let Some(entry) = listing.next() {
                let name = entry.unwrap().file_name().to_str().unwrap().to_owned();
                *found.entry(name).or_default() += 1;
                step += 1;
                let other = mount.on_host(&format!("goes-{}", step % 97));
                match (step + round) % 2 {
                    0 => fs::write(other, "").unwrap(),
                    _ => drop(fs::remove_file(other)),
                }
            }
            for entry in 0..500 {
                let name = format!("stays-{entry}");
                assert_eq!(found.get(&name), Some(&1), "{cache}, round {round}: {name}");
            }
            assert_eq!((found["."], found[".."]), (1, 1));
        }
        mount.finish();
    }
}

#[test]
fn a_place_in_a_directory_can_be_gone_back_to() {
    if !can_mount() {
        return;
    }
    for cache in ["--cache=never", "--cache=auto", "--cache=always"] {
        let mount = Mounted::new(&[cache]);
        for entry in 0..300 {
            fs::write(mount.on_host(&format!("entry-{entry}")), "").unwrap();
        }
        let fd = openat(CWD, mount.root(), OFlags::DIRECTORY | OFlags::RDONLY, Mode::empty());
        let mut dir = Dir::new(fd.unwrap()).unwrap();
        let mut entries = Vec::new();
        for entry in dir.by_ref() {
            let entry = entry.unwrap();
            entries.push((entry.file_name().to_owned(), entry.offset()));
        }
        assert_eq!(entries.len(), 302);
        fs::write(mount.on_host("one more"), "").unwrap();
        for at in (0..301).step_by(37).chain([300, 0, 1]) {
            dir.seek(entries[at].1).unwrap();
            let next = dir.next().unwrap().unwrap();
            assert_eq!(next.file_name(), &*entries[at + 1].0, "{cache}, after entry {at}");
        }
        drop(dir);
        mount.finish();
    }
}

#[test]
fn files_that_vanish_while_a_directory_is_listed_do_no_harm() {
    if !can_mount() {
        return;
    }
    let mount = Mounted::new(&[]);
    let (dir, going) = (mount.root(), AtomicBool::new(true));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for round in 0..3000 {
                let path = mount.on_host(&format!("file-{}", round % 60));
                drop(fs::remove_file(&path));
                fs::write(mount.on_host(&format!("file-{}", (round + 30) % 60)), "x").unwrap();
            }
            going.store(false, Ordering::Relaxed);
        });
        while going.load(Ordering::Relaxed) {
            for entry in fs::read_dir(&dir).unwrap() {
                let path = entry.unwrap().path();
                match File::open(&path) {
                    Ok(mut file) => {
                        let mut content = String::new();
                        file.read_to_string(&mut content).unwrap();
                        assert!(content == "x" || content.is_empty(), "{content}");
                    }
                    // Linux asks again once when a file has been replaced.
                    Err(error) => {
                        let error = error.raw_os_error();
                        assert!([Some(libc::ENOENT), Some(libc::ESTALE)].contains(&error));
                    }
                }
            }
        }
    });
    mount.finish();
}

#[test]
fn without_opening_files_are_read_and_their_changes_seen() {
    if !can_mount() {
        return;
    }
    let mount = Mounted::new(&["--readonly", "--no-open", "--attr-timeout=0", "--entry-timeout=0"]);
    for name in ["a", "b", "dir/c"] {
        fs::create_dir_all(mount.on_host("dir")).unwrap();
        fs::write(mount.on_host(name), name).unwrap();
    }
    for name in ["a", "b", "dir/c"] {
        assert_eq!(fs::read_to_string(mount.at(name)).unwrap(), name);
    }
    assert_eq!(fs::read_dir(mount.at("dir")).unwrap().count(), 1);
    // In place, with another length, and by a file of the same name.
    fs::write(mount.on_host("a"), "changed").unwrap();
    fs::write(mount.on_host("new"), "replaced").unwrap();
    fs::rename(mount.on_host("new"), mount.on_host("b")).unwrap();
    fs::write(mount.on_host("dir/d"), "d").unwrap();
    assert_eq!(fs::read_to_string(mount.at("a")).unwrap(), "changed");
    assert_eq!(fs::read_to_string(mount.at("b")).unwrap(), "replaced");
    assert_eq!(fs::read_dir(mount.at("dir")).unwrap().count(), 2);
    let truncating = File::options().write(true).truncate(true).open(mount.at("a"));
    assert_eq!(errno(truncating), libc::EROFS);
    assert_eq!(fs::read_to_string(mount.at("a")).unwrap(), "changed");
    // An image of a program is mapped.
    fs::copy("/bin/true", mount.on_host("true")).unwrap();
    assert!(Command::new(mount.at("true")).status().unwrap().success());
    mount.finish();
}
