"""Lines on disk: a directory that keeps events until the endpoint has them.

With a spool, an event is in a file when its log call returns, so no end of the process loses it;
`spool_fsync` decides what also survives a power cut. Any number of handlers and processes use one
directory at the same time. None of them waits for another: there is no server, no index and no
journal, only files, their names and the kernel's locks. Delivery is at least once.

Layout
------

    spool.json                              the format, and digests of the keys and their files
    owners/{generation}-{token}             one file for each owner
    {generation}-{token}-{number}.ndjson    segments: plain NDJSON, one event per line
    quarantine/{segment}-{place}.ndjson     what cannot be sent, unchanged,
    quarantine/{segment}-{place}.reason     and why
    *.new                                   drafts: each replaces another file when it is complete
    .followed                               locked by `fslog spool drain --follow`
    .forget/                                requests of `fslog spool forget`, and their answers

An owner is one handler in one process. Its open batch is its open segment, to which lines are only
appended; sealing the batch closes the file, and nothing is copied. A log call that interrupts
another one, or that runs while the interpreter shuts down, writes a segment with a single line.

Ownership
---------

A process holds the lock (`flock`) on its owner's file for as long as it lives. Only the holder of
that lock sends, rewrites or removes the owner's segments. The kernel releases the lock when the
process ends in any way. A forked child closes its copies of the descriptors, which would keep the
lock, and creates an owner of its own. If somebody removes the file or the directory, the process
creates both again with the next batch.

A directory belongs to the keys in `spool.json`. A process with other keys is refused while a living
owner has the old ones, and takes the directory over otherwise. Keys that are in files may change
while processes live, each of which reads the new ones when the endpoint rejects the old ones. So
`spool.json` also identifies the files, by their directory and names, and processes that read their
keys from the same files share a directory whatever keys each of them has at the moment.

Claims
------

An owner's file contains how many bytes the owner claims. All claims together stay within
`spool_max_bytes`. While less than `spool_min_free` of the file system is free, nothing is claimed
and no segment is begun. An owner raises its claim, in chunks, before it writes: it writes the new
claim first and adds up all claims then. Of two owners that do so at once, at least one sees both
claims and withdraws its own. The claim is lowered when segments are removed. Only the segments of
interrupting calls are counted after they were written.

The quarantine takes no room of the segments: it may have a quarter of `spool_max_bytes` in
addition. What comes when it is full is lost, counted in `Stats.abandoned` and reported; what it has
stays.

Delivery and adoption
---------------------

A segment is removed when all of its events are settled. One that is larger than a batch is read in
pieces; after each piece the owner's file records up to where the segment is settled.

A segment expires `spool_max_age` after its last line was written, by the time of its file, so that
none of its events is younger, and a requeued one has its time again. It is quarantined, in pieces,
when its turn comes, or at a search for dead owners; so is a batch whose POST failed.

A process looks for dead owners when it starts, every 10 seconds, and when it ends (a forked child
leaves the first and the last time to its parent). It tries to lock each owner's file; if that
succeeds the owner is dead and the process adopts its segments, at most 32 owners at once. Adopted
segments are sent before the process's own, those of the earliest owner first; small ones of several
owners are one body. If two processes in turn adopt an owner and die before they delivered anything,
it is left alone for 10 seconds. The first and every sixth time, segments without an owner's file
are adopted, too: it is created first.

A process that follows the directory (`fslog spool drain --follow`) holds the lock on `.followed`.
While it lives no other one adopts, and a process that ends lets a POST that is under way end, but
attempts no other: its segments are orphans a moment later. Every process may adopt again when the
kernel has released that lock.

Forgetting a person
-------------------

`fslog spool forget` locks each dead owner as an adopter does, and rewrites its segments without the
person's lines and without what is settled. A living owner rewrites its own: a file in `.forget/`
asks it to, as long as the process that asks has the lock on that file. See `fslog.spool.forget`.

What a crash leaves
-------------------

    the process dies                    what it leaves              what happens to it
    after it created its owner's file   a file without segments     removed by the next adopter
    after it created a segment          an empty segment            removed by the next adopter
    during the write of a line          a torn last line            quarantined; the call had not
                                                                    returned
    at any time after the write         complete lines              sent by the next adopter
    after an answer of 200              a delivered segment, or     sent a second time, one batch
                                        piece of one                at most
    during the write of an offset       the other, older offset     one more piece is sent again
    during the replacement of a file    a draft                     removed after 10 minutes
    after it quarantined a line         the line in two places      quarantined once: the name and
                                                                    the bytes are the same
    during an adoption                  the orphans as they were    adopted by the next process
    while it forgets a person           some segments as they were  sent, unless it is repeated
    while it asks others to forget      a request without a lock    removed by the next that looks

If the disk fails instead, the batch continues in memory, and the next batch is tried on disk again.

Invariants, and the tests that hold them
----------------------------------------

- A log call that returned has its line in a file: test_a_line_is_on_disk_when_append_returns,
  test_a_process_that_dies_anywhere_loses_no_line, test_a_process_may_die_at_any_system_call.
- A line is written whole or not at all; only the last line of a segment can be torn:
  test_a_line_is_written_whole_or_not_at_all, test_a_line_that_cannot_be_truncated_is_torn.
- At most one process sends a segment: test_two_adopters_never_have_the_same_segment,
  test_only_dead_owners_are_adopted, test_a_fork_at_any_moment_leaves_the_child_no_lock,
  test_one_process_that_follows_adopts_for_all.
- A segment is removed only when it is settled: test_a_segment_is_removed_only_after_its_delivery,
  test_a_large_segment_at_any_system_call; torn offsets are not used: test_a_torn_offset_is_ignored.
- Claims cover what is on disk and never exceed the limit: test_two_claims_at_once,
  test_segments_never_exceed_the_limit.
- A replaced file is seen as it was or as it is, never in part: test_a_file_is_replaced_atomically.
- Of processes with different keys one at most gets an owner:
  test_two_sets_of_keys_never_both_get_an_owner; but for a rotation in the same files:
  test_processes_of_the_same_files_share_a_spool_during_a_rotation,
  test_other_files_are_another_destination.
- The order is that of the owners and of their log calls, whatever the clock says:
  test_orphans_come_first_and_in_order, test_the_clock_set_back_changes_no_order.
- Nothing is deleted because it cannot be sent, unless the quarantine is full:
  test_a_segment_that_cannot_be_quarantined_stays,
  test_rejected_lines_stay_if_the_quarantine_fails, test_the_quarantine_is_never_overwritten,
  test_expired_events_stay_if_the_quarantine_cannot_be_written,
  test_a_full_quarantine_loses_what_is_counted.
- Forgetting a person loses nobody else's event and sends none twice:
  test_who_forgets_may_die_at_any_system_call,
  test_a_process_may_die_at_any_system_call_while_it_forgets, test_a_living_process_forgets.
- No event is refused because of the quarantine: test_the_quarantine_takes_no_room_of_events.
- The disk is not filled: test_nothing_is_claimed_while_too_little_of_the_disk_is_free,
  test_the_application_s_disk_is_not_filled.
- No failing system call raises in a log call, or keeps a lock: test_any_system_call_may_fail.
"""
