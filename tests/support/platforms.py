"""What a platform without POSIX does not have, hidden from a program before it imports fslog."""

from __future__ import annotations

HIDING = """
import mmap, os, signal, sys

# What Windows does not have, as far as the package or its tests name it.
for module, names in (
    (os, "O_NONBLOCK O_NOFOLLOW O_CLOEXEC fchmod pread pwrite geteuid getuid major minor fork "
         "register_at_fork killpg mkfifo"),
    (signal, "SIGKILL SIGALRM SIGHUP SIGUSR1 pthread_sigmask pthread_kill setitimer"),
    (mmap, "MAP_PRIVATE MAP_ANONYMOUS"),
):
    for name in names.split():
        delattr(module, name)
for name in ("fcntl", "pwd", "grp", "resource", "termios"):
    sys.modules[name] = None
"""
"""The first lines of a program that runs as on Windows, as far as that can be simulated."""
