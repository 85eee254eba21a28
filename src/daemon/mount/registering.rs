//! The process that does not serve registers files for the one that does.

use std::thread::{self, JoinHandle};

use super::super::sandbox::SandboxOptions;
use crate::dev::Registrar;

/// Registers files for the serving process, on a thread that ends with that process.
pub(super) struct Registering<'a> {
    sandbox: &'a SandboxOptions,
    waits: Option<Registrar>,
    works: Option<JoinHandle<()>>,
}

impl<'a> Registering<'a> {
    /// Not begun.
    pub(super) fn new(registrar: Option<Registrar>, sandbox: &'a SandboxOptions) -> Self {
        Registering { sandbox, waits: registrar, works: None }
    }

    /// The serving process may ask.
    pub(super) fn begin(&mut self) {
        let Some(registrar) = self.waits.take() else { return };
        let sandbox = self.sandbox.clone();
        let works = thread::Builder::new().name("registrar".into()).spawn(move || {
            match sandbox.become_registrar() {
                Ok(()) => registrar.serve(),
                Err(error) => log::error!("No files are passed through: {error}"),
            }
        });
        match works {
            Ok(works) => self.works = Some(works),
            Err(error) => log::error!("No files are passed through: {error}"),
        }
    }
}

impl Drop for Registering<'_> {
    fn drop(&mut self) {
        // Whoever asks it is dead by now: it gives up what that has left.
        let _ = self.works.take().map(JoinHandle::join);
    }
}
