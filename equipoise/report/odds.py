"""What the study of accuracy against robustness measured beside its ladder: exhibits as charts and tables."""

from dataclasses import dataclass, replace

from equipoise.report.charts import trade_off
from equipoise.report.dichotomy import frontier_figure
from equipoise.report.figure import Figure
from equipoise.report.points import Rows, as_estimate
from equipoise.report.reading import Reading
from equipoise.report.sizes import gains, in_short, over_radius, over_sizes
from equipoise.report.table import Cell, cell
from equipoise.report.two_classes import Linear, kept, linear, weights
from equipoise.report.words import percent
from equipoise.theory import Dichotomy, Rule

__all__ = ["Study", "lay_study"]


@dataclass(frozen=True)
class Study:
    """What the page needs of the exhibits: all empty where there are none.

    Attributes:
        figures: charts by the place where they stand.
        theory: what the charts of theory and measurement show.
        rules: of the paper's model, each with its standard and robust accuracy and what the bound allows.
        seeds: how many trainings each point of the size curves stands for.
        steps: of each of them.
        linear: the experiment with two classes.
        learnt: what was learnt from each feature set.
        attacked: the threat that these were attacked with.
        sentence: for the summary.
    """

    figures: dict[str, list[Figure]]
    theory: str
    rules: list[tuple[str, str, str, str]]
    seeds: int
    steps: int
    linear: Linear | None
    learnt: list[tuple[str, str, list[Cell]]]
    attacked: str
    sentence: str


def lay_study(reading: Reading) -> Study:
    """The study's part of the page."""
    sizes, features = (reading.exhibits.get(name, []) for name in ("sizes", "features"))
    model = Dichotomy(**reading.exhibits["model"][0]) if "model" in reading.exhibits else None
    rules = reading.exhibits.get("rules", [])
    return Study(
        {
            "theory": _theory(reading, model, rules) if model else [],
            "sizes": over_sizes(reading),
            "gains": gains(reading),
            "radius": over_radius(reading),
            "linear": [*kept(reading), *weights(reading)],
        },
        _said(model, reading) if model else "",
        [
            (
                row["name"],
                percent(row["standard"]),
                percent(row["robust"]),
                percent(row["allowed"]),
            )
            for row in rules
        ],
        sizes[0]["seeds"] if sizes else 0,
        sizes[0]["steps"] if sizes else 0,
        linear(reading),
        learnt(reading),
        features[0]["attacked"] if features else "",
        in_short(reading),
    )


def _theory(reading: Reading, model: Dichotomy, rules: Rows) -> list[Figure]:
    """The model's frontier with its rules, and the measured trade-off beside it."""
    known = [Rule(row["name"], row["standard"], row["robust"], row["kind"]) for row in rules]
    return [
        replace(frontier_figure(model, known), title="In the model"),
        *(replace(figure, title="Measured") for figure in trade_off(reading)[:1]),
    ]


def _said(model: Dichotomy, reading: Reading) -> str:
    """What the two charts show."""
    beside = (
        f" Measured: the classifiers of this run, attacked at {reading.threats[0].title}."
        if reading.threats
        else ""
    )
    return (
        f"In the paper’s model one feature is right with probability {model.p:g} and withstands the adversary; "
        f"{model.d} weak ones, of mean {model.eta:g}, tell the label together nearly for sure; an adversary who moves "
        f"each by {2 * model.eta:g} turns them round. Grey is where no rule can be.{beside}"
    )


def learnt(reading: Reading) -> list[tuple[str, str, list[Cell]]]:
    """What was learnt from each feature set: its name, what it is, and accuracies on real test images."""
    return [
        (
            row["set"],
            row["what"],
            [cell(as_estimate(row, name)) for name in ("visible", "standard", "robust")],
        )
        for row in reading.exhibits.get("features", [])
    ]
