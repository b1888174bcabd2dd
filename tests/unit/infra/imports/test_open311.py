"""Does every rule of the Open311 importer hold, one dirty value at a time?"""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.errors import InvalidMessageError
from infra.imports import open311
from tests.support.imported import Where, usable

PLACE: Where = {"force": "bloomington", "neighbourhood": "west", "source": "/import/open311/bloomington/west"}
ASKED = "2012-05-23T15:35:08-04:00"
UPDATED = "2012-05-23T15:35:10-04:00"


def request(**fields: Any) -> dict[str, Any]:
    return {
        "service_request_id": "4fbd3bee",
        "status": "open",
        "service_name": "Graffiti",
        "service_code": "27",
        "description": "Graffiti on mailboxes",
        "agency_responsible": "Police Department",
        "requested_datetime": ASKED,
        "updated_datetime": UPDATED,
        "address": "2303 S Olcott Blvd",
        "lat": 39.146551871103,
        "long": -86.485448337464,
        "media_url": "https://example.org/a.jpg",
        "email": "somebody@example.org",
    } | fields


def file(*requests: Any, name: str = "requests.json") -> tuple[str, bytes]:
    return name, orjson.dumps(list(requests))


def run(*files: tuple[str, bytes]) -> tuple[list[dict[str, Any]], list[str]]:
    told: list[str] = []
    return usable(open311.messages(files, **PLACE, warn=told.append)), told


def one(**fields: Any) -> tuple[dict[str, Any], list[str]]:
    """The data of the concern that a request becomes, and what was told."""
    messages, told = run(file(request(**fields)))
    assert messages[0]["type"] == "heard.concern.raised.v1"
    return messages[0]["data"], told


def refused(*files: tuple[str, bytes]) -> InvalidMessageError:
    with pytest.raises(InvalidMessageError) as caught:
        open311.messages(files, **PLACE)
    assert caught.value.expected
    assert caught.value.got
    assert caught.value.hint
    return caught.value


def test_a_request_is_an_anonymous_concern_of_kind_request() -> None:
    messages, told = run(file(request()))
    assert told == []
    assert messages == [
        {
            "specversion": "1.0",
            "id": "open311:4fbd3bee:raised",
            "source": "/import/open311/bloomington/west",
            "type": "heard.concern.raised.v1",
            "time": "2012-05-23T19:35:08.000000Z",
            "datacontenttype": "application/json",
            "data": {
                "ref": "open311:4fbd3bee",
                "force": "bloomington",
                "neighbourhood": "west",
                "occurred": {"kind": "instant", "from": ASKED},
                "actor": {"role": "member_of_public"},
                "kind": "request",
                "theme": "graffiti",
                "words": "Graffiti on mailboxes",
                "address": "2303 S Olcott Blvd",
                "coordinates": "39.146551871103,-86.485448337464",
            },
        }
    ]


def test_line_ends_become_lf_and_the_rest_of_the_words_stays() -> None:
    data, _ = one(description=' Over 12".\r\n\r\nThanks.\rBye  now\n')
    assert data["words"] == 'Over 12".\n\nThanks.\nBye  now'


@pytest.mark.parametrize("field", ["description", "address"])
@pytest.mark.parametrize("given", [None, "", "  \r\n"])
def test_no_text_is_no_field(field: str, given: str | None) -> None:
    data, told = one(**{field: given})
    assert {"description": "words", "address": "address"}[field] not in data
    assert told == []


@pytest.mark.parametrize("field", ["description", "address"])
@pytest.mark.parametrize("given", [7, ["x"], "x" * 16_001])
def test_text_that_cannot_be_carried_is_absent_and_told(field: str, given: object) -> None:
    data, told = one(**{field: given})
    assert {"description": "words", "address": "address"}[field] not in data
    assert told == [f"open311:4fbd3bee: {field} is not text of at most 16,000 characters: imported without"]


@pytest.mark.parametrize(
    ("lat", "long", "written"),
    [
        (39, -86, "39.0,-86.0"),
        ("39.5", " -86.25 ", "39.5,-86.25"),
        (51.5, -0.00001, "51.5,-0.00001"),
        (0, -86.5, "0.0,-86.5"),
    ],
)
def test_coordinates_are_decimal_degrees(lat: object, long: object, written: str) -> None:
    data, told = one(lat=lat, long=long)
    assert data["coordinates"] == written
    assert told == []


@pytest.mark.parametrize(
    ("lat", "long"), [(0, 0), ("0.0", 0), (None, None), (None, -86.5), (39.1, ""), ("", "")]
)
def test_a_source_without_a_place_gives_none(lat: object, long: object) -> None:
    data, told = one(lat=lat, long=long)
    assert "coordinates" not in data
    assert told == []


@pytest.mark.parametrize(
    ("lat", "long"), [(91, 0), (0, -181), ("north", 1), (True, 1), ([1], 1), ("nan", 1), (10**18, 1)]
)
def test_a_place_that_is_not_on_earth_is_absent_and_told(lat: object, long: object) -> None:
    data, told = one(lat=lat, long=long)
    assert "coordinates" not in data
    assert told == ["open311:4fbd3bee: lat and long are no place on earth: imported without"]


@pytest.mark.parametrize(
    ("name", "theme"),
    [
        ("Potholes, Other Street Repair", "potholes_other_street_repair"),
        ("Biking & Walking", "biking_walking"),
        ("  Éclairage public ", "eclairage_public"),
        ("x" * 63 + " y", "x" * 63),
    ],
)
def test_the_service_is_the_theme(name: str, theme: str) -> None:
    assert one(service_name=name)[0]["theme"] == theme


def test_services_name_what_a_request_only_gives_the_code_of() -> None:
    services = file({"service_code": "27", "service_name": "Graffiti", "group": "x"}, name="s.json")
    messages, told = run(services, file(request(service_name=None)))
    assert messages[0]["data"]["theme"] == "graffiti"
    assert told == []


@pytest.mark.parametrize("name", [None, "", "–", 5])
def test_without_a_service_there_is_no_theme_and_it_is_told(name: object) -> None:
    data, told = one(service_name=name)
    assert "theme" not in data
    assert told == ["open311:4fbd3bee: no service_name to take a theme from: imported without"]


@pytest.mark.parametrize("id_", [None, "", "a b", "somebody@example.org", "x" * 121, 1.5, True, ["1"]])
def test_a_request_without_a_usable_id_is_left_out_and_told(id_: object) -> None:
    if id_ is True:
        id_ = {"token": "1"}
    messages, told = run(file(request(service_request_id=id_), request(service_request_id=638344)))
    assert [m["data"]["ref"] for m in messages] == ["open311:638344"]
    assert told == [
        "requests.json, item 1: no service_request_id that can be a reference: the request is left out"
    ]


def test_an_item_that_is_no_object_is_left_out_and_told() -> None:
    messages, told = run(file(None, request()))
    assert len(messages) == 1
    assert told == ["requests.json, item 1: not an object: left out"]


def test_the_same_request_twice_counts_once() -> None:
    assert run(file(request(), request()), file(request())) == run(file(request()))


def test_of_two_states_of_a_request_the_one_updated_last_counts() -> None:
    newer = request(status="closed", updated_datetime="2012-05-24T00:00:00Z")
    for files in ([file(request()), file(newer)], [file(newer), file(request())]):
        messages, told = run(*files)
        assert [m["type"] for m in messages] == ["heard.concern.raised.v1", "heard.concern.closed.v1"]
        assert len(told) == 1
        assert told[0].endswith("request 4fbd3bee is there more than once: the one updated last counts")


def test_a_closed_request_is_closed_when_it_was_updated() -> None:
    messages, told = run(file(request(status=" Closed", status_notes="Done\r\nby us ")))
    closed = messages[1]
    assert told == []
    assert closed["id"].startswith("open311:4fbd3bee:closed:")
    assert closed["time"] == "2012-05-23T19:35:10.000000Z"
    assert closed["data"] == {
        "ref": "open311:4fbd3bee",
        "force": "bloomington",
        "neighbourhood": "west",
        "occurred": {"kind": "instant", "from": UPDATED},
        "actor": {"role": "agency"},
        "reason_words": "Done\nby us",
    }


def test_a_closing_that_is_corrected_is_another_message() -> None:
    first, second = (run(file(request(status="closed", status_notes=n)))[0] for n in ("A", "B"))
    assert first[0] == second[0]
    assert first[1]["id"] != second[1]["id"]


@pytest.mark.parametrize("status", [None, "", "archived", 1])
def test_an_unknown_status_is_open_and_told(status: object) -> None:
    messages, told = run(file(request(status=status)))
    assert len(messages) == 1
    assert told == ["open311:4fbd3bee: status is neither open nor closed: imported as open"]


@pytest.mark.parametrize(
    "written", [None, "", "yesterday", "2012-05-23", "2012-05-23T15:35:08", 1337, "0001-01-01T00:00:00+05:00"]
)
def test_a_request_without_a_readable_moment_is_known_from_the_import_on(written: object) -> None:
    messages, told = run(file(request(requested_datetime=written)))
    assert "time" not in messages[0]
    assert messages[0]["data"]["occurred"] == {"kind": "unknown"}
    assert told == [
        "open311:4fbd3bee: requested_datetime is not a moment with its offset: imported as unknown"
    ]


def test_a_closing_without_a_readable_moment_is_a_closing_all_the_same() -> None:
    messages, told = run(file(request(status="closed", updated_datetime="")))
    assert "time" not in messages[1]
    assert messages[1]["data"]["occurred"] == {"kind": "unknown"}
    assert len(told) == 1


def test_nothing_is_known_to_be_closed_before_it_was_asked_for() -> None:
    messages, told = run(file(request(status="closed", updated_datetime="2012-01-01T00:00:00Z")))
    assert messages[1]["time"] == messages[0]["time"]
    assert messages[1]["data"]["occurred"] == {"kind": "instant", "from": "2012-01-01T00:00:00Z"}
    assert told == ["open311:4fbd3bee: closed before it was requested: known from the request's time on"]


def note(type_: object, at: object = "2012-05-25T10:00:00-04:00", **fields: Any) -> dict[str, Any]:
    return {"datetime": at, "summary": "S", "description": "D", "type": type_} | fields


def test_activity_takes_a_request_up_once_at_the_first_of_them() -> None:
    notes = [note("activity", "2012-05-26T10:00:00Z"), note("activity"), note("activity", "later")]
    messages, told = run(file(request(notes=notes)))
    assert [m["type"] for m in messages[1:]] == ["heard.concern.taken_up.v1"]
    assert messages[1]["time"] == "2012-05-25T14:00:00.000000Z"
    assert told == []


def test_a_note_that_closes_gives_its_moment_and_its_words() -> None:
    messages, told = run(file(request(status="closed", notes=[note("closed")])))
    assert messages[1]["time"] == "2012-05-25T14:00:00.000000Z"
    assert messages[1]["data"]["reason_words"] == "D"
    messages, _ = run(file(request(status="closed", status_notes="Told", notes=[note("closed")])))
    assert messages[1]["data"]["reason_words"] == "Told"
    messages, _ = run(file(request(status="closed", notes=[note("closed", description=None)])))
    assert messages[1]["data"]["reason_words"] == "S"
    assert told == []


def test_a_note_that_closes_an_open_request_does_not_count() -> None:
    messages, told = run(file(request(notes=[note("closed")])))
    assert len(messages) == 1
    assert told == ["open311:4fbd3bee: a note says closed, the status does not: imported as open"]


@pytest.mark.parametrize("type_", ["opened", "submitted", "follow_on_created", "follow_on_closed"])
def test_other_known_notes_say_nothing_more(type_: str) -> None:
    messages, told = run(file(request(notes=[note(type_)])))
    assert (len(messages), told) == (1, [])


@pytest.mark.parametrize("notes", [[note("melted")], [None], "x", [note(["closed"])]])
def test_a_note_of_no_known_type_is_left_out_and_told(notes: object) -> None:
    messages, told = run(file(request(notes=notes)))
    assert len(messages) == 1
    assert told == ["open311:4fbd3bee: a note that is none of the known types: left out"]


def test_requests_come_in_the_order_of_time_whatever_the_order_of_files() -> None:
    late = request(service_request_id="1", requested_datetime="2012-05-24T00:00:00+00:00")
    early = request(service_request_id="2", requested_datetime="2012-05-24T00:00:00+04:00")
    first = run(file(late), file(early))
    assert [m["data"]["ref"] for m in first[0]] == ["open311:2", "open311:1"]
    assert list(map(orjson.dumps, run(file(early), file(late))[0])) == list(map(orjson.dumps, first[0]))


def test_a_single_request_may_stand_alone() -> None:
    assert run(("request.json", b"\xef\xbb\xbf" + orjson.dumps(request()))) == run(file(request()))


def test_an_empty_answer_has_no_requests() -> None:
    assert run(file()) == ([], [])


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"", "not_json"),
        (b"[{", "not_json"),
        (b"\xff\xfe", "not_utf8"),
        (b'<?xml version="1.0"?><service_requests/>', "not_json"),
        (b'[{"code": 404, "description": "not found"}]', "field_invalid"),
        (b"[1, 2]", "field_invalid"),
        (b"null", "field_invalid"),
    ],
)
def test_a_file_that_cannot_be_read_stops_everything_and_is_named(content: bytes, code: str) -> None:
    error = refused(file(request()), ("odd.json", content))
    assert (error.code, error.field) == (code, "odd.json")


@pytest.mark.parametrize(
    ("content", "got"),
    [
        (b"{}", "an empty object"),
        (b'{"code": 404}', "an object with code"),
        (b"[{}]", "a list of 1 whose first is an empty object"),
    ],
)
def test_a_file_of_another_kind_is_shown_as_it_was(content: bytes, got: str) -> None:
    assert refused(("odd.json", content)).got == got


def test_xml_is_told_what_to_ask_for() -> None:
    assert "requests.json, not requests.xml" in refused(("r.xml", b"\xef\xbb\xbf\n<requests/>")).hint


def test_services_alone_hold_nothing_to_import() -> None:
    assert refused(file({"service_code": "27", "service_name": "Graffiti"})).code == "field_missing"


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8)
    | st.sampled_from(["open", "closed", ASKED, "0001-01-01T00:00:00+05:00", "9999-12-31T23:59:59-05:00"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["type", "datetime"]), inner),
    max_leaves=4,
)
NOTE = st.fixed_dictionaries(
    {"type": st.sampled_from(["activity", "closed", "opened"]), "datetime": JSON, "description": JSON}
)


@given(
    st.lists(
        st.dictionaries(st.sampled_from(sorted(request())), JSON)
        | st.fixed_dictionaries({"notes": st.lists(NOTE | JSON, max_size=3) | JSON, "status": JSON}),
        max_size=4,
    )
)
def test_whatever_the_fields_hold_each_message_can_be_used(given: list[dict[str, Any]]) -> None:
    requests = [request(service_request_id=n) | fields for n, fields in enumerate(given)]
    usable(open311.messages([file(*requests)], **PLACE))
