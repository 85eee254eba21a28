//! Names on the wire that are none.

use super::*;

/// Names that are none, with and without the final NUL.
fn hostile_names(folder: &Path) -> Vec<Vec<u8>> {
    let victim = folder.join("outside/victim").to_str().unwrap().to_owned();
    let deep = format!("{}etc/passwd", "../".repeat(50));
    let texts = [
        "",
        ".",
        "..",
        "/",
        "//",
        "/.",
        "/..",
        "./",
        "../",
        "./.",
        "../.",
        "..//",
        "./file",
        "dir/",
        "dir/d",
        "dir/..",
        "dir/../file",
        "d/../d",
        "../victim",
        "../outside",
        "../outside/victim",
        "../share/file",
        "/etc/passwd",
        "/proc/self/root",
        "/proc/self/fd/0",
        "up/victim",
        "absolute/victim",
        "root/etc",
        "magic/etc",
        "dots/victim",
        "/dev/null",
        &victim,
        &deep,
    ];
    let longest = 255;
    let mut names: Vec<Vec<u8>> = texts.iter().map(|text| text.as_bytes().to_vec()).collect();
    names.extend([vec![b'x'; longest + 1], vec![b'x'; 4095], vec![b'/'; 300], vec![b'.'; 256]]);
    let with_nul = names.iter().map(|name| [name, &b"\0"[..]].concat());
    with_nul.collect()
}

/// A name behind a good one, and good names that are not ended.
fn odd_names() -> Vec<Vec<u8>> {
    let texts: [&[u8]; 6] =
        [b"new\0../victim\0", b"new\0/etc\0", b"file", b"..", b"\0\0\0\0", b"dir\0/../../victim\0"];
    texts.iter().map(|text| text.to_vec()).collect()
}

/// Every request that takes names, with `name` for one of them and good ones for the others.
fn requests(dir: u64, other: u64, file: u64, name: &[u8]) -> Vec<(Opcode, Vec<u8>)> {
    let good: &[u8] = b"fresh\0";
    let rdwr = (libc::O_CREAT | libc::O_RDWR).cast_unsigned();
    let mkdir = arg::<MkdirIn>(|arg| arg.mode = 0o755);
    let mknod = |mode| arg::<MknodIn>(|arg| arg.mode = mode);
    let create = |flags: u32| arg::<CreateIn>(|arg| (arg.flags, arg.mode) = (flags, 0o644));
    let rename = arg::<RenameIn>(|arg| arg.newdir = other);
    let rename2 = |flags| arg::<Rename2In>(|arg| (arg.newdir, arg.flags) = (other, flags));
    let link = arg::<LinkIn>(|arg| arg.oldnodeid = file);
    let truncate = libc::O_TRUNC.cast_unsigned();
    let mut all = vec![
        (Opcode::Lookup, vec![name]),
        (Opcode::Unlink, vec![name]),
        (Opcode::Rmdir, vec![name]),
        (Opcode::Symlink, vec![name, b"target\0"]),
        (Opcode::Mkdir, vec![&mkdir, name]),
        (Opcode::Link, vec![&link, name]),
        (Opcode::Rename, vec![&rename, name, good]),
        (Opcode::Rename, vec![&rename, b"file\0", name]),
        (Opcode::Rename, vec![&rename, name, name]),
    ];
    let nodes = [libc::S_IFREG, libc::S_IFIFO, libc::S_IFSOCK, libc::S_IFCHR].map(mknod);
    let creates = [rdwr, rdwr | truncate, rdwr | libc::O_EXCL.cast_unsigned()].map(create);
    let renames = [0, libc::RENAME_NOREPLACE, libc::RENAME_EXCHANGE, libc::RENAME_WHITEOUT];
    let renames = renames.map(rename2);
    all.extend(nodes.iter().map(|arg| (Opcode::Mknod, vec![&arg[..], name])));
    all.extend(creates.iter().map(|arg| (Opcode::Create, vec![&arg[..], name])));
    all.extend(renames.iter().map(|arg| (Opcode::Rename2, vec![&arg[..], name, good])));
    all.extend(renames.iter().map(|arg| (Opcode::Rename2, vec![&arg[..], b"file\0", name])));
    all.iter().map(|(opcode, parts)| (*opcode, request(*opcode, dir, parts))).collect()
}

#[test]
fn no_name_on_the_wire_leads_out_of_its_directory() {
    let mut tried = 0;
    for way in ways() {
        let mut premises = Premises::new(way);
        let (before, foreign) = (premises.outside(), premises.foreign());
        let dir = premises.find(ROOT, "dir");
        let sub = premises.find(dir, "d");
        let file = premises.find(ROOT, "file");
        for parent in [ROOT, dir, sub] {
            for name in hostile_names(premises.folder.path()) {
                for (opcode, bytes) in requests(parent, dir, file, &name) {
                    let what = || format!("{way:?} {opcode:?} {}", name.escape_ascii());
                    let error = send(&mut premises.fs, &bytes).expect_err(&what());
                    assert!(
                        matches!(error, Errno::EINVAL | Errno::ENAMETOOLONG),
                        "{} {error}",
                        what()
                    );
                    tried += 1;
                }
            }
            assert_eq!(premises.outside(), before, "{way:?}");
            assert!(premises.at("share/file").exists() && premises.at("share/dir/d").exists());
        }
        for name in odd_names() {
            for (opcode, bytes) in requests(dir, sub, file, &name) {
                let reply = send(&mut premises.fs, &bytes).unwrap_or_default();
                if let Ok((entry, _)) = EntryOut::read_from_prefix(&reply) {
                    assert!(!foreign.contains(&entry.attr.ino), "{way:?} {opcode:?}");
                }
                tried += 1;
            }
        }
        assert_eq!(premises.outside(), before, "{way:?}");
        premises.fs.getattr(ROOT, None).unwrap();
    }
    assert!(tried > 9000, "{tried}");
}

#[test]
fn the_placeholder_of_an_unnamed_file_is_no_name() {
    for way in ways() {
        let mut premises = Premises::new(way);
        let before = premises.outside();
        let flags = libc::O_RDWR.cast_unsigned();
        let how = arg::<CreateIn>(|arg| (arg.flags, arg.mode) = (flags, 0o644));
        for name in [&b"/\0"[..], b"..\0", b"../victim\0", b"/etc/passwd\0", b""] {
            let made = send(&mut premises.fs, &request(Opcode::Tmpfile, ROOT, &[&how, name]));
            // The file system may not have such files, and there may be no name at all.
            assert!(
                matches!(made, Ok(_) | Err(Errno::EOPNOTSUPP | Errno::EINVAL)),
                "{way:?} {name:?} {made:?}"
            );
        }
        assert_eq!(premises.outside(), before, "{way:?}");
    }
}
