"""Line → batch → answer: locks, interruptions, threads, and the ends of processes.

The application's threads append lines; one listener thread per handler and process posts them.

    log call ── line ──► Buffer ── sealed batch ──► WakeQueue ──► Listener ──► Backlog ── POST
                          ▼ (lock)                                                  ▼
                        Store  (memory, or the open segment)                      Source

A batch is sealed when it has `batch_events`, when the next line would exceed `batch_bytes`, or when
it is `flush_interval` old; in memory, if no other one is pending, at once, five times a second at
most. In an outage it may grow until one of the first two. Batches are posted
one at a time, in the order of their numbers. With `aggregate` the listener merges equal events of a
batch when it packs it; what is accounted for, split, set aside or on disk are the lines as they
were accepted. Backoff is an instant, `retry_at`, not a sleep: until
then the listener goes on accepting and compressing batches, and a flush or the end finds it ready.

Locks
-----

There is one lock per handler and process: the buffer's, re-entrant. Both sides take it, for a few
assignments and, with a spool, one `write`; the listener posts, compresses and reads files without
it. While it is held only this may be called: the store; `WakeQueue.put`; `Worker.ensure`, which
takes no lock and waits for nothing; `process.track`. Never: the network, `logging`, a function of
the application. No log call waits for the listener, unless `overflow` is `"block"`.

With `track_time` there is another one, of `tracking`, re-entrant too. While it is held only
`mapping.activity` is called; what that derives is appended to the buffer after its release.

A call that waits for the listener (flush, close, a full buffer that blocks) checks first that the
listener cannot be waiting for it: it does not wait inside internal work, inside the buffer's
lock, or while its thread holds logging's module lock, which a notice of the listener may need.

A call inside a call
--------------------

A signal handler, a finalizer or a value's `__str__` may log while the same thread is inside
`append`. The lock lets it in, but the state is half changed. So it changes nothing: it parks its
line in a deque, with a spool as a segment of its own, and returns. The interrupted append appends
what is parked before it returns. A nested flush returns False at once.

An exception in the middle
--------------------------

A signal handler may raise (Ctrl-C, a task's time limit) between any two instructions of the main
thread. Every step therefore leaves a state from which the next call can continue:

- What will hold is computed first and assigned once. Sealing records one tuple, `_sealing`: the
  batch and the numbers that will hold. `_limit_bytes` is -1 while it is set, so that the next line
  finishes what was recorded; each step of `_finish_seal` may be repeated without harm.
- An item is put into its new place before it is removed from the old one, and marked
  (`is_queued`, `settled`) so that the second of two copies is ignored.
- What belongs together is assigned without a call in between: no handler runs there.
- `except` for broad types asks `interrupts.unless_interrupt`: the exception reaches the caller.

A line whose append was interrupted may be delivered or not: its log call did not return.

The thread
----------

                     first line, flush, adoption          role claimed
          no thread ────────────────────────────► starting ───────────► serving ◄─┐ an item came
              ▲──────────────── role released, queue empty ──────────────┘  └─────┘ meanwhile

`Worker.ensure` starts a bare thread and does not wait for it. A thread claims the one role when it
begins, and ends if another one has it: a start may be repeated or interrupted. A retired listener
(`close`, a collected handler, a sub-interpreter) ends when nothing is pending. To end, it releases
the role and then checks the queue; a producer puts its item and then checks the role: one of the
two notices. If no thread can be started, the call that waits does the work itself, under the same
role.

Fork, exit, shutdown
--------------------

- A forked child begins with a new `Delivery`: no line, lock, connection or thread of its parent. A
  fork is recognized by a flag, because not every fork runs Python's hooks. Locks and the queue are
  created when first used, so that gevent may patch what they are made of after the fork.
- A handler that a second `dictConfig` replaced delivers what it accepted, before its successor
  posts to the same endpoint; `process.track` keeps it alive until then.
- At exit (`atexit`, `multiprocessing`'s finalizer, SIGTERM by default) the buffer is closed,
  everything is attempted once more, at most `shutdown_timeout` for all handlers together, and
  what is still in memory is abandoned and reported on stderr. A line logged after that is sealed
  and attempted by its own
  log call.
- With a spool that another process follows, the end attempts nothing: that process sends the rest.
- While the interpreter shuts down no lock is taken, since a stopped thread may hold it: with a
  spool the line is written to a segment, without one it is refused and reported.

Where a line is if the process dies
-----------------------------------

    the process dies                      without a spool     with a spool
    before `append` returns               lost, not accepted  absent or complete: the call is open
    in the open batch, sealed, queued     lost                in a segment: sent later
    during the POST, or after its 200     sent or lost        sent, perhaps twice
    after the segment was removed         -                   delivered

Invariants, and the tests that hold them
----------------------------------------

- An exception before any instruction of a call loses no accepted line and blocks no later call:
  test_any_exception_out_of_a_signal_handler_anywhere,
  test_what_an_interrupted_call_leaves_is_delivered_without_another.
- A call at any instruction of a log call returns, and a log call there is delivered:
  test_a_log_call_at_any_instruction, test_other_calls_at_any_instruction_of_a_log_call.
- A store may fail at any step: test_a_store_that_fails_at_random_loses_nothing; a process may fork
  at any: test_fork_under_full_load_a_hundred_times, test_a_fork_without_hooks.
- The end is bounded: test_handlers_that_hang_share_one_deadline.
"""
