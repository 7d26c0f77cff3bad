"""Writes one page of a registry's models: champions over time, versions with what decided, and where they come from.

It needs no network, no script and no other file, and its size is bounded, however many models and versions there are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from os.path import relpath
from pathlib import Path
from types import MappingProxyType
from urllib.parse import quote

from common.pages import Picture, template
from common.storage import digest_of
from common.words import figure, limits, range_of, shorten
from crosstrain.command import BadInputError, check_name
from crosstrain.delivery.functions import STEPS
from crosstrain.files import write_whole
from crosstrain.training.models import Document, Models
from crosstrain.training.models_figures import Measured, of_champions, of_metric
from crosstrain.training.registry import Change, Item, challenger_of, champion_history, recorded_at

TEMPLATE = "models_page.html.j2"
METRICS = 3
"""How many metrics of a model have a figure: those of its newest versions."""
REASON_WIDTH = 1000
_LABEL_WIDTH = 40
_READERS = 8

Drift = Mapping[str, Sequence[tuple[str, str]]]
"""By the name of a model, what documents say of it in use: pairs of what was looked at and what was found."""

_LINEAGE = {
    "Run": "run_id",
    "Data set": "dataset_uri",
    "Fingerprint of the data (SHA-256)": "data_fingerprint",
    "Target": "target",
    "Problem": "problem",
    "Estimator": "estimator",
    "Compared with": "compared_with",
    "Release": "release",
    "Commit": "commit",
    "Model file": "model_uri",
    "Evaluation": "evaluation_uri",
    "Report": "report_uri",
}


@dataclass(frozen=True)
class Version:
    """What the page says of one version.

    Attributes
    ----------
    number : int
        Which one of its model it is, from 1 for the first: figures and tables name it so.
    interval : mapping, optional
        The ends of the metric's interval.
    gap : str or None
        Why there is none.
    report : str or None
        A link to a file of this machine that is the report, to the last byte.
    """

    number: int
    item: Item
    is_champion: bool
    interval: Mapping[str, float] | None
    gap: str | None
    report: str | None

    @property
    def is_promoted(self) -> bool:
        """Whether it ever was the champion, or might have been."""
        return bool(self.item["decision"] == "promote")

    @property
    def at(self) -> str:
        """When it was recorded."""
        return in_utc(recorded_at(self.item))

    @property
    def value(self) -> str:
        """The metric, with the digits that its interval bears."""
        item = self.item
        return figure(item["metric"], item.get("value"), self.interval, max(1, item["rows"]["test"]))

    @property
    def told_interval(self) -> str:
        """The interval in words, or why there is none."""
        return self.gap or "" if self.interval is None else range_of(self.interval)

    @property
    def reason(self) -> str:
        """Why it was decided so."""
        return shorten(self.item.get("reason", ""), REASON_WIDTH)

    @property
    def lineage(self) -> list[tuple[str, str | None]]:
        """What it was made of and where it is, None for what is not recorded."""
        item, digests = self.item, self.item.get("image_digests") or {}
        rows = ", ".join(f"{count:,} {name.replace('_', ' ')}" for name, count in item["rows"].items())
        return [
            *((name, item.get(key)) for name, key in _LINEAGE.items()),
            ("SHA-256 of the model file", (item.get("sha256") or {}).get("model")),
            ("Rows", rows),
            *((f"Image digest of {name}", digests.get(name)) for name in STEPS),
        ]

    @property
    def measured(self) -> Measured | None:
        """What a figure shows of it; None where the metric is undefined."""
        value, metric = self.item.get("value"), shorten(self.item["metric"], _LABEL_WIDTH)
        if value is None:
            return None
        ends = None if self.interval is None else (self.interval["low"], self.interval["high"])
        return Measured(str(self.number), metric, value, ends, self.value, self.is_promoted, self.is_champion)


@dataclass(frozen=True)
class Move:
    """One change of a champion, in words: from one version to another, by their numbers and ids."""

    at: str
    kind: str
    origin: str
    origin_id: str
    version: str
    version_id: str
    reason: str
    execution: str


@dataclass(frozen=True)
class Shown:
    """What the page says of one model; `left_out` is how many versions and changes there are besides."""

    name: str
    champion: Version | None
    since: str
    versions: Sequence[Version]
    moves: Sequence[Move]
    trial: str
    counts: Mapping[str, int]
    left_out: Mapping[str, int]
    pictures: Sequence[Picture]
    drift: Sequence[tuple[str, str]]


def in_utc(time: datetime) -> str:
    """Return a time as the page writes it."""
    return f"{time.astimezone(UTC):%Y-%m-%d %H:%M}"


def write_page(
    models: Models,
    *,
    output: str,
    limit: int,
    reports: str,
    model_name: str | None = None,
    drift: Drift = MappingProxyType({}),
) -> Document:
    """Write the page of a stack's models, and return what is on it.

    Parameters
    ----------
    models
        The models of a stack.
    output : str
        The file; one that is there is replaced.
    limit : int
        How many models, of each how many versions, and how many changes of its champion: the newest of these.
    reports : str
        A folder of results, `OUT` of `make train`: reports in it that the registry knows by their digests are linked.
    model_name : str, optional
        The only model to show.
    drift
        What is known of models in use.

    Returns
    -------
    dict
        The `file`, how many `models` and `versions` are on it, and how many are not: `models_left_out`,
        `versions_left_out`.

    Raises
    ------
    BadInputError
        If there is no model of this name, or the file or the limit cannot be one.
    OperationFailedError
        If the file cannot be written.
    """
    path = _checked(output)
    if limit < 1:
        raise BadInputError(f"--limit is a number from 1 on, not {limit}.")
    names = models.registry.model_names()
    if model_name is not None:
        if model_name not in names:
            raise models.registry.without_champion(model_name)
        names = [model_name]
    now, linked = datetime.now(UTC), _reports(Path(reports), path.parent)
    shown = [_show(models, name, limit, linked, now, drift.get(name, ())) for name in names[:limit]]
    write_whole(path, render_page(models.stack.name, shown, len(names), now))
    return {
        "file": str(path),
        "models": len(shown),
        "versions": sum(len(each.versions) for each in shown),
        "models_left_out": len(names) - len(shown),
        "versions_left_out": sum(each.left_out["versions"] for each in shown),
    }


def render_page(stack: str, shown: Sequence[Shown], models: int, now: datetime) -> str:
    """Return the page as one HTML document.

    Parameters
    ----------
    stack : str
        The name of the stack.
    shown
        The models that are on the page.
    models : int
        How many there are.
    now
        When it is written.

    Returns
    -------
    str
        HTML with inline style and inline SVG. Whatever comes from the registry is escaped.
    """
    page = template(Path(__file__).with_name(TEMPLATE))
    return page.render(stack=stack, shown=shown, models=models, now=in_utc(now))


def _checked(output: str) -> Path:
    check_name(output, "the page")
    path = Path(output)
    if path.is_dir() or not path.parent.is_dir():
        wrong = "is a folder" if path.is_dir() else "would lie in a folder that is not there"
        raise BadInputError(f'The page cannot be written to "{output}", which {wrong}: name a file with --output.')
    return path


def _reports(folder: Path, beside: Path) -> dict[str, str]:
    """Return links to the reports in a folder of results, and in those of its rejected runs, by their digests."""
    found = [*folder.glob("*/report.html"), folder / "report.html"]
    return {digest_of(each): quote(Path(relpath(each, beside)).as_posix()) for each in found if each.is_file()}


def _show(
    models: Models, name: str, limit: int, reports: Mapping[str, str], now: datetime, drift: Sequence[tuple[str, str]]
) -> Shown:
    registry = models.registry
    pointer, items, rollbacks = registry.champion(name), registry.versions(name), registry.rollbacks(name)
    champion = pointer["champion_version"] if pointer else None
    canaries = registry.canaries(name)
    history = champion_history(champion, items, rollbacks, canaries) if champion else []
    numbers = {item["version"]: len(items) - index for index, item in enumerate(items)}
    versions = _versions(models, _kept(items, champion, limit), champion, numbers, reports)
    return Shown(
        name=name,
        champion=next((each for each in versions if each.is_champion), None),
        since=in_utc(history[-1].at) if history else "",
        versions=versions,
        moves=_moves(history[-limit:], items, [*rollbacks, *canaries], numbers),
        trial=_trial(challenger_of(pointer), numbers),
        counts={
            "versions": len(items),
            "promoted": sum(item["decision"] == "promote" for item in items),
            "changes": len(history),
            "rollbacks": len(rollbacks),
        },
        left_out={"versions": len(items) - len(versions), "changes": max(0, len(history) - limit)},
        pictures=[*_champions_pictures(history, numbers, now), *_metric_pictures(versions)],
        drift=drift,
    )


def _kept(items: Sequence[Item], champion: str | None, limit: int) -> list[Item]:
    """Return the newest versions, and the champion, however old it is."""
    return [item for index, item in enumerate(items) if index < limit or item["version"] == champion]


def _versions(
    models: Models, items: Sequence[Item], champion: str | None, numbers: Mapping[str, int], reports: Mapping[str, str]
) -> list[Version]:
    with ThreadPoolExecutor(_READERS) as pool:
        evaluations = list(pool.map(lambda item: models.read_recorded(item, "evaluation"), items))
    versions = []
    for item, (evaluation, missing) in zip(items, evaluations, strict=True):
        interval = limits(evaluation.get("interval"))
        gap = "no interval" if missing is None else f"no interval: {missing}"
        report = reports.get((item.get("sha256") or {}).get("report", ""))
        own = item["version"]
        versions.append(Version(numbers[own], item, own == champion, interval, gap, report))
    return versions


def _number(version: str, numbers: Mapping[str, int]) -> str:
    """Return the number of a version; one that is not recorded has none."""
    return str(numbers[version]) if version in numbers else "?"


def _moves(
    history: Sequence[Change], items: Sequence[Item], recorded: Sequence[Item], numbers: Mapping[str, int]
) -> list[Move]:
    """Return changes in words, newest first: those of runs, and those that state machines have recorded."""
    promoted = {item["version"]: item for item in items}
    moved = {(each.get("to_version") or each["challenger_version"], recorded_at(each)): each for each in recorded}
    moves = []
    for change in reversed(history):
        item = moved.get((change.version, change.at)) or promoted[change.version]
        kind = {"promotion": "▲ promotion", "rollback": "↩ rollback"}[change.kind]
        origin = "none" if change.origin is None else _number(change.origin, numbers)
        version = _number(change.version, numbers)
        # Rollbacks of earlier versions of this project name who claimed to make them.
        execution = item.get("execution") or item.get("by", "")
        reason = shorten(item.get("reason", ""), REASON_WIDTH)
        at = in_utc(change.at)
        moves.append(Move(at, kind, origin, change.origin or "", version, change.version, reason, execution))
    return moves


def _trial(trial: Item | None, numbers: Mapping[str, int]) -> str:
    """Return which version challenges the champion, and how; nothing where none does."""
    if trial is None:
        return ""
    how = "in the shadow" if trial["shadow"] else f"answers {trial['share']} % of the rows"
    return f"{_number(trial['version'], numbers)}: {trial['version']}, {how}"


def _champions_pictures(history: Sequence[Change], numbers: Mapping[str, int], now: datetime) -> list[Picture]:
    return [of_champions(history, [_number(each.version, numbers) for each in history], now)] if history else []


def _metric_pictures(versions: Sequence[Version]) -> list[Picture]:
    by_metric: dict[str, list[Measured]] = {}
    for measured in filter(None, (each.measured for each in versions)):
        by_metric.setdefault(measured.metric, []).append(measured)
    return [of_metric(group) for group in list(by_metric.values())[:METRICS]]
