"""What is damaged or made up is refused by its reader's own error: plans, records, state documents, faults, links."""

from __future__ import annotations

import json
from typing import TypeVar

import msgspec
from hypothesis import example, given, settings
from hypothesis import strategies as st

from app import messages
from app.control.record import read_record, write_record
from app.errors import SettingError
from app.link.frames import FromWorker, ToWorker
from app.link.link import Batches
from app.store.port import StoredRecord
from app.supervisor import document
from app.supervisor.contract import DOCUMENT_BYTES
from app.supervisor.errors import UnreadableDocument
from app.supervisor.faults import plans_of_setting
from app.verification_keys import UnusableKeys, keys_of_jwks
from rollout.errors import InvalidPlan, UnreadableRecord
from rollout.plan import DEFAULT_PLAN
from rollout.plan_reader import parse_toml
from rollout.plan_writer import dump_toml
from rollout.state import Lock, Rollout

LIMIT_BYTES = 256
Text = TypeVar("Text", str, bytes)

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


@st.composite
def damaged(draw: st.DrawFn, whole: str) -> str:
    """A text in which some pieces were replaced, left out or doubled."""
    text = whole
    for _ in range(draw(st.integers(1, 3))):
        begin = draw(st.integers(0, len(text)))
        end = min(len(text), begin + draw(st.integers(0, 12)))
        text = text[:begin] + draw(st.just("") | st.text(max_size=6) | st.just(text[begin:end] * 2)) + text[end:]
    return text


@st.composite
def with_values_replaced(draw: st.DrawFn, whole: str) -> str:
    """A JSON object in which some values are others."""
    values = json.loads(whole)
    for key in draw(st.lists(st.sampled_from(sorted(values)), min_size=1, max_size=3, unique=True)):
        values[key] = draw(json_values)
    return json.dumps(values)


RECORD = write_record(Rollout(lock=Lock(3, 1, 1_790_000_000.0, "olga", False, "smoke"), phase="rolled_back")).text
PLAN = dump_toml(DEFAULT_PLAN)
DOCUMENT = document.write(document.begin("ada", "t-1"))[1].decode()
FRAME = b'{"type":"chat","message_id":"m1","payload":{"content":"hello"}}'
KEY_SET = b'{"keys":[{"kty":"oct","kid":"a"},{"kty":"EC","crv":"P-256","x":"AA","y":"AA"}]}'
FAULTS = '{"v3": {"error_rate": 0.1, "latency_ms": 5, "seed": 1}}'


@settings(max_examples=300, deadline=None)
@given(st.text() | damaged(PLAN))
def test_a_plan_is_read_or_every_mistake_has_a_line(text: str) -> None:
    try:
        parse_toml(text)
    except InvalidPlan as invalid:
        assert invalid.errors
        assert all(1 <= error.line <= text.count("\n") + 1 for error in invalid.errors)


@settings(max_examples=300, deadline=None)
@given(st.text() | json_values.map(json.dumps) | damaged(RECORD) | with_values_replaced(RECORD))
@example("")
@example("[" * 5000)
def test_a_record_is_read_or_said_to_be_unreadable(text: str) -> None:
    try:
        record = read_record(StoredRecord(1, text))
    except UnreadableRecord as error:
        assert str(error)
    else:
        assert read_record(write_record(record)) == record


@settings(max_examples=300, deadline=None)
@given(st.binary() | json_values.map(lambda value: json.dumps(value).encode()) | damaged(DOCUMENT).map(str.encode))
@example(b"[" * 5000)
@example(b" " * (DOCUMENT_BYTES + 1))
def test_a_state_document_is_read_or_said_to_be_unreadable(data: bytes) -> None:
    try:
        read = document.read(data)
    except UnreadableDocument as error:
        assert str(error)
    else:
        assert document.read(document.write(read)[1]) == read


@st.composite
def with_bytes_replaced(draw: st.DrawFn, whole: bytes) -> bytes:
    """Bytes of which some are others, so that it may be no text."""
    data = bytearray(whole)
    for _ in range(draw(st.integers(1, 3))):
        data[draw(st.integers(0, len(data) - 1))] = draw(st.integers(0, 255))
    return bytes(data)


@settings(max_examples=300, deadline=None)
@given(st.binary() | with_bytes_replaced(FRAME))
@example(b'{"type":"x","payload":{},"message_id":"\xff"}')
def test_a_client_s_message_is_read_or_refused(data: bytes) -> None:
    """Over HTTP nobody has looked at the bytes before."""
    assert messages.read(data) is not None


@settings(max_examples=300, deadline=None)
@given(st.binary() | with_bytes_replaced(KEY_SET))
@example(b'{"keys":"\xff"}')
def test_a_key_set_is_read_or_said_to_be_unusable(data: bytes) -> None:
    try:
        assert keys_of_jwks(data)
    except UnusableKeys as error:
        assert str(error)


@settings(max_examples=300, deadline=None)
@given(st.text() | json_values.map(json.dumps) | damaged(FAULTS) | with_values_replaced(FAULTS))
def test_a_setting_of_faults_is_read_or_refused_in_one_line(text: str) -> None:
    try:
        plans_of_setting(text)
    except SettingError as error:
        assert str(error)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.binary(max_size=LIMIT_BYTES)), st.booleans())
def test_a_link_reads_whatever_its_peer_sends_within_its_bound(pieces: list[bytes], to_worker: bool) -> None:
    kind: object = ToWorker if to_worker else FromWorker
    link: Batches[msgspec.Struct] = Batches(kind, limit_bytes=LIMIT_BYTES)
    for piece in pieces:
        broken = link.error is not None
        frames = link.feed(piece)
        assert not (broken and frames)
    begun = b"".join(pieces)
    if link.error is None and len(begun) >= 4 and not link.incomplete:
        assert int.from_bytes(begun[:4], "little") <= LIMIT_BYTES
