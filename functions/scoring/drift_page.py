"""Renders what scored rows are like beside those of training: a single HTML page, as the evaluation's report is one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from common.pages import LABEL_WIDTH, VALUE_WIDTH, Picture, template
from common.svg import DASHED, INK, SERIES, Axes, Axis, named_axes
from common.words import figure, limits, number, rows_in_words, shorten, value_in_words
from scoring.drift import ALPHA, LEAST_PSI, LEAST_SHARE, in_short

TEMPLATE = Path(__file__).with_name("drift.html.j2")
MOST_ROWS = 200
"""How many columns the table has."""
MOST_PICTURES = 12
MOST_BARS, MOST_CELLS = 10, 20
"""How many bins of a number, and how many categories, a figure shows; the other categories are one row."""
MOST_EARLIER = 60
"""How many earlier batches the line goes through."""

Document = Mapping[str, Any]
Floats = npt.NDArray[np.float64]


def render_page(
    document: Document, about: Document, earlier: Sequence[Document] = (), live: Document | None = None
) -> str:
    """Return the page of a drift document as one HTML document.

    The same documents give the same page, to the last byte.

    Parameters
    ----------
    document
        Of `scoring.drift.compare`.
    about
        What is told of the rows and the model: `model_name`, `version`, `rows_from` (where the rows come from), `at`.
    earlier
        Of batches before this one, the oldest first, what `scoring.drift.in_short` says of each.
    live
        Of `scoring.live.live_metric`, if labels are known.

    Returns
    -------
    str
        HTML with inline style and inline SVG. Whatever comes from the data is escaped.
    """
    columns = document["columns"]
    drifted = [each for each in columns if each["drifted"]]
    # Where none has moved, the first few show what none looks like.
    shown = (drifted or columns[:3])[:MOST_PICTURES]
    pictures = [_picture(each) for each in shown if "distribution" in each]
    prediction = document["prediction"]
    return template(TEMPLATE).render(
        document=document,
        about=about,
        tiles=_tiles(document, drifted),
        drifted=len(drifted),
        pictures=pictures,
        prediction_picture=None if prediction is None else _picture(prediction),
        rows=[_row(each) for each in columns[:MOST_ROWS]],
        history=_history([*earlier, in_short(document)]),
        live=live,
        live_metric=None if live is None else _live(live),
        alpha=ALPHA,
        least_psi=LEAST_PSI,
        least_share=LEAST_SHARE,
    )


def _tiles(document: Document, drifted: Sequence[Document]) -> list[dict[str, str]]:
    short = in_short(document)
    if not document["columns"]:
        return [{"name": "Rows", "value": number(document["rows"]), "note": ""}]
    tiles = [
        {
            "name": "Columns that have changed",
            "value": f"{len(drifted):,}",
            "note": f"of {len(document['columns']):,}",
        },
        {"name": "Rows", "value": number(document["rows"]), "note": "that were compared with training's"},
    ]
    if short["psi"] is not None:
        note = f"{shorten(short['name'], VALUE_WIDTH)}; it counts from {_index(short['threshold'])} on"
        tiles.insert(1, {"name": "Largest PSI", "value": _index(short["psi"]), "note": note})
    if document["prediction"] is not None:
        changed = "changed" if document["prediction"]["drifted"] else "unchanged"
        tiles.append({"name": "Predictions", "value": changed, "note": "against those of the test part"})
    return tiles


def _index(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}" if value >= 0.01 else "<\N{NO-BREAK SPACE}0.01"


def _share(value: float) -> str:
    return "0" if not value else f"{value:.1%}"


def _row(column: Document) -> dict[str, str]:
    """Return one row of the table."""
    missing, unseen = column["missing"], column["unseen"]
    return {
        "name": column["name"],
        "verdict": "▲ changed" if column["drifted"] else "",
        "psi": f"{_index(column['psi'])} ({_index(column['threshold'])})" if column["threshold"] else "",
        "js": _index(column["js"]),
        "missing": f"{_share(missing['was'])} → {_share(missing['share'])}",
        "unseen": "" if unseen is None else _share(unseen["share"]),
    }


# Figures


def _picture(column: Document) -> Picture:
    """Return the distribution of a column in training and now, side by side."""
    names, was, now = _cells(column["distribution"])
    missing = column["missing"]
    if max(missing["was"], missing["share"]) >= LEAST_SHARE / 2:
        names, was, now = [*names, "missing"], np.append(was, missing["was"]), np.append(now, missing["share"])
    places = np.arange(len(names), dtype=np.float64)
    top = 1.05 * float(max([1e-9, *was, *now]))
    axes = named_axes([shorten(each, LABEL_WIDTH) for each in names], "share of the values", (0, top), 24)
    for shares, colour, (low, high) in ((was, SERIES[0], (-0.36, -0.02)), (now, SERIES[1], (0.02, 0.36))):
        style = f"fill: {colour}; fill-opacity: 0.85"
        axes.bars(np.zeros(len(names)), shares, places + low, places + high, style)
    return Picture(shorten(column["name"], VALUE_WIDTH), axes.svg(), _finding(column, names, was, now), _NOTE)


_NOTE = "Upper bars are training, lower ones these rows; shares are of the values that are there."


def _finding(column: Document, names: Sequence[str], was: Floats, now: Floats) -> str:
    told = column["why"] or "unchanged"
    text = f"{told[:1].upper()}{told[1:]}."
    if len(names) > 1:
        most = int(np.abs(now - was).argmax())
        text += f" Most has changed at {names[most]}: {_share(was[most])} in training, {_share(now[most])} now."
    return text


def _cells(found: Document) -> tuple[list[str], Floats, Floats]:
    """Return what the cells are called, and their shares in training and now."""
    was, now = (np.array(found[key], np.float64) for key in ("was", "now"))
    if "edges" in found:
        uppers, was, now = _fewer(found["edges"][1:], was, now)
        ends = [value_in_words(each, found["role"]) for each in uppers]
        return [*(f"≤ {each}" for each in ends[:-1]), *(f"> {each}" for each in ends[-2:-1] or ends)], was, now
    # Of some columns the profile holds no text.
    named = found["values"] or [f"no. {place} by frequency" for place in range(1, len(was))]
    largest = np.maximum(was, now)[: len(named)]
    order = np.argsort(-largest, kind="stable")
    kept = order[largest[order] > 0][:MOST_CELLS]
    names, old, new = [str(named[place]) for place in kept.tolist()], was[kept], now[kept]
    others = np.maximum(1 - old.sum(), 0), np.maximum(1 - new.sum(), 0)
    if max(others) > 1e-9:
        names, old, new = [*names, "all others"], np.append(old, others[0]), np.append(new, others[1])
    return names, old, new


def _fewer(ends: Sequence[float], was: Floats, now: Floats) -> tuple[Sequence[float], Floats, Floats]:
    """Return neighbouring bins put together, so that there are `MOST_BARS` of them at most, each by its upper end."""
    together = max(1, -(-len(was) // MOST_BARS))
    starts = np.arange(0, len(was), together)
    last = np.append(starts[1:], len(was)) - 1
    if not len(was):
        return ends, was, now
    return [ends[place] for place in last.tolist()], np.add.reduceat(was, starts), np.add.reduceat(now, starts)


def _history(batches: Sequence[Document]) -> Picture | None:
    """Return the largest index of each batch; None where there are not two."""
    compared = [each for each in batches if each["psi"] is not None][-MOST_EARLIER:]
    if len(compared) < 2:
        return None
    x = np.arange(1.0, len(compared) + 1)
    psi, threshold = (np.array([each[key] for each in compared], np.float64) for key in ("psi", "threshold"))
    drifted = np.array([bool(each["drifted"]) for each in compared])
    ends = (0.0, 1.1 * float(max(psi.max(), threshold.max())))
    axes = Axes(Axis("batch", 0.5, len(compared) + 0.5, whole=True), Axis("largest PSI", *ends), height=170)
    axes.line(x, threshold, INK, 0.9, DASHED)
    axes.line(x, psi, SERIES[0], 1.6)
    axes.dots(x[~drifted], psi[~drifted], f"fill: {SERIES[0]}", 2.25)
    axes.dots(x[drifted], psi[drifted], f"fill: {SERIES[1]}", 4)
    last = compared[-1]
    return Picture(
        "Largest PSI by batch",
        axes.svg(),
        f"Of {len(compared)} batches {int(drifted.sum())} had changed; the last one has {_index(last['psi'])}, the one "
        f"before it {_index(compared[-2]['psi'])}.",
        "Large dots are batches that had changed, by this or another figure; from the dashed line on the index of that "
        "column counts: the fewer rows, the higher.",
    )


def _live(live: Document) -> list[tuple[str, str | None]]:
    """Return what is known of the metric on rows with a label."""
    interval = limits(live["interval"])
    value = figure(live["metric"], live["value"], interval, max(1, live["rows"]))
    return [
        (f"{live['metric']} of rows with a label", value),
        ("Rows that count", rows_in_words(live["rows"])),
        ("Predictions without a label", number(live["unmatched"])),
        ("Labels without a prediction", number(live["unmatched_labels"])),
        ("Rows whose key another one has, too", number(live["duplicates"])),
        ("Rows without a key", number(live["missing_keys"])),
        ("Labels that are missing", number(live["missing_labels"])),
    ]
