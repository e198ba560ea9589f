"""The one thing that pyproject.toml cannot say: the fast path of the snapshot is compiled, where
there is a compiler.
"""

from setuptools import Extension, setup

setup(
    ext_modules=[
        Extension(
            "eventtracking._data._compiled", ["src/eventtracking/_data/_compiled.c"], optional=True
        )
    ]
)
