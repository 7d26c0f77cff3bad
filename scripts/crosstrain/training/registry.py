"""The model registry: a DynamoDB table of model versions, of the champion of each model, of rollbacks and of canaries.

Whatever decides is read strongly consistently. The index by version is not (no index can be), so it only says where to
look, and the table is read before a version is called unknown.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal

from crosstrain.aws import from_dynamodb, to_dynamodb
from crosstrain.command import BadInputError, OperationFailedError, nearest_names

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

Item = Mapping[str, Any]
"""One entry of the registry, in the types of JSON."""

INDEX = "by-version"
_CHAMPION, _VERSION, _ROLLBACK, _CANARY = "champion", "version#", "rollback#", "canary#"
_SCORES, _APPROVAL = "scores#", "approval#"
_NEWEST_BATCHES = 100


@dataclass(frozen=True)
class Change:
    """One change of a model's champion.

    Attributes
    ----------
    origin : str, optional
        The version that was the champion before; None for the first.
    version : str
        The version that became the champion.
    at : datetime
        When, by the clock of whoever made it.
    kind : str
        `promotion` or `rollback`.
    move : int
        Which of the pointer's moves it was, from 1; 0 for one of an earlier version of this project.
    """

    origin: str | None
    version: str
    at: datetime
    kind: Literal["promotion", "rollback"]
    move: int = 0


class Registry:
    """Reads the registry; only state machines write to it.

    Parameters
    ----------
    dynamodb
        A DynamoDB client.
    table : str
        The name of the table.
    """

    def __init__(self, dynamodb: DynamoDBClient, table: str) -> None:
        self._dynamodb = dynamodb
        self._table = table

    def model_names(self) -> list[str]:
        """Return the names of all models, for which it reads the whole table."""
        return sorted({name for name, _ in self._all_versions()})

    def all_names(self) -> tuple[set[str], set[str]]:
        """Return the names of all models, and of those that people were asked about, for which it reads the table once.

        The first version of a model may wait for an answer, and is recorded with it: such a model is among the asked
        alone.
        """
        known, asked = set[str](), set[str]()
        for item in self._scan("model_name, version, entry"):
            if "version" in item:
                known.add(item["model_name"])
            elif item["entry"].startswith(_APPROVAL):
                asked.add(item["model_name"])
        return known, asked

    def versions(self, model_name: str) -> list[Item]:
        """Return all versions of a model, newest first."""
        return self._entries(model_name, _VERSION)

    def rollbacks(self, model_name: str) -> list[Item]:
        """Return all rollbacks of a model, newest first."""
        return self._entries(model_name, _ROLLBACK)

    def canaries(self, model_name: str) -> list[Item]:
        """Return all moves of a model's challengers, newest first."""
        return self._entries(model_name, _CANARY)

    def latest_batch(self, model_name: str, version: str) -> Item | None:
        """Return the newest batch that a version has scored, or None where there is none among the newest ones."""
        found = self._dynamodb.query(
            TableName=self._table,
            KeyConditionExpression="model_name = :model_name AND begins_with(entry, :prefix)",
            ExpressionAttributeValues=to_dynamodb({":model_name": model_name, ":prefix": _SCORES}),
            ConsistentRead=True,
            # Their names begin with the time.
            ScanIndexForward=False,
            Limit=_NEWEST_BATCHES,
        )
        batches = map(from_dynamodb, found["Items"])
        return next((each for each in batches if each["scored_version"] == version), None)

    def waiting(self, model_name: str) -> list[Item]:
        """Return what is asked about the versions of a model that wait for approval, without what answers it.

        A version is recorded once it is promoted or rejected; a run that was stopped leaves its question until its time
        is over.
        """
        now = datetime.now(UTC)
        return [
            {
                "version": version,
                **{name: value for name, value in item.items() if name not in ("model_name", "entry", "token")},
            }
            for item in self._entries(model_name, _APPROVAL)
            if datetime.fromisoformat(item["until"]) > now
            and self.version(model_name, version := item["entry"].removeprefix(_APPROVAL)) is None
        ]

    def champion(self, model_name: str) -> Item | None:
        """Return the pointer to the model's champion, or None where no version was ever promoted."""
        return self._get(model_name, _CHAMPION)

    def version(self, model_name: str, version: str) -> Item | None:
        """Return one version of a model, or None where there is no such version."""
        return self._get(model_name, _VERSION + version)

    def find_version(self, version: str, model_name: str | None = None) -> Item:
        """Return a version by its id alone, or together with the name of its model.

        Raises
        ------
        BadInputError
            If there is no such version, with the nearest ones; or if models of different names have it.
        """
        names = [model_name] if model_name is not None else self._names_with(version)
        found = [item for name in names if (item := self.version(name, version)) is not None]
        if len(found) > 1:
            quoted = " and ".join(f'"{item["model_name"]}"' for item in found)
            raise BadInputError(f'"{version}" is a version of {quoted}: say which with --model-name.')
        if not found:
            raise self._unknown_version(version, model_name)
        return found[0]

    def only_model(self) -> str:
        """Return the name of the one model that there is.

        Raises
        ------
        BadInputError
            If there is none, or more than one.
        """
        names = self.model_names()
        if not names:
            raise BadInputError("The registry holds no model yet: train one first.")
        if len(names) > 1:
            known = ", ".join(f'"{name}"' for name in names[:12])
            raise BadInputError(f"The registry has {len(names):,} models: say which one by its name, such as {known}.")
        return names[0]

    def champion_version(self, model_name: str) -> tuple[Item, Item]:
        """Return the pointer to a model's champion and the version that it points to.

        Raises
        ------
        BadInputError
            If there is no model of this name, or none of its versions was ever promoted.
        OperationFailedError
            If the pointer leads to no version.
        """
        pointer = self.champion(model_name)
        if pointer is None:
            raise self.without_champion(model_name)
        item = self.version(model_name, pointer["champion_version"])
        if item is None:
            raise OperationFailedError(
                f'The champion of "{model_name}" is {pointer["champion_version"]}, which the registry does not hold: '
                "roll back to a version that it holds."
            )
        return pointer, item

    def without_champion(self, model_name: str) -> BadInputError:
        """Return the error that says why a model has no champion: it is unknown, or nothing of it was promoted."""
        known = self.model_names()
        if model_name in known:
            return BadInputError(f'No version of "{model_name}" was ever promoted, so it has no champion.')
        if not known:
            return BadInputError("The registry holds no model yet: train one first.")
        return BadInputError(f'There is no model "{model_name}".{nearest_names(model_name, known)}')

    def _get(self, model_name: str, entry: str) -> Item | None:
        key = to_dynamodb({"model_name": model_name, "entry": entry})
        item = self._dynamodb.get_item(TableName=self._table, Key=key, ConsistentRead=True).get("Item")
        return from_dynamodb(item) if item is not None else None

    def _entries(self, model_name: str, prefix: str) -> list[Item]:
        pages = self._dynamodb.get_paginator("query").paginate(
            TableName=self._table,
            KeyConditionExpression="model_name = :model_name AND begins_with(entry, :prefix)",
            ExpressionAttributeValues=to_dynamodb({":model_name": model_name, ":prefix": prefix}),
            ConsistentRead=True,
        )
        found = [from_dynamodb(item) for page in pages for item in page["Items"]]
        return sorted(found, key=recorded_at, reverse=True)

    def _names_with(self, version: str) -> list[str]:
        """Return the names of the models that have a version of this id: as a rule one."""
        pages = self._dynamodb.get_paginator("query").paginate(
            TableName=self._table,
            IndexName=INDEX,
            KeyConditionExpression="version = :version",
            ExpressionAttributeValues=to_dynamodb({":version": version}),
        )
        names = [from_dynamodb(item)["model_name"] for page in pages for item in page["Items"]]
        # The index may not show yet what was recorded a moment ago.
        return names or [name for name, known in self._all_versions() if known == version]

    def _all_versions(self) -> Iterator[tuple[str, str]]:
        """Yield the model name and the id of every version of every model.

        It reads the whole table: worth it to say which models there are, or what somebody may have meant.
        """
        for item in self._scan("model_name, version"):
            if "version" in item:
                yield item["model_name"], item["version"]

    def _scan(self, attributes: str) -> Iterator[Item]:
        pages = self._dynamodb.get_paginator("scan").paginate(
            TableName=self._table, ProjectionExpression=attributes, ConsistentRead=True
        )
        for page in pages:
            yield from map(from_dynamodb, page["Items"])

    def _unknown_version(self, version: str, model_name: str | None) -> BadInputError:
        all_versions = list(self._all_versions())
        names = sorted({name for name, _ in all_versions})
        if not names:
            return BadInputError("The registry holds no model yet: train one first.")
        if model_name is not None and model_name not in names:
            return BadInputError(f'There is no model "{model_name}".{nearest_names(model_name, names)}')
        # Ids begin with the time of the run: the newest come first.
        known = sorted({each for name, each in all_versions if model_name in (None, name)}, reverse=True)
        of = f' of "{model_name}"' if model_name is not None else ""
        return BadInputError(f'There is no version "{version}"{of}.{nearest_names(version, known)}')


def moves_of(pointer: Item) -> int:
    """Return how often a pointer has moved; 0 for one of an earlier version of this project."""
    return int(pointer.get("moves", 0))


def recorded_at(item: Item) -> datetime:
    """Return when a version, a rollback or a move of a challenger was recorded."""
    return datetime.fromisoformat(item["recorded_at"])


def challenger_of(pointer: Item | None) -> Item | None:
    """Return a challenger's `version`, `since`, `share` or None, and `shadow`, by a pointer; None without one."""
    if pointer is None or "challenger_version" not in pointer:
        return None
    return {
        "version": pointer["challenger_version"],
        "since": pointer.get("challenger_since"),
        "share": pointer.get("challenger_share"),
        "shadow": pointer.get("shadow", False),
    }


def champion_history(
    champion: str, versions: Sequence[Item], rollbacks: Sequence[Item], canaries: Sequence[Item] = ()
) -> list[Change]:
    """Return how a model came to its champion, oldest change first.

    Each change says which version it replaced: a promotion goes through only while the champion is the one that it was
    compared with, a rollback or a challenger's only while it is the one that was read. So the changes form a chain, and
    it is followed back from the champion. The count of moves says which of several changes to the same version is
    meant; times, which are those of several clocks, do so only where nobody counted.

    Parameters
    ----------
    champion : str
        The version that is the champion now.
    versions, rollbacks, canaries
        All of them, in any order.

    Returns
    -------
    list of Change
        It begins with the first promotion or, if that is no longer recorded, where the chain ends.
    """
    changes = [
        Change(item.get("compared_with"), item["version"], recorded_at(item), "promotion", item.get("move", 0))
        for item in versions
        if item["decision"] == "promote"
    ]
    changes += [
        Change(item["from_version"], item["to_version"], recorded_at(item), "rollback", item.get("move", 0))
        for item in rollbacks
    ]
    changes += [
        Change(item["champion_version"], item["challenger_version"], recorded_at(item), "promotion", item["move"])
        for item in canaries
        if item["action"] == "promote"
    ]
    into: dict[str, list[Change]] = defaultdict(list)
    for change in sorted(changes, key=lambda each: (each.move, each.at)):
        into[change.version].append(change)
    found: list[Change] = []
    current: str | None = champion
    while current is not None and into[current]:
        found.append(into[current].pop())
        current = found[-1].origin
    return found[::-1]


def previous_champion(history: Sequence[Change]) -> str | None:
    """Return the version to which a rollback leads where none is named, or None if no earlier champion is recorded.

    A promotion puts a version on top of the earlier champions, and a rollback takes off all that is above the version
    that it goes back to. So a second rollback goes further back, and never to the version that the first one left.
    """
    earlier = [history[0].origin] if history and history[0].origin is not None else []
    for change in history:
        if change.kind == "rollback" and change.version in earlier:
            del earlier[earlier.index(change.version) + 1 :]
        else:
            earlier.append(change.version)
    return earlier[-2] if len(earlier) > 1 else None
