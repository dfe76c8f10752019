"""How a job looks to each kind of client. Pure: a format folds events, it never reads them.

Every file here that says `FORMAT = Format(...)` is a vendor: its calls are served, described and tested.
"""

from importlib import import_module
from pkgutil import iter_modules
from typing import Any, Final

from jobstore.formats import native
from jobstore.formats.contract import Format
from jobstore.job.projection import Projection

FORMATS: Final[dict[str, Format[Any]]] = {
    format.name: format
    for module in iter_modules(__path__)
    if (format := getattr(import_module(f"{__name__}.{module.name}"), "FORMAT", None)) is not None
}
"""The vendors' dialects, by name."""

PROJECTIONS: Final[dict[str, Projection[Any]]] = {
    native.PROJECTION.name: native.PROJECTION,
    **{name: format.projection for name, format in FORMATS.items()},
}
"""Everything that a job can be shown as, by name."""

REVISIONS: Final[dict[str, tuple[str, ...]]] = {
    name: format.revisions for name, format in FORMATS.items() if len(format.revisions) > 1
}
"""The wire shapes that an account may choose from, by format; the first is the default."""
