"""The curves of a run as an SVG: a small chart a series, all over the same time."""

from __future__ import annotations

from collections.abc import Sequence

from jinja2 import Environment

from ops.endurance.samples import SERIES, Sample, Series, values

WIDTH, HEIGHT, LEFT, TOP = 880, 96, 220, 26

_TEMPLATE = Environment(autoescape=True).from_string(
    """<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {{ width }} {{ height }}" role="img"
 font-family="sans-serif">
<rect width="100%" height="100%" fill="#fff"/>
<text x="12" y="20" font-size="14" font-weight="bold" fill="#222">{{ title }}</text>
{% for chart in charts %}<g transform="translate(0 {{ chart.top }})">
<text x="12" y="30" font-size="13" fill="#222">{{ chart.name }}</text>
<text x="12" y="50" font-size="12" fill="#555">{{ chart.now }}</text>
<line x1="{{ left }}" y1="{{ chart.bottom }}" x2="{{ chart.right }}" y2="{{ chart.bottom }}" stroke="#bbb"/>
<text x="{{ left - 6 }}" y="16" font-size="11" fill="#777" text-anchor="end">{{ chart.highest }}</text>
<text x="{{ left - 6 }}" y="{{ chart.bottom }}" font-size="11" fill="#777" text-anchor="end">0</text>
<polyline fill="none" stroke="#1f6feb" stroke-width="1.5" points="{{ chart.points }}"/>
</g>
{% endfor %}<text x="{{ left }}" y="{{ height - 8 }}" font-size="11" fill="#777">0</text>
<text x="{{ right }}" y="{{ height - 8 }}" font-size="11" fill="#777" text-anchor="end">{{ minutes }} min</text>
</svg>
"""
)


def picture_of(samples: Sequence[Sample], title: str) -> str:
    """The SVG document of a run with at least one sample."""
    end_s = samples[-1].at_s or 1.0
    charts = [_chart(samples, series, TOP + 10 + index * HEIGHT, end_s) for index, series in enumerate(SERIES)]
    return _TEMPLATE.render(
        width=WIDTH,
        height=TOP + 10 + len(charts) * HEIGHT + 24,
        left=LEFT,
        right=WIDTH - 12,
        title=title,
        charts=charts,
        minutes=f"{end_s / 60:.1f}",
    )


def _chart(samples: Sequence[Sample], series: Series, top: int, end_s: float) -> dict[str, object]:
    seen = values(samples, series)
    highest = max(seen) or 1.0
    right, bottom = WIDTH - 12, HEIGHT - 20
    points = " ".join(
        f"{LEFT + each.at_s / end_s * (right - LEFT):.1f},{bottom - value / highest * (bottom - 8):.1f}"
        for each, value in zip(samples, seen, strict=True)
    )
    unit = f" {series.unit}" if series.unit else ""
    return {
        "name": series.name,
        "now": f"at the end {seen[-1]:.1f}{unit}",
        "highest": f"{highest:.0f}{unit}" if highest >= 10 else f"{highest:.1f}{unit}",
        "points": points,
        "top": top,
        "right": right,
        "bottom": bottom,
    }
