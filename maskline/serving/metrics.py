"""What Prometheus reads from a server."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector

SECONDS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)


class ServingMetrics:
    """Counts of one server, in a registry of its own."""

    def __init__(self, model: str, version: str) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        self.requests = Counter(
            "maskline_requests", "Requests answered", ["route", "code"], registry=self.registry
        )
        self.seconds = Histogram(
            "maskline_request_seconds",
            "From a request's first byte to its answer",
            ["route"],
            buckets=SECONDS,
            registry=self.registry,
        )
        self.pictures = Counter("maskline_pictures", "Pictures answered", registry=self.registry)
        self.detections = Counter(
            "maskline_detections", "Detections, by class", ["label"], registry=self.registry
        )
        self.waiting = Gauge("maskline_requests_in_progress", "Waiting or worked on", registry=self.registry)
        info = Gauge("maskline_model_info", "Always 1", ["model", "version"], registry=self.registry)
        info.labels(model, version).set(1)

    def text(self) -> bytes:
        """All of them, in Prometheus' text form."""
        return generate_latest(self.registry)
