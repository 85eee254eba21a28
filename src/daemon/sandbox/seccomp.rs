//! The filter of system calls.

use std::collections::BTreeMap;

use clap::ValueEnum;
use libc::c_long;
use seccompiler::{
    BpfProgram, Error, SeccompAction, SeccompCmpArgLen as Len, SeccompCmpOp as Op,
    SeccompCondition, SeccompFilter, SeccompRule, TargetArch, apply_filter,
};

use super::syscalls::{EVERYWHERE, HERE, NOT_THERE, Rule};

/// What happens when a call is made that is not on the list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Action {
    Kill,
    Trap,
    Log,
    None,
}

impl Action {
    pub(super) fn name(self) -> &'static str {
        match self {
            Action::Kill => "kill",
            Action::Trap => "trap",
            Action::Log => "log",
            Action::None => "none",
        }
    }
}

/// Filters the calls of this thread, and of those that it will start, for ever.
pub(super) fn filter(action: Action) -> Result<(), Error> {
    let otherwise = match action {
        Action::None => return Ok(()),
        Action::Kill => SeccompAction::KillProcess,
        Action::Trap => SeccompAction::Trap,
        Action::Log => SeccompAction::Log,
    };
    let not_there = SeccompAction::Errno(libc::ENOSYS.cast_unsigned());
    let calls = NOT_THERE.iter().map(|call| (*call, Vec::new()));
    apply_filter(&compile(calls.collect(), SeccompAction::Allow, not_there)?)?;
    let mut calls = BTreeMap::new();
    for (call, rule) in EVERYWHERE.iter().chain(HERE) {
        calls.insert(*call, rules(rule)?);
    }
    // What the first filter answers does not get here, whatever this one says.
    calls.extend(NOT_THERE.iter().map(|call| (*call, Vec::new())));
    apply_filter(&compile(calls, otherwise, SeccompAction::Allow)?)
}

fn compile(
    calls: BTreeMap<c_long, Vec<SeccompRule>>,
    otherwise: SeccompAction,
    matched: SeccompAction,
) -> Result<BpfProgram, Error> {
    let arch: TargetArch = std::env::consts::ARCH.try_into()?;
    Ok(SeccompFilter::new(calls, otherwise, matched, arch)?.try_into()?)
}

/// One of these has to match; any call does if there are none.
fn rules(rule: &Rule) -> Result<Vec<SeccompRule>, Error> {
    let one = |argument, op, value: u32| -> Result<SeccompRule, Error> {
        let condition = SeccompCondition::new(argument, Len::Dword, op, value.into())?;
        Ok(SeccompRule::new(vec![condition])?)
    };
    match rule {
        Rule::Any => Ok(Vec::new()),
        Rule::OneOf(argument, values) => {
            values.iter().map(|value| one(*argument, Op::Eq, *value)).collect()
        }
        Rule::Bits(argument, bits, set) => {
            let value = if *set { *bits } else { 0 };
            Ok(vec![one(*argument, Op::MaskedEq(u64::from(*bits)), value)?])
        }
        Rule::OwnProcess => Ok(vec![one(0, Op::Eq, std::process::id())?]),
    }
}
