"""How a job looks to each kind of client. Pure: a format folds events, it never reads them."""

from typing import Any, Final

from jobstore.formats import native
from jobstore.job.projection import Projection

FORMATS: Final[dict[str, Projection[Any]]] = {native.PROJECTION.name: native.PROJECTION}
