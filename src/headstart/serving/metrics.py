"""What Prometheus is told."""

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

SECONDS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30)


class Metrics:
    """Counts of one server, in a registry of its own."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        PlatformCollector(registry=self._registry)
        self.requests = Counter(
            "headstart_requests",
            "Requests by route and status.",
            ("route", "status"),
            registry=self._registry,
        )
        self.seconds = Histogram(
            "headstart_request_seconds",
            "From the first byte of a request to the last of its response.",
            ("route",),
            buckets=SECONDS,
            registry=self._registry,
        )
        self.pictures = Counter(
            "headstart_pictures",
            "Pictures by model and answer: a class, not sure, none of these, or not read.",
            ("model", "answer"),
            registry=self._registry,
        )
        self.heat_maps = Counter(
            "headstart_heat_maps", "Heat maps that were made.", ("model",), registry=self._registry
        )

    def watch(self, name: str, help: str, value: Callable[[], float]) -> None:
        """Show a value as it is when it is asked for."""
        Gauge(name, help, registry=self._registry).set_function(value)

    def text(self) -> bytes:
        """Return all of it, as Prometheus reads it."""
        return generate_latest(self._registry)
