//! A queue's thread, which sleeps whenever it is not called, and those who want something of it.
//! Whoever waits for ever is found by loom.
#![expect(unsafe_code, reason = "a cell of loom says by itself who may not touch it")]

use std::sync::Arc;

use loom::cell::UnsafeCell;
use loom::sync::atomic::{AtomicUsize, Ordering};
use loom::thread::{self, JoinHandle};

use crate::gate::Gate;

/// A queue with its thread.
struct Queue {
    gate: Gate,
    /// The ring, which loom watches: whoever changes it must do so while it is not served.
    served: UnsafeCell<usize>,
}

impl Queue {
    fn start() -> (Arc<Self>, JoinHandle<()>) {
        let gate = Gate::new().unwrap();
        gate.change(|setup| (setup.started, setup.enabled) = (true, true));
        let queue = Arc::new(Queue { gate, served: UnsafeCell::new(0) });
        let thread = thread::spawn({
            let queue = queue.clone();
            move || queue.work()
        });
        (queue, thread)
    }

    /// As the real thread does, with a ring in which there is never a request.
    fn work(&self) {
        while self.gate.enter().is_some() {
            loop {
                self.touch();
                if !self.gate.take_call() {
                    self.gate.wake.wait();
                } else if self.gate.is_wanted() {
                    break;
                }
            }
            self.gate.leave(|_| self.touch());
        }
    }

    fn touch(&self) {
        // SAFETY: nobody else does at this time, or loom says so.
        self.served.with_mut(|served| unsafe { *served += 1 });
    }

    /// Disables it and lets its thread end, as when the device goes.
    fn end(&self) {
        self.gate.at_rest(|setup| {
            self.touch();
            setup.enabled = false;
        });
        self.gate.end();
    }
}

#[test]
fn a_ring_is_changed_only_while_it_rests() {
    loom::model(|| {
        let (queue, thread) = Queue::start();
        queue.gate.at_rest(|_| queue.touch());
        queue.end();
        thread.join().unwrap();
    });
}

#[test]
fn what_comes_back_is_found_by_a_thread_that_is_about_to_sleep() {
    loom::model(|| {
        let gate = Arc::new(Gate::new().unwrap());
        let back = Arc::new(AtomicUsize::new(0));
        let others = [(); 2].map(|()| {
            let (gate, back) = (gate.clone(), back.clone());
            thread::spawn(move || {
                back.fetch_add(1, Ordering::Relaxed);
                gate.ask_for_attention();
            })
        });
        let mut found = 0;
        while found < 2 {
            match gate.take_call() {
                true => found += back.swap(0, Ordering::Relaxed),
                false => gate.wake.wait(),
            }
        }
        for other in others {
            other.join().unwrap();
        }
    });
}

#[test]
fn a_change_is_taken_up_whenever_it_comes() {
    loom::model(|| {
        let (queue, thread) = Queue::start();
        // The thread comes to the gate by itself and goes no further.
        queue.gate.change(|setup| setup.enabled = false);
        queue.gate.end();
        thread.join().unwrap();
    });
}

#[test]
fn two_who_want_a_ring_to_rest_both_have_it() {
    let mut model = loom::model::Builder::new();
    // Every order in which threads are interrupted twice: all of them would be too many.
    model.preemption_bound = Some(2);
    model.check(|| {
        let (queue, thread) = Queue::start();
        let other = thread::spawn({
            let queue = queue.clone();
            move || queue.gate.at_rest(|_| queue.touch())
        });
        queue.gate.at_rest(|_| queue.touch());
        other.join().unwrap();
        queue.end();
        thread.join().unwrap();
    });
}
