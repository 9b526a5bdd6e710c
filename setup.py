"""Builds the compiled modules; everything else is in pyproject.toml.

The sources live in the top-level ``_speedups`` folder. Naming each extension with its full
dotted name works in place, in an editable install and in a wheel; mapping the package onto
that folder with ``package_dir`` does not.
"""

import os

from Cython.Build import cythonize
from setuptools import Extension, setup

MODULES = ("batching", "context", "results")

setup(
    ext_modules=cythonize(
        [
            Extension(
                f"durable_trio._speedups.{name}",
                [f"_speedups/{name}.pyx"],
                extra_compile_args=["-O3"] if os.name == "posix" else [],
            )
            for name in MODULES
        ],
        include_path=["_speedups", "."],
        build_dir="build/cython",
        annotate=bool(os.environ.get("DURABLE_TRIO_ANNOTATE")),
        language_level=3,
    ),
)
