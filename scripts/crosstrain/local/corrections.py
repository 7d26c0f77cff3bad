"""What ministack 1.5.33 answers otherwise than AWS, put right where this project depends on it."""

from __future__ import annotations

import json
import threading
import time
from typing import Any

from ministack import app
from ministack.core.responses import get_account_id, get_region, new_uuid, request_scope
from ministack.services import ec2, s3, stepfunctions
from ministack.services.cloudformation import provisioners

Answer = tuple[int, dict[str, str], bytes]

_ministacks_get_object = s3._get_object
_ministacks_execute_task = stepfunctions._execute_task
_ministacks_error_name = stepfunctions._prefix_sdk_error
_ministacks_wait_for_token = stepfunctions._invoke_with_callback
_ministacks_call_rest = stepfunctions._dispatch_aws_sdk_rest_xml

# How often it is looked whether somebody still waits for a token, and whether whoever has it still beats.
_SECONDS = 0.1
# The execution whose state runs in this thread, and the context of that state.
_running = threading.local()


def _get_object(bucket: str, key: str, headers: dict[str, str], query: dict[str, Any] | None = None) -> Answer:
    """Answer the range that is asked of a version: ministack answers all of it, and downloads in parts are garbled.

    https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetObject.html
    """
    status, answered, body = _ministacks_get_object(bucket, key, headers, query)
    asked = s3._parse_range(headers["range"], len(body)) if status == 200 and headers.get("range") else None
    if asked is None:
        return status, answered, body
    first, last = asked
    part = body[first : last + 1]
    # A checksum is that of the whole.
    kept = {name: value for name, value in answered.items() if not name.lower().startswith("x-amz-checksum")}
    span = {"Content-Length": str(len(part)), "Content-Range": f"bytes {first}-{last}/{len(body)}"}
    return 206, kept | span, part


def _execute_task(
    state: dict[str, Any], raw_input: Any, execution: dict[str, Any], context: dict[str, Any]
) -> tuple[Any, str | None]:
    """Run a task for the seconds that an expression says: ministack takes numbers alone, and fails.

    https://docs.aws.amazon.com/step-functions/latest/dg/state-task.html#task-state-fields
    """
    _running.execution, _running.context = execution, context
    if isinstance(state.get("TimeoutSeconds"), str):
        seconds = stepfunctions._jsonata_state_field(state, "TimeoutSeconds", "number", raw_input, context)
        state = {**state, "TimeoutSeconds": seconds}
    ended: tuple[Any, str | None] = _ministacks_execute_task(state, raw_input, execution, context)
    return ended


def _wait_for_token(resource: str, given: Any, token: str, state: dict[str, Any]) -> Any:
    """Wait as long as heartbeats come, with a token for this attempt alone, which goes with the execution.

    ministack waits for ever without a heartbeat, for what a stopped execution has left, and for all attempts alike.
    https://docs.aws.amazon.com/step-functions/latest/dg/connect-to-resource.html#connect-wait-token
    """
    ended, scope, context = threading.Event(), (get_account_id(), get_region()), _running.context
    watched = (token, state.get("HeartbeatSeconds"), _running.execution, ended, scope)
    threading.Thread(target=_watch_token, args=watched, daemon=True).start()
    try:
        return _ministacks_wait_for_token(resource, given, token, state)
    finally:
        ended.set()
        context["Task"] = {"Token": stepfunctions.new_uuid()}


def _watch_token(
    token: str, seconds: float | None, execution: dict[str, Any], ended: threading.Event, scope: tuple[str, str]
) -> None:
    beat, since = None, time.monotonic()
    with request_scope(*scope):
        while not ended.wait(_SECONDS):
            if execution["status"] != "RUNNING":
                stepfunctions._task_tokens.pop(token, None)
                return
            info = stepfunctions._task_tokens.get(token)
            if info is None:
                continue
            if info["heartbeat"] != beat:
                beat, since = info["heartbeat"], time.monotonic()
            if seconds is not None and time.monotonic() - since > seconds:
                info["error"] = {"Error": "States.HeartbeatTimeout", "Cause": ""}
                info["event"].set()
                return


def _call_rest(service: Any, name: str, action: str, given: dict[str, Any]) -> Any:
    """Store an object, which ministack's state machines cannot; what is no text is stored as JSON."""
    if (name, action) != ("s3", "putObject"):
        return _ministacks_call_rest(service, name, action, given)
    body = given["Body"] if isinstance(given["Body"], str) else json.dumps(given["Body"])
    headers = {
        "host": "s3.amazonaws.com",
        # As ministack signs what its state machines call.
        "authorization": f"AWS4-HMAC-SHA256 Credential=test/20260101/{get_region()}/s3/aws4_request",
        "content-type": given.get("ContentType", "binary/octet-stream"),
    }
    path, content = f"/{given['Bucket']}/{given['Key']}", body.encode()
    handler = app.SERVICE_HANDLERS["s3"]
    status, _, answered = app.call_service_handler_sync(handler, "PUT", path, headers, content, {})
    if status >= 400:
        raise stepfunctions._ExecutionError("S3.S3Exception", answered.decode())
    return {}


def _error_name(service: str, code: str) -> str:
    """Name an error of Step Functions' own API as the SDK for Java does, which a state machine calls it with.

    https://docs.aws.amazon.com/step-functions/latest/dg/supported-services-awssdk.html
    """
    name: str = _ministacks_error_name(service, code)
    return name if service != "sfn" or name.endswith("Exception") else f"{name}Exception"


def _rules_of_groups(store: str) -> dict[str, Any]:
    """Return what makes and deletes a rule of a security group that is a resource of its own: ministack has none.

    https://docs.aws.amazon.com/AWSCloudFormation/latest/TemplateReference/aws-resource-ec2-securitygroupingress.html
    """

    def create(_name: str, given: dict[str, Any], _stack: str) -> tuple[str, dict[str, str]]:
        if given["GroupId"] not in ec2._security_groups:
            raise ValueError(f"The security group '{given['GroupId']}' does not exist")
        rules = ec2._security_groups[given["GroupId"]][store]
        provisioners._ec2_sg_reconcile(rules, [], provisioners._ec2_sg_permissions([given]))
        made = f"sgr-{new_uuid().replace('-', '')[:17]}"
        return made, {"Id": made}

    def delete(_id: str, given: dict[str, Any]) -> None:
        # The group may be gone before its rules.
        rules = ec2._security_groups.get(given["GroupId"], {}).get(store, [])
        provisioners._ec2_sg_reconcile(rules, provisioners._ec2_sg_permissions([given]), [])

    return {"create": create, "delete": delete}


def apply() -> None:
    """Put it right in this process."""
    s3._get_object = _get_object
    stepfunctions._execute_task = _execute_task
    stepfunctions._prefix_sdk_error = _error_name
    stepfunctions._invoke_with_callback = _wait_for_token
    stepfunctions._dispatch_aws_sdk_rest_xml = _call_rest
    provisioners._RESOURCE_HANDLERS |= {
        "AWS::EC2::SecurityGroupIngress": _rules_of_groups("IpPermissions"),
        "AWS::EC2::SecurityGroupEgress": _rules_of_groups("IpPermissionsEgress"),
    }
