"""Rows of a run: JSON as sluice-bench writes it, joined, printed and compared."""

import json
import statistics


def load(path):
    with open(path, encoding="utf-8") as file:
        return json.load(file)


def save(path, document):
    with open(path, "w", encoding="utf-8") as file:
        json.dump(document, file, indent=1)
        file.write("\n")


def key(row):
    return row["group"], row["name"]


def by_key(document):
    return {key(row): row for row in document["rows"]}


def row(group, name, samples, unit, better="lower", must=None, aim=None, note=None):
    result = {"group": group, "name": name, "median": statistics.median(samples),
              "min": min(samples), "max": max(samples), "unit": unit, "better": better}
    if must is not None:
        result["must"] = must
    if aim is not None:
        result["aim"] = aim
    if must is not None or aim is not None:
        result["reached"] = reached(result)
    if note:
        result["note"] = note
    return result


def reached(row):
    def is_reached(target):
        return row["median"] <= target if row["better"] == "lower" else row["median"] >= target
    if "aim" in row and is_reached(row["aim"]):
        return "aim"
    return "must" if "must" in row and is_reached(row["must"]) else "miss"


def number(value):
    size = abs(value)
    if size >= 1e6:
        return f"{value / 1e6:.2f}M"
    if size >= 1e4:
        return f"{value / 1e3:.0f}k"
    return f"{value:.0f}" if size >= 100 else f"{value:.1f}" if size >= 10 else f"{value:.2f}"


def table(rows):
    """The lines of a table, a headline for each group."""
    group = None
    for entry in rows:
        if entry["group"] != group:
            group = entry["group"]
            yield ""
            yield f"{group:<54}{'median':>8}  {'min-max':<16}{'unit':<7}{'must':>9}{'aim':>9}  reached"
        sign = "<=" if entry["better"] == "lower" else ">="
        must = f"{sign}{number(entry['must'])}" if "must" in entry else ""
        aim = f"{sign}{number(entry['aim'])}" if "aim" in entry else ""
        spread = f"{number(entry['min'])}-{number(entry['max'])}"
        yield (f"  {entry['name']:<52}{number(entry['median']):>8}  {spread:<16}{entry['unit']:<7}"
               f"{must:>9}{aim:>9}  {entry.get('reached', ''):<5} {entry.get('note', '')}").rstrip()
