"""Tell an exception that broke into a call from one that the call itself caused.

Python runs signal handlers between any two instructions of the main thread, and what they raise
(a task's soft time limit, a time-out by SIGALRM) appears in the midst of whatever runs there. A log
call must swallow what an application's value raises, but never this: the task would not end.
"""

from __future__ import annotations


def is_interrupt(error: BaseException) -> bool:
    """Return whether a signal handler raised an exception, and not the interrupted code.

    The interpreter gives a signal handler the interrupted frame as an argument; no other call has
    its own caller's frame among its variables.

    >>> try:
    ...     {}["missing"]
    ... except KeyError as error:
    ...     is_interrupt(error)
    False
    """
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        frame, called = trace.tb_frame, trace.tb_next.tb_frame
        for value in called.f_locals.values():
            if value is frame or (type(value) is tuple and any(one is frame for one in value)):
                return True
        trace = trace.tb_next
    return False
