"""Which inputs a classifier uses: accuracy and gradient on the inputs that tell most about the label by themselves."""

from typing import Any

import altair as alt
import numpy as np

from equipoise.audit.statistics import estimate
from equipoise.probes import FeatureUse, Metric
from equipoise.report.figure import Figure
from equipoise.report.lines import by_classifier
from equipoise.report.reading import Reading
from equipoise.report.words import count, percent
from equipoise.store import lists

__all__ = ["inputs_used"]

CHARTS = (
    ("correct", "Accuracy on the best inputs alone", "Accuracy"),
    ("mass", "Gradient on the best inputs", "Share of the gradient"),
)


def inputs_used(reading: Reading) -> list[Figure]:
    """The two charts of the first feature-use probe; none when nothing was measured."""
    spec = next(iter(reading.specs(FeatureUse)), None)
    if spec is None:
        return []
    figures = []
    for column, title, y in CHARTS:
        rows: list[dict[str, Any]] = []
        listed = []
        for judged in reading.classifiers:
            columns = reading.columns(spec, judged.name)
            if not columns:
                continue
            inputs = list(columns["inputs"][0])
            _, values = lists(columns[column])
            values = values[~np.isnan(values).any(axis=1)]
            mine = []
            for k, some in zip(inputs, values.T, strict=True):
                kind = "share" if column == "correct" else "mean"
                found = estimate(Metric(column, some, kind), seed=reading.record["seed"])
                mine.append(
                    {
                        "classifier": judged.name,
                        "inputs": int(k),
                        "at": f"{count(int(k))} of {count(int(inputs[-1]))} inputs",
                        "share": round(found.value, 4),
                        "text": f"{percent(found.value)} ({100 * found.low:.1f} to {percent(found.high)})",
                    }
                )
            rows += mine
            listed.append(
                f"{judged.name}: "
                + ", ".join(f"{percent(r['share'])} on {r['inputs']}" for r in mine[::2])
            )
        if not rows:
            return []
        ticks = sorted({row["inputs"] for row in rows})
        figures.append(
            by_classifier(
                rows,
                title,
                f"{title}. {'; '.join(listed)}.",
                names=[j.name for j in reading.classifiers],
                ordered=reading.ordered,
                x=alt.X(
                    "inputs:Q",
                    title="Inputs kept, best correlated with the label first",
                    scale=alt.Scale(type="log", base=2, nice=False),
                    axis=alt.Axis(values=ticks, format="d", grid=False),
                ),
                y=y,
            )
        )
    return figures
