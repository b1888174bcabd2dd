"""How do metrics reach Prometheus, and spans a collector? Imported only where one of them is on."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Final

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.sdk.trace.sampling import TraceIdRatioBased
from opentelemetry.trace import (
    Link,
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    TraceFlags,
    get_current_span,
    set_span_in_context,
)  # fmt: skip
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from consumers.sequencer import position_of
from domain.errors import DEAD_LETTER_CODES, ConfigurationError
from domain.event import Envelope
from domain.ids import Ids
from services.ports import Record, Stored
from services.telemetry import DEAD_LETTERS, METRICS, TRACEPARENT, Headers, Metric, Taken

QUEUE: Final = 65_536
"""As many spans as wait for the collector; what does not fit is left out, and no loop waits."""
QUIET: Final = 600.0
"""Seconds without a round of the loops after which a process no longer calls itself healthy.

A round may hold a rebuild of the read models, which takes its time.
"""


class PrometheusMeter:
    """The `Meter` port on a registry of its own."""

    def __init__(self) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call] # a series each that nobody asks for
        self.registry = CollectorRegistry()
        self._made: dict[str, Counter | Gauge | Histogram] = {m.name: self._make(m) for m in METRICS}
        for code in DEAD_LETTER_CODES:
            self.add(DEAD_LETTERS, 0, code)  # a series that begins at its first event hides that event

    def _make(self, metric: Metric) -> Counter | Gauge | Histogram:
        about = f"{metric.about} ({metric.unit})"
        if metric.kind == "histogram":
            return Histogram(
                metric.name, about, metric.labels, registry=self.registry, buckets=metric.buckets
            )
        made = Counter if metric.kind == "counter" else Gauge
        return made(metric.name, about, metric.labels, registry=self.registry)

    def _of(self, metric: Metric, labels: tuple[str, ...]) -> Counter | Gauge | Histogram:
        made = self._made[metric.name]
        return made.labels(*labels) if labels else made

    def add(self, metric: Metric, amount: float, *labels: str) -> None:
        """See `Meter.add`."""
        counter = self._of(metric, labels)
        assert isinstance(counter, Counter)  # noqa: S101 - for the type checker
        counter.inc(amount)

    def observe(self, metric: Metric, value: float, *labels: str) -> None:
        """See `Meter.observe`."""
        histogram = self._of(metric, labels)
        assert isinstance(histogram, Histogram)  # noqa: S101 - for the type checker
        histogram.observe(value)

    def set(self, metric: Metric, value: float, *labels: str) -> None:
        """See `Meter.set`."""
        gauge = self._of(metric, labels)
        assert isinstance(gauge, Gauge)  # noqa: S101 - for the type checker
        gauge.set(value)

    def text(self) -> bytes:
        """All of it, as Prometheus reads it."""
        return generate_latest(self.registry)


class Endpoint:
    """Serves `/metrics` and `/healthz` from a thread of its own until it is closed.

    ConfigurationError when the address cannot be had. Port 0: any that is free, see `port`.
    """

    def __init__(self, meter: PrometheusMeter, address: str, port: int) -> None:
        self._beat = time.monotonic()
        answers: dict[str, Callable[[], tuple[int, str, bytes]]] = {
            "/metrics": lambda: (200, CONTENT_TYPE_LATEST, meter.text()),
            "/healthz": self._health,
        }

        class Handler(BaseHTTPRequestHandler):
            timeout = 10

            def do_GET(self) -> None:
                path = self.path.partition("?")[0]
                status, kind, body = answers.get(path, lambda: (404, "text/plain", b"/metrics, /healthz\n"))()
                self.send_response(status)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:
                """A scrape is not worth a line."""

        try:
            self._server = ThreadingHTTPServer((address, port), Handler)
        except OSError as error:
            raise ConfigurationError(
                f"metrics cannot be served at {address}:{port}", expected="an address that is free",
                got=error.strerror or type(error).__name__, hint="set HEARD_METRICS_PORT to another one",
            ) from error  # fmt: skip
        self.port = int(self._server.server_address[1])
        self._thread = Thread(target=self._server.serve_forever, name="metrics", daemon=True)
        self._thread.start()

    def beat(self) -> None:
        """The loops have gone round."""
        self._beat = time.monotonic()

    def _health(self) -> tuple[int, str, bytes]:
        quiet = time.monotonic() - self._beat
        if quiet < QUIET:
            return 200, "text/plain", b"ok\n"
        return 503, "text/plain", b"no round of the loops for %d seconds\n" % quiet

    def close(self) -> None:
        """Give the address back."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Chosen(RandomIdGenerator):
    """Ids that follow from what a span is about, where they are given; else random ones."""

    trace: int | None = None
    span: int | None = None

    def generate_trace_id(self) -> int:
        """The chosen one."""
        return self.trace or super().generate_trace_id()

    def generate_span_id(self) -> int:
        """The chosen one."""
        return self.span or super().generate_span_id()


class OtlpTracer:
    """The `Tracer` port: the spans of a batch are made once it is committed, and sent by a thread.

    A message's trace id and the ids of the spans that others hang from are hashes under the
    installation's id key: every process computes the same ones, and nobody else can. `share` of
    all traces, chosen by their ids, is recorded, each by all loops or by none.
    """

    def __init__(self, ids: Ids, processor: SpanProcessor, *, share: float = 1.0) -> None:
        self._ids = ids
        self._chosen = _Chosen()
        self._sampler = TraceIdRatioBased(share)
        self._provider = TracerProvider(
            sampler=self._sampler,
            resource=Resource({"service.name": "heard"}),
            shutdown_on_exit=False,
            id_generator=self._chosen,
        )
        self._provider.add_span_processor(processor)
        self._tracer = self._provider.get_tracer("heard")

    def now(self) -> int:
        """See `Tracer.now`."""
        return time.time_ns()

    def taken(self, since: int, messages: Callable[[], Iterable[Taken]]) -> None:
        """See `Tracer.taken`."""
        end = self.now()
        for message in messages():
            trace, root = self._root(message.correlation or message.letter)
            attributes = {"heard.outcome": message.outcome, "heard.letter": message.letter}
            if message.type is not None:
                attributes["heard.event_type"] = message.type
            if message.code is not None:
                attributes["heard.code"] = message.code
            upstream = _read(message.upstream)
            links = [] if upstream is None else [Link(upstream)]
            # What only repeats the message, or takes its name, stands below it.
            again = message.outcome == "nothing_new" or message.code == "id_reused"
            self._chosen.trace, self._chosen.span = trace, None if again else root
            context = _below(trace, root) if again else Context()
            self._span("intake", context, SpanKind.CONSUMER, attributes, since, end, links)
        self._chosen.trace = self._chosen.span = None

    def header(self, envelope: Envelope) -> Headers:
        """See `Tracer.header`; nothing for an event that comes from no message."""
        if envelope.correlation is None:
            return ()
        trace, _ = self._root(envelope.correlation)
        recorded = (trace & (1 << 64) - 1) < self._sampler.bound
        text = f"00-{trace:032x}-{_number(envelope.id):016x}-{int(recorded):02x}"
        return ((TRACEPARENT, text.encode()),)

    def published(self, since: int, events: Sequence[Stored]) -> None:
        """See `Tracer.published`."""
        end = self.now()
        for stored in events:
            envelope = stored.envelope
            if envelope.correlation is None:
                continue
            trace, root = self._root(envelope.correlation)
            self._chosen.span = _number(envelope.id)
            attributes: dict[str, str | int] = {
                "heard.event_id": envelope.id,
                "heard.event_type": envelope.type,
                "heard.position": stored.position,
            }
            self._span("sequencer", _below(trace, root), SpanKind.PRODUCER, attributes, since, end)
        self._chosen.span = None

    def followed(self, loop: str, since: int, records: Sequence[Record]) -> None:
        """See `Tracer.followed`; a record that was published without a trace has no span."""
        end = self.now()
        for record in records:
            parent = _read(record.header(TRACEPARENT))
            if parent is None:
                continue
            attributes: dict[str, str | int] = {
                "messaging.destination.name": record.topic,
                "messaging.destination.partition.id": str(record.partition),
                "messaging.kafka.offset": record.offset,
                "heard.position": position_of(record),
            }
            context = set_span_in_context(NonRecordingSpan(parent), Context())
            self._span(loop, context, SpanKind.CONSUMER, attributes, since, end)

    def close(self) -> None:
        """Send what is left, as far as the collector takes it within some seconds."""
        self._provider.shutdown()

    def _root(self, correlation: str) -> tuple[int, int]:
        """The ids of a message's trace and of its first span."""
        digest = hashlib.sha256(self._ids.of("trace", correlation).encode()).digest()
        return int.from_bytes(digest[:16], "big"), int.from_bytes(digest[16:24], "big")

    def _span(
        self,
        name: str,
        context: Context,
        kind: SpanKind,
        attributes: Mapping[str, str | int],
        since: int,
        end: int,
        links: Sequence[Link] = (),
    ) -> None:
        span = self._tracer.start_span(
            name, context, kind=kind, attributes=attributes, links=links, start_time=since
        )
        span.end(end)


def collector(endpoint: str) -> SpanProcessor:
    """Sends spans over OTLP (HTTP) to `endpoint`, in batches, from a thread of its own."""
    exporter = OTLPSpanExporter(f"{endpoint.rstrip('/')}/v1/traces", timeout=3)
    return BatchSpanProcessor(exporter, max_queue_size=QUEUE, max_export_batch_size=2_048)


def _number(event_id: str) -> int:
    return int.from_bytes(hashlib.sha256(event_id.encode()).digest()[:8], "big")


def _below(trace: int, span: int) -> Context:
    parent = SpanContext(trace, span, is_remote=True, trace_flags=TraceFlags(TraceFlags.SAMPLED))
    return set_span_in_context(NonRecordingSpan(parent), Context())


def _read(traceparent: bytes | None) -> SpanContext | None:
    """The context that a header names; None if it is absent or not well formed."""
    if traceparent is None:
        return None
    carrier = {TRACEPARENT: traceparent.decode("ascii", "replace")}
    found = get_current_span(TraceContextTextMapPropagator().extract(carrier, Context())).get_span_context()
    return found if found.is_valid else None
