"""Line and bar charts as SVG text, so that pictures need no package."""

import dataclasses
import html
import math

WIDTH, HEIGHT = 860, 480
LEFT, RIGHT, TOP, BOTTOM = 70, 280, 56, 70
COLORS = ["#c1121f", "#003049", "#2a9d8f", "#e9a100", "#6a4c93", "#588157", "#7f5539"]


@dataclasses.dataclass
class Series:
    name: str
    points: list  # (x, median) or (x, median, min, max)
    is_published: bool = False  # taken elsewhere: dashed


@dataclasses.dataclass
class Chart:
    title: str
    subtitle: str
    x_label: str
    y_label: str
    series: list
    x_ticks: list  # (value, text)
    is_x_log: bool = False
    footnote: str = ""
    is_y_log: bool = False

    def text(self):
        xs = [point[0] for series in self.series for point in series.points]
        scale = math.log10 if self.is_x_log else float
        low, high = scale(min(xs)), scale(max(xs))
        y_ticks, share_of = self.y_axis()

        def x_of(value):
            share = (scale(value) - low) / (high - low) if high > low else 0.5
            return LEFT + share * (WIDTH - LEFT - RIGHT)

        def y_of(value):
            return HEIGHT - BOTTOM - share_of(value) * (HEIGHT - TOP - BOTTOM)

        out = sheet(HEIGHT, self.title, self.subtitle)
        for value in y_ticks:
            y = y_of(value)
            out.append(f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}" '
                       f'stroke="#e4e4e4"/>')
            out.append(label(LEFT - 8, y + 4, short(value), anchor="end"))
        for value, text in self.x_ticks:
            x = x_of(value)
            out.append(f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{HEIGHT - BOTTOM}" '
                       f'y2="{HEIGHT - BOTTOM + 5}" stroke="#666"/>')
            out.append(label(x, HEIGHT - BOTTOM + 20, text, anchor="middle"))
        out.append(label((LEFT + WIDTH - RIGHT) / 2, HEIGHT - BOTTOM + 40, self.x_label,
                         anchor="middle"))
        out.append(label(LEFT, HEIGHT - 10, self.footnote, color="#666", size=11))
        middle = (TOP + HEIGHT - BOTTOM) / 2
        out.append(f'<g transform="rotate(-90 16 {middle})">'
                   + label(16, middle, self.y_label, anchor="middle") + "</g>")
        for i, series in enumerate(self.series):
            out += draw(series, COLORS[i % len(COLORS)], x_of, y_of)
            y = TOP + 18 * i
            dash = ' stroke-dasharray="5 4"' if series.is_published else ""
            x = WIDTH - RIGHT + 16
            color = COLORS[i % len(COLORS)]
            out.append(f'<line x1="{x}" x2="{x + 24}" y1="{y}" y2="{y}" stroke="{color}" '
                       f'stroke-width="2"{dash}/>')
            out.append(label(x + 30, y + 4, series.name))
        return "\n".join(out) + "\n</svg>\n"


    def y_axis(self):
        """The ticks, and where between the lowest and the highest a value lies."""
        points = [point for series in self.series for point in series.points]
        most = max(point[3] if len(point) > 3 else point[1] for point in points)
        if self.is_y_log:
            low = math.floor(math.log10(min(point[2] if len(point) > 3 else point[1] for point in points)))
            high = max(low + 1, math.ceil(math.log10(most)))
            return [10 ** power for power in range(low, high + 1)], lambda value: (math.log10(value) - low) / (high - low)
        step = nice_step(most / 6)
        count = math.ceil(most / step)
        return [i * step for i in range(count + 1)], lambda value: value / (count * step)


@dataclasses.dataclass
class Bars:
    """Groups of horizontal bars, each group with a scale of its own."""
    title: str
    subtitle: str
    groups: list  # (heading with the unit, [(name, median, min, max)])
    highlighted: str  # bars whose name begins so are ours

    def text(self):
        bar, gap, heading, names = 22, 8, 34, 210
        height = TOP + sum(heading + (bar + gap) * len(bars) + gap for _, bars in self.groups) + 10
        out = sheet(height, self.title, self.subtitle)
        y = TOP
        for title, bars in self.groups:
            out.append(label(LEFT, y + 20, title, size=13, weight="bold"))
            y += heading
            most = max(bar_of[3] for bar_of in bars)
            width_of = lambda value, most=most: value / most * (WIDTH - LEFT - names - 120)  # noqa: E731
            for name, median, low, high in bars:
                x, middle = LEFT + names, y + bar / 2
                color = COLORS[0] if name.startswith(self.highlighted) else COLORS[1]
                out.append(label(x - 8, middle + 4, name, anchor="end"))
                out.append(f'<rect x="{x}" y="{y}" width="{width_of(median):.1f}" height="{bar}" fill="{color}" opacity="0.8"/>')
                out.append(f'<line x1="{x + width_of(low):.1f}" x2="{x + width_of(high):.1f}" y1="{middle}" y2="{middle}" '
                           f'stroke="#222"/>')
                out.append(label(x + width_of(high) + 8, middle + 4, short(float(f"{median:.3g}"))))
                y += bar + gap
            y += gap
        return "\n".join(out) + "\n</svg>\n"


def sheet(height, title, subtitle):
    return [f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" '
            f'viewBox="0 0 {WIDTH} {height}" font-family="sans-serif" font-size="12">',
            f'<rect width="{WIDTH}" height="{height}" fill="white"/>',
            label(LEFT, 22, title, size=16, weight="bold"),
            label(LEFT, 40, subtitle, color="#666")]


def draw(series, color, x_of, y_of):
    dash = ' stroke-dasharray="5 4"' if series.is_published else ""
    path = " ".join(f"{x_of(p[0]):.1f},{y_of(p[1]):.1f}" for p in series.points)
    yield f'<polyline points="{path}" fill="none" stroke="{color}" stroke-width="2"{dash}/>'
    for point in series.points:
        x = x_of(point[0])
        yield f'<circle cx="{x:.1f}" cy="{y_of(point[1]):.1f}" r="3" fill="{color}"/>'
        if len(point) > 3:
            yield (f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{y_of(point[2]):.1f}" '
                   f'y2="{y_of(point[3]):.1f}" stroke="{color}" opacity="0.5"/>')


def label(x, y, text, anchor="start", color="#222", size=12, weight="normal"):
    return (f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{color}" '
            f'font-size="{size}" font-weight="{weight}">{html.escape(text)}</text>')


def nice_step(rough):
    power = 10 ** math.floor(math.log10(rough))
    return next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough)


def short(value):
    if value >= 1e6:
        return f"{value / 1e6:g} M"
    return f"{value / 1e3:g} k" if value >= 1e4 else f"{value:g}"
