"""Building images: what tells contents apart, what is used again, and what a failure leaves behind."""

from __future__ import annotations

import base64
import json
import os
import re
import shutil
import stat
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError
from moto import mock_aws

import build_images
from crosstrain.command import BadInputError, OperationFailedError
from crosstrain.delivery import base_images, repositories
from crosstrain.delivery.engine import Engine, Jobs, find_engine
from crosstrain.delivery.functions import FUNCTIONS
from crosstrain.delivery.images import Plan, Settings, content_hash, make_plans, pin_bases, push
from crosstrain.delivery.ledger import Ledger
from crosstrain.delivery.repositories import find_images, find_repositories
from image_registry import serve_registry

HOST = "123456789012.dkr.ecr.eu-central-1.amazonaws.com"
REPOSITORIES = {name: f"{HOST}/{name}" for name in FUNCTIONS}
TABLE = "image-ledger"
# The last line of a failed build, and what else is then said.
FAILURES = {"syntax error": "line 30", "no space left on device": "disk is full"}
# Stands for the engine's command line. It notes its arguments and keeps the Dockerfiles; FAIL, FULL, ABSENT, BUSY and
# SLOW name what goes wrong.
ENGINE = """#!/bin/sh
echo "$@" >> "$CALLS"
for word; do
  [ "$before" != --file ] || cp "$word" "$CALLS.$(basename "$(dirname "$word")")"
  before=$word
done
case "$1 $*" in
  "version "*) [ -z "$ABSENT" ] || { echo "Cannot connect to the Docker daemon"; exit 1; } ;;
  "buildx buildx version"*) [ -z "$NO_BUILDX" ] || exit 1 ;;
  "login "*) cat > "$CALLS.password" ;;
  "image "*) exit 1 ;;
  *build*"$SLOW/Dockerfile"*) [ -z "$SLOW" ] || { sleep 30; echo "never" >> "$CALLS"; } ;;
esac
case "$1 $*" in
  *build*"$BUSY/Dockerfile"*) [ -z "$BUSY" ] || {
    echo "turned away" >> "$CALLS"
    [ "$(grep -c "turned away" "$CALLS")" -gt "$TIMES" ] || { echo "toomanyrequests: Rate exceeded"; exit 1; }
  } ;;
esac
case "$1 $*" in
  *build*"$FAIL/Dockerfile"*) [ -z "$FAIL" ] || { for i in $(seq 30); do echo "line $i"; done; echo "$WHY"; exit 1; } ;;
  "push "*) [ -z "$PUSH_FAILS" ] || { echo "connection reset by peer"; exit 1; } ;;
esac
"""


def manifest(name: str) -> str:
    """Return the manifest of an image of one layer, another one for each name."""
    kind = "application/vnd.docker.distribution.manifest.v2+json"
    config = {"mediaType": "application/vnd.docker.container.image.v1+json", "size": 1, "digest": name}
    return json.dumps({"schemaVersion": 2, "mediaType": kind, "config": config, "layers": [{**config, "digest": name}]})


@pytest.fixture
def context(tmp_path: Path, project: Path) -> Path:
    """Return a build context of its own."""
    return shutil.copytree(project / "functions", tmp_path / "functions", ignore=shutil.ignore_patterns("__pycache__"))


@pytest.fixture(autouse=True)
def base_digest(monkeypatch: pytest.MonkeyPatch) -> str:
    """Let every base image have one digest."""
    digest = f"sha256:{'b' * 64}"
    monkeypatch.setattr(base_images, "find_images", lambda images, **_options: dict.fromkeys(images, digest))
    return digest


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch, create_table: Callable[..., None]) -> Iterator[Any]:
    """Yield an ECR client of an account that has the repositories and the ledger."""
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-central-1")
    monkeypatch.setenv("LEDGER_TABLE", TABLE)
    for name, uri in REPOSITORIES.items():
        monkeypatch.setenv(f"REPOSITORY_{name.upper()}", uri)
    repositories.ecr_client.cache_clear()
    with mock_aws():
        dynamodb, ecr = boto3.client("dynamodb"), boto3.client("ecr")
        create_table(dynamodb, "ImageLedger", TABLE)
        for name in FUNCTIONS:
            ecr.create_repository(repositoryName=name)
        yield ecr
    repositories.ecr_client.cache_clear()


@pytest.fixture
def ledger(aws: Any) -> Ledger:
    assert aws is not None
    return Ledger(boto3.client("dynamodb"), TABLE)


@pytest.fixture
def engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Put an engine on the path that does nothing, and return the file of what it was asked to do."""
    folder, calls = tmp_path / "bin", tmp_path / "calls"
    folder.mkdir()
    program = folder / "docker"
    program.write_text(ENGINE)
    program.chmod(0o755)
    calls.touch()
    monkeypatch.setenv("CALLS", str(calls))
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    return calls


@pytest.fixture
def pushed(aws: Any, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Let a push of the engine put an image in ECR; return the digest of each tag."""
    digests: dict[str, str] = {}
    real = Jobs.execute

    def execute(self: Any, command: Any, log: Any) -> int:
        status = real(self, command, log)
        if "push" in command and status == 0:
            repository, tag = command[-1].removeprefix(f"{HOST}/").split(":")
            image = aws.put_image(repositoryName=repository, imageManifest=manifest(tag), imageTag=tag)
            digests[command[-1]] = image["image"]["imageId"]["imageDigest"]
        return status

    monkeypatch.setattr(Jobs, "execute", execute)
    return digests


def pinned(context: Path, **fields: Any) -> Settings:
    return pin_bases(Settings(context, **fields), None, lambda *_told: None)


def hashes(context: Path, **fields: Any) -> dict[str, str]:
    settings = pinned(context, **fields)
    return {name: content_hash(name, settings) for name in FUNCTIONS}


def changed(before: Mapping[str, str], after: Mapping[str, str]) -> list[str]:
    return [name for name in before if before[name] != after[name]]


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("model_training/training.py", ["model_training"]),
        ("model_training/requirements.txt", ["model_training"]),
        ("model_training/Dockerfile", ["model_training"]),
        # Whose reader is in the image of scoring, too.
        ("data_preparation/Dockerfile", ["data_preparation", "scoring"]),
        ("model_evaluation/report.html.j2", ["model_evaluation"]),
        ("common/errors.py", list(FUNCTIONS)),
        ("common/new.py", list(FUNCTIONS)),
        ("slim_packages.py", list(FUNCTIONS)),
        (".dockerignore", list(FUNCTIONS)),
        ("model_training/__pycache__/training.cpython-313.pyc", []),
        ("model_training/.ipynb_checkpoints/training.py", []),
        ("model_training/stray.pyc", []),
        ("notes.txt", []),
    ],
)
def test_what_tells_contents_apart(context: Path, path: str, expected: list[str]) -> None:
    before = hashes(context)
    (context / path).parent.mkdir(exist_ok=True)
    with (context / path).open("a") as file:
        file.write("# changed\n")
    assert changed(before, hashes(context)) == expected


@pytest.mark.parametrize(
    ("instruction", "expected"),
    [
        ("COPY data_preparation code/data_preparation", True),
        ("copy --chmod=644 data_preparation/reading.py /reading.py", True),
        ('COPY ["data_preparation/reading.py", "/reading.py"]', True),
        ("ADD --link \\\n  # why\n  common data_preparation /code/", True),
        ("COPY ./common/../data_preparation /code/", True),
        ("COPY . /code", True),
        ("COPY data_* /code", True),
        ("ARG FOLDER=data_preparation\nCOPY ${FOLDER} /code", True),
        ("RUN --mount=type=bind,target=/context cp -r /context/data_preparation /code", True),
        ("COPY\tdata_preparation /code", True),
        ("# RUN a \\\n#   b\nCOPY data_preparation /code", True),
        ("# which goes on \\\nCOPY data_preparation /code", True),
        ("COPY common \\\n\n  data_preparation /code/", True),
        ("RUN --mount=target=/context cp -r /context/data_preparation /code", True),
        ("RUN\t--mount=source=data_preparation,target=/context,type=bind true", True),
        ("ARG X=../data_preparation\nCOPY common/${X} /code", True),
        ("# escape=`\nCOPY common `\n  data_preparation /code/", True),
        ("COPY [d]ata_preparation /code", True),
        ("RUN --mount=type=cache,target=/root/.cache true", False),
        ("RUN --mount=type=bind,from=packages,target=/packages true", False),
        ("COPY --from=packages data_preparation /code", False),
        ("COPY common model_evaluation /code/", False),
        ("# COPY data_preparation /code", False),
        ("RUN echo COPY data_preparation /code", False),
    ],
)
def test_what_a_dockerfile_copies_of_another_function_is_among_the_contents(
    context: Path, instruction: str, expected: bool
) -> None:
    with (context / "model_training" / "Dockerfile").open("a") as file:
        file.write(f"{instruction}\n")
    before = hashes(context)
    with (context / "data_preparation" / "reading.py").open("a") as file:
        file.write("# changed\n")

    assert ("model_training" in changed(before, hashes(context))) == expected


def test_times_order_and_place_do_not_tell_contents_apart(context: Path, tmp_path: Path) -> None:
    before = hashes(context)
    other = tmp_path / "other"
    for path in sorted((each for each in context.rglob("*") if each.is_file()), reverse=True):
        target = other / path.relative_to(context)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)
        os.utime(target, (1, 1))
    assert hashes(other) == before


def test_names_bits_arguments_and_platforms_tell_contents_apart(context: Path) -> None:
    before = hashes(context)
    for fields in ({"base_image": "base"}, {"build_arguments": {"A": "1"}}, {"platform": "linux/arm64"}):
        assert changed(before, hashes(context, **fields)) == list(FUNCTIONS)
    assert hashes(context, build_arguments={"A": "1", "B": "2"}) == hashes(
        context, build_arguments={"B": "2", "A": "1"}
    )
    app = context / "model_training/app.py"
    app.chmod(app.stat().st_mode | stat.S_IXUSR)
    assert changed(before, hashes(context)) == ["model_training"]
    app.chmod(app.stat().st_mode & ~stat.S_IXUSR)
    app.rename(app.with_name("apq.py"))
    assert changed(before, hashes(context)) == ["model_training"]


@pytest.mark.parametrize("path", ["model_training", "model_training/Dockerfile", "common", "slim_packages.py"])
def test_a_context_that_lacks_something(context: Path, path: str) -> None:
    gone = context / path
    shutil.rmtree(gone) if gone.is_dir() else gone.unlink()
    with pytest.raises(BadInputError, match=f"The image of model_training cannot be built without .*{path}"):
        content_hash("model_training", Settings(context))


def test_plans_say_what_is_done_and_why(context: Path, ledger: Ledger, aws: Any) -> None:
    known = hashes(context)
    settings = pinned(context)
    assert [plan.action for plan in make_plans(ledger, settings, REPOSITORIES)] == ["build"] * len(FUNCTIONS)

    for name in ("data_preparation", "model_training"):
        image = aws.put_image(repositoryName=name, imageManifest=manifest(name), imageTag=known[name])
        digest = image["image"]["imageId"]["imageDigest"]
        if name == "data_preparation":
            ledger.record_image(name, known[name], f"{REPOSITORIES[name]}@{digest}", "c")
    lost = f"{REPOSITORIES['model_evaluation']}@sha256:{'0' * 64}"
    ledger.record_image("model_evaluation", known["model_evaluation"], lost, "c")
    plans = {plan.function: plan for plan in make_plans(ledger, settings, REPOSITORIES)}
    assert {name: (plan.action, plan.replaces) for name, plan in plans.items()} == {
        "data_preparation": ("reuse", None),
        "model_training": ("record", None),
        "model_evaluation": ("build", lost),
        "scoring": ("build", None),
    }
    assert "the registry has lost" in plans["model_evaluation"].why


@pytest.mark.usefixtures("engine")
def test_trap_5_all_is_built_for_one_platform_once_and_then_used_again(
    context: Path, pushed: dict[str, str], engine: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert build_images.main(["--context", str(context), "--commit", "c"]) == 0
    first = json.loads(capsys.readouterr().out)
    tags = {name: f"{HOST}/{name}:{each}" for name, each in hashes(context).items()}
    assert first == {name: f"{HOST}/{name}@{pushed[tag]}" for name, tag in tags.items()}
    calls = engine.read_text()
    assert calls.count("buildx build --provenance=false --load --platform linux/amd64") == len(FUNCTIONS)
    assert calls.count(f"login --username AWS --password-stdin {HOST}") == 1

    engine.write_text("")
    assert build_images.main(["--context", str(context)]) == 0
    assert json.loads(capsys.readouterr().out) == first
    assert engine.read_text() == ""

    (context / "model_training/training.py").write_text("changed")
    assert build_images.main(["--context", str(context)]) == 0
    again = json.loads(capsys.readouterr().out)
    assert changed(first, again) == ["model_training"]
    assert engine.read_text().count("push ") == 1


@pytest.mark.usefixtures("socket_enabled", "pushed")
def test_an_update_behind_the_tag_of_a_base_image_is_built(
    context: Path,
    aws: Any,
    engine: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(base_images, "find_images", find_images)
    with serve_registry() as registry:
        for name in ("lambda/python:3.13", "tools/uv:1"):
            registry.update(name, "first")
        dockerfile = context / "model_training/Dockerfile"
        dockerfile.write_text(f"{dockerfile.read_text()}COPY --from={registry.host}/tools/uv:1 /uv /uv\n")
        options = ["--context", str(context), "--base-image", f"{registry.host}/lambda/python:3.13"]

        def build() -> dict[str, str]:
            engine.write_text("")
            assert build_images.main(options) == 0
            return dict(json.loads(capsys.readouterr().out))

        first = build()
        assert build() == first
        assert engine.read_text() == ""
        tool = registry.update("tools/uv:1", "second")
        second = build()
        assert changed(first, second) == ["model_training"]
        base = registry.update("lambda/python:3.13", "third")
        assert changed(second, build()) == list(FUNCTIONS)
        by_digest = {f"{registry.host}/lambda/python@{base}", f"{registry.host}/tools/uv@{tool}"}
        built = Path(f"{engine}.model_training").read_text()
        assert set(re.findall(r"[^ =]+@sha256:\w+", built)) == by_digest
        assert built.count(base) == built.count("FROM ") - 1 == 2
        recorded = boto3.client("dynamodb").scan(TableName=TABLE)["Items"]
        assert by_digest in [{each["S"] for each in item["bases"]["M"].values()} for item in recorded]

    # Where nobody says what the tag stands for, nothing is built and nothing used again.
    engine.write_text("")
    assert build_images.main(options) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "cannot be reached" in captured.err
    assert not re.search("--file|push", engine.read_text())
    assert len(aws.list_images(repositoryName="model_training")["imageIds"]) == 3


def test_an_image_that_the_ledger_has_in_another_repository_is_taken_over(
    context: Path, ledger: Ledger, engine: Path, pushed: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    """Whoever builds images may put such an item; it must not stop the releases of these contents."""
    assert engine.exists()
    elsewhere = f"{HOST}/elsewhere@sha256:{'e' * 64}"
    training = hashes(context)["model_training"]
    ledger.record_image("model_training", training, elsewhere, "commit")

    assert build_images.main(["--context", str(context), "--commit", "c"]) == 0

    captured = capsys.readouterr()
    assert f"the ledger has it in another repository, {elsewhere}" in captured.err.replace("\n", " ")
    repository = REPOSITORIES["model_training"]
    uri = f"{repository}@{pushed[f'{repository}:{training}']}"
    assert json.loads(captured.out)["model_training"] == uri
    assert ledger.images({"model_training": training}) == {"model_training": uri}


def test_a_dry_run_says_what_would_be_built(
    context: Path, ledger: Ledger, engine: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert build_images.main(["--context", str(context), "--dry-run"]) == 0
    captured = capsys.readouterr()
    assert {each["action"] for each in json.loads(captured.out).values()} == {"build"}
    assert "model_training: would build: its contents are new" in captured.err
    assert engine.read_text() == ""
    assert ledger.images(hashes(context)) == {}


@pytest.mark.parametrize(("times", "status"), [("2", 0), ("99", 1)])
@pytest.mark.usefixtures("pushed")
def test_a_registry_that_turns_a_build_away_is_asked_again(
    context: Path,
    engine: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    times: str,
    status: int,
) -> None:
    waits: list[float] = []
    monkeypatch.setattr(Jobs, "wait", lambda _self, seconds: waits.append(seconds))
    monkeypatch.setenv("BUSY", "model_training")
    monkeypatch.setenv("TIMES", times)
    assert build_images.main(["--context", str(context)]) == status
    captured = capsys.readouterr()
    assert "again in 10 s: toomanyrequests: Rate exceeded" in captured.err
    assert waits == ([10, 30] if status == 0 else [10, 30, 90])
    assert engine.read_text().count("turned away") == len(waits) + 1


@pytest.mark.parametrize(
    ("base", "logins"),
    [
        (None, ["public.ecr.aws"]),
        ("999999999999.dkr.ecr.eu-central-1.amazonaws.com/base:1", ["999999999999.dkr.ecr.eu-central-1.amazonaws.com"]),
        ("127.0.0.1:5000/base:1", []),
    ],
)
@pytest.mark.usefixtures("pushed")
def test_the_registry_of_the_base_image_is_logged_in_to_where_that_is_known(
    context: Path, engine: Path, monkeypatch: pytest.MonkeyPatch, base: str | None, logins: list[str]
) -> None:
    # As moto has no ECR Public, its answer is made up.
    token = base64.b64encode(b"AWS:secret").decode()
    answers = {"get_authorization_token": lambda: {"authorizationData": {"authorizationToken": token}}}
    monkeypatch.setattr("crosstrain.delivery.engine.make_client", lambda *_of: SimpleNamespace(**answers))
    option = [] if base is None else ["--base-image", base]
    assert build_images.main(["--context", str(context), *option]) == 0
    found = re.findall(r"^login --username AWS --password-stdin (\S+)$", engine.read_text(), flags=re.MULTILINE)
    assert found == [HOST, *logins]


@pytest.mark.usefixtures("pushed", "engine")
def test_a_public_base_image_is_fetched_without_a_login_too(
    context: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(*_of: str) -> Any:
        raise ClientError({"Error": {"Code": "AccessDeniedException", "Message": "no"}}, "GetAuthorizationToken")

    monkeypatch.setattr("crosstrain.delivery.engine.make_client", refuse)
    assert build_images.main(["--context", str(context)]) == 0
    assert "engine: not logged in to public.ecr.aws, which throttles those who are not: " in capsys.readouterr().err


@pytest.mark.parametrize("why", FAILURES)
@pytest.mark.usefixtures("engine", "pushed")
def test_a_failed_build_stops_the_release(
    context: Path,
    ledger: Ledger,
    engine: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    why: str,
) -> None:
    monkeypatch.setenv("FAIL", "model_training")
    monkeypatch.setenv("SLOW", "model_evaluation")
    monkeypatch.setenv("WHY", why)
    begin = time.monotonic()
    assert build_images.main(["--context", str(context)]) == 1

    assert time.monotonic() - begin < 20
    assert "never" not in engine.read_text()
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "error: The image of model_training could not be built." in captured.err
    assert all(text in captured.err for text in (FAILURES[why], why))
    assert "line 5\n" not in captured.err
    with pytest.raises(BadInputError, match="holds no release yet"):
        ledger.resolve("latest")
    assert ledger.images(hashes(context)) == {}


@pytest.mark.usefixtures("engine", "pushed")
def test_an_interrupted_push_is_tried_again_and_then_told(
    context: Path, engine: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PUSH_FAILS", "yes")
    assert build_images.main(["--context", str(context)]) == 1
    captured = capsys.readouterr()
    assert "was not pushed: the push failed." in captured.err
    assert "connection reset by peer" in captured.err
    assert 2 <= engine.read_text().count("push ") <= 2 * len(FUNCTIONS)


def test_a_push_that_another_builder_was_faster_with_takes_that_image(
    aws: Any, engine: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PUSH_FAILS", "tag already exists in the repository and cannot be changed: it is immutable")
    image = aws.put_image(repositoryName="model_training", imageManifest=manifest("first"), imageTag="hash")
    plan = Plan("model_training", "hash", REPOSITORIES["model_training"], "build", "new")
    with Jobs() as jobs, (tmp_path / "log").open("w+b") as log:
        uri = push(plan, Engine("docker", "docker"), jobs, log)
    assert uri == f"{REPOSITORIES['model_training']}@{image['image']['imageId']['imageDigest']}"
    assert engine.read_text().count("push ") == 1


def test_no_engine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(OperationFailedError, match="No container engine is installed"):
        find_engine(None, lambda *_told: None)


@pytest.mark.usefixtures("engine")
def test_an_engine_that_does_not_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ABSENT", "yes")
    with pytest.raises(OperationFailedError, match="start it: Cannot connect to the Docker daemon"):
        find_engine(None, lambda *_told: None)


@pytest.mark.usefixtures("engine")
def test_docker_without_buildx_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_BUILDX", "yes")
    message: list[str] = []
    assert find_engine(None, lambda *each: message.extend(each)).kind == "docker"
    assert message == ["engine", "docker has no buildx here: building with `docker build`"]


def test_trap_5_an_image_index_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    class Ecr:
        def batch_get_image(self, **_request: Any) -> Any:
            kind = "application/vnd.oci.image.index.v1+json"
            return {"images": [{"imageId": {"imageDigest": "sha256:1"}, "imageManifestMediaType": kind}]}

    monkeypatch.setattr(repositories, "ecr_client", lambda _region: Ecr())
    error = find_images({"model_training": f"{HOST}/model_training:tag"})["model_training"]
    assert isinstance(error, OperationFailedError)
    assert "an image index, which Lambda rejects" in str(error)


@pytest.mark.usefixtures("aws")
def test_a_repository_that_is_not_there(context: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--repository", f"model_training={HOST}/other"]
    assert build_images.main(["--context", str(context), *options]) == 2
    assert f"There is no repository {HOST}/other" in capsys.readouterr().err


def test_repositories_that_are_not_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in FUNCTIONS:
        monkeypatch.delenv(f"REPOSITORY_{name.upper()}", raising=False)
    with pytest.raises(BadInputError) as caught:
        find_repositories({"other": "x/y", "model_training": f"{HOST}/a:tag"})
    for message in (
        "other is no function",
        "REPOSITORY_DATA_PREPARATION",
        "REPOSITORY_MODEL_EVALUATION",
        f"{HOST}/a:tag of model_training is no repository's URI",
    ):
        assert message in str(caught.value)
