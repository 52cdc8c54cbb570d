"""Colours of the classifiers and of the series, for the light and the dark scheme, as CSS variables.

Along a ladder colours run from dark to light with steadily changing lightness, in the manner of viridis, so that order
survives colour blindness and grey print. Unordered classifiers get hues near those of Okabe and Ito, with lightness so
far apart that people without red or green cones can tell any two. All stand out from the paper at 3 to 1 or more.

References:
    Color universal design (Okabe and Ito, 2002), https://jfly.uni-koeln.de/color/
    A physiologically-based model for simulation of color vision deficiency (Machado, Oliveira and Fernandes, 2009),
    https://doi.org/10.1109/TVCG.2009.113
"""

__all__ = ["variables"]

# Ends are cut where the contrast with the paper would drop below 3 to 1.
LADDER_LIGHT = ("#3b0a57", "#3f4788", "#2a6f8e", "#1c8c7a", "#4f9a3a")
LADDER_DARK = ("#6f7fd6", "#3f9fc4", "#35b79a", "#8fd05a", "#fde047")
APART_LIGHT = (
    "#0062a5",
    "#e66d1a",
    "#1a7f58",
    "#9c3d78",
    "#8a5200",
    "#3a8ec0",
    "#1b1d22",
    "#a48e47",
)
APART_DARK = (
    "#4aa8e8",
    "#f0803c",
    "#2cc795",
    "#dd92be",
    "#e69f00",
    "#8fd0f5",
    "#e9eaec",
    "#f0e442",
)


def variables(classifiers: int, *, ordered: bool) -> tuple[str, str]:
    """CSS declarations ``--c0: ...`` of the classifiers and ``--s1: ...`` of the series, light and dark."""
    light = _spread(LADDER_LIGHT, classifiers) if ordered else _cycle(APART_LIGHT, classifiers)
    dark = _spread(LADDER_DARK, classifiers) if ordered else _cycle(APART_DARK, classifiers)
    return _declare(light, APART_LIGHT[1:] + APART_LIGHT[:1]), _declare(
        dark, APART_DARK[1:] + APART_DARK[:1]
    )


def _declare(classifiers: list[str], series: tuple[str, ...]) -> str:
    first = [f"--c{i}: {colour};" for i, colour in enumerate(classifiers)]
    return " ".join(first + [f"--s{i + 1}: {colour};" for i, colour in enumerate(series)])


def _cycle(colours: tuple[str, ...], n: int) -> list[str]:
    return [colours[i % len(colours)] for i in range(n)]


def _spread(stops: tuple[str, ...], n: int) -> list[str]:
    """`n` colours evenly spaced on the path through `stops`."""
    channels = [[int(stop[i : i + 2], 16) for i in (1, 3, 5)] for stop in stops]
    mixed = []
    for k in range(n):
        at = k * (len(stops) - 1) / max(1, n - 1)
        i = min(int(at), len(stops) - 2)
        pair = zip(channels[i], channels[i + 1], strict=True)
        mixed.append("#" + "".join(f"{round(a + (at - i) * (b - a)):02x}" for a, b in pair))
    return mixed
