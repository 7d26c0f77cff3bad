"""Artifacts: zips in the pipeline's bucket, encrypted with the pipeline's key."""

from __future__ import annotations

import hashlib
import os
import stat
import time
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

from crosstrain.command import OperationFailedError
from crosstrain.local.server import LocalAws, root_of
from crosstrain.rehearsal import service_calls
from crosstrain.rehearsal.authorization import Authorizer, Session, bucket_policy, key_policy


@dataclass(frozen=True)
class Artifact:
    """One artifact of an execution: its key in the bucket, and a digest of what is in it."""

    name: str
    key: str
    digest: str


class ArtifactStore:
    """The pipeline's bucket, as each role reaches it.

    Parameters
    ----------
    aws, authorizer
        Where it is, and who may what.
    bucket, key_arn, owner : str
        The bucket, its key, and the account of both.
    prefix : str
        What the keys begin with.
    """

    def __init__(
        self, aws: LocalAws, authorizer: Authorizer, bucket: str, key_arn: str, owner: str, prefix: str
    ) -> None:
        self._aws, self._authorizer = aws, authorizer
        self.bucket, self._key_arn, self._owner, self._prefix = bucket, key_arn, owner, prefix

    def put(self, session: Session, name: str, path: Path) -> Artifact:
        """Store a zip as an artifact, as a role does that writes it.

        Raises
        ------
        DeniedError
            If the role may not write to the bucket or encrypt with its key.
        """
        # The names that CodePipeline gives.
        artifact = Artifact(name, f"{self._prefix[:20]}/{name[:10]}/{uuid4().hex[:7]}.zip", digest_of(path))
        body = path.read_bytes()
        arguments: dict[str, Any] = {"Bucket": self.bucket, "Key": artifact.key, "Body": body}
        self._authorizer.call(session, "s3", "put_object", on=self._arn(artifact.key), **arguments)
        self._check_key(session.role_arn, service_calls.ENCRYPT_OBJECT)
        return artifact

    def get(self, session: Session, artifact: Artifact, path: Path) -> None:
        """Fetch an artifact as a role does that reads it.

        A role of another account is asked about, for the embedded AWS misjudges the condition of the bucket's policy;
        then the file itself is fetched by the bucket's owner.

        Raises
        ------
        DeniedError
            If the role may not read from the bucket or decrypt with its key.
        """
        arguments: dict[str, Any] = {"Bucket": self.bucket, "Key": artifact.key}
        if session.account == self._owner:
            self._authorizer.call(session, "s3", "get_object", on=self._arn(artifact.key), **arguments)
        else:
            self.check_reading(session.role_arn, artifact.key)
        self._check_key(session.role_arn, service_calls.DECRYPT_OBJECT)
        path.write_bytes(self.read(artifact.key))

    def read(self, key: str) -> bytes:
        """Return an object, as the bucket's owner."""
        body: bytes = (
            self._aws.client("s3", root_of(self._owner)).get_object(Bucket=self.bucket, Key=key)["Body"].read()
        )
        return body

    def check_reading(self, role_arn: str, key: str) -> None:
        """Ask whether a role, of any account, may read an object and decrypt it.

        Raises
        ------
        DeniedError
            If it may not.
        """
        policy = bucket_policy(self._aws, self.bucket, self._owner)
        where = "the policy of the artifact bucket in tools-account.yaml"
        self._authorizer.check_across(
            role_arn, service_calls.READ_OBJECT, self._arn(key), policy, self._owner, where=where
        )
        self._check_key(role_arn, service_calls.DECRYPT_OBJECT)

    def _check_key(self, role_arn: str, action: str) -> None:
        # S3 calls the key for whoever calls S3; the embedded AWS does not.
        policy = key_policy(self._aws, self._key_arn)
        where = "the policy of the artifact key in tools-account.yaml"
        self._authorizer.check_across(role_arn, action, self._key_arn, policy, self._owner, where=where)

    def _arn(self, key: str) -> str:
        return f"arn:aws:s3:::{self.bucket}/{key}"


def digest_of(path: Path) -> str:
    """Return a digest of the names, contents and executable bits of a zip's files, not of their times."""
    digest = hashlib.sha256()
    with zipfile.ZipFile(path) as archive:
        for info in sorted(archive.infolist(), key=lambda each: each.filename):
            if not info.is_dir():
                executable = b"x" if (info.external_attr >> 16) & 0o100 else b"-"
                content = hashlib.sha256(archive.read(info)).digest()
                digest.update(b"\0".join([info.filename.encode(), executable, content]))
    return digest.hexdigest()


def unpack(path: Path, directory: Path) -> None:
    """Unpack a zip with modes, times and links, which `make` and scripts need.

    Raises
    ------
    OperationFailedError
        If a name in it leads out of the directory.
    """
    directory.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path) as archive:
        for info in archive.infolist():
            target = directory / info.filename
            if not target.resolve().is_relative_to(directory.resolve()):
                raise OperationFailedError(f"{path} holds {info.filename}, which leads out of its folder.")
            mode = info.external_attr >> 16
            if stat.S_ISLNK(mode):
                target.parent.mkdir(parents=True, exist_ok=True)
                target.symlink_to(archive.read(info).decode())
                continue
            archive.extract(info, directory)
            if not info.is_dir():
                target.chmod(0o755 if mode & 0o100 else 0o644)
                then = time.mktime((*info.date_time, 0, 0, -1))
                os.utime(target, (then, then))


def pack(files: Iterable[tuple[str, Path]], path: Path) -> None:
    """Pack files under the names that they shall have."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, file in files:
            archive.write(file, name)
