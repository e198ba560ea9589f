"""The one thing that pyproject.toml cannot say: the fast path of the snapshot is compiled, where
there is a compiler.

With `EVENTTRACKING_BUILD_PURE=1` it is left out: the wheel is then for every Python.
"""

import os

from setuptools import Extension, setup

compiled = Extension(
    "eventtracking._data._compiled", ["src/eventtracking/_data/_compiled.c"], optional=True
)
setup(ext_modules=[] if os.environ.get("EVENTTRACKING_BUILD_PURE") == "1" else [compiled])
