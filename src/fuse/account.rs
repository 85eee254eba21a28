//! What was served: how often, with what outcome, and how long it took.
//!
//! Every worker has an account that nobody else writes, so that counting shares no cache line and
//! takes no lock; whoever wants to know adds them up.

use std::sync::atomic::{Ordering, fence};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use super::errno::Errno;
use super::opcode::Opcode;
use super::session::Patience;
use crate::tally::{Count, Histogram};

/// The clock costs a tenth of a short request: of those that are not to wait, the first of so many
/// of a kind is timed, and stands for all of them.
const SAMPLE: u64 = 16;

/// The last of the opcodes, which are numbered from 1; 0 is for those that are none.
const LAST: usize = Opcode::ALL[Opcode::ALL.len() - 1] as usize;

/// Error numbers that are told apart; Linux has fewer.
const ERRORS: usize = 150;

/// What one worker has served.
pub(super) struct Account {
    operations: Box<[Operation]>,
    errors: Box<[Count]>,
    pub(super) read: Count,
    pub(super) written: Count,
    /// Names of which the guest was told that it may take them not to exist.
    pub(super) negative: Count,
    /// Files whose data the guest was told to keep when it opened them.
    pub(super) kept: Count,
}

#[derive(Default)]
struct Operation {
    requests: Count,
    errors: Count,
    times: Histogram,
}

/// A request that is being served, for [`Account::close`].
pub(super) struct Entry {
    opcode: usize,
    started: Option<Instant>,
    weight: u64,
}

impl Account {
    pub(super) fn new() -> Self {
        Account {
            operations: (0..=LAST).map(|_| Operation::default()).collect(),
            errors: (0..ERRORS).map(|_| Count::default()).collect(),
            read: Count::default(),
            written: Count::default(),
            negative: Count::default(),
            kept: Count::default(),
        }
    }

    /// A request has come.
    pub(super) fn open(&self, opcode: Option<Opcode>, patience: Patience) -> Entry {
        let opcode = opcode.map_or(0, |opcode| opcode as usize);
        let (timed, weight) = match patience {
            Patience::None => {
                (self.operations[opcode].requests.get().is_multiple_of(SAMPLE), SAMPLE)
            }
            Patience::Storage => (true, 1),
        };
        Entry { opcode, started: timed.then(Instant::now), weight }
    }

    /// The request was served.
    pub(super) fn close(&self, entry: &Entry, error: Option<Errno>) {
        let operation = &self.operations[entry.opcode];
        operation.requests.add(1);
        if let Some(started) = entry.started {
            operation.times.add(started.elapsed(), entry.weight);
        }
        if let Some(error) = error {
            operation.errors.add(1);
            let number = usize::try_from(error.raw()).unwrap_or(0).min(ERRORS - 1);
            self.errors[number].add(1);
        }
    }
}

/// The accounts of all workers of a session.
#[derive(Default)]
pub(super) struct Ledger(Mutex<Vec<Arc<Account>>>);

impl Ledger {
    /// An account for a worker. It is never closed: when its worker has ended, the next one goes
    /// on with it.
    pub(super) fn account(&self) -> Arc<Account> {
        let mut accounts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Nobody else can get at one that only the ledger has.
        if let Some(free) = accounts.iter().find(|account| Arc::strong_count(account) == 1) {
            // What its last worker wrote was written before it let go.
            fence(Ordering::Acquire);
            return free.clone();
        }
        let account = Arc::new(Account::new());
        accounts.push(account.clone());
        account
    }

    pub(super) fn totals(&self) -> Totals {
        let accounts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let sum = |of: &dyn Fn(&Account) -> u64| accounts.iter().map(|one| of(one)).sum();
        let operation = |number: usize| {
            let mut buckets = [0; crate::tally::BOUNDS.len() + 1];
            for account in accounts.iter() {
                let counts = account.operations[number].times.buckets();
                buckets.iter_mut().zip(counts).for_each(|(sum, count)| *sum += count);
            }
            OperationTotals {
                opcode: u32::try_from(number).ok().and_then(Opcode::from_wire),
                requests: sum(&|one| one.operations[number].requests.get()),
                errors: sum(&|one| one.operations[number].errors.get()),
                nanos: sum(&|one| one.operations[number].times.nanos()),
                buckets,
            }
        };
        let error = |number: usize| {
            let errno = i32::try_from(number).map_or(Errno::EIO, Errno::from_raw);
            (errno, sum(&|one| one.errors[number].get()))
        };
        Totals {
            operations: (0..=LAST).map(operation).filter(|one| one.requests > 0).collect(),
            errors: (1..ERRORS).map(error).filter(|(_, count)| *count > 0).collect(),
            read: sum(&|one| one.read.get()),
            written: sum(&|one| one.written.get()),
            negative: sum(&|one| one.negative.get()),
            kept: sum(&|one| one.kept.get()),
        }
    }
}

/// What a session's workers have served since it was made.
#[derive(Clone, Debug, Default)]
pub struct Totals {
    /// Those that were asked for, by number.
    pub operations: Vec<OperationTotals>,
    /// How often each error was the reply.
    pub errors: Vec<(Errno, u64)>,
    /// Bytes that the guest has read.
    pub read: u64,
    /// Bytes that the guest has written.
    pub written: u64,
    /// Names of which the guest was told that it may take them not to exist.
    pub negative: u64,
    /// Files whose data the guest was told to keep when it opened them.
    pub kept: u64,
}

/// What was served of one kind.
#[derive(Clone, Debug)]
pub struct OperationTotals {
    /// None for all that there are no operations for.
    pub opcode: Option<Opcode>,
    /// Requests that were served.
    pub requests: u64,
    /// Those of them whose reply was an error.
    pub errors: u64,
    /// How long they took together, in nanoseconds, as far as that was measured.
    pub nanos: u64,
    /// How many took how long ([`BOUNDS`](crate::tally::BOUNDS)), estimated from those that were
    /// measured.
    pub buckets: [u64; crate::tally::BOUNDS.len() + 1],
}

#[cfg(test)]
mod tests {
    use super::*;

    fn serve(account: &Account, opcode: Option<Opcode>, error: Option<Errno>) {
        let entry = account.open(opcode, Patience::None);
        account.close(&entry, error);
    }

    #[test]
    fn the_sum_of_all_accounts_is_told() {
        let ledger = Ledger::default();
        let (one, other) = (ledger.account(), ledger.account());
        for _ in 0..32 {
            serve(&one, Some(Opcode::Read), None);
        }
        serve(&other, Some(Opcode::Read), Some(Errno::EIO));
        serve(&other, Some(Opcode::CopyFileRange64), None);
        serve(&other, None, Some(Errno::ENOSYS));
        let totals = ledger.totals();
        let found = |opcode| {
            let one = totals.operations.iter().find(|one| one.opcode == opcode).unwrap();
            (one.requests, one.errors, one.buckets.iter().sum::<u64>())
        };
        assert_eq!(found(Some(Opcode::Read)), (33, 1, 48), "one of 16 is timed for all");
        assert_eq!(found(Some(Opcode::CopyFileRange64)), (1, 0, 16));
        assert_eq!(found(None), (1, 1, 16));
        assert_eq!(totals.errors, [(Errno::EIO, 1), (Errno::ENOSYS, 1)]);
    }

    #[test]
    fn what_may_wait_is_timed_always() {
        let account = Account::new();
        for _ in 0..5 {
            let entry = account.open(Some(Opcode::Fsync), Patience::Storage);
            account.close(&entry, None);
        }
        let operation = &account.operations[Opcode::Fsync as usize];
        assert_eq!(operation.times.buckets().sum::<u64>(), 5);
    }

    #[test]
    fn workers_that_come_and_go_leave_their_numbers_and_no_more() {
        let ledger = Ledger::default();
        for _ in 0..100 {
            serve(&ledger.account(), Some(Opcode::Read), None);
        }
        assert_eq!(ledger.totals().operations[0].requests, 100);
        assert_eq!(ledger.0.lock().unwrap().len(), 1);
    }
}
