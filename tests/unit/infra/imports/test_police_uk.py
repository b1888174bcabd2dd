"""Does every rule of the police.uk importer hold, one dirty value at a time?"""

from __future__ import annotations

import hashlib
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.errors import InvalidMessageError
from infra.imports import police_uk
from tests.support.imported import Where, of, usable

PLACE: Where = {
    "force": "leicestershire",
    "neighbourhood": "NC04",
    "source": "/import/police-uk/leicestershire/NC04",
}
ISSUE = "To reduce street drinking."
SHORT = hashlib.sha256(ISSUE.encode()).hexdigest()[:8]
REF = f"police-uk:2015-10-08:{SHORT}"


def priority(**fields: Any) -> dict[str, Any]:
    return {
        "issue": ISSUE,
        "issue-date": "2015-10-08T00:00:00",
        "action": "It has reduced.",
        "action-date": "2015-12-22T00:00:00",
    } | {name.replace("_", "-"): value for name, value in fields.items()}


def place(**fields: Any) -> dict[str, Any]:
    return {
        "id": "NC04",
        "name": "City Centre",
        "population": "1000",
        "url_force": "",
        "description": "<p>It is diverse.</p>",
        "centre": {"latitude": "52.6389", "longitude": "-1.13619"},
        "contact_details": {"email": "somebody@example.org"},
        "locations": [],
        "links": [],
    } | fields


def file(document: Any, name: str = "answer.json") -> tuple[str, bytes]:
    return name, orjson.dumps(document)


def run(*documents: Any) -> tuple[list[dict[str, Any]], list[str]]:
    told: list[str] = []
    files = [file(document) for document in documents]
    return usable(police_uk.messages(files, **PLACE, warn=told.append)), told


def refused(*files: tuple[str, bytes]) -> InvalidMessageError:
    with pytest.raises(InvalidMessageError) as caught:
        police_uk.messages(files, **PLACE)
    assert caught.value.expected
    assert caught.value.got
    assert caught.value.hint
    return caught.value


def test_a_priority_is_set_and_its_action_recorded_on_their_days() -> None:
    messages, told = run([priority()])
    assert told == []
    common = {"ref": REF, "force": "leicestershire", "neighbourhood": "NC04"}
    assert [(m["type"], m["time"], m["data"]) for m in messages] == [
        (
            "heard.priority.set.v1",
            "2015-10-08T00:00:00.000000Z",
            common
            | {
                "occurred": {"kind": "date", "from": "2015-10-08"},
                "actor": {"role": "neighbourhood_team"},
                "issue": ISSUE,
            },
        ),
        (
            "heard.priority.action_recorded.v1",
            "2015-12-22T00:00:00.000000Z",
            common
            | {
                "occurred": {"kind": "date", "from": "2015-12-22"},
                "actor": {"role": "neighbourhood_team"},
                "action": "It has reduced.",
            },
        ),
    ]


def test_a_single_priority_may_stand_alone() -> None:
    assert run(priority()) == run([priority()])


@pytest.mark.parametrize("written", ["2015-10-08", "2015-10-08T00:00:00Z", " 2015-10-08 00:00:00+01:00"])
def test_a_day_is_taken_as_it_is_written(written: str) -> None:
    assert run(priority(issue_date=written)) == run(priority())


@pytest.mark.parametrize(
    ("html", "text"),
    [
        (f"<p>{ISSUE}</p>\r\n", ISSUE),
        ("<p>One &amp; two</p><p>Three<br/>four</p>", "One & two\nThree\nfour"),
        ("  To\n\treduce&nbsp;&nbsp;<b>theft</b> ", "To reduce theft"),
        ("<ul><li>a</li><li>b</li></ul>", "a\nb"),
        ("<script>x()</script><style>p{}</style>Speeding", "Speeding"),
        ("fewer than 5 < 6 &lt;b&gt; &pound;5", "fewer than 5 < 6 <b> £5"),
        ("speed\u0000ing", "speed ing"),
    ],
)
def test_html_becomes_plain_text(html: str, text: str) -> None:
    messages, told = run(priority(issue=html, action=html))
    assert [m["data"].get("issue", m["data"].get("action")) for m in messages] == [text, text]
    assert messages[0]["data"]["ref"].endswith(":" + hashlib.sha256(text.encode()).hexdigest()[:8])
    assert told == []


@pytest.mark.parametrize("issue", [None, "", " ", "<p>&nbsp;</p>", 7, ["x"]])
def test_a_priority_without_an_issue_is_left_out_and_told(issue: object) -> None:
    messages, told = run([priority(), priority(issue=issue)])
    assert len(messages) == 2
    assert told == ["answer.json, item 2: no issue: the priority is left out"]


@pytest.mark.parametrize("day", [None, "", "2015-13-08", "08/10/2015", "2015-10-08T", "20151008", 2015])
def test_a_priority_without_a_day_is_left_out_and_told(day: object) -> None:
    messages, told = run([priority(issue_date=day), priority()])
    assert len(messages) == 2
    assert told == ["answer.json, item 1: issue-date is not a date: the priority is left out"]


@pytest.mark.parametrize("action", [None, "", "<p> </p>"])
def test_a_priority_without_an_action_stays_open(action: object) -> None:
    messages, told = run(priority(action=action, action_date=None))
    assert [m["type"] for m in messages] == ["heard.priority.set.v1"]
    assert told == []


@pytest.mark.parametrize(
    ("action", "rule"),
    [
        (None, "action-date without an action"),
        ("", "action-date without an action"),
        (7, "action is not text"),
    ],
)
def test_what_is_odd_about_a_missing_action_is_told(action: object, rule: str) -> None:
    messages, told = run(priority(action=action))
    assert len(messages) == 1
    assert told == [f"answer.json, item 1: {rule}: imported without"]


@pytest.mark.parametrize("day", [None, "", "soon", 7])
def test_an_action_without_a_day_is_known_from_the_import_on(day: object) -> None:
    messages, told = run(priority(action_date=day))
    assert messages[1]["data"]["occurred"] == {"kind": "unknown"}
    assert "time" not in messages[1]
    assert told == ["answer.json, item 1: action-date is not a date: imported as unknown"]


def test_an_action_is_not_known_before_its_priority() -> None:
    messages, told = run(priority(action_date="2015-01-01T00:00:00"))
    assert messages[1]["data"]["occurred"] == {"kind": "date", "from": "2015-01-01"}
    assert messages[1]["time"] == messages[0]["time"]
    assert told == ["answer.json, item 1: action-date lies before issue-date: known from issue-date on"]


def test_public_text_that_is_too_long_is_cut_and_told() -> None:
    messages, told = run(priority(issue="x" * 4_001, action="y" * 4_000))
    assert messages[0]["data"]["issue"] == "x" * 3_999 + "…"
    assert messages[1]["data"]["action"] == "y" * 4_000
    assert told == ["answer.json, item 1: issue is over 4,000 characters: cut"]


def test_the_same_twice_counts_once_and_another_action_is_another() -> None:
    again = priority(action="Wardens patrol.", action_date="2016-01-05")
    messages, told = run([priority(), priority()], [priority(issue=f"<p>{ISSUE}</p>"), again])
    assert [m["type"] for m in messages] == ["heard.priority.set.v1"] + [
        "heard.priority.action_recorded.v1"
    ] * 2
    assert {m["data"]["ref"] for m in messages} == {REF}
    assert told == []


@pytest.mark.parametrize("item", [None, "x", 7, [], {"title": "A beat meeting"}])
def test_an_item_that_is_no_priority_is_left_out_and_told(item: object) -> None:
    messages, told = run([priority(), item])
    assert len(messages) == 2
    assert told == ["answer.json, item 2: not a priority: left out"]


def test_an_empty_list_is_a_neighbourhood_without_priorities() -> None:
    assert run([]) == ([], ["answer.json: an empty list: no priorities"])


def test_a_neighbourhood_is_registered_under_the_id_that_was_told() -> None:
    messages, told = run(place(name="Banks &amp; Hesketh"))
    assert told == []
    assert messages == [
        {
            "specversion": "1.0",
            "id": "police-uk:neighbourhood:NC04",
            "source": "/import/police-uk/leicestershire/NC04",
            "type": "heard.neighbourhood.registered.v1",
            "datacontenttype": "application/json",
            "data": {
                "ref": "NC04",
                "force": "leicestershire",
                "neighbourhood": "NC04",
                "occurred": {"kind": "unknown"},
                "actor": {"role": "neighbourhood_team"},
                "name": "Banks & Hesketh",
                "population": 1000,
            },
        }
    ]


@pytest.mark.parametrize(("given", "people"), [("1000", 1000), (1000, 1000), ("12,345", 12345), (" 7 ", 7)])
def test_a_population_is_a_whole_number(given: object, people: int) -> None:
    messages, told = run(place(population=given))
    assert messages[0]["data"]["population"] == people
    assert told == []


@pytest.mark.parametrize("given", [None, "", "0", 0])
def test_no_population_is_no_field(given: object) -> None:
    messages, told = run(place(population=given))
    assert "population" not in messages[0]["data"]
    assert told == []


@pytest.mark.parametrize("given", ["about 1000", "-5", "1.5", 1.5, True, "9" * 10, [1], "1,00", " "])
def test_a_population_that_is_no_whole_number_is_absent_and_told(given: object) -> None:
    messages, told = run(place(population=given))
    assert "population" not in messages[0]["data"]
    assert told == ["answer.json: population is not a whole number: imported without"]


@pytest.mark.parametrize("name", [None, "", "<p></p>", 7])
def test_a_neighbourhood_without_a_name_is_not_registered(name: object) -> None:
    assert run(place(name=name)) == ([], ["answer.json: no name: the neighbourhood is not registered"])


def test_another_id_in_the_file_is_told_and_what_was_told_counts() -> None:
    messages, told = run(place(id="AB12"))
    assert messages[0]["data"]["ref"] == "NC04"
    assert told == ["answer.json: its id is not NC04, which was told and counts"]


@pytest.mark.parametrize("turn", [1, -1])
def test_of_several_neighbourhoods_the_one_that_was_told_is_registered(turn: int) -> None:
    messages, told = run(*[place(id="AB12", name="Elsewhere"), [place()]][::turn])
    assert [m["data"]["name"] for m in messages] == ["City Centre"]
    assert told == ["answer.json: another neighbourhood: left out"]


OTHERS: list[Any] = [
    {"email": "a@example.org", "web": ""},
    {"telephone": "101"},
    {"latitude": "A", "longitude": "B"},
    [{"latitude": "52", "longitude": "-1"}],
    {"url": "", "description": None, "title": "Facebook"},
    {"name": "House", "postcode": "LE1 3GG", "latitude": None, "longitude": None},
    {"force": "metropolitan", "neighbourhood": "00BKX6"},
    [{"id": "NC04", "name": "City Centre"}],
    [{"name": "PC", "rank": "Constable"}],
    {"id": "leicestershire", "name": "L", "engagement_methods": []},
]


@pytest.mark.parametrize("document", OTHERS)
def test_other_answers_of_police_uk_hold_nothing_to_import(document: object) -> None:
    messages, told = run(priority(), document)
    assert len(messages) == 2
    assert len(told) == 1
    assert told[0].endswith(": nothing to import")
    assert refused(file(document)).code == "field_missing"


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"", "not_json"),
        (b"<html>Not found</html>", "not_json"),
        (b'{"issue": "caf\xe9"}', "not_utf8"),
        (b'"Not Found"', "field_invalid"),
        (b"{}", "field_invalid"),
        (b"[null]", "field_invalid"),
        (b'[{"service_request_id": "1"}]', "field_invalid"),
    ],
)
def test_a_file_that_cannot_be_read_stops_everything_and_is_named(content: bytes, code: str) -> None:
    error = refused(file(priority()), ("odd.json", content))
    assert (error.code, error.field) == (code, "odd.json")


def test_the_order_of_files_and_items_makes_no_difference() -> None:
    items = [
        priority(),
        priority(issue="B", action=None, action_date=None),
        priority(issue_date="2014-01-01"),
    ]
    first = list(map(orjson.dumps, run(place(), items)[0]))
    assert list(map(orjson.dumps, run(items[::-1], place())[0])) == first
    assert len(of(map(orjson.loads, first), "priority.set")) == 3


JSON = (
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.text(max_size=12)
    | st.text("<>/pbr&;!-ai \n", max_size=20)
    | st.sampled_from(["2015-10-08", "0001-01-01T00:00:00", "x" * 5_000])
    | st.lists(st.none(), max_size=1)
)


@given(
    st.lists(st.dictionaries(st.sampled_from(["issue", "issue_date", "action", "action_date"]), JSON)),
    st.dictionaries(st.sampled_from(["id", "name", "population"]), JSON),
)
def test_whatever_the_fields_hold_each_message_can_be_used(
    items: list[dict[str, Any]], fields: dict[str, Any]
) -> None:
    run([priority(**item) for item in items], place(**fields))
