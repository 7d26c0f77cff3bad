"""The records of a rehearsal: one for each action of the pipeline.

The pipeline's runner writes the records; the live view, the summary, rehearsal.json and the timeline read them.
"""

from __future__ import annotations

import enum
import time
from dataclasses import dataclass, field
from pathlib import Path

STOPPED = "The rehearsal was stopped."
"""Why an action failed that was ended early."""


class State(enum.StrEnum):
    """What has become of an action."""

    WAITING = "waiting"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    # It never began, because something before it failed.
    NOT_RUN = "not run"


@dataclass
class ActionRecord:
    """One action of one stage.

    Attributes
    ----------
    stage, name, provider : str
        As pipeline.yaml declares them; a rollback has the name `Rollback`.
    run_order : int
        The actions of a stage with the same run order run at the same time.
    state : State
        What has become of it.
    started, ended : float, optional
        Seconds since the epoch.
    last_line : str
        The last line of its log.
    cause : str, optional
        Why it failed, with the way out.
    details : list of str
        What is worth knowing of it in the summary: images built, releases, stacks, metrics.
    log : Path, optional
        Its log file.
    """

    stage: str
    name: str
    provider: str
    run_order: int
    state: State = State.WAITING
    started: float | None = None
    ended: float | None = None
    last_line: str = ""
    cause: str | None = None
    details: list[str] = field(default_factory=list)
    log: Path | None = None

    @property
    def seconds(self) -> float | None:
        """Return how long it has taken so far, in seconds; None if it has not begun."""
        if self.started is None:
            return None
        return (self.ended if self.ended is not None else time.time()) - self.started


@dataclass
class RehearsalRecord:
    """One run of the whole pipeline.

    Attributes
    ----------
    execution_id : str
        The id of the pipeline execution.
    started, ended : float, optional
        Seconds since the epoch.
    model_commit, infrastructure_commit : str
        What was rehearsed.
    accounts : dict
        The account id of `tools`, `test` and `prod`.
    actions : list of ActionRecord
        In the order of the declaration.
    not_rehearsed : list of str
        Plain sentences: what this run did not prove.
    calls, simulations : int
        The numbers of calls made as the pipeline's roles, and of calls checked with the policy simulator.
    """

    execution_id: str
    started: float
    ended: float | None = None
    model_commit: str = ""
    infrastructure_commit: str = ""
    accounts: dict[str, str] = field(default_factory=dict)
    actions: list[ActionRecord] = field(default_factory=list)
    not_rehearsed: list[str] = field(default_factory=list)
    calls: int = 0
    simulations: int = 0

    @property
    def failed(self) -> ActionRecord | None:
        """Return the first action that failed."""
        return next((action for action in self.actions if action.state is State.FAILED), None)
