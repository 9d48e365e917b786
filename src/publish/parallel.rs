//! Work on several items at once, with the result of one after the other.
//!
//! There are as many threads as cores that this process may use, so that the memory that is in use
//! at a time does not grow with the items. Items are begun in their order, and so is the first
//! error in that order the one that is returned, however many threads there are.

use std::num::NonZeroUsize;
use std::panic::resume_unwind;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread::{available_parallelism, scope};

/// The results of `work` for each item, in their order. After an error, no further item is begun.
pub(super) fn each<T: Send, R: Send, E: Send>(
    items: impl IntoIterator<Item = T, IntoIter: Send>,
    work: impl Fn(T) -> Result<R, E> + Sync,
) -> Result<Vec<R>, E> {
    with_threads(available_parallelism().map_or(1, NonZeroUsize::get), items, work)
}

fn with_threads<T: Send, R: Send, E: Send>(
    threads: usize,
    items: impl IntoIterator<Item = T, IntoIter: Send>,
    work: impl Fn(T) -> Result<R, E> + Sync,
) -> Result<Vec<R>, E> {
    let items = items.into_iter();
    let threads = threads.min(items.size_hint().1.unwrap_or(usize::MAX));
    if threads <= 1 {
        return items.map(work).collect();
    }
    let (items, has_failed) = (Mutex::new(items.enumerate()), AtomicBool::new(false));
    let next = || items.lock().unwrap_or_else(PoisonError::into_inner).next();
    let run = || {
        let mut done = Vec::new();
        // Whoever sees an error leaves the rest; what comes before it in the order is begun
        // already.
        while !has_failed.load(Ordering::Relaxed)
            && let Some((number, item)) = next()
        {
            let result = work(item);
            has_failed.fetch_or(result.is_err(), Ordering::Relaxed);
            done.push((number, result));
        }
        done
    };
    let mut done: Vec<_> = scope(|scope| {
        let others: Vec<_> = (1..threads).map(|_| scope.spawn(run)).collect();
        let mut done = run();
        for other in others {
            done.extend(other.join().unwrap_or_else(|panic| resume_unwind(panic)));
        }
        done
    });
    done.sort_by_key(|(number, _)| *number);
    done.into_iter().map(|(_, result)| result).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;
    use std::time::Duration;

    use super::*;

    #[test]
    fn results_are_in_the_order_of_the_items() {
        for threads in [0, 1, 2, 3, 100] {
            let found = with_threads(threads, 0..50_u64, |number| {
                std::thread::sleep(Duration::from_micros(number % 3 * 200));
                Ok::<_, ()>(number * 2)
            });
            assert_eq!(found.unwrap(), (0..50).map(|number| number * 2).collect::<Vec<_>>());
        }
        assert_eq!(with_threads(2, Vec::<u8>::new(), Ok::<_, ()>), Ok(Vec::new()));
    }

    #[test]
    fn several_items_are_worked_on_at_once() {
        // Without a second thread, the first would wait here for ever.
        let both = Barrier::new(2);
        with_threads(2, 0..2, |_| {
            both.wait();
            Ok::<_, ()>(())
        })
        .unwrap();
    }

    #[test]
    fn the_first_error_in_the_order_is_returned_and_ends_the_rest() {
        for threads in [1, 2, 4] {
            let begun = Mutex::new(Vec::new());
            let error = with_threads(threads, 0..1000, |number| {
                begun.lock().unwrap().push(number);
                match number {
                    // The later one fails before the earlier one.
                    3 => {
                        std::thread::sleep(Duration::from_millis(20));
                        Err(number)
                    }
                    4 => Err(number),
                    _ => Ok(()),
                }
            });
            assert_eq!(error, Err(3), "{threads}");
            assert!(begun.lock().unwrap().len() < 1000, "{threads}");
        }
    }
}
