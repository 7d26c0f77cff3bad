"""The types of resources: what CloudFormation calls for each, the ARNs of its resources, and the roles that it passes.

The actions are those that the schemas of cfn-lint list for the handlers of a type, without those for properties that
the project's templates do not set. A type or a property that a template newly uses is added to these tables.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from cfnlint.schema.manager import PROVIDER_SCHEMA_MANAGER

from crosstrain.command import OperationFailedError
from crosstrain.local.server import REGION
from crosstrain.rehearsal import service_calls

# CloudFormation's lists are for every property of a type. These are for properties that the templates do not set.
UNUSED = re.compile(
    r"ec2:|elasticfilesystem:|s3files:|s3tables:|kinesis:|firehose:|iam:(CreateServiceLinkedRole|PassRole|GetRole$)"
    r"|iam:(Attach|Detach|DeleteRolePermissionsBoundary)"
    r"|kms:(CreateGrant|Decrypt|Disable.*|EnableKey$|Encrypt|GenerateDataKey|RetireGrant)"
    r"|lambda:(Put|PublishVersion|Delete(FunctionConcurrency|FunctionCodeSigning)|GetLayer|GetCodeSigning|PassCapacity)"
    r"|dynamodb:(.*Import.*|UpdateTimeToLive|UpdateContributor.*|(Enable|Disable|Update)Kinesis.*|(Put|Delete)Resource.*"
    r"|.*Replica|Scan|Query|(Update|Put|Get|Delete)Item|BatchWriteItem)"
    r"|[sS]3:.*(Abac|Analytics|CORS|Cors|Inventory|Metrics|Notification|Replication|Website|Accelerate|Acl|ObjectLock"
    r"|IntelligentTiering|Metadata|Logging|DeleteObject|DeleteBucketEncryption|DeleteBucketLifecycle|REST)"
    # IAM has no action for the deletion of tags: PutBucketTagging stands for it.
    r"|s3:(GetObject|getObject|GetObjectVersion|DeleteBucketTagging)"
    # Tags of an API are written by POST and DELETE on /tags.
    r"|apigateway:(Tag|Untag)Resource"
    r"|logs:(.*Delivery|.*IndexPolicy|.*KmsKey|PutDataProtection.*|.*ResourcePolicy$|.*BearerToken.*|.*DeletionProtection"
    r"|(CreateLogStream|DescribeLogStreams|PutLogEvents))"
    r"|sns:PutDataProtectionPolicy"
    r"|ecr:Delete(LifecyclePolicy|RepositoryPolicy)"
    r"|codepipeline:(En|Dis)ableStageTransition|codestar-connections:"
    r"|ecs:PutAccountSetting"
)
# Of types whose own calls are among these: a security group says no ingress, and its rules need all that is listed.
UNUSED_OF_TYPES: Mapping[str, re.Pattern[str]] = {
    "AWS::EC2::SecurityGroup": re.compile("ec2:(.*Ingress|DescribeInstances)"),
    "AWS::EC2::SecurityGroupEgress": re.compile("(?!)"),
    "AWS::EC2::SecurityGroupIngress": re.compile("(?!)"),
}
# Of those, what is needed all the same where a resource sets one of these properties.
OF_PROPERTIES: Mapping[str, str] = {
    "AbacStatus": "s3:.*Abac",
    "AccelerateConfiguration": "s3:.*Accelerate",
    "AccessControl": "s3:.*BucketAcl",
    "AnalyticsConfigurations": "s3:.*Analytics",
    "BearerTokenAuthenticationEnabled": "logs:.*BearerToken",
    "CapacityProviderConfig": "lambda:PassCapacity",
    "CodeSigningConfigArn": "lambda:.*CodeSigning",
    "ContributorInsightsSpecification": "dynamodb:UpdateContributor",
    "CorsConfiguration": "s3:.*(CORS|Cors)",
    "DataProtectionPolicy": "(logs|sns):PutDataProtection",
    "DeletionProtectionEnabled": "logs:.*DeletionProtection",
    "DisableInboundStageTransitions": "codepipeline:.*StageTransition",
    "Enabled": "kms:(En|Dis)ableKey$",
    "FieldIndexPolicies": "logs:.*IndexPolicy",
    "FunctionScalingConfig": "lambda:PutFunctionScaling",
    "ImportSourceSpecification": "dynamodb:.*Import",
    "IntelligentTieringConfigurations": "s3:.*IntelligentTiering",
    "InventoryConfigurations": "s3:.*Inventory",
    "KinesisStreamSpecification": "dynamodb:.*Kinesis",
    "KmsKeyId": "logs:.*KmsKey",
    "Layers": "lambda:GetLayer",
    "LoggingConfiguration": "s3:.*Logging",
    "ManagedPolicyArns": "iam:(At|De)tachRolePolicy",
    "MetadataConfiguration": "s3:.*Metadata",
    "MetadataTableConfiguration": "s3:.*Metadata",
    "MetricsConfigurations": "s3:.*Metrics",
    "NotificationConfiguration": "s3:.*Notification",
    "ObjectLockConfiguration": "s3:.*ObjectLock",
    "ObjectLockEnabled": "s3:.*ObjectLock",
    "RecursiveLoop": "lambda:PutFunctionRecursion",
    "ReplicationConfiguration": "s3:.*Replication",
    "ReservedConcurrentExecutions": "lambda:.*FunctionConcurrency",
    "ResourcePolicy": "dynamodb:.*ResourcePolicy",
    "ResourcePolicyDocument": "logs:.*ResourcePolicy",
    "RuntimeManagementConfig": "lambda:PutRuntimeManagement",
    "TimeToLiveSpecification": "dynamodb:UpdateTimeToLive",
    "VpcConfig": "ec2:Describe",
    "WebsiteConfiguration": "s3:.*Website",
}
# What SAM makes of its own types.
# https://docs.aws.amazon.com/serverless-application-model/latest/developerguide/sam-specification-generated-resources.html
TRANSFORMED = {
    "AWS::Serverless::Function": "AWS::Lambda::Function",
    "AWS::Serverless::StateMachine": "AWS::StepFunctions::StateMachine",
}
# The one type in use whose schema lists no actions.
# https://docs.aws.amazon.com/service-authorization/latest/reference/list_awscodebuild.html
WITHOUT_HANDLERS: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "AWS::CodeBuild::Project": {
        "create": ("codebuild:CreateProject",),
        "read": ("codebuild:BatchGetProjects",),
        "update": ("codebuild:UpdateProject",),
        "delete": ("codebuild:DeleteProject",),
    }
}
# For each kind of change, whose handlers run.
# https://docs.aws.amazon.com/cloudformation-cli/latest/userguide/resource-type-schema.html#schema-properties-handlers
HANDLERS = {"Add": ("create", "read"), "Modify": ("update", "read"), "Remove": ("delete", "read")}


@dataclass(frozen=True)
class Kind:
    """The ARN of a type, the property that names a resource, and the paths of properties that hold a service's role."""

    arn: str
    name: str = ""
    passes: tuple[tuple[str, str], ...] = ()


_IN_ACCOUNT = "{region}:{account}"
KINDS: Mapping[str, Kind] = {
    "AWS::ApiGatewayV2::Api": Kind("arn:aws:apigateway:{region}::/apis/{name}"),
    "AWS::CloudWatch::Alarm": Kind(f"arn:aws:cloudwatch:{_IN_ACCOUNT}:alarm:{{name}}", "AlarmName"),
    "AWS::CloudWatch::Dashboard": Kind("arn:aws:cloudwatch::{account}:dashboard/{name}", "DashboardName"),
    "AWS::CodeBuild::Project": Kind(
        f"arn:aws:codebuild:{_IN_ACCOUNT}:project/{{name}}", "Name", (("ServiceRole", service_calls.CODEBUILD),)
    ),
    "AWS::CodePipeline::Pipeline": Kind(
        f"arn:aws:codepipeline:{_IN_ACCOUNT}:{{name}}", "Name", (("RoleArn", service_calls.CODEPIPELINE),)
    ),
    "AWS::DynamoDB::Table": Kind(f"arn:aws:dynamodb:{_IN_ACCOUNT}:table/{{name}}", "TableName"),
    "AWS::EC2::SecurityGroup": Kind(f"arn:aws:ec2:{_IN_ACCOUNT}:security-group/{{name}}"),
    "AWS::ECS::Cluster": Kind(f"arn:aws:ecs:{_IN_ACCOUNT}:cluster/{{name}}", "ClusterName"),
    "AWS::ECS::TaskDefinition": Kind(
        f"arn:aws:ecs:{_IN_ACCOUNT}:task-definition/{{name}}",
        "Family",
        (("TaskRoleArn", service_calls.ECS_TASKS), ("ExecutionRoleArn", service_calls.ECS_TASKS)),
    ),
    "AWS::ECR::Repository": Kind(f"arn:aws:ecr:{_IN_ACCOUNT}:repository/{{name}}", "RepositoryName"),
    "AWS::Events::Rule": Kind(
        f"arn:aws:events:{_IN_ACCOUNT}:rule/{{name}}", "Name", (("Targets.*.RoleArn", service_calls.EVENTBRIDGE),)
    ),
    "AWS::IAM::ManagedPolicy": Kind("arn:aws:iam::{account}:policy/{name}", "ManagedPolicyName"),
    "AWS::IAM::Role": Kind("arn:aws:iam::{account}:role/{name}", "RoleName"),
    "AWS::KMS::Alias": Kind(f"arn:aws:kms:{_IN_ACCOUNT}:{{name}}", "AliasName"),
    "AWS::KMS::Key": Kind(f"arn:aws:kms:{_IN_ACCOUNT}:key/{{name}}"),
    "AWS::Lambda::Function": Kind(
        f"arn:aws:lambda:{_IN_ACCOUNT}:function:{{name}}", "FunctionName", (("Role", service_calls.LAMBDA),)
    ),
    "AWS::Logs::LogGroup": Kind(f"arn:aws:logs:{_IN_ACCOUNT}:log-group:{{name}}", "LogGroupName"),
    "AWS::S3::Bucket": Kind("arn:aws:s3:::{name}", "BucketName"),
    "AWS::SNS::Topic": Kind(f"arn:aws:sns:{_IN_ACCOUNT}:{{name}}", "TopicName"),
    "AWS::Scheduler::Schedule": Kind(
        f"arn:aws:scheduler:{_IN_ACCOUNT}:schedule/default/{{name}}",
        "Name",
        (("Target.RoleArn", service_calls.SCHEDULER),),
    ),
    "AWS::StepFunctions::StateMachine": Kind(
        f"arn:aws:states:{_IN_ACCOUNT}:stateMachine:{{name}}", "Name", (("Role", service_calls.STEP_FUNCTIONS),)
    ),
}
# Types that are a part of another resource, and the property that says of which.
PARTS = {
    **dict.fromkeys(
        (f"AWS::ApiGatewayV2::{part}" for part in ("Authorizer", "Integration", "Route", "Stage")), "ApiId"
    ),
    "AWS::EC2::SecurityGroupEgress": "GroupId",
    "AWS::EC2::SecurityGroupIngress": "GroupId",
    "AWS::Lambda::Permission": "FunctionName",
    "AWS::Lambda::Url": "TargetFunctionArn",
    "AWS::S3::BucketPolicy": "Bucket",
    "AWS::SNS::TopicPolicy": "Topics",
    "AWS::SNS::Subscription": "TopicArn",
}


def actions_of(kind: str, handlers: set[str], properties: Iterable[str] = ()) -> set[str]:
    """Return the actions that the handlers of a type need, for what the templates use and properties that need more.

    Raises
    ------
    OperationFailedError
        If the schemas know no such type, or not what it needs.
    """
    declared: Mapping[str, Any] = WITHOUT_HANDLERS.get(kind, {})
    if not declared:
        schema = PROVIDER_SCHEMA_MANAGER.get_resource_schema(REGION, kind).schema
        if "handlers" not in schema:
            raise OperationFailedError(f"What CloudFormation calls for {kind} is in no schema.")
        declared = {name: each.get("permissions", ()) for name, each in schema["handlers"].items()}
        # Stacks have tags, which CloudFormation gives each resource that can have any.
        handlers, declared["tagging"] = handlers | {"tagging"}, schema.get("tagging", {}).get("permissions", ())
    needed = {action for handler in handlers for action in declared.get(handler, ())}
    # Keys of others are reached by those who use them, not by whoever makes what is encrypted.
    is_key = kind.startswith("AWS::KMS::")
    unused = UNUSED_OF_TYPES.get(kind, UNUSED)
    in_use = {each for each in needed if not unused.match(each) and (is_key or not each.startswith("kms:"))}
    more = [OF_PROPERTIES[name] for name in properties if name in OF_PROPERTIES]
    return in_use | {each for each in needed if any(re.match(pattern, each) for pattern in more)}
