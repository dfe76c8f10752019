"""Knows what can be asked of a job and how a well-formed request reads; must not know the job's state or HTTP.

A command is imperative. Its tag is the type that a client sends (`{"type": "progressed", ...}`): a client says what it
wants recorded, and the decider says whether it may be. Malformed commands cannot be built: `__post_init__` raises
ValueError, which msgspec turns into a ValidationError that names the field.
"""

from typing import Annotated as Meta
from typing import Any, final

from msgspec import Meta as Bound
from msgspec import Struct

Text = Meta[str, Bound(max_length=10_000)]
Name = Meta[str, Bound(min_length=1, max_length=200)]
Count = Meta[int, Bound(ge=0, le=2**53)]
Fraction = Meta[float, Bound(ge=0, le=1)]
Seconds = Meta[float, Bound(ge=0, le=31_536_000)]


class _Command(Struct, frozen=True, kw_only=True, tag_field="type", forbid_unknown_fields=True):
    """An unknown field is refused: a typing mistake must not be taken for silence."""


@final
class Submit(_Command, frozen=True, tag="queued"):
    """Make a new job. `uid`, 32 hex digits, is drawn by the caller of the core; the rest is as in JobQueued."""

    uid: str
    kind: Name
    args: dict[str, Any] = {}
    total: Count | None = None
    user: Name | None = None
    extra: dict[str, Any] = {}
    claim: Text | None = None


class Prepare(_Command, frozen=True, tag="starting"):
    """`fraction`, here and below, is how far the job is, 0..1."""

    stage: Text | None = None
    message: Text | None = None
    fraction: Fraction | None = None


class Start(_Command, frozen=True, tag="started"):
    stage: Text | None = None
    message: Text | None = None
    fraction: Fraction | None = None


class ReportProgress(_Command, frozen=True, tag="progressed"):
    """`fraction` 0..1, `done` and `total` in tasks; at least one field."""

    fraction: Fraction | None = None
    done: Count | None = None
    total: Count | None = None
    stage: Text | None = None
    message: Text | None = None

    def __post_init__(self) -> None:
        if self.done is not None and self.total is not None and self.done > self.total:
            raise ValueError(f"done ({self.done}) is more than total ({self.total})")
        if (
            self.fraction is None
            and self.done is None
            and self.total is None
            and self.stage is None
            and self.message is None
        ):
            raise ValueError("say at least one of fraction, done, total, stage, message")


class ProduceOutput(_Command, frozen=True, tag="output_produced"):
    """With a `key`, saying it again at once is harmless; without one, each is one more."""

    output: Any
    key: Name | None = None


class RecordResult(_Command, frozen=True, tag="result_recorded"):
    """With a `key`, saying it again at once is harmless; without one, each is one more."""

    result: Any
    key: Name | None = None


class RequestStop(_Command, frozen=True, tag="stop_requested"):
    reason: Text | None = None


class BeginStopping(_Command, frozen=True, tag="stopping"):
    message: Text | None = None


class Cancel(_Command, frozen=True, tag="cancelled"):
    reason: Text | None = None
    stage: Text | None = None
    fraction: Fraction | None = None


class Complete(_Command, frozen=True, tag="completed"):
    results: Any = None
    message: Text | None = None
    stage: Text | None = None
    fraction: Fraction | None = None


class Fail(_Command, frozen=True, tag="failed"):
    error: Any = None
    message: Text | None = None
    stage: Text | None = None
    fraction: Fraction | None = None


class ScheduleRetry(_Command, frozen=True, tag="retry_scheduled"):
    """`delay` in seconds."""

    delay: Seconds | None = None
    error: Any = None
    message: Text | None = None


class Annotate(_Command, frozen=True, tag="annotated"):
    note: Text | None = None
    data: dict[str, Any] | None = None

    def __post_init__(self) -> None:
        if self.note is None and self.data is None:
            raise ValueError("say at least one of note, data")


class Remove(_Command, frozen=True, tag="removed"):
    reason: Text | None = None


Report = (
    Prepare
    | Start
    | ReportProgress
    | ProduceOutput
    | RecordResult
    | RequestStop
    | BeginStopping
    | Cancel
    | Complete
    | Fail
    | ScheduleRetry
    | Annotate
    | Remove
)
"""What can be said of a job that exists."""


@final
class Erase(Struct, frozen=True, kw_only=True):
    """Take out of the job's history what was said so far: these fields, or all. No client can say so: who keeps the
    store does."""

    reason: Meta[str, Bound(min_length=1, max_length=10_000)]
    fields: tuple[str, ...] = ()


Command = Submit | Report | Erase
