//! What the host does.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

use rustix::fs::{CWD, RenameFlags, renameat_with};

use super::tree::Kind;
use super::world::World;

impl World {
    pub(super) fn host(&mut self) {
        let dirs: Vec<_> = self.dirs();
        let (dir, to) = (*self.random.of(&dirs), *self.random.of(&dirs));
        let (name, new) = (self.name(), self.name());
        let (path, target) = (self.path(dir).join(name), self.path(to).join(new));
        let what = self.random.below(8);
        self.say(format!("the host, {what}: {name} in {dir}, {new} in {to}"));
        match what {
            0 | 1 => {
                let flags = *self.random.of(&[0, 1, 2]);
                let done =
                    renameat_with(CWD, &path, CWD, &target, RenameFlags::from_bits_retain(flags));
                let moved = self.tree.rename((dir, name), (to, new), flags);
                assert_eq!(done.is_ok(), moved.is_ok(), "{path:?} {target:?} {flags}");
                for id in moved.unwrap_or_default() {
                    self.astray.insert(id);
                    self.astray.extend(self.tree.below(id));
                }
            }
            2 => {
                let removed = self.tree.remove(dir, name, false);
                assert_eq!(fs::remove_file(path).is_ok(), removed.is_ok());
                self.astray.extend(removed.ok());
            }
            3 => {
                let removed = self.tree.remove(dir, name, true);
                assert_eq!(fs::remove_dir(path).is_ok(), removed.is_ok());
            }
            4 => {
                let made = self.tree.make(dir, name, Kind::Dir(BTreeMap::new()), 0o755);
                assert_eq!(fs::create_dir(&path).is_ok(), made.is_ok());
                if made.is_ok() {
                    fs::set_permissions(path, PermissionsExt::from_mode(0o755)).unwrap();
                }
            }
            5 => {
                let made = self.tree.make(dir, name, Kind::Link("elsewhere".into()), 0o777);
                assert_eq!(symlink("elsewhere", path).is_ok(), made.is_ok());
            }
            _ => {
                let len = self.random.below(3000);
                let bytes = self.random.bytes(len);
                match self.tree.look_up(dir, name) {
                    Ok(id) if matches!(self.tree.get(id).kind, Kind::File(_)) => {
                        fs::write(path, &bytes).unwrap();
                        *self.tree.content(id) = bytes;
                    }
                    Ok(_) => {}
                    Err(_) => {
                        fs::write(&path, &bytes).unwrap();
                        fs::set_permissions(path, PermissionsExt::from_mode(0o644)).unwrap();
                        self.tree.make(dir, name, Kind::File(bytes), 0o644).unwrap();
                    }
                }
            }
        }
    }
}
