//! What the fuzzers do, in small.
#![cfg(test)]

#[path = "../../fuzz/bodies/mod.rs"]
mod bodies;
#[path = "../../fuzz/bodies/mutate.rs"]
mod mutate;

use std::sync::atomic::{AtomicUsize, Ordering};

use bodies::{extents, messages, operations, requests, states};

/// The daemon catches its own panics: here they count.
fn run(seeds: &[Vec<u8>], rounds: usize, body: impl Fn(&[u8])) {
    static PANICS: AtomicUsize = AtomicUsize::new(0);
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        PANICS.fetch_add(1, Ordering::SeqCst);
        hook(info);
    }));
    mutate::run(seeds, rounds, |input| {
        body(input);
        assert_eq!(PANICS.load(Ordering::SeqCst), 0);
    });
}

#[test]
fn requests_that_are_anything_get_one_proper_answer() {
    run(&requests::seeds(), 3000, requests::requests);
}

#[test]
fn messages_that_are_anything_end_in_order() {
    run(&messages::seeds(), 400, messages::messages);
}

#[test]
fn operations_in_any_order_do_what_the_model_says() {
    run(&operations::seeds(), 40, operations::operations);
}

#[test]
fn whatever_is_mapped_the_record_is_what_the_front_end_has() {
    run(&extents::seeds(), 1000, extents::extents);
}

#[test]
fn states_that_are_anything_open_nothing_else_and_end_in_order() {
    run(&states::seeds(), 2000, states::states);
}
