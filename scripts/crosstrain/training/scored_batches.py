"""What the registry keeps of the batches that champions have scored, for the page of models."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from crosstrain.training.registry import Item, Registry


def drift_of_champions(registry: Registry, model_name: str | None = None) -> dict[str, list[tuple[str, str]]]:
    """Return what was found of the newest batch of each champion that has scored one, name by name.

    Parameters
    ----------
    registry
        Of a stack.
    model_name : str, optional
        The only model to look at.
    """
    names = [model_name] if model_name is not None else registry.model_names()
    found = {}
    for name in names:
        pointer = registry.champion(name)
        batch = None if pointer is None else registry.latest_batch(name, pointer["champion_version"])
        if batch is not None:
            found[name] = _facts(batch)
    return found


def _facts(batch: Item) -> list[tuple[str, str]]:
    facts = [
        ("newest batch", str(batch["scored_at"])),
        ("rows", f"{int(batch['rows']):,}"),
        ("objects that could not be scored", f"{int(batch['failed']):,}"),
        ("columns that have changed", f"{int(batch['changed']):,} of {int(batch['columns']):,}"),
    ]
    if "psi" in batch:
        told = (
            f'{float(batch["psi"]):.2g} of "{batch["psi_column"]}"; it counts from {float(batch["threshold"]):.2g} on'
        )
        facts.append(("largest PSI", told))
    return [*facts, ("what has changed", str(batch["reason"])), ("comparison", str(batch["page_uri"]))]
