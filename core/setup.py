"""The one thing that pyproject.toml cannot say: the fast path of the snapshot is compiled, where
there is a compiler.
"""

from setuptools import Extension, setup

setup(
    ext_modules=[
        Extension("eventtracking._compiled", ["src/eventtracking/_compiled.c"], optional=True)
    ]
)
