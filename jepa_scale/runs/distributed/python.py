"""Commands of Python processes that import the same modules as this one."""

from __future__ import annotations

import json
import sys
from pathlib import Path

_START = (
    "import json, runpy, sys; sys.path[:] = json.loads(sys.argv[1]); del sys.argv[:2]; "
    "runpy.run_module(sys.argv[0], run_name='__main__', alter_sys=True)"
)


def python_module(module: str, *arguments: str) -> list[str]:
    """Command that runs a module with this process's module search path.

    ``python -m`` would search the caller's directory first: a file called ``optuna.py`` there would be imported in
    place of the library, and a checkout's ``jepa_scale`` in place of the installed one that this process runs.
    """
    places = [str(Path(place or ".").absolute()) for place in sys.path]
    return [sys.executable, "-P", "-c", _START, json.dumps(places), module, *arguments]
