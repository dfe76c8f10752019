"""How a job looks to each kind of client. Pure: a format folds events, it never reads them."""

from typing import Any, Final

from jobstore.formats import native
from jobstore.job.projection import Projection

FORMATS: Final[dict[str, Projection[Any]]] = {native.PROJECTION.name: native.PROJECTION}
REVISIONS: Final[dict[str, tuple[str, ...]]] = {"virtool": ("4.0", "5.0"), "zendesk": ("2012", "current")}
"""The revisions of the formats that have several. The first is what an account is served that chose none."""
