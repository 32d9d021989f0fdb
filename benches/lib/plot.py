"""A plot as SVG: two panels, microseconds on a logarithmic scale over requests a second."""

import html
import math

WIDTH, HEIGHT = 460, 320
LEFT, RIGHT, TOP, BOTTOM = 72, 22, 34, 44
COLOURS = {"Tollhouse": "#c0392b", "nginx": "#2471a3", "upstream alone": "#7f8c8d"}
OTHERS = ("#27ae60", "#e67e22", "#8e44ad", "#111111", "#d4ac0d")

#: What is slower is drawn at the upper edge: one overloaded proxy must not flatten the others.
SLOWEST = 100_000


def svg(lines):
    """`lines`: name -> [(rate, p50, p99)]."""
    rates = sorted({rate for line in lines.values() for rate, _, _ in line})
    values = [value for line in lines.values() for _, p50, p99 in line for value in (p50, p99) if value > 0]
    low, high = 10 ** math.floor(math.log10(min(values))), 10 ** math.ceil(math.log10(min(max(values), SLOWEST)))
    colours, spare = {}, list(OTHERS)
    for name in lines:
        colours[name] = COLOURS.get(name) or spare.pop(0)
    legend = (len(lines) + 3) // 4
    whole = HEIGHT + 20 * legend + 12
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {2 * WIDTH} {whole}" width="{2 * WIDTH}" height="{whole}" '
             'font-family="sans-serif" font-size="12">', f'<rect width="{2 * WIDTH}" height="{whole}" fill="#fff"/>']
    for panel, (title, of) in enumerate((("p50", 1), ("p99", 2))):
        parts += draw_panel(panel * WIDTH, title, rates, (low, high), {n: [(p[0], p[of]) for p in l] for n, l in lines.items()}, colours)
    for at, name in enumerate(lines):
        x, y = LEFT + at % 4 * 210, HEIGHT + 16 + at // 4 * 20
        parts.append(f'<line x1="{x}" y1="{y - 4}" x2="{x + 22}" y2="{y - 4}" stroke="{colours[name]}" stroke-width="3"/>')
        parts.append(f'<text x="{x + 28}" y="{y}">{html.escape(name.replace("`", ""))}</text>')
    return "\n".join([*parts, "</svg>", ""])


def draw_panel(offset, title, rates, bounds, lines, colours):
    low, high = bounds
    wide, tall = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM
    across = lambda rate: offset + LEFT + wide * rate / max(rates)
    down = lambda value: TOP + tall * (1 - math.log10(min(max(value, low), high) / low) / math.log10(high / low))
    yield f'<text x="{offset + LEFT}" y="20" font-weight="bold">{title}, µs</text>'
    decade = low
    while decade <= high:
        y = down(decade)
        yield f'<line x1="{offset + LEFT}" y1="{y:.1f}" x2="{offset + WIDTH - RIGHT}" y2="{y:.1f}" stroke="#ddd"/>'
        yield f'<text x="{offset + LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{decade:,}</text>'
        decade *= 10
    for rate in rates:
        if rate * 10 >= max(rates):
            yield f'<text x="{across(rate):.1f}" y="{HEIGHT - BOTTOM + 16}" text-anchor="middle">{rate / 1000:g}k</text>'
    yield f'<text x="{offset + LEFT + wide / 2}" y="{HEIGHT - 8}" text-anchor="middle">requests a second</text>'
    for name, line in lines.items():
        points = " ".join(f"{across(rate):.1f},{down(value):.1f}" for rate, value in line)
        yield f'<polyline points="{points}" fill="none" stroke="{colours[name]}" stroke-width="2"/>'
