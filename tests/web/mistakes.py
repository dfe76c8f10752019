"""Mistakes that a client may make, as data: what is sent, and the status that says so. Job 1 exists and is running."""

import gzip
from collections.abc import Iterator

from jobstore.web.app import NATIVE
from tests.web.wire import NDJSON

Mistake = tuple[str, list[tuple[str, bytes]], bytes, int]  # request line, headers, body, status

NOBODY = "018f3b6f-7815-7eaa-8000-000000000001"
MOST = 2**20
JSON = [("Content-Type", b"application/json")]
LINES = [("Accept", NDJSON.encode())]


def nested(levels: int, inner: bytes = b"", left: bytes = b"[", right: bytes = b"]") -> bytes:
    """JSON of so many levels."""
    return left * levels + inner + right * levels


NUMBERS = [
    b"NaN",
    b"Infinity",
    b"-Infinity",
    b"1e400",
    b"-1e400",
    b"01",
    b"+1",
    b".5",
    b"1.",
    b"0x1",
    b"1" + b"0" * 400,
]
NOT_JSON = [
    b"", b" ", b"{", b"nonsense", b"{'kind': 'x'}", b'{"kind": "x",}', b'{"kind": "x"} {}', b'{"kind": "x"',
    b"\xff", b'\xef\xbb\xbf{"kind": "x"}', '{"kind": "x"}'.encode("utf-16"),
    b'{"kind": "\xff"}', b'{"kind": "\xed\xa0\x80"}', b'{"kind": "\\ud800"}', b'{"kind": "\\ude00\\ud83d"}',
    b'{"kind": "a\x00"}', b'{"kind": "a\nb"}',
    *(b'{"kind": "x", "args": {"a": %s}}' % number for number in NUMBERS),
]  # fmt: skip
FIELDS = {
    "kind": [b"7", b"null", b"[]", b"{}", b"true", b'""', b'"%s"' % (b"x" * 201), b'"\\u0000"', b'"a\\u0000b"'],
    "args": [
        b"[]", b'"x"', b"7", b"null",
        b'{"a": "\\u0000"}', b'{"\\u0000": 1}', b'{"a": [[{"b": "x\\u0000"}]]}', b'{"a": "\\\\\\u0000"}',
        b'{"a": 18446744073709551616}', b'{"a": -9223372036854775809}', b'{"a": [{"b": 100000000000000000000}]}',
        b'{"a": %s}' % (b"9" * 300), b'{"a": 1%s}' % (b"0" * 25),
        b'{"a": %s}' % nested(63), b'{"a": %s}' % nested(63, b"1"), nested(64, b"1", b'{"a":', b"}"),
        b'{"a": %s}' % nested(100_000), nested(100_000, b"1", b'{"a":', b"}"), nested(990, b"{}", b'{"a":[', b"]}"),
    ],
    "total": [b"-1", b"1.5", b'"3"', b"true", b"[]", b"9007199254740993", b"18446744073709551616"],
    "user": [b'""', b"7", b'"%s"' % (b"x" * 201), b'"\\u0000"'],
    "format": [b'"nope"', b"null", b"7", b'""', b'"NATIVE"'],
    "colour": [b'"red"'],
    "uid": [b'"x"'],
    "type": [b'"queued"'],
    "\\u0000": [b"1"],
}  # fmt: skip
TYPES = [
    b"text/plain", b"application/xml", b"", b"nonsense", b"json", b"application/jsonx", b"application/\xff",
    b"application/x-www-form-urlencoded", b"multipart/form-data; boundary=x", NDJSON.encode(),
]  # fmt: skip
PACKED = [
    (b"gzip", gzip.compress(b'{"kind": "%s"}' % (b"x" * 50 * MOST))),
    (b"gzip", gzip.compress(b'{"kind": "x"}')),
    (b"deflate", b"\x78\x9c nonsense"),
    (b"br", b'{"kind": "x"}'),
    (b"nonsense", b'{"kind": "x"}'),
]


def submissions() -> Iterator[Mistake]:
    for body in NOT_JSON:
        yield "POST /jobs", JSON, body, 400
    for body in (b"null", b"7", b"true", b'"x"', b"[]", b'[{"kind": "x"}]', b"{}"):
        yield "POST /jobs", JSON, body, 422
    for field, values in FIELDS.items():
        for value in values:
            rest = b"" if field == "kind" else b'"kind": "x", '
            yield "POST /jobs", JSON, b'{%s"%s": %s}' % (rest, field.encode(), value), 422
    for size in (MOST + 1, 5 * MOST):
        yield "POST /jobs", JSON, b'{"kind": "x"}'.ljust(size), 413
    for encoding, body in PACKED:
        yield "POST /jobs", [*JSON, ("Content-Encoding", encoding)], body, 415
    for type in TYPES:
        yield "POST /jobs", [("Content-Type", type)], b'{"kind": "x"}', 415
    for key in (b"", b"x" * 256, "é".encode(), b"\xff", b"a b", b"a\tb"):
        yield "POST /jobs", [*JSON, ("Idempotency-Key", key)], b'{"kind": "x"}', 400


NOTE = b'{"type": "annotated", "note": "x"}'
PROGRESS = [
    b'"fraction": -0.1', b'"fraction": 1.000001', b'"fraction": "0.5"', b'"fraction": true', b'"fraction": []',
    b'"done": -1', b'"done": 1.5', b'"done": 18446744073709551615', b'"done": 2, "total": 1', b'"stage": 7',
    b'"message": "%s"' % (b"x" * 10_001), b'"message": "\\u0000"', b'"fraction": null',
]  # fmt: skip
NO_EVENTS = [
    b"null", b"7", b'"completed"', b"[]", b"{}", b"[[]]", b"[%s, 7]" % NOTE, b"[%s, {}]" % NOTE, b"[%s, null]" % NOTE,
    b'{"type": null}', b'{"type": 7}', b'{"type": ["completed"]}', b'{"type": "begun"}', b'{"type": "Completed"}',
    b'{"type": "queued"}', b'{"type": "queued", "uid": "018f3b6f78157eaa8000000000000001", "kind": "x"}',
    b'{"type": "progressed"}', b'{"type": "annotated"}', b'{"type": "output_produced"}',
    b'{"type": "result_recorded", "key": "a"}', b'{"type": "completed", "colour": "red"}',
    b'{"type": "completed", "position": 1}', b'{"type": "completed", "job": 1}', b'{"type": "annotated", "data": []}',
    b'{"type": "output_produced", "output": 1, "key": ""}', b'{"type": "output_produced", "output": 1, "key": 7}',
    b'{"type": "output_produced", "output": "\\u0000"}', b'{"type": "retry_scheduled", "delay": -1}',
    b'{"type": "retry_scheduled", "delay": 1e300}', b'{"type": "completed", "results": %s}' % nested(64, b"1"),
    b'[{"type": "completed", "results": %s}]' % nested(63, b"1"),
    *(b'{"type": "progressed", %s}' % field for field in PROGRESS),
]  # fmt: skip


def reports() -> Iterator[Mistake]:
    for body in (b"", b"{", b'{"type": "progressed", "fraction": NaN}', b'{"type": "progressed", "fraction": 1e400}'):
        yield "POST /jobs/1/events", JSON, body, 400
    for body in NO_EVENTS:
        yield "POST /jobs/1/events", JSON, body, 422
    yield "POST /jobs/1/events", JSON, b"[%s]" % b",".join([NOTE] * 40_000), 413
    yield "POST /jobs/1/events", JSON, b'{"type": "removed"}', 409
    for type in TYPES:
        yield "POST /jobs/1/events", [("Content-Type", type)], b'{"type": "completed"}', 415
    for version in (b"\xff", b'"\xff"', b"1\xb2"):
        yield "POST /jobs/1/events", [*JSON, ("If-Match", version)], b'{"type": "completed"}', 400


IDS = [
    "0", "-1", "-0", "+1", "007", "01", "1.0", "1e0", "0x1", "1_0", "99999", "9" * 18, "1" + "0" * 18, "9" * 7000,
    *(str(number) for number in (2**31, 2**53, 2**63 - 1, 2**63, 2**64)),
    "abc", "null", "None", "*", "1;2", "1,2", "%00", "1%00", "%20", "1%20", "1%0a", "%E2%80%8B1",
    NOBODY, NOBODY.upper(), NOBODY.replace("-", ""), NOBODY[:-1], NOBODY.replace("-", "", 1),
    f"%7B{NOBODY}%7D", f"urn:uuid:{NOBODY}", "0" * 32, "f" * 32,
    "%D9%A1", "%EF%BC%91", "%C2%B2", "%FF", "%2F", "1%2Fevents", "%2e%2e",
]  # fmt: skip


def addresses() -> Iterator[Mistake]:
    for id in IDS:
        yield f"GET /jobs/{id}", [], b"", 404
        yield f"GET /jobs/{id}?at=0&format=native", [], b"", 404
        yield f"GET /jobs/{id}", [("If-None-Match", b"*"), ("Prefer", b"wait=30")], b"", 404
        yield f"GET /jobs/{id}/events", [], b"", 404
        yield f"GET /jobs/{id}/events", LINES, b"", 404
        yield f"GET /jobs/{id}/feed", [], b"", 404
        yield f"POST /jobs/{id}/events", [*JSON, ("If-Match", b'"1"')], b'{"type": "completed"}', 404
    for path in (
        "/",
        "/nothing",
        "/jobs/",
        "/jobs/1/",
        "/jobs/1/nothing",
        "/jobs/1/events/2",
        "/Jobs",
        "/jobs/1/../x",
        "//",
        "/%2F",
        "/a%0Ab",
    ):
        yield f"GET {path}", [], b"", 404
    methods: dict[str, set[str]] = {}
    for route in NATIVE:
        methods.setdefault(route.path, set()).update({route.method} | ({"HEAD"} if route.method == "GET" else set()))
    for path, allowed in methods.items():
        for method in sorted({"GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"} - allowed):
            expect = ("Expected-Allow", ",".join(sorted(allowed)).encode())
            yield f"{method} {path.replace('{id}', '1')}", [expect], b"", 405


WORDS = ["", "abc", "-1", "1.0", "1e1", "%D9%A3", "1" + "0" * 30, "%00", "%FF", "0x1"]
QUERIES = {
    "/jobs?limit=": [*WORDS, "0", "101"],
    "/jobs?cursor=": [*WORDS, "0", str(2**63)],
    "/jobs?state=": ["", "nope", "RUNNING", "%00"],
    "/jobs?format=": ["", "nope", "%00"],
    "/jobs?kind=": ["%00", "a%00"],
    "/jobs?user=": ["%00"],
    "/jobs/1?format=": ["", "nope"],
    "/jobs/1?after=": WORDS,
    "/jobs/1?at=": [
        "", "abc", "-1", "1.5", "%00", "%FF", "now", "2026-01-31", "2026-01-31T12:00:00", "1" + "0" * 30,
        "2026-13-31T12:00:00Z", "2026-01-31T25:00:00Z", "2999-01-01T00:00:00Z", "9999-12-31T23:59:59-14:00",
    ],
    "/jobs/1/events?after=": [*WORDS, str(2**31)],
    "/jobs/1/events?limit=": [*WORDS, "0", "1001"],
    "/events?after=": [*WORDS, str(2**63)],
    "/events?limit=": [*WORDS, "0", "1001"],
    "/feed?lastEventId=": [word for word in WORDS if word],
    "/feed?type=": ["", "nope", "STARTED", "started,", "%00"],
    "/feed?state=": ["", "nope", "RUNNING", "running,,failed", "%00"],
    "/feed?kind=": ["", "%00", "a%00", "a&kind="],
    "/feed?job=": ["", ",", "1,", ",".join(map(str, range(1, 102)))],
    "/feed?format=": ["", "nope", "%00"],
    "/jobs/1/feed?format=": ["", "nope", "%00"],
    "/jobs/1/feed?replay=": ["", "abc", "0", "-1", "nan", "inf", "0.001", "1000001", "1" + "0" * 400, "%00", "%FF"],
    "/jobs/1/feed?lastEventId=": [word for word in WORDS if word],
}  # fmt: skip


def queries() -> Iterator[Mistake]:
    for path, values in QUERIES.items():
        for value in values:
            yield f"GET {path}{value}", [], b"", 422
            if "events?" in path and value != "1001":
                yield f"GET {path}{value}", LINES, b"", 422
    yield "GET /jobs/1?at=0", [], b"", 404
    yield "GET /jobs/1?at=999999", [], b"", 412
    yield "GET /jobs/1?after=999999", [], b"", 412
    for path in ("/feed", "/jobs/1/feed"):
        yield f"GET {path}?lastEventId=999999", [], b"", 412
        yield f"GET {path}", [("Last-Event-ID", b"999999")], b"", 412
        for word in (b"abc", b"-1", b"1.0", b"\xff", b"1, 2", b"1" * 30):
            yield f"GET {path}", [("Last-Event-ID", word)], b"", 422
    yield "GET /feed?job=abc", [], b"", 404
    yield f"GET /feed?job=1,{NOBODY}", [], b"", 404
    yield "GET /jobs/1?at=0001-01-01T00:00:00%2B14:00", [], b"", 404  # in UTC it is before what a date can be


MISTAKES = [*submissions(), *reports(), *addresses(), *queries()]
