"""A record: what it says, and the hash that ties it to the one before."""

import hashlib
import json

from sidecar.telemetry.audit.record import GENESIS, TEXT_MAX, CallRecord, Chain, Who, bounded, read, who_from
from tests.telemetry.audit.logs import WALL, WHO


def test_a_record_says_who_did_what_when() -> None:
    """The names are what a reviewer's queries are built on."""
    line = Chain(WHO).seal(WALL, "secret_read", {"secret": "files:key", "version": "7"})
    fields = json.loads(line)
    assert list(fields) == [
        "ts", "msg", "seq", "kind", "pod", "namespace", "service_account", "secret", "version", "hash",
    ]  # fmt: skip
    assert (fields["ts"], fields["msg"], fields["seq"]) == ("2026-01-01T00:00:00.500Z", "audit", 0)
    assert (fields["pod"], fields["namespace"], fields["service_account"]) == ("checkout-7f", "shop", "checkout")


def test_the_hash_can_be_made_again_with_any_tool() -> None:
    """SHA-256 over the hash before and the line without its hash: what `sha256sum` gives, too."""
    chain = Chain(WHO)
    previous = GENESIS
    for number in range(3):
        line = chain.seal(WALL, "secret_read", {"number": number})
        core, _, tail = line.rpartition(b',"hash":"')
        assert hashlib.sha256(previous + core + b"}").hexdigest() == tail.decode().removesuffix('"}')
        previous = tail.removesuffix(b'"}')


def test_a_record_without_fields_is_json_too() -> None:
    """The record of the stop has none."""
    assert json.loads(Chain(Who()).seal(WALL, "stop", {}))["kind"] == "stop"


def test_a_copy_goes_on_by_itself() -> None:
    """A write that failed leaves the chain where it was."""
    chain = Chain(WHO)
    tried = chain.copy()
    line = tried.seal(WALL, "stop", {})
    assert chain.seq == 0
    assert chain.seal(WALL, "stop", {}) == line


def test_half_a_character_does_not_end_the_chain() -> None:
    """A path may hold a lone surrogate, which UTF-8 cannot; the record is written all the same, and verifies."""
    line = Chain(WHO).seal(WALL, "login", {"user": "\ud800"})
    assert read(line) is not None
    assert json.loads(line)["user"] == "\ud800"


def test_a_field_named_hash_inside_of_a_record_does_not_mislead() -> None:
    """What is hashed is told by place, not by name."""
    line = Chain(WHO).seal(WALL, "login", {"user": 'x","hash":"' + "0" * 64})
    stated = read(line)
    assert stated is not None
    assert stated.hash.decode() == json.loads(line)["hash"]


def test_what_is_no_record_is_not_read_as_one() -> None:
    """A line of the log, a cut line, a number, an array; hexadecimal in capitals."""
    line = Chain(WHO).seal(WALL, "stop", {})
    for other in (b"", b"{}", b"7", b"[]", line[:-1], line + b" ", line[:-66] + line[-66:].upper(), b"x" + line[1:]):
        assert read(other) is None


def test_the_pod_is_told_by_the_downward_api() -> None:
    """Where the manifest hands nothing over, the fields are there, and empty."""
    named = {"POD_NAME": "a", "POD_NAMESPACE": "b", "POD_SERVICE_ACCOUNT": "c", "PASSWORD": "d"}
    assert who_from(named) == Who(pod="a", namespace="b", service_account="c")
    assert who_from({}) == Who()


def test_texts_of_rare_records_are_masked_and_cut() -> None:
    """An error's sentence may quote anything."""
    fields = bounded({"error": "abc", "long": "x" * 9999, "count": 7}, lambda text: text.replace("abc", "***"))
    assert fields == {"error": "***", "long": "x" * TEXT_MAX, "count": 7}


def test_a_rare_record_cannot_have_a_second_number_or_hash() -> None:
    """JSON readers take the last of two fields with one name."""
    fields = bounded({"seq": 1, "hash": "a", "kind": "b", "secret": "c"}, str)
    assert fields == {"seq_": 1, "hash_": "a", "kind_": "b", "secret": "c"}


def test_a_call_has_the_fields_of_the_contract() -> None:
    """Who, what, with which credential, and how it ended."""
    record = CallRecord(
        app="cart", peer=None, service="stripe", route="charges", method="POST", path_template="/v1/charges",
        status=200, outcome="success", code="", source="upstream", attempts=1, credential="main:stripe#key",
        credential_version="3", request_id="r1",
    )  # fmt: skip
    fields = json.loads(Chain(WHO).seal(WALL, "call", record))
    assert list(fields)[7:-1] == [
        "app", "peer", "service", "route", "method", "path_template", "status", "outcome", "code", "source",
        "attempts", "credential", "credential_version", "request_id",
    ]  # fmt: skip
