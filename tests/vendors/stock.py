"""Vendors' own clients, as they are published: installed from a package index for a session, beside the project.

Where no index can be reached their tests are skipped, unless `JOBSTORE_TEST_STOCK=required` says that they must run.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest


def install(folder: Path, *requirements: str) -> None:
    """Put these packages, and nothing that they ask for, into a folder that can be imported from.

    The releases are old, and say so of the Python that they are for.
    """
    options = ("--quiet", "--no-deps", "--ignore-requires-python", "--retries", "1", "--target", str(folder))
    pip = subprocess.run(
        [sys.executable, "-m", "pip", "install", *options, *requirements], capture_output=True, text=True, check=False
    )
    if pip.returncode == 0:
        return
    if "connection broken" not in pip.stderr or os.environ.get("JOBSTORE_TEST_STOCK") == "required":
        pytest.fail(pip.stderr)
    pytest.skip(f"NO PACKAGE INDEX CAN BE REACHED for {', '.join(requirements)}")
