"""Metrics in Prometheus' form: counts of the schedulers, and the times that clients wait."""

from collections.abc import Iterator, Mapping

from prometheus_client import CollectorRegistry, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from starlette.requests import Request as HTTPRequest
from starlette.responses import Response

from nextchar.serving.models import Model
from nextchar.serving.texts import Piece, PromptRead

SECONDS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.15, 0.2, 0.5, 1, 2, 5, 10, 30, 60)
COUNTS = {
    "prompt": ("nextchar_prompt_characters", "Characters of prompts that were read"),
    "cached": ("nextchar_cached_characters", "Characters of prompts whose state was kept from before"),
    "drawn": ("nextchar_generated_characters", "Characters that were generated"),
}


class Metrics:
    """Collects from the schedulers when it is asked, and observes what is sent to clients.

    Args:
        models: The models by their names.
    """

    def __init__(self, models: Mapping[str, Model]) -> None:
        self._models, self._registry = models, CollectorRegistry()
        self._registry.register(self)
        names = ("nextchar_time_to_first_character_seconds", "nextchar_request_seconds")
        helps = ("From the request to the first characters", "From the request to the end of a text")
        self._first, self._whole = (
            Histogram(name, text, registry=self._registry, buckets=SECONDS)
            for name, text in zip(names, helps, strict=True)
        )

    def observe(self, event: PromptRead | Piece, age: float, *, first: bool) -> None:
        """Observe an event of a request that is so many seconds old."""
        if isinstance(event, Piece):
            if first:
                self._first.observe(age)
            if event.finish_reason:
                self._whole.observe(age)

    def collect(self) -> Iterator[Metric]:
        """Yield the counts of the schedulers."""
        running = GaugeMetricFamily("nextchar_texts_running", "Texts that are generated", labels=["model"])
        waiting = GaugeMetricFamily("nextchar_texts_waiting", "Texts that wait", labels=["model"])
        ended = CounterMetricFamily("nextchar_texts", "Texts that have ended", labels=["model", "reason"])
        counts = {key: CounterMetricFamily(*words, labels=["model"]) for key, words in COUNTS.items()}
        for name, model in self._models.items():
            scheduler = model.scheduler
            running.add_metric([name], scheduler.running)
            waiting.add_metric([name], scheduler.unfinished - scheduler.running)
            for key, number in [*scheduler.counts.items()]:
                if key in counts:
                    counts[key].add_metric([name], number)
                else:
                    ended.add_metric([name, key], number)
        yield from (running, waiting, ended, *counts.values())

    async def page(self, _http: HTTPRequest) -> Response:
        """Return all metrics."""
        return Response(generate_latest(self._registry), media_type=CONTENT_TYPE_LATEST)
