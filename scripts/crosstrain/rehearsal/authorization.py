"""Who may do what: sessions of roles as AWS hands them out, real calls with them, and what is asked of the simulator.

The embedded AWS enforces the policies of whoever calls it. What happens inside AWS it does not enforce: a service that
takes a role, a role that is passed, the key behind an object, calls across accounts. Those calls are asked about here,
at the moment at which AWS would make them, on the policies that are deployed at that moment.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from botocore.exceptions import ClientError
from ministack.core.iam_evaluator import (
    EvalContext,
    evaluate,
    evaluate_resource_policy,
    evaluate_trust_policy,
    parse_policy_document,
)

from crosstrain.command import OperationFailedError
from crosstrain.local.server import REGION, Credentials, LocalAws, root_of
from crosstrain.rehearsal.service_calls import ASSUME_ROLE

Context = Mapping[str, str | list[str]]
"""The condition keys of a call, with their values."""
_DENIED = frozenset({"AccessDenied", "AccessDeniedException", "AuthorizationError", "UnauthorizedOperation", "403"})


class DeniedError(OperationFailedError):
    """A role may not do what its work needs.

    Parameters
    ----------
    role, action, resource : str
        Who, what and on what; `resource` is empty where AWS does not say it.
    statement : mapping
        The statement that is missing.
    where : str
        The policy that lacks it, if that is none of the role's.

    Attributes
    ----------
    action : str
        What may not be done.
    """

    def __init__(
        self,
        role: str,
        action: str,
        resource: str,
        *,
        statement: Mapping[str, Any] | None = None,
        where: str | None = None,
    ) -> None:
        self.action = action
        missing = statement or {"Effect": "Allow", "Action": action, "Resource": resource or "…"}
        place = where or f"the policies of {_name(role)}"
        super().__init__(
            f"{_name(role)} may not {action}{' on ' * bool(resource)}{resource}: add to {place} {json.dumps(missing)}"
        )


@dataclass(frozen=True)
class Session:
    """The credentials of a role, as somebody was given them."""

    role_arn: str
    credentials: Credentials

    @property
    def account(self) -> str:
        """Return the account that the role is in."""
        return self.role_arn.split(":")[4]


class Authorizer:
    """Hands out sessions, makes calls with them, and asks about the calls that the embedded AWS does not enforce.

    Attributes
    ----------
    calls, simulations : int
        The numbers of calls made as roles of the delivery, and of calls asked about.
    """

    def __init__(self, aws: LocalAws) -> None:
        self._aws = aws
        self._lock = threading.Lock()
        self._sessions: dict[str, str] = {}
        self.calls = 0
        self.simulations = 0

    def role_of(self, access_key_id: str) -> str | None:
        """Return the ARN of the role that an access key was given for."""
        return self._sessions.get(access_key_id)

    def service_session(self, service: str, role_arn: str, source_arn: str | None = None) -> Session:
        """Return the session that an AWS service gets of a role.

        No service can assume a role here, so its part is played: whether the role trusts the service is asked, with
        the condition keys that the service sends; then the account's root user has itself trusted for this one call.
        """
        self.check_trust(service, role_arn, source_arn)
        account, name = _account(role_arn), _name(role_arn)
        iam, sts = self._root("iam", account), self._root("sts", account)
        with self._lock:
            trust = iam.get_role(RoleName=name)["Role"]["AssumeRolePolicyDocument"]
            root = {"Effect": "Allow", "Principal": {"AWS": f"arn:aws:iam::{account}:root"}, "Action": ASSUME_ROLE}
            opened = {**trust, "Statement": [*trust["Statement"], root]}
            iam.update_assume_role_policy(RoleName=name, PolicyDocument=json.dumps(opened))
            try:
                answer = sts.assume_role(RoleArn=role_arn, RoleSessionName=service.partition(".")[0])
            finally:
                iam.update_assume_role_policy(RoleName=name, PolicyDocument=json.dumps(trust))
        return self._session(role_arn, answer)

    def assume(self, session: Session, role_arn: str) -> Session:
        """Let a session assume another role, as the role's trust and the session's own policies decide."""
        # Asked first, for the error of STS does not say which of the two policies denies.
        self.check(session.role_arn, ASSUME_ROLE, role_arn)
        sts = self._aws.client("sts", session.credentials)
        self.calls += 1
        try:
            answer = sts.assume_role(RoleArn=role_arn, RoleSessionName=_name(session.role_arn)[:64])
        except ClientError as error:
            if error.response["Error"]["Code"] not in _DENIED:
                raise
            statement = {"Effect": "Allow", "Principal": {"AWS": session.role_arn}, "Action": ASSUME_ROLE}
            where = f"the trust policy of {_name(role_arn)}"
            raise DeniedError(session.role_arn, ASSUME_ROLE, role_arn, statement=statement, where=where) from error
        return self._session(role_arn, answer)

    def call(
        self,
        session: Session,
        service: str,
        method: str,
        *,
        on: str,
        context: Context | None = None,
        **arguments: Any,
    ) -> Any:
        """Make a real call with a session.

        Parameters
        ----------
        session
            Who calls.
        service, method : str
            The client, and its method.
        on : str
            The ARN of what is called upon.
        context
            Condition keys of the call that the embedded AWS does not know of: the role's policies are asked about them
            here, and the call is made by root.
        **arguments
            Those of the method.

        Raises
        ------
        DeniedError
            If the session may not.
        """
        client = self._aws.client(service, session.credentials)
        action = f"{service}:{client.meta.method_to_api_mapping[method]}"
        if context:
            self.check(session.role_arn, action, on, context)
            client = self._root(service, session.account)
        self.calls += 1
        try:
            return getattr(client, method)(**arguments)
        except ClientError as error:
            if error.response["Error"]["Code"] not in _DENIED:
                raise
            raise DeniedError(session.role_arn, action, on) from error

    def check(self, role_arn: str, actions: str | Iterable[str], resource: str, context: Context | None = None) -> None:
        """Ask whether a role's policies allow each action on a resource.

        Raises
        ------
        DeniedError
            With the first action that is denied, or if there is no such role.
        """
        wanted = [actions] if isinstance(actions, str) else sorted(actions)
        self.simulations += len(wanted)
        if context:
            decisions = self._with_context(role_arn, wanted, resource, context)
        else:
            answer = self._root("iam", _account(role_arn)).simulate_principal_policy(
                PolicySourceArn=role_arn, ActionNames=wanted, ResourceArns=[resource]
            )
            decisions = {
                each["EvalActionName"]: each["EvalDecision"] == "allowed" for each in answer["EvaluationResults"]
            }
        for action in wanted:
            if not decisions[action]:
                condition = {"Condition": {"StringEquals": dict(context)}} if context else {}
                statement = {"Effect": "Allow", "Action": action, "Resource": resource, **condition}
                raise DeniedError(role_arn, action, resource, statement=statement)

    def check_across(self, role_arn: str, action: str, resource: str, policy: Any, owner: str, *, where: str) -> None:
        """Ask whether a role may act on what has a policy of its own: a bucket, a key, an image repository.

        Across accounts both policies have to allow it; a key's policy has to in its own account as well.

        Raises
        ------
        DeniedError
            With the policy that lacks a statement.
        """
        self.check(role_arn, action, resource)
        request = evaluation_request(role_arn, action, resource, {})
        decision = evaluate_resource_policy(policy, request).decision
        is_needed = owner != _account(role_arn) or action.startswith("kms:")
        self.simulations += 1
        if decision == "Deny" or (is_needed and decision != "Allow"):
            principal = {"AWS": f"arn:aws:iam::{_account(role_arn)}:root"}
            condition = {"ArnEquals": {"aws:PrincipalArn": role_arn}}
            statement = {"Effect": "Allow", "Principal": principal, "Action": action, "Condition": condition}
            raise DeniedError(role_arn, action, resource, statement=statement, where=where)

    def check_service(
        self, service: str, action: str, resource: str, policy: Any, source_arn: str, *, where: str
    ) -> None:
        """Ask whether a resource's policy lets an AWS service act for one of its own resources.

        Raises
        ------
        DeniedError
            With the policy that lacks a statement.
        """
        self.simulations += 1
        # A principal of no account: what the policy allows accounts does not count.
        request = evaluation_request(
            "", action, resource, {"aws:SourceArn": source_arn, "aws:SourceAccount": _account(source_arn)}
        )
        if evaluate_resource_policy(policy, request, service).decision != "Allow":
            condition = {"ArnLike": {"aws:SourceArn": source_arn}}
            statement = {"Effect": "Allow", "Principal": {"Service": service}, "Action": action, "Condition": condition}
            raise DeniedError(service, action, resource, statement=statement, where=where)

    def check_trust(self, service: str, role_arn: str, source_arn: str | None = None) -> None:
        """Ask whether a role trusts a service that calls for this account.

        Raises
        ------
        DeniedError
            If there is no such role, or it does not.
        """
        account, name = _account(role_arn), _name(role_arn)
        self.simulations += 1
        try:
            trust = self._root("iam", account).get_role(RoleName=name)["Role"]["AssumeRolePolicyDocument"]
        except ClientError as error:
            raise OperationFailedError(f"There is no role {role_arn} that {service} could assume: {error}") from error
        # The evaluator lets a root user pass for any service: what names another service does not count.
        of_service = [each for each in trust["Statement"] if service in _listed(each["Principal"].get("Service", []))]
        context = {"aws:sourceaccount": account, **({"aws:sourcearn": source_arn} if source_arn else {})}
        request = evaluation_request(f"arn:aws:iam::{account}:root", ASSUME_ROLE, role_arn, context)
        if not evaluate_trust_policy({**trust, "Statement": of_service}, request.principal_arn, request):
            statement = {"Effect": "Allow", "Principal": {"Service": service}, "Action": ASSUME_ROLE}
            where = f"the trust policy of {name}"
            raise DeniedError(service, ASSUME_ROLE, role_arn, statement=statement, where=where)

    def _with_context(self, role_arn: str, actions: list[str], resource: str, context: Context) -> dict[str, bool]:
        # The simulator of the embedded AWS does not look at ContextEntries; its evaluator, which it is made of, does.
        policies = [parse_policy_document(json.dumps(each)) for each in self._policies(role_arn)]
        return {
            action: evaluate(evaluation_request(role_arn, action, resource, context), policies).decision == "Allow"
            for action in actions
        }

    def _policies(self, role_arn: str) -> Iterator[Any]:
        """Yield the policies of a role: its own, then the managed ones that are attached to it."""
        iam, name = self._root("iam", _account(role_arn)), _name(role_arn)
        for policy in iam.list_role_policies(RoleName=name)["PolicyNames"]:
            yield iam.get_role_policy(RoleName=name, PolicyName=policy)["PolicyDocument"]
        for policy in iam.list_attached_role_policies(RoleName=name)["AttachedPolicies"]:
            arn = policy["PolicyArn"]
            version = iam.get_policy(PolicyArn=arn)["Policy"]["DefaultVersionId"]
            yield iam.get_policy_version(PolicyArn=arn, VersionId=version)["PolicyVersion"]["Document"]

    def _session(self, role_arn: str, answer: Mapping[str, Any]) -> Session:
        key = answer["Credentials"]
        self._sessions[key["AccessKeyId"]] = role_arn
        return Session(role_arn, Credentials(key["AccessKeyId"], key["SecretAccessKey"], key["SessionToken"]))

    def _root(self, service: str, account: str) -> Any:
        return self._aws.client(service, root_of(account))


def key_policy(aws: LocalAws, key_arn: str) -> Any:
    """Return the policy of a key."""
    return json.loads(
        aws.client("kms", root_of(_account(key_arn))).get_key_policy(KeyId=key_arn, PolicyName="default")["Policy"]
    )


def bucket_policy(aws: LocalAws, bucket: str, owner: str) -> Any:
    """Return the policy of a bucket, or None if it has none."""
    with suppress(ClientError):
        return json.loads(aws.client("s3", root_of(owner)).get_bucket_policy(Bucket=bucket)["Policy"])
    return None


def evaluation_request(principal: str, action: str, resource: str, context: Context) -> EvalContext:
    """Return a call as the evaluator of the embedded AWS takes it, by the ARN of the principal that makes it."""
    return EvalContext(
        # In aws:PrincipalArn a role's session has the role's own ARN.
        principal_arn=principal,
        principal_type="AssumedRole",
        principal_account=_account(principal),
        action=action,
        resource_arn=resource,
        region=REGION,
        source_ip="127.0.0.1",
        secure_transport=True,
        service_context={name.lower(): value for name, value in context.items()},
    )


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _account(arn: str) -> str:
    return arn.split(":")[4] if arn else ""


def _name(role_arn: str) -> str:
    return role_arn.rpartition("/")[2]
