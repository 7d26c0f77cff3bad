"""A team's two repositories, and accounts in which what the team commits is delivered, as a whole or stage by stage."""

from __future__ import annotations

import io
import json
import time
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from samcli.yamlhelper import yaml_parse

from crosstrain.local.server import root_of
from crosstrain.rehearsal.accounts import Accounts
from crosstrain.rehearsal.codepipeline.artifacts import Artifact
from crosstrain.rehearsal.codepipeline.declaration import Declaration
from crosstrain.rehearsal.codepipeline.sources import Repository
from crosstrain.rehearsal.environment import Environment, Folders, open_environment
from crosstrain.rehearsal.images.backends import Images, LocalProcesses
from crosstrain.rehearsal.report.records import RehearsalRecord
from crosstrain.rehearsal.runner import Rehearsal
from git_repositories import commit_all, git

THREE = "000000000001,000000000002,000000000003"
Change = Callable[[Any], None]


@dataclass(frozen=True)
class Team:
    """A team's repositories, infrastructure and model."""

    infrastructure: Path
    model: Path

    def fork(self, folder: Path) -> Team:
        """Return clones, which a test may commit to."""
        clones = [folder / name for name in ("infrastructure", "model")]
        for source, clone in zip((self.infrastructure, self.model), clones, strict=True):
            git(folder, "clone", "--quiet", str(source), str(clone))
        return Team(*clones)

    def commit(self, repository: Path, changes: Mapping[str, Callable[[str], str]]) -> str:
        """Change files, each as its function says, and return the commit."""
        for name, change in changes.items():
            path = repository / name
            before = path.read_text() if path.exists() else ""
            after = change(before)
            assert after != before, name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(after)
        return commit_all(repository, f"Change {', '.join(changes)}")


class StageRehearsal(Rehearsal):
    """A rehearsal that can run a stage by itself, so that nothing before it costs time."""

    def repeat(
        self,
        name: str,
        *,
        actions: Sequence[str] = (),
        artifacts: Mapping[str, Artifact] | None = None,
        rolls_back: bool = False,
    ) -> RehearsalRecord:
        """Run a stage with what its last execution that succeeded went by, and return what became of it.

        Parameters
        ----------
        name : str
            The stage.
        actions : sequence of str
            Those of the stage that are run; all of them if left out.
        artifacts : mapping
            Artifacts that take the place of those of the last execution.
        rolls_back : bool
            Whether the stage is rolled back if it fails.
        """
        self._begin(self._environment.declaration())
        past = self._environment.succeeded[name]
        (stage,) = (each for each in self._execution.declaration.stages if each.name == name)
        if actions:
            stage = replace(stage, actions=tuple(each for each in stage.actions if each.name in actions))
        names = {each.name for each in stage.actions}
        self.record.actions = [each for each in self.record.actions if each.stage == name and each.name in names]
        self._execution.artifacts.update({**past.artifacts, **(artifacts or {})})
        self._execution.variables.update(past.variables)
        try:
            if not self._run_stage(stage, self._execution) and rolls_back:
                self._roll_back(stage)
        finally:
            self.record.ended = time.time()
            self._close()
        return self.record


@dataclass
class Delivery:
    """Accounts in which releases of the team's repositories are rehearsed one after another.

    Attributes
    ----------
    environment : Environment
        The accounts.
    out : Path
        The folder for logs.
    declaration : Declaration
        The pipeline as it was deployed at first; a release may change it.
    """

    environment: Environment
    out: Path
    declaration: Declaration

    def release(self, team: Team, *, approve: bool = True) -> RehearsalRecord:
        """Rehearse what the team has committed."""
        rehearsal = self._rehearsal(team, approve=approve)
        rehearsal.prepare()
        return rehearsal.run()

    def repeat(self, team: Team, stage: str, *, approve: bool = True, **options: Any) -> RehearsalRecord:
        """Run one stage again, as `StageRehearsal.repeat` does."""
        return self._rehearsal(team, approve=approve).repeat(stage, **options)

    def redeploy(self, team: Team, stage: str) -> None:
        """Put the stack of a stage back to what its last execution that succeeded has deployed."""
        record = self.repeat(team, stage, actions=("CreateChangeSet", "ExecuteChangeSet"))
        assert record.failed is None, record.failed

    def _rehearsal(self, team: Team, *, approve: bool) -> StageRehearsal:
        repositories = Repository(team.infrastructure), Repository(team.model)
        return StageRehearsal(self.environment, *repositories, approve=lambda _text: approve, out=self.out)

    def client(self, service: str, stage: str) -> Any:
        """Return a root client of a stage's account."""
        return self.environment.aws.client(service, root_of(self.environment.accounts.by_stage()[stage]))

    def item(self, key: str) -> dict[str, Any]:
        """Return an item of the ledger, its texts only."""
        table = self.environment.outputs["LedgerTableName"]
        item = self.client("dynamodb", "tools").get_item(TableName=table, Key={"id": {"S": key}}).get("Item", {})
        return {name: value["S"] for name, value in item.items() if "S" in value}

    def stack(self, stage: str) -> dict[str, Any]:
        """Return the state of a stage's stack: its status, its parameters, and when it was changed last."""
        (stack,) = self.client("cloudformation", stage).describe_stacks(StackName=f"crosstrain-{stage}")["Stacks"]
        parameters = {each["ParameterKey"]: each["ParameterValue"] for each in stack["Parameters"]}
        return {"status": stack["StackStatus"], **parameters}

    def changed_artifact(self, stage: str, action: str, changes: Mapping[str, Change]) -> dict[str, Artifact]:
        """Return an artifact that a stage went by with some of its documents changed, as a new one, by its name.

        Parameters
        ----------
        stage : str
            The stage that went by it.
        action : str
            The name of the action that made it.
        changes : mapping
            For each file of the artifact, what changes its document, in place.
        """
        declared = self.environment.declaration()
        name = next(each.outputs[0] for each in declared.actions() if each.name == action)
        artifact: Artifact = self.environment.succeeded[stage].artifacts[name]
        s3, content = self.client("s3", "tools"), io.BytesIO()
        body = s3.get_object(Bucket=declared.bucket, Key=artifact.key)["Body"].read()
        with zipfile.ZipFile(io.BytesIO(body)) as before, zipfile.ZipFile(content, "w") as after:
            assert set(changes) <= set(before.namelist())
            for member in before.infolist():
                text = before.read(member)
                if member.filename in changes:
                    document = yaml_parse(text.decode())
                    changes[member.filename](document)
                    text = json.dumps(document).encode()
                after.writestr(member, text)
        number = time.monotonic_ns()
        key = f"{artifact.key.removesuffix('.zip')}-{number}.zip"
        s3.put_object(Bucket=declared.bucket, Key=key, Body=content.getvalue())
        return {name: Artifact(name, key, f"{artifact.digest}-{number}")}

    @contextmanager
    def declared(self, change: Change) -> Iterator[None]:
        """Change the pipeline as it is deployed during a `with` block."""
        ssm, name = self.client("ssm", "tools"), self.environment.outputs["PipelineName"]
        before = ssm.get_parameter(Name=name)["Parameter"]["Value"]
        document = json.loads(before)
        change(document)
        ssm.put_parameter(Name=name, Value=json.dumps(document), Type="String", Overwrite=True)
        try:
            yield
        finally:
            ssm.put_parameter(Name=name, Value=before, Type="String", Overwrite=True)

    @contextmanager
    def ends_after(self, stage: str) -> Iterator[None]:
        """Let the pipeline as it is deployed end after a stage during a `with` block."""

        def cut(document: Any) -> None:
            names = [each["Name"] for each in document["Stages"]]
            document["Stages"] = document["Stages"][: names.index(stage) + 1]

        with self.declared(cut):
            yield


@contextmanager
def open_delivery(
    team: Team, folders: Folders, out: Path, accounts: str = THREE, images: Images | None = None
) -> Iterator[Delivery]:
    """Yield accounts with the delivery stack of the team's infrastructure, in which nothing is delivered yet."""
    chosen = images or LocalProcesses(folders.cache / "images")
    with open_environment(Accounts.parse(accounts), chosen, folders) as environment:
        environment.set_up(team.infrastructure, {})
        yield Delivery(environment, out, environment.declaration())


@dataclass(frozen=True)
class FirstRelease:
    """A delivery, what became of its first release, and the state that it left.

    Attributes
    ----------
    delivery : Delivery
        The accounts, which later releases change.
    record : RehearsalRecord
        The first release.
    stacks, items : mapping
        The stack and the ledger's item of each stage right after it.
    """

    delivery: Delivery
    record: RehearsalRecord
    stacks: Mapping[str, dict[str, Any]]
    items: Mapping[str, dict[str, Any]]

    @classmethod
    def of(cls, delivery: Delivery, team: Team) -> FirstRelease:
        """Rehearse the first release, which has to go through."""
        record = delivery.release(team)
        assert record.failed is None, record.failed
        stages = ("test", "prod")
        stacks = {stage: delivery.stack(stage) for stage in stages}
        return cls(delivery, record, stacks, {stage: delivery.item(f"STAGE#{stage}") for stage in stages})


def failed(record: RehearsalRecord) -> str:
    """Return which action failed."""
    assert record.failed is not None
    return f"{record.failed.stage}/{record.failed.name}"


def cause(record: RehearsalRecord) -> str:
    """Return why the action failed."""
    assert record.failed is not None
    return str(record.failed.cause)


def states(record: RehearsalRecord, stage: str) -> list[str]:
    """Return what became of a stage's actions."""
    return [str(action.state) for action in record.actions if action.stage == stage]
