"""Line charts as SVG text, so that pictures need no package."""

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

    def text(self):
        xs = [point[0] for series in self.series for point in series.points]
        tops = [point[3] if len(point) > 3 else point[1]
                for series in self.series for point in series.points]
        scale = math.log10 if self.is_x_log else float
        low, high = scale(min(xs)), scale(max(xs))
        step = nice_step(max(tops) / 6)
        top = step * math.ceil(max(tops) / step)

        def x_of(value):
            share = (scale(value) - low) / (high - low) if high > low else 0.5
            return LEFT + share * (WIDTH - LEFT - RIGHT)

        def y_of(value):
            return HEIGHT - BOTTOM - min(value / top, 1) * (HEIGHT - TOP - BOTTOM)

        out = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{HEIGHT}" '
               f'viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" font-size="12">',
               f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
               label(LEFT, 22, self.title, size=16, weight="bold"),
               label(LEFT, 40, self.subtitle, color="#666")]
        for i in range(round(top / step) + 1):
            y = y_of(i * step)
            out.append(f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}" '
                       f'stroke="#e4e4e4"/>')
            out.append(label(LEFT - 8, y + 4, short(i * step), anchor="end"))
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
