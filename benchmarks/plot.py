"""A plot as SVG: for each workload a bar for each contender, as a multiple of the yardstick's rate."""

from html import escape
from math import ceil, log10

LEFT, BAR, GAP, WIDTH, HEADER = 250, 16, 16, 560, 34
COLOURS = {
    "overseer": "#2f6fb7",
    "yardstick": "#9aa0a6",
    "websocketd": "#c9722b",
    "ceiling": "#d8dbdf",
    "cat": "#d8dbdf",
}


def bars(rates):
    """Return the SVG of ``rates``: workload to contender to multiple. The scale is logarithmic."""
    highest = max((value for row in rates.values() for value in row.values()), default=10)
    lowest = min((value for row in rates.values() for value in row.values()), default=1)
    low, high = -ceil(-log10(min(lowest, 1)) - 0.3), ceil(log10(highest))

    def x(value):
        return LEFT + WIDTH * (log10(value) - low) / (high - low)

    parts = []
    y = HEADER
    for workload, row in rates.items():
        middle = y + BAR * len(row) / 2 + 4
        parts.append(_text(LEFT - 100, middle, workload, "end", 12))
        for contender, value in row.items():
            width = max(x(value) - x(10**low), 1)
            parts.append(
                f'<rect x="{LEFT}" y="{y}" width="{width:.1f}" height="{BAR - 3}"'
                f' fill="{COLOURS.get(contender, "#777")}"/>'
            )
            parts.append(_text(LEFT - 6, y + BAR - 6, contender, "end", 10))
            parts.append(_text(LEFT + width + 4, y + BAR - 6, f"{value:.3g}x", "start", 10))
            y += BAR
        y += GAP
    for power in range(low, high + 1):
        parts.insert(
            0,
            f'<line x1="{x(10**power):.1f}" x2="{x(10**power):.1f}" y1="{HEADER - 8}" y2="{y - GAP}"'
            f' stroke="#e4e6e8"/>'
            + _text(x(10**power), HEADER - 14, f"{10**power:g}x", "middle", 10),
        )
    size = f'width="{LEFT + WIDTH + 60}" height="{y}"'
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="sans-serif" fill="#222">\n'
        '<rect width="100%" height="100%" fill="#fff"/>\n' + "\n".join(parts) + "\n</svg>\n"
    )


def _text(x, y, text, anchor, size):
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}">{escape(text)}</text>'
