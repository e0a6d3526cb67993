//! One pass over the input: blocks are read on one thread, worked on by all, consumed in their order.

use std::collections::VecDeque;
use std::sync::mpsc::{Receiver, TryRecvError, sync_channel};

use crate::context::Context;
use crate::source::{Decoded, Scan};
use crate::{Error, Result};

/// Blocks that wait between the reader and the workers.
const BLOCKS_AHEAD: usize = 2;

/// Calls `work` on every block of `scan` (any thread, any order) and `consume` on its results (this thread, in order).
///
/// # Memory
/// At most two blocks a thread, and [`BLOCKS_AHEAD`], are held at a time.
pub(crate) fn for_each<T: Send>(
    scan: Scan,
    context: &Context,
    work: impl Fn(Decoded) -> Result<T> + Sync,
    mut consume: impl FnMut(T) -> Result<()>,
) -> Result<()> {
    let decoding = context.meter.stage("decoding");
    let window_blocks = 2 * context.pool.current_num_threads();
    std::thread::scope(|threads| {
        let (to_workers, blocks) = sync_channel(BLOCKS_AHEAD);
        threads.spawn(move || {
            let mut scan = scan;
            while let Some(block) = scan.next_block().transpose() {
                let is_error = block.is_err();
                if to_workers.send(block).is_err() || is_error {
                    break;
                }
            }
        });
        let (work, decoding) = (&work, &decoding);
        context.pool.in_place_scope_fifo(move |tasks| {
            let mut window: VecDeque<Receiver<Result<T>>> = VecDeque::with_capacity(window_blocks);
            let mut is_read = false;
            loop {
                context.cancel.check()?;
                while !is_read && window.len() < window_blocks {
                    let next = if window.is_empty() {
                        blocks.recv().ok()
                    } else {
                        match blocks.try_recv() {
                            Ok(block) => Some(block),
                            Err(TryRecvError::Empty) => break,
                            Err(TryRecvError::Disconnected) => None,
                        }
                    };
                    let Some(block) = next else {
                        is_read = true;
                        break;
                    };
                    let block = block?;
                    let (done, result) = sync_channel(1);
                    tasks.spawn_fifo(move |_| {
                        // The receiver is gone when the pass failed elsewhere; nobody wants this result then.
                        let decoded = {
                            let _scope = decoding.enter();
                            block.decode()
                        };
                        let _ = done.send(decoded.and_then(work));
                    });
                    window.push_back(result);
                }
                let Some(result) = window.pop_front() else { return Ok(()) };
                let result =
                    result.recv().map_err(|_| Error::Invariant("a worker stopped without an answer".into()))?;
                consume(result?)?;
            }
        })
    })
}
