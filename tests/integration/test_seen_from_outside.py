"""What can be seen of the loops from outside, while they run as they always do?"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import urllib.error
import urllib.request
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import orjson
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from prometheus_client.parser import text_string_to_metric_families

from consumers.running import run
from domain.errors import ConfigurationError
from infra import scenario, telemetry
from infra.clock import FixedClock
from infra.installation import Installation
from infra.settings import Settings
from infra.telemetry import Endpoint, PrometheusMeter
from infra.watching import INTERVAL, Watch, read_off
from projections.catalogue import VIEWS
from services.ports import Outgoing
from services.telemetry import METRICS, TRACEPARENT
from services.topics import EVENTS, INBOX
from tests.support.messages import concern, lines, message
from tests.support.program import heard, started

NOW = "2026-01-10"
UPSTREAM = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
WORDS = "Zebedee Quillfeather's lamp at 4 Larkspur Mews is broken"
PERSON = {"ref": "person-17", "name": "Zebedee Quillfeather", "contact": "zq@example.org"}
WORLD = (
    concern("N1", words=WORDS, contributor=PERSON),
    message("decision.made", "D40", outcome="declined"),
    message("feedback.sent", "F40", "answers concern missing", audience="public", channel="website"),
)
"""A concern with personal words, a dead letter, and a message that waits."""
INBOX_RECORDS = [
    *(
        Outgoing(INBOX.name, b"", line, ((TRACEPARENT, UPSTREAM.encode()),))
        for line in lines(WORLD).splitlines()
    ),
    Outgoing(INBOX.name, b"", f'{{"words": "{WORDS}"'.encode()),
]

Read = dict[str, dict[tuple[str, ...], float]]


@pytest.fixture
def installation(tmp_path: Path) -> Iterator[Installation]:
    i = Installation(Settings(dir=tmp_path / "data"), now=scenario.CLOCK.replace(year=2026))
    with closing(i):
        yield i


def consumed(i: Installation, records: Sequence[Outgoing] = INBOX_RECORDS) -> None:
    """Put records on the inbox and run the loops until nothing is left."""
    i.log.append(records)
    run(i.loops(), until_idle=True)


# -- metrics -------------------------------------------------------------------------------------


def read(text: str) -> Read:
    """{sample: {label values: value}} of what Prometheus reads."""
    found: defaultdict[str, dict[tuple[str, ...], float]] = defaultdict(dict)
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found[sample.name][tuple(sample.labels.values())] = sample.value
    return dict(found)


def measured(i: Installation) -> PrometheusMeter:
    """Have the installation's loops measured."""
    i.meter = meter = PrometheusMeter()
    return meter


def get(port: int, path: str) -> tuple[int, str]:
    """Status and body of an answer."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def test_the_gauges_show_how_messages_ended_and_what_waits(installation: Installation) -> None:
    meter = measured(installation)
    consumed(installation)
    read_off(installation)
    seen = read(meter.text().decode())

    assert seen["heard_messages"] == {
        ("read",): 4, ("accepted",): 1, ("no_change",): 0, ("duplicates",): 0, ("parked",): 1,
        ("dead_letters",): 2,
    }  # fmt: skip
    assert seen["heard_parked"] == {(): 1}
    assert seen["heard_dead_letters_open"] == {(): 2}
    codes = {code: count for (code,), count in seen["heard_dead_letters_total"].items() if count}
    assert codes == {"not_json": 1, "rule_broken": 1}
    assert seen["heard_looked_at_seconds"] == {(): installation.clock.now().timestamp()}


def test_each_loop_tells_the_size_and_the_time_of_its_batches(installation: Installation) -> None:
    meter = measured(installation)
    consumed(installation)
    seen = read(meter.text().decode())

    assert seen["heard_batch_records_sum"]["intake",] == 4
    events = sum(installation.log.end_offsets(EVENTS.name).values())
    assert seen["heard_batch_records_sum"]["sequencer",] == events > 1  # the concern, and what is owed for it
    assert seen["heard_batch_records_sum"]["processes",] == events
    loops = {("intake",), ("sequencer",), ("projector",), ("processes",)}
    assert {labels for labels, count in seen["heard_batch_seconds_count"].items() if count > 0} == loops


def test_the_lag_of_every_view_is_counted_in_events_and_seconds_until_it_is_gone(
    installation: Installation,
) -> None:
    meter = measured(installation)
    consumed(installation)
    installation.log.append([Outgoing(INBOX.name, b"", lines([concern("N2")]).strip())])
    run(installation.loops(("intake", "sequencer")), until_idle=True)
    installation.clock = FixedClock(installation.clock.now() + timedelta(seconds=90))
    read_off(installation)
    behind = read(meter.text().decode())
    run(installation.loops(), until_idle=True)
    read_off(installation)
    level = read(meter.text().decode())

    assert behind["heard_view_lag_events"] == {(view,): 1 for view in VIEWS}
    assert behind["heard_view_lag_seconds"] == {(view,): 90 for view in VIEWS}
    assert behind["heard_loop_lag_records"] == {
        ("intake",): 0, ("sequencer",): 0, ("projector",): 1, ("processes",): 1,
    }  # fmt: skip
    assert set(level["heard_view_lag_events"].values()) == {0}
    assert set(level["heard_view_lag_seconds"].values()) == {0}


def test_messages_that_nobody_took_are_the_lag_of_intake(installation: Installation) -> None:
    meter = measured(installation)
    installation.log.append(INBOX_RECORDS)
    read_off(installation)
    assert read(meter.text().decode())["heard_loop_lag_records"]["intake",] == 4


def test_the_first_message_that_nobody_took_says_for_how_long_a_partition_has_waited(
    installation: Installation,
) -> None:
    meter = measured(installation)
    consumed(installation)
    installation.log.append([Outgoing(INBOX.name, b"", b"{}", partition=2)])
    installation.clock = FixedClock(installation.clock.now() + timedelta(seconds=90))
    installation.log.append([Outgoing(INBOX.name, b"", b"{}", partition=2)])
    read_off(installation)
    stands = read(meter.text().decode())["heard_inbox_oldest_seconds"]
    run(installation.loops(), until_idle=True)
    read_off(installation)
    level = read(meter.text().decode())["heard_inbox_oldest_seconds"]

    assert stands == {("0",): 0, ("1",): 0, ("2",): 90, ("3",): 0}
    assert level == dict.fromkeys(stands, 0)


def test_a_duty_is_counted_as_overdue_once_its_time_is_past(installation: Installation) -> None:
    meter = measured(installation)
    consumed(installation)
    (due,) = {
        datetime.fromisoformat(str(stored.envelope.pub["due"]))
        for stored in installation.store.after(0, 100)
        if stored.envelope.pub.get("rule") == "acknowledge_concern"
    }
    installation.clock = FixedClock(due - timedelta(seconds=1))
    read_off(installation)
    before = read(meter.text().decode())["heard_duties_overdue"]
    installation.clock = FixedClock(due + timedelta(seconds=1))
    read_off(installation)
    after = read(meter.text().decode())["heard_duties_overdue"]

    assert before["acknowledge_concern",] == 0
    assert after["acknowledge_concern",] == 1
    assert after["review_priority",] == 0


def test_gauges_are_read_at_intervals_and_a_database_that_is_away_stops_no_loop(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    meter, now = measured(installation), [0.0]
    consumed(installation)
    with closing(Endpoint(meter, "127.0.0.1", 0)) as endpoint:
        watch = Watch(installation, endpoint, monotonic=lambda: now[0])
        watch.round()
        installation.log.append(INBOX_RECORDS)
        now[0] = INTERVAL - 1
        watch.round()
        assert read(meter.text().decode())["heard_loop_lag_records"]["intake",] == 0
        now[0] = INTERVAL + 1
        watch.round()
        assert read(meter.text().decode())["heard_loop_lag_records"]["intake",] == 4
        installation.views.engine.dispose()
        (installation.dir / "views.db").rename(installation.dir / "aside.db")
        (installation.dir / "views.db").mkdir()
        now[0] = 3 * INTERVAL
        watch.round()


def test_the_program_serves_its_metrics_while_it_runs(tmp_path: Path) -> None:
    assert heard("publish", "--unchecked", "-", dir=tmp_path, now=NOW, stdin=lines(WORLD)).code == 0
    process = started(
        "consume", "--metrics-port", "0", dir=tmp_path, now=NOW, stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )  # fmt: skip
    try:
        assert process.stderr is not None
        told = process.stderr.readline().decode()
        found = re.fullmatch(r"metrics: http://127\.0\.0\.1:(\d+)/metrics\n", told)
        assert found, told
        port = int(found[1])
        seen: Read = {}
        while seen.get("heard_messages", {}).get(("read",)) != 3 and process.poll() is None:
            status, text = get(port, "/metrics")
            assert status == 200
            seen = read(text)
        assert get(port, "/healthz") == (200, "ok\n")
        assert get(port, "/other")[0] == 404
        assert "Zebedee" not in text
        assert "person-17" not in text
    finally:
        os.kill(process.pid, signal.SIGTERM)
        process.communicate(timeout=30)
    assert process.returncode == 0


def test_a_process_whose_loops_stand_still_is_not_healthy(monkeypatch: pytest.MonkeyPatch) -> None:
    with closing(Endpoint(PrometheusMeter(), "127.0.0.1", 0)) as endpoint:
        assert get(endpoint.port, "/healthz")[0] == 200
        monkeypatch.setattr(telemetry, "QUIET", 0.0)
        assert get(endpoint.port, "/healthz")[0] == 503


def test_a_port_that_is_taken_is_said(tmp_path: Path) -> None:
    with closing(Endpoint(PrometheusMeter(), "127.0.0.1", 0)) as endpoint:
        with pytest.raises(ConfigurationError):
            Endpoint(PrometheusMeter(), "127.0.0.1", endpoint.port)
        env = {"HEARD_METRICS_PORT": str(endpoint.port)}
        assert heard("consume", "--until-idle", dir=tmp_path, now=NOW, env=env).code == 3


def test_every_metric_has_samples_and_nothing_else_is_served(installation: Installation) -> None:
    meter = measured(installation)
    consumed(installation)
    read_off(installation)
    families = {family.name: family for family in text_string_to_metric_families(meter.text().decode())}
    assert families.keys() == {metric.name.removesuffix("_total") for metric in METRICS}
    silent = {name for name, family in families.items() if not family.samples}
    assert silent == {"heard_batches_failed"}  # nothing failed


# -- traces --------------------------------------------------------------------------------------


def spans_of(i: Installation, records: Sequence[Outgoing] = INBOX_RECORDS) -> list[ReadableSpan]:
    """What the loops told of these records."""
    exporter = InMemorySpanExporter()
    i.spans = SimpleSpanProcessor(exporter)
    consumed(i, records)
    return list(exporter.get_finished_spans())


def trace_of(span: ReadableSpan) -> int:
    assert span.context is not None
    return int(span.context.trace_id)


def own(span: ReadableSpan) -> int:
    assert span.context is not None
    return int(span.context.span_id)


def attribute(name: str, value: object) -> Callable[[ReadableSpan], bool]:
    return lambda span: (span.attributes or {}).get(name) == value


def test_one_trace_shows_one_message_over_all_loops(installation: Installation) -> None:
    spans = spans_of(installation)
    (root,) = filter(attribute("heard.outcome", "accepted"), spans)
    (raised,) = filter(attribute("heard.event_type", "heard.concern.raised.v1"),
                       [span for span in spans if span.name == "sequencer"])  # fmt: skip
    below = [span for span in spans if span.parent is not None and span.parent.span_id == own(raised)]

    assert root.parent is None
    assert [link.context.trace_id for link in root.links] == [0x0AF7651916CD43DD8448EB211C80319C]
    assert raised.parent is not None
    assert raised.parent.span_id == own(root)
    assert sorted(span.name for span in below) == ["processes", "projector"]
    # What is owed because of the message stands in its trace as well, and nothing of other messages.
    trace = [span for span in spans if trace_of(span) == trace_of(root)]
    types = [(span.attributes or {})["heard.event_type"] for span in trace if span.name == "sequencer"]
    assert set(types) == {"heard.concern.raised.v1", "heard.duty.opened.v1"}
    assert [span.name for span in trace].count("intake") == 1
    assert len({own(span) for span in spans}) == len(spans)


def test_what_becomes_no_event_is_traced_with_its_end_and_its_code(installation: Installation) -> None:
    again = INBOX_RECORDS[:1]
    spans = [span for span in spans_of(installation, [*INBOX_RECORDS, *again]) if span.name == "intake"]
    ends = sorted(str((span.attributes or {})["heard.outcome"]) for span in spans)
    assert ends == ["accepted", "dead_letter", "dead_letter", "nothing_new", "parked"]
    codes = {(span.attributes or {}).get("heard.code") for span in spans} - {None}
    assert codes == {"not_json", "rule_broken"}
    (repeated,) = filter(attribute("heard.outcome", "nothing_new"), spans)
    (first,) = filter(attribute("heard.outcome", "accepted"), spans)
    assert repeated.parent is not None
    assert repeated.parent.span_id == own(first)


def test_no_personal_word_is_in_a_span(installation: Installation) -> None:
    told = "".join(span.to_json() for span in spans_of(installation))
    assert "heard.concern.raised.v1" in told
    for personal in ("Zebedee", "Quillfeather", "Larkspur", "zq@example.org", "person-17"):
        assert personal not in told


def test_the_events_bytes_are_the_same_and_the_header_is_there_only_when_it_is_asked_for(
    tmp_path: Path,
) -> None:
    def published(name: str, *, traced: bool) -> list[tuple[bytes | None, bool]]:
        with closing(Installation(Settings(dir=tmp_path / name), now=scenario.CLOCK)) as i:
            if traced:
                i.spans = SimpleSpanProcessor(InMemorySpanExporter())
            consumed(i, [Outgoing(INBOX.name, b"", line.encode()) for line in scenario.lines()])
            stored = {s.envelope.bytes for s in i.store.after(0, 1_000)}
            records = [r for p, end in i.log.end_offsets(EVENTS.name).items()
                       for r in i.log.read(EVENTS.name, p, 0, end, 1_000)]  # fmt: skip
            assert {record.value for record in records} == stored
            return [(record.value, record.header(TRACEPARENT) is not None) for record in records]

    assert {header for _, header in published("plain", traced=False)} == {False}
    assert {header for _, header in published("traced", traced=True)} == {True}


def test_a_share_of_the_traces_is_recorded_each_whole_or_not_at_all(tmp_path: Path) -> None:
    settings = Settings(dir=tmp_path / "data", otlp_share=0.5)
    with closing(Installation(settings, now=scenario.CLOCK)) as i:
        records = [Outgoing(INBOX.name, b"", line.encode()) for line in scenario.lines()]
        spans = spans_of(i, records)
    whole = {trace_of(span) for span in spans if span.name == "intake"}
    assert 0 < len(whole) < len(records)
    assert {trace_of(span) for span in spans} == whole


@contextmanager
def collector() -> Iterator[tuple[str, list[ExportTraceServiceRequest]]]:
    """A collector on this machine: its address, and what it was sent."""
    sent: list[ExportTraceServiceRequest] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            assert self.path == "/v1/traces"
            body = self.rfile.read(int(self.headers["Content-Length"]))
            sent.append(ExportTraceServiceRequest.FromString(body))
            self.send_response(200)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None: ...

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", sent
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_the_program_sends_its_spans_to_a_collector(tmp_path: Path) -> None:
    assert heard("publish", "--unchecked", "-", dir=tmp_path, now=NOW, stdin=lines(WORLD)).code == 0
    with collector() as (address, sent):
        env = {"HEARD_OTLP_ENDPOINT": address}
        assert heard("consume", "--until-idle", dir=tmp_path, now=NOW, env=env).code == 0
    spans = [s for r in sent for rs in r.resource_spans for ss in rs.scope_spans for s in ss.spans]
    loops = defaultdict(set)
    for span in spans:
        loops[span.trace_id].add(span.name)
    assert {"intake", "sequencer", "projector", "processes"} in loops.values()
    assert not any(b"Zebedee" in request.SerializeToString() for request in sent)


def test_a_collector_that_is_away_changes_nothing_for_the_loops(tmp_path: Path) -> None:
    assert heard("publish", "--unchecked", "-", dir=tmp_path, now=NOW, stdin=lines(WORLD)).code == 0
    with closing(Endpoint(PrometheusMeter(), "127.0.0.1", 0)) as endpoint:
        port = endpoint.port
    env = {"HEARD_OTLP_ENDPOINT": f"http://127.0.0.1:{port}"}
    began = os.times().elapsed
    answer = heard("consume", "--until-idle", dir=tmp_path, now=NOW, env=env)
    assert answer.code == 0
    assert os.times().elapsed - began < 15
    rows = orjson.loads(heard("query", "inputs", dir=tmp_path, now=NOW).out)["rows"]
    assert [row["ref"] for row in rows] == ["N1"]
