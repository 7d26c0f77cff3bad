"""Executions of the pipeline: stages in order, actions of a run order at the same time, rollback on failure."""

from __future__ import annotations

import platform
import time
import zipfile
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from uuid import uuid4

from botocore.exceptions import BotoCoreError, ClientError

from crosstrain.command import BadInputError, OperationFailedError, wait_for
from crosstrain.local.server import REGION
from crosstrain.rehearsal import service_calls
from crosstrain.rehearsal.authorization import Session
from crosstrain.rehearsal.cloudformation.change_sets import Deployment
from crosstrain.rehearsal.codebuild import buildspec
from crosstrain.rehearsal.codebuild.builds import Inputs, project_of
from crosstrain.rehearsal.codepipeline.artifacts import Artifact, ArtifactStore
from crosstrain.rehearsal.codepipeline.declaration import Action, Declaration, Stage
from crosstrain.rehearsal.codepipeline.sources import Repository, Revision
from crosstrain.rehearsal.codepipeline.triggers import check_notifications, check_trigger
from crosstrain.rehearsal.environment import Environment, PastExecution
from crosstrain.rehearsal.report.log import ActionLog
from crosstrain.rehearsal.report.records import STOPPED, ActionRecord, RehearsalRecord, State

# Whatever an action may end with; anything else is a mistake in this program.
_FAILURES = (OperationFailedError, BadInputError, ClientError, BotoCoreError)
# An update of the pipeline that changes it each time would go on for ever.
_MOST_RESTARTS = 3

Approve = Callable[[str], bool]
"""Asks somebody about a text, and returns whether it is approved."""


class _RestartError(Exception):
    """The pipeline has changed itself, and begins again."""


@dataclass
class Execution:
    """One execution: what its actions have made so far."""

    id: str
    declaration: Declaration
    store: ArtifactStore
    artifacts: dict[str, Artifact] = field(default_factory=dict)
    variables: dict[str, str] = field(default_factory=dict)


class Rehearsal:
    """Runs the pipeline of an environment.

    Parameters
    ----------
    environment
        The accounts, with the delivery stack in them.
    infrastructure, model : Repository
        What the pipeline's repositories are on this machine.
    approve
        Asks for approvals.
    out : Path
        The folder for logs.
    """

    def __init__(
        self, environment: Environment, infrastructure: Repository, model: Repository, *, approve: Approve, out: Path
    ) -> None:
        self._environment, self._infrastructure, self._model = environment, infrastructure, model
        self._approve, self._out = approve, out
        self._folder = out / "work"
        # Plain sentences, each once.
        self._notes: dict[str, None] = {}
        self.record = RehearsalRecord(execution_id=str(uuid4()), started=time.time())

    def note(self, sentence: str) -> None:
        """Note in the record what is not rehearsed."""
        self._notes[sentence] = None

    def prepare(self) -> RehearsalRecord:
        """Read the declaration, see that all of it can be rehearsed, and return the record that `run` fills.

        Raises
        ------
        BadInputError
            If something of it is not supported, or a source cannot be read.
        """
        declaration = self._environment.declaration()
        self._check(declaration)
        self._begin(declaration)
        return self.record

    def run(self) -> RehearsalRecord:
        """Run the pipeline to its end, and return what became of it."""
        begun = self._environment.authorizer.calls, self._environment.authorizer.simulations
        try:
            for _ in range(_MOST_RESTARTS):
                try:
                    self._run_stages()
                    break
                except _RestartError:
                    self._environment.refresh()
                    declaration = self._environment.declaration()
                    self._check(declaration)
                    self._begin(declaration)
            else:
                raise OperationFailedError(f"The pipeline has changed itself {_MOST_RESTARTS} times and would go on.")
        finally:
            self.record.ended = time.time()
            self.record.calls = self._environment.authorizer.calls - begun[0]
            self.record.simulations = self._environment.authorizer.simulations - begun[1]
            self._close()
        return self.record

    def _begin(self, declaration: Declaration) -> None:
        environment = self._environment
        self._execution = Execution(
            id=str(uuid4()),
            declaration=declaration,
            store=ArtifactStore(
                environment.aws,
                environment.authorizer,
                declaration.bucket,
                declaration.key_arn,
                environment.accounts.tools,
                declaration.name,
            ),
        )
        execution = self._execution
        execution.variables["codepipeline.PipelineExecutionId"] = execution.id
        started = {"pipelineExecutionId": execution.id, "status": "InProgress", "startTime": time.time()}
        # Newest first, as the service lists them.
        environment.executions.insert(0, started)
        self.record.execution_id = execution.id
        self.record.accounts = environment.accounts.by_stage()
        self.record.not_rehearsed = [*environment.images.not_rehearsed, *self._notes]
        self.record.actions = [
            ActionRecord(action.stage, action.name, action.provider, action.run_order)
            for action in declaration.actions()
        ]

    def _close(self) -> None:
        status = "Failed" if self.record.failed else "Succeeded"
        self._environment.executions[0] |= {"status": status, "lastUpdateTime": time.time()}
        for action in self.record.actions:
            if action.state is State.WAITING:
                action.state = State.NOT_RUN

    def _check(self, declaration: Declaration) -> None:
        """Refuse what cannot be rehearsed before anything starts: repositories, build projects and buildspecs."""
        archives = {}
        for action in declaration.actions():
            if action.category != "Source":
                continue
            repository = self._repository(action.configuration["RepositoryName"])
            path = self._folder / "check" / f"{action.name}.zip"
            path.parent.mkdir(parents=True, exist_ok=True)
            repository.fetch(path)
            archives[action.outputs[0]] = path
        for action in declaration.actions():
            if action.provider != "CodeBuild":
                continue
            project = project_of(
                self._environment.aws, self._environment.accounts.tools, action.configuration["ProjectName"]
            )
            path = project["Source"]["BuildSpec"]
            primary = action.configuration.get("PrimarySource", action.inputs[0])
            if primary in archives:
                with zipfile.ZipFile(archives[primary]) as archive:
                    if path not in archive.namelist():
                        raise BadInputError(f"The infrastructure repository has no {path}.")
                    self._note_runtimes(buildspec.read(archive.read(path).decode("utf-8"), path).runtimes)

    def _note_runtimes(self, runtimes: Mapping[str, str]) -> None:
        here = platform.python_version_tuple()[:2]
        wanted = runtimes.get("python")
        if wanted is not None and tuple(wanted.split(".")[:2]) != here:
            self._notes[f"The builds ran with Python {'.'.join(here)} of this machine, not {wanted}."] = None

    def _repository(self, name: str) -> Repository:
        """Return the repository of this machine that stands for one of the pipeline's."""
        if name == self._environment.parameters["InfrastructureRepository"]:
            return self._infrastructure
        return self._model

    def _run_stages(self) -> None:
        for stage in self._execution.declaration.stages:
            if not self._run_stage(stage, self._execution):
                if stage.rolls_back and not self._environment.stopped:
                    self._roll_back(stage)
                return
            self._environment.succeeded[stage.name] = PastExecution(
                self._execution.declaration.document,
                dict(self._execution.artifacts),
                dict(self._execution.variables),
                self.record.model_commit,
                self.record.infrastructure_commit,
            )

    def _run_stage(self, stage: Stage, execution: Execution) -> bool:
        """Run a stage's actions, and return whether all of them succeeded."""
        for group in stage.in_order():
            with ThreadPoolExecutor(len(group)) as pool:
                try:
                    futures = [pool.submit(self._run_action, action, execution, self._find(action)) for action in group]
                    # What runs at the same time ends by itself, whatever becomes of the others.
                    wait_for(futures)
                except BaseException:
                    self._environment.stop()
                    raise
            if not all(future.result() for future in futures):
                return False
            if any(action.configuration.get("ActionMode") == "CHANGE_SET_EXECUTE" for action in group):
                self._restart_if_changed(execution)
        return True

    def _restart_if_changed(self, execution: Execution) -> None:
        if execution is not self._execution or not execution.declaration.restarts_on_update:
            return
        if self._environment.declaration().document != execution.declaration.document:
            raise _RestartError

    def _find(self, action: Action) -> ActionRecord:
        return next(each for each in self.record.actions if (each.stage, each.name) == (action.stage, action.name))

    def _run_action(self, action: Action, execution: Execution, record: ActionRecord) -> bool:
        """Run one action, and return whether it succeeded."""
        record.state, record.started = State.RUNNING, time.time()
        log = ActionLog(record, self._out / "logs" / f"{action.stage}-{record.name}.log")
        try:
            log.write(f"{action.stage}/{action.name} ({action.provider})")
            record.details += self._perform(action, execution, log)
        except _FAILURES as error:
            record.cause = f"{error}{self._untold(action, execution)}"
            log.write(f"FAILED: {record.cause}")
            record.state = State.FAILED
        else:
            record.state = State.SUCCEEDED
        finally:
            record.ended = time.time()
            if record.state is State.RUNNING:
                record.state = State.FAILED
        return record.state is State.SUCCEEDED

    def _untold(self, action: Action, execution: Execution) -> str:
        """Return what keeps people from being told that an action has failed; nothing, if they are."""
        environment, name = self._environment, execution.declaration.name
        if environment.stopped:
            return ""
        try:
            check_notifications(
                environment.aws,
                environment.authorizer,
                environment.accounts.tools,
                name,
                stage=action.stage,
                action=action.name,
            )
        except OperationFailedError as error:
            return f" — and nobody is told: {error}"
        return ""

    def _perform(self, action: Action, execution: Execution, log: ActionLog) -> list[str]:
        if self._environment.stopped:
            raise OperationFailedError(STOPPED)
        declaration = execution.declaration
        arn = f"arn:aws:codepipeline:{REGION}:{self._environment.accounts.tools}:{declaration.name}"
        pipeline = self._environment.authorizer.service_session(service_calls.CODEPIPELINE, declaration.role_arn, arn)
        configured = action.configured(execution.variables)
        perform = {
            "CodeCommit": self._fetch,
            "CodeBuild": self._build,
            "CloudFormation": self._deploy,
            "Manual": self._ask,
        }[action.provider]
        return perform(replace(action, configuration=configured), execution, pipeline, log)

    def _fetch(self, action: Action, execution: Execution, pipeline: Session, log: ActionLog) -> list[str]:
        """Fetch a source. There is no CodeCommit here: git answers, and what the role may is asked about."""
        name, branch = action.configuration["RepositoryName"], action.configuration["BranchName"]
        arn = f"arn:aws:codecommit:{REGION}:{pipeline.account}:{name}"
        if action.configuration.get("PollForSourceChanges", "true").lower() == "false":
            environment, source = self._environment, action.configuration
            rule = check_trigger(
                environment.aws, environment.authorizer, pipeline.account, execution.declaration.name, source
            )
            log.write(f"A push starts the pipeline by the rule {rule}.")
        self._environment.authorizer.check(pipeline.role_arn, service_calls.FETCH_SOURCE, arn)
        path = self._folder / f"{action.name}.zip"
        path.parent.mkdir(parents=True, exist_ok=True)
        repository = self._repository(name)
        revision: Revision = repository.fetch(path)
        (output,) = action.outputs
        execution.artifacts[output] = execution.store.put(pipeline, output, path)
        found = {**revision.variables, "BranchName": branch, "RepositoryName": name}
        self._export(action, execution, found)
        if repository is self._infrastructure:
            self.record.infrastructure_commit = revision.commit
        # Where one repository serves as both, it is the model's as well.
        if repository is self._model or not self._environment.parameters.get("ModelRepository"):
            self.record.model_commit = revision.commit
        log.write(f"{revision.commit} {revision.variables['CommitMessage']}")
        return [f"{name} at {revision.commit[:12]}"]

    def _build(self, action: Action, execution: Execution, pipeline: Session, log: ActionLog) -> list[str]:
        inputs = Inputs(
            pipeline=pipeline,
            artifacts={name: execution.artifacts[name] for name in action.inputs},
            configuration=action.configuration,
            name=execution.declaration.name,
            store=execution.store,
        )
        build = self._environment.codebuild.run(action, inputs, log)
        execution.artifacts.update(build.artifacts)
        self._export(action, execution, build.variables)
        return list(build.details)

    def _deploy(self, action: Action, execution: Execution, pipeline: Session, log: ActionLog) -> list[str]:
        session = self._environment.authorizer.assume(pipeline, action.role_arn) if action.role_arn else pipeline
        deployment = Deployment(
            session=session,
            configuration=action.configuration,
            artifacts={name: execution.artifacts[name] for name in action.inputs},
            store=execution.store,
            folder=self._folder / "templates",
        )
        return self._environment.cloudformation.run(action, deployment, log)

    def _ask(self, action: Action, _execution: Execution, pipeline: Session, log: ActionLog) -> list[str]:
        text = action.configuration.get("CustomData", f"{action.stage}/{action.name}")
        if topic := action.configuration.get("NotificationArn"):
            self._environment.authorizer.call(pipeline, "sns", "publish", on=topic, TopicArn=topic, Message=text)
        log.write(text)
        if not self._approve(text):
            raise OperationFailedError("The approval was rejected.")
        return ["approved"]

    def _export(self, action: Action, execution: Execution, values: Mapping[str, Any]) -> None:
        if action.namespace is not None:
            execution.variables |= {f"{action.namespace}.{name}": str(value) for name, value in values.items()}

    def _roll_back(self, stage: Stage) -> None:
        """Run a stage once more with what its last execution that succeeded went by, as CodePipeline does.

        https://docs.aws.amazon.com/codepipeline/latest/userguide/stage-rollback.html
        """
        record = ActionRecord(stage.name, "Rollback", "CodePipeline", max(each.run_order for each in stage.actions) + 1)
        last = max(index for index, each in enumerate(self.record.actions) if each.stage == stage.name)
        self.record.actions.insert(last + 1, record)
        past = self._environment.succeeded.get(stage.name)
        # Only an execution of the pipeline as it is now can be gone back to.
        if past is None or past.document != self._execution.declaration.document:
            record.state = State.NOT_RUN
            record.details.append("no earlier execution of this stage has succeeded with this pipeline")
            return
        record.state, record.started = State.RUNNING, time.time()
        log = ActionLog(record, self._out / "logs" / f"{stage.name}-Rollback.log")
        target = replace(self._execution, artifacts=dict(past.artifacts), variables=dict(past.variables))
        target.variables["codepipeline.PipelineExecutionId"] = self._execution.id
        release = f"{past.model_commit[:12]}-{past.infrastructure_commit[:12]}"
        for group in stage.in_order():
            for action in group:
                step = ActionRecord(action.stage, f"Rollback-{action.name}", action.provider, action.run_order)
                succeeded = self._run_action(action, target, step)
                log.write(f"{action.name}: {step.state} {step.cause or ''}")
                if not succeeded:
                    record.cause = f"{action.name}: {step.cause}"
                    record.state, record.ended = State.FAILED, time.time()
                    return
        record.details.append(f"back at the release {release}")
        record.state, record.ended = State.SUCCEEDED, time.time()
