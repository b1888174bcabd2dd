"""A thread to draw: what came of one residents' meeting, like the bundled scenario, in its own words."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

KINDS = [
    "engagement",
    "contact",
    "concern",
    "support",
    "decision",
    "priority",
    "change",
    "feedback",
    "referral",
]
"""What may be a node of a trace."""

# reference, kind, day or days, state, outcome ("-": none) and reasons; then the words
_THINGS = """
C1 engagement 2006-07-19 held
    Residents met the new ward team for the first time. Some 25 people came to the church hall.
N1 concern 2006-07-19 delivered
    On summer evenings groups shout and break things in the first park: at weekends in term, every
    night in the holidays.
N1q concern 2006-07-19 received
    Nobody minds that young people meet there. It is the noise and the damage.
N2 concern 2006-07-19 delivered
    The same in the second park. Older people in the sheltered flats next to it feel it most.
N3 concern 2006-07-19 delivered
    Drink is stolen from the supermarket, or sold to people who are too young.
O1 decision 2006-07-19 proposed
    Try a camera that can be moved in the first park. The team asks the council.
O2 decision 2006-07-19 proposed
    Walk through both parks more often.
O3 decision 2006-07-19 proposed
    A higher fence and more light at the second park, to be talked over with the council.
O4 decision 2006-07-19 proposed
    The supermarket puts drink near the tills, or pays for a guard.
P1 decision 2008-05-15 made adopted_as_priority
    At the public meeting four priorities were set: robbery, burglary, nuisance and fear of crime.
robbery priority 2008-05-15 closed
    Robbery
burglary priority 2008-05-15 open
    Burglary
asb priority 2008-05-15 actioned
    Anti-social behaviour
fear priority 2008-05-15 open
    Fear of crime
A1 change 2008-06-23/2008-10-10 measured
    The bench where groups gathered was taken away.
A2 change 2008-06-23/2008-10-10 implemented
    A camera watches the play area for the time being.
A3 change 2008-06-23/2008-10-10 measured
    At weekends the ward team starts and ends later.
A4 change 2008-06-23/2008-10-10 implemented
    Cadets tried to buy drink in shops; one shop was taken to court.
F1 feedback 2008-10-10 sent
    The community’s website told residents what had been done, what else there is for young people,
    and whom to call.
N4 concern 2008-10-21 received
    Some of the trouble has only moved, to a road near by.
F2 feedback 2008-10-21 sent
    People heard at the meeting: four reports of nuisance in the park since then, and two crimes
    around it.
N6 concern 2008-10-21 decided
    Can that road have a camera as well?
D1 decision 2008-10-21 made declined needs_assessment would_displace
    Not for now: the council wants an assessment before it places a camera, and the police expect
    that it would only move the trouble on.
A5 change 2008-10-21 planned
    Diary sheets, a youth centre that mediates, and a meeting with those who live on the road.
P2 decision 2008-10-21 made adopted_as_priority
    New priorities for six months. Robbery came off the list: from 15 in a year to 2.
littering priority 2008-10-21 open
    Littering
cycles priority 2008-10-21 open
    Theft of bicycles
C2 engagement 2008-06-23 held
    The team stood in the first park for an afternoon and asked. Nuisance was what people spoke of
    most.
C3 engagement 2008-10-21 held
    The liaison group’s public meeting.
C4 engagement 2008-11-10 planned
N5 concern 2008-10-21 decided
    Those who live on the road rang again and again, and say that little happened.
D2 decision 2008-10-21 made no_change resource_constraint
    There are very few response officers. Ask for an incident number, so that each call can be found
    again.
N7 concern 2008-10-21 referred
    May a bus driver do anything about open bottles on the bus?
D3 referral 2008-10-21 answered - no_legal_power
    The council’s officer asks the transport authority.
F3 feedback 2008-11-10 sent
    The ban is part of the terms of travel. It is not a crime, so the police cannot enforce it; the
    authority will explain it in public.
"""

_BESIDE = "C2 C3 C4 N5 D2 N7 D3 F3"
"""What does not belong to the thread of C1."""

_LINKS = """
raised_in     N1 N2 N3 < C1; N4 N5 N7 < C3
prompted_by   N1q < N1; N4 < A1 A3; N6 < N4; C4 < C3
derived_from  O1 < N1; O2 < N1 N2; O3 < N2; O4 < N3; P1 < N1; P2 < C3 F2
derived_from  robbery burglary asb fear < P1 P2; littering cycles < P2
derived_from  A1 < N1 P1 C2; A2 < N1 O1 C2; A3 < N1 P1 O2 C2; A4 < N3 P1; A5 < N4 N5
reports_on    F1 < A1 A2 A3 A4; F2 < A1 A3; F3 < D3
told_at       F2 < C3
answers       F3 < N7
weighed       D1 < N6; D2 < N5
refers        D3 < N7
supersedes    P2 < P1
"""
"""Of each relation the effects and, behind "<", their causes."""


def node(
    ref: str,
    kind: str = "concern",
    days: str = "2008-10-21",
    state: str = "raised",
    outcome: str = "-",
    *reasons: str,
    text: str | None = "Some words.",
) -> dict[str, Any]:
    """A node as the contract has it; two days with a slash between make an interval."""
    start, _, end = days.partition("/")
    return {
        "ref": ref,
        "id": f"id-of-{ref}",
        "kind": kind,
        "neighbourhood": "st-margarets",
        "occurred": {"kind": "interval" if end else "date", "from": start, "to": end or start},
        "known_at": f"{end or start}T20:00:00Z",
        "state": state,
        "text": text,
        "outcome": None if outcome == "-" else outcome,
        "reasons": list(reasons),
    }


def edge(cause: str, effect: str, relation: str = "derived_from") -> dict[str, str]:
    """An edge as the contract has it."""
    return {"cause": cause, "effect": effect, "relation": relation}


def trace(nodes: list[dict[str, Any]], edges: list[dict[str, str]], root: str = "") -> dict[str, Any]:
    """The answer to `trace`; its root is the first node unless named."""
    return {"root": root or nodes[0]["ref"], "at": "2009-03-01T12:00:00Z", "nodes": nodes, "edges": edges}


def everything() -> dict[str, Any]:
    """All of the scenario, traced from C1."""
    nodes: list[dict[str, Any]] = []
    for line in _THINGS.strip().splitlines():
        if line.startswith(" "):
            nodes[-1]["text"] = f"{nodes[-1]['text'] or ''} {line.strip()}".strip()
        else:
            nodes.append(node(*line.split(), text=None))
    edges = []
    for line in _LINKS.strip().splitlines():
        relation, _, links = line.partition(" ")
        for link in links.split(";"):
            effects, _, causes = link.partition("<")
            edges += [edge(cause, effect, relation) for effect in effects.split() for cause in causes.split()]
    return trace(nodes, edges)


def thread(root: str = "C1", refs: str = "") -> dict[str, Any]:
    """The scenario's things with these references and their links; without any, what came of C1."""
    full = everything()
    chosen = set(refs.split()) or {each["ref"] for each in full["nodes"]} - set(_BESIDE.split())
    return trace(
        [each for each in full["nodes"] if each["ref"] in chosen],
        [each for each in full["edges"] if {each["cause"], each["effect"]} <= chosen],
        root,
    )


HOSTILE = {
    "markup": '<script>alert("x")</script> <!-- & &amp; &#0; ]]> --> \' "',
    "control characters": "bell\x07 escape\x1b[31mred null\x00 next\x85line\x0b\uffff\ufffe \ud800 end",
    "a very long word": "W" * 5_000,
    "right to left": "شكا السكان من الضوضاء والأضرار في الحديقة خلال أمسيات الصيف كل ليلة تقريبا",
    "marks that turn the direction": "\u202eesrever\u2066 \u200f\u061c end",
    "emoji": "👨‍👩‍👧‍👦" * 40 + " 🇬🇧 ☎️",
    "a tower of accents": "Z" + "\u0335\u0321\u0322\u031b" * 50,
    "Chinese": "公园里夏天晚上很吵" * 30,
    "only blanks": " \n\t ",
}
"""Words that could break a picture, by what is wrong with them."""


@st.composite
def graphs(draw: st.DrawFn, *, circles: bool = False) -> dict[str, Any]:
    """Any answer to `trace` of up to 14 things; with `circles` also one that cannot be."""
    count = draw(st.integers(1, 14))
    kinds = st.sampled_from(KINDS)
    words = st.text(max_size=200)
    nodes = [node(f"T{index}", draw(kinds), text=draw(words)) for index in range(count)]
    place = st.integers(0, count - 1)
    relations = st.sampled_from(["derived_from", "reports_on", "told_at"])
    edges = []
    for one, other, relation in draw(st.lists(st.tuples(place, place, relations), max_size=30)):
        cause, effect = (one, other) if circles else sorted((one, other))
        if circles or cause != effect:
            edges.append(edge(f"T{cause}", f"T{effect}", relation))
    return trace(nodes, edges, f"T{draw(place)}")
