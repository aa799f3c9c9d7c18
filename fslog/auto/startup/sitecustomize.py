"""Import `fslog.auto` when Python starts: `fslog run` puts this directory into PYTHONPATH.

A `sitecustomize` of the application or of the system is imported first. Any Python may run this
file, also an older one, or one without fslog, which runs as it would without this.
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
    if sys.version_info >= (3, 10):  # noqa: UP036
        try:
            import fslog.auto  # noqa: F401
        except Exception as _error:
            if sys.stderr and getattr(_error, "name", None) not in ("fslog", "fslog.auto"):
                _text = "fslog: " + str(_error) + "; the application runs without fslog\n"
                sys.stderr.write(_text)
