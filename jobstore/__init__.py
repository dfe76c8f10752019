"""An event-sourced job store: append events, poll views, replay the past, in Postgres over HTTP."""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("jobstore")
except PackageNotFoundError:  # run from a checkout that was not installed
    __version__ = "0"
