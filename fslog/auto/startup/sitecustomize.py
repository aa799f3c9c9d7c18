"""Import `fslog.auto` when Python starts: `fslog run` puts this directory into PYTHONPATH.

A `sitecustomize` of the application or of the system is imported first. Any Python may run this
file, also an older one, or one without fslog, which runs as it would without this. Only if it is
the command itself, one line on stderr says so: nothing else shows why no event arrives.
"""

import os
import sys
from importlib.machinery import PathFinder
from importlib.util import module_from_spec

_here = os.path.dirname(os.path.abspath(__file__))
_paths = [path for path in sys.path if os.path.abspath(path) != _here]
_spec = PathFinder.find_spec("sitecustomize", _paths)
try:
    if _spec is not None and _spec.loader is not None:
        sys.modules["sitecustomize"] = _module = module_from_spec(_spec)
        _spec.loader.exec_module(_module)
finally:
    _is_command = os.environ.pop("_FSLOG_RUN", None) == str(os.getpid())
    _is_missing, _reason = sys.version_info < (3, 10), ""
    try:
        if not _is_missing:
            import fslog.auto  # noqa: F401
    except Exception as _error:
        _is_missing, _reason = getattr(_error, "name", "") in ("fslog", "fslog.auto"), str(_error)
    if _is_missing:
        _reason = "freshsuccess-logging is not installed for " + sys.executable
    if sys.stderr and _reason and (_is_command or not _is_missing):
        sys.stderr.write("fslog: " + _reason + "; the application runs without fslog\n")
