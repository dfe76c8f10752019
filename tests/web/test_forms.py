"""A form is the object that it means."""

from typing import Any

import pytest

from jobstore.web import forms
from jobstore.web.problems import Problem


@pytest.mark.parametrize(
    ("form", "means"),
    [
        (b"", {}),
        (b"a=1&b=", {"a": "1", "b": ""}),
        (b"a=1&a=2", {"a": "2"}),
        (b"job[id]=5&job[variables][a+b]=x%20y", {"job": {"id": "5", "variables": {"a b": "x y"}}}),
        (b"names[]=a&names[]=b", {"names": ["a", "b"]}),
        (b"names%5B%5D=a", {"names": ["a"]}),
        (b"a[b=1&[]=2&a]=3", {"a[b": "1", "[]": "2", "a]": "3"}),
        ("ü=ß".encode(), {"ü": "ß"}),
    ],
)
def test_a_form_means(form: bytes, means: dict[str, Any]) -> None:
    assert forms.parse(form) == means


@pytest.mark.parametrize(
    "form",
    [
        b"a=1&a[b]=2",
        b"a[b]=2&a=1",
        b"a[]=1&a[b]=2",
        b"a[b]=2&a[]=1",
        b"a[][b]=1",
        b"a[][]=1",
        b"a" + b"[b]" * 8 + b"=1",
        b"%ff=1",
        b"a=%00",
        b"%00=a",
        b"&".join(b"a%d=1" % i for i in range(1001)),
    ],
)
def test_a_form_that_means_nothing_is_a_problem(form: bytes) -> None:
    with pytest.raises(Problem):
        forms.parse(form)
