"""Who reaches a task, and whom it reaches: the rules of the security group that a deployed stack has."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError, WaiterError
from samcli.yamlhelper import yaml_parse

from crosstrain.local.server import TASKS, LocalAws, LocalTrainingStack
from training_stacks import physical_id

Rule = tuple[bool, int, int, str | None, str | None]
AWS: Rule = (True, 443, 443, "0.0.0.0/0", None)
RULES = ("AVpcIsOfSubnets", "SubnetsAreOfAVpc", "WorkersAreTasks")
NETWORK = ("TaskSecurityGroup", "WorkersReachEachOther", "WorkersMayReachEachOther")


def each_other(group: str, begin: int = 1024) -> set[Rule]:
    return {(is_egress, begin, 65535, None, group) for is_egress in (True, False)}


def rules(aws: LocalAws, group: str) -> set[Rule]:
    """Return whether each rule is of what leaves, its ports, and the addresses or the group at the other end."""
    found: list[Any] = aws.client("ec2").describe_security_group_rules(
        Filters=[{"Name": "group-id", "Values": [group]}]
    )["SecurityGroupRules"]
    assert {each["IpProtocol"] for each in found} == {"tcp"}
    return {
        (
            each["IsEgress"],
            each["FromPort"],
            each["ToPort"],
            each.get("CidrIpv4"),
            each.get("ReferencedGroupInfo", {}).get("GroupId"),
        )
        for each in found
    }


def test_tasks_that_grow_trees_together_reach_aws_and_each_other_and_nobody_else_reaches_them(
    training_stack: LocalTrainingStack,
) -> None:
    group = physical_id(training_stack, "TaskSecurityGroup")
    assert rules(training_stack.aws, group) == {AWS, *each_other(group)}


@pytest.fixture(scope="module")
def network(project: Path) -> dict[str, Any]:
    """Return the part of the template that is about who reaches whom."""
    template = yaml_parse((project / "template.yaml").read_text())
    return {
        "Rules": {name: template["Rules"][name] for name in RULES},
        "Parameters": {name: template["Parameters"][name] for name in (*TASKS, "LargestCluster")},
        "Conditions": {name: template["Conditions"][name] for name in ("HasTasks", "HasCluster")},
        "Resources": {name: template["Resources"][name] for name in NETWORK},
    }


def given(template: Mapping[str, Any], parameters: Mapping[str, str]) -> dict[str, Any]:
    chosen = [{"ParameterKey": name, "ParameterValue": value} for name, value in parameters.items()]
    return {"StackName": "network", "TemplateBody": json.dumps(template), "Parameters": chosen}


def test_what_workers_need_comes_changes_and_goes_with_them(local_aws: LocalAws, network: dict[str, Any]) -> None:
    cloudformation, found = local_aws.client("cloudformation"), []
    other = json.loads(json.dumps(network))
    for name in NETWORK[1:]:
        other["Resources"][name]["Properties"]["FromPort"] = 2000
    for change, waiter, template, count in (
        (cloudformation.create_stack, "stack_create_complete", network, "0"),
        (cloudformation.update_stack, "stack_update_complete", network, "3"),
        (cloudformation.update_stack, "stack_update_complete", other, "3"),
        (cloudformation.update_stack, "stack_update_complete", other, "0"),
    ):
        change(**given(template, {**TASKS, "LargestCluster": count}))
        cloudformation.get_waiter(waiter).wait(StackName="network", WaiterConfig={"Delay": 1, "MaxAttempts": 60})
        resource = cloudformation.describe_stack_resource(StackName="network", LogicalResourceId=NETWORK[0])
        group = resource["StackResourceDetail"]["PhysicalResourceId"]
        found.append(rules(local_aws, group))
    assert found == [{AWS}, {AWS, *each_other(group)}, {AWS, *each_other(group, 2000)}, {AWS}]
    cloudformation.delete_stack(StackName="network")
    cloudformation.get_waiter("stack_delete_complete").wait(StackName="network", WaiterConfig={"Delay": 1})


@pytest.mark.parametrize(
    ("parameters", "told"),
    [
        ({"JobSubnetIds": TASKS["JobSubnetIds"]}, "JobSubnetIds needs JobVpcId"),
        ({"JobVpcId": TASKS["JobVpcId"]}, "JobVpcId is the VPC of JobSubnetIds, which is empty"),
        ({"LargestCluster": "2"}, "without JobSubnetIds there are none"),
        ({**TASKS, "LargestCluster": "1"}, "set it to 2 or more, or to 0"),
    ],
)
def test_parameters_that_make_no_network_are_refused_before_anything_is_made(
    local_aws: LocalAws, network: dict[str, Any], parameters: dict[str, str], told: str
) -> None:
    with pytest.raises(ClientError, match=told):
        local_aws.client("cloudformation").create_stack(**given(network, parameters))


def test_a_rule_of_a_group_that_there_is_not_fails_as_on_aws(local_aws: LocalAws, network: dict[str, Any]) -> None:
    cloudformation, rule = local_aws.client("cloudformation"), network["Resources"]["WorkersReachEachOther"]
    elsewhere = {**rule, "Properties": {**rule["Properties"], "GroupId": "sg-00000000"}}
    template = {**network, "Resources": {**network["Resources"], "WorkersReachEachOther": elsewhere}}
    cloudformation.create_stack(**given(template, {**TASKS, "LargestCluster": "2"}) | {"StackName": "elsewhere"})
    with pytest.raises(WaiterError):
        cloudformation.get_waiter("stack_create_complete").wait(
            StackName="elsewhere", WaiterConfig={"Delay": 1, "MaxAttempts": 60}
        )
    events = cloudformation.describe_stack_events(StackName="elsewhere")["StackEvents"]
    assert "'sg-00000000' does not exist" in json.dumps(events, default=str)
