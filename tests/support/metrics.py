"""Reads what /metrics says."""

from __future__ import annotations

import re
from collections.abc import Iterator

from prometheus_client.parser import text_string_to_metric_families

GAUGES_OF_WORK = ("smallfirst_requests_in_flight", "smallfirst_requests_queued", "smallfirst_replica_in_flight")


class Metrics:
    """One reading of /metrics. A page has thousands of lines, so only what is asked for is parsed."""

    def __init__(self, text: str) -> None:
        self.text = text

    @property
    def series(self) -> int:
        return sum(not line.startswith("#") for line in self.text.splitlines())

    def matching(self, name: str, **labels: str) -> Iterator[tuple[dict[str, str], float]]:
        """Yield labels and value of each series of that name with these labels."""
        lines = re.findall(rf"^{name}(?:{{| ).*\n", self.text, re.MULTILINE)
        for family in text_string_to_metric_families("".join(lines)):
            for sample in family.samples:
                if all(sample.labels.get(key) == value for key, value in labels.items()):
                    yield sample.labels, sample.value

    def value(self, name: str, **labels: str) -> float:
        """Return the sum over all series of that name with these labels; 0 where there is none."""
        return sum(value for _, value in self.matching(name, **labels))

    def busy(self) -> dict[str, float]:
        """Return what is still taken; all three gauges must be there."""
        missing = [name for name in GAUGES_OF_WORK if f"\n{name}" not in self.text]
        assert not missing, f"/metrics has no {missing}"
        lines = re.findall(rf"^(?:{'|'.join(GAUGES_OF_WORK)})\b.*$", self.text, re.MULTILINE)
        taken = (line.rpartition(" ") for line in lines)
        return {series: float(value) for series, _, value in taken if float(value)}
