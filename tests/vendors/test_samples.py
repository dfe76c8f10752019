"""The vendors' own documents, reproduced: each sample is a file of steps, with what the server must answer.

A step happens `at` a time, and the uid of the job that it makes is what it `draws`.
"""

from datetime import datetime
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import orjson
import pytest

from jobstore.formats import FORMATS
from jobstore.store import Store
from jobstore.web import dialects
from tests.vendors.conftest import Clock, reached_at

FILES = sorted((Path(__file__).parent / "samples").glob("*.json"))
SAMPLES = [
    pytest.param(sample, id=f"{file.stem}: {sample['document']}")
    for file in FILES
    for sample in orjson.loads(file.read_bytes())
]


@pytest.mark.parametrize("sample", SAMPLES)
async def test_the_document_is_reproduced(
    sample: dict[str, Any], store: Store, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    account = sample.get("account", "acme")
    async with reached_at(store, sample.get("url")) as client:
        for change in sample.get("settings", {}).items():
            await store.accounts.create(account)
            await store.accounts.set(account, dict([change]))
        for step in sample["steps"]:
            if "at" in step:
                clock.at = datetime.fromisoformat(step["at"])
            if "draws" in step:
                monkeypatch.setattr(dialects, "uuid7", Mock(return_value=step["draws"]))
            response = await client.ask(step["method"], step["path"], account=account, json=step.get("body"))
            assert response.status == step.get("status", 200), await response.text()
            if "answer" in step:
                answer = await response.json()
                assert answer == step["answer"]
                assert list(answer) == list(step["answer"]), "in the document's order"


def test_every_vendor_has_samples() -> None:
    assert {file.stem for file in FILES} == set(FORMATS)
