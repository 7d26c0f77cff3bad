"""What AWS calls on behalf of whom: the actions that the embedded AWS makes without asking, with the page of each.

Nobody sees these calls: a service makes them with a role that it was given, or with a caller's own rights. So a policy
that forgets one of them is found on AWS alone, unless a rehearsal asks about it. What CloudFormation calls to make a
resource is in `cloudformation.resource_types`.
"""

from __future__ import annotations

from collections.abc import Mapping

# The services, as trust policies and `iam:PassedToService` name them.
# https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_principal.html#principal-services
CLOUDFORMATION = "cloudformation.amazonaws.com"
CODEBUILD = "codebuild.amazonaws.com"
CODEPIPELINE = "codepipeline.amazonaws.com"
ECS_TASKS = "ecs-tasks.amazonaws.com"
EVENTBRIDGE = "events.amazonaws.com"
LAMBDA = "lambda.amazonaws.com"
SCHEDULER = "scheduler.amazonaws.com"
STEP_FUNCTIONS = "states.amazonaws.com"

# Who hands a role to a service: the key `iam:PassedToService` says to which one.
# https://docs.aws.amazon.com/IAM/latest/UserGuide/id_roles_use_passrole.html
PASS_ROLE = "iam:PassRole"  # noqa: S105 - no password
PASSED_TO = "iam:PassedToService"
# https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRole.html
ASSUME_ROLE = "sts:AssumeRole"

# EventBridge, with the role of a rule's target that is a pipeline.
# https://docs.aws.amazon.com/codepipeline/latest/userguide/pipelines-trigger-source-repo-changes-cli.html
START_PIPELINE = "codepipeline:StartPipelineExecution"
# EventBridge, with the role of a rule's target that is a topic.
# https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-use-resource-based.html
PUBLISH = "sns:Publish"

# CodePipeline, to fetch a source from CodeCommit as a zip.
# https://docs.aws.amazon.com/codepipeline/latest/userguide/action-reference-CodeCommit.html
FETCH_SOURCE = (
    "codecommit:CancelUploadArchive",
    "codecommit:GetBranch",
    "codecommit:GetCommit",
    "codecommit:GetUploadArchiveStatus",
    "codecommit:UploadArchive",
)
# CodePipeline, to see how a build that it has started is getting on.
# https://docs.aws.amazon.com/codepipeline/latest/userguide/action-reference-CodeBuild.html
WATCH_BUILD = "codebuild:BatchGetBuilds"
# A build, to see which execution of its pipeline is the newest; there is no CodePipeline here that would ask.
# https://docs.aws.amazon.com/service-authorization/latest/reference/list_awscodepipeline.html
LIST_EXECUTIONS = "codepipeline:ListPipelineExecutions"

# S3, with the rights of whoever writes or reads an object that is encrypted with a key.
# https://docs.aws.amazon.com/AmazonS3/latest/userguide/UsingKMSEncryption.html
READ_OBJECT = "s3:GetObject"
ENCRYPT_OBJECT = "kms:GenerateDataKey"
DECRYPT_OBJECT = "kms:Decrypt"

# CodeBuild, to write a build's log; the project's log group is there already.
# https://docs.aws.amazon.com/codebuild/latest/userguide/setting-up-service-role.html
WRITE_BUILD_LOG = ("logs:CreateLogStream", "logs:PutLogEvents")
# CodeBuild, to store a report, by the format that the buildspec says.
# https://docs.aws.amazon.com/codebuild/latest/userguide/test-permissions.html
_STORE_REPORT = ("codebuild:CreateReport", "codebuild:CreateReportGroup", "codebuild:UpdateReport")
STORE_REPORT: Mapping[str, tuple[str, ...]] = {
    "JUNITXML": (*_STORE_REPORT, "codebuild:BatchPutTestCases"),
    "COBERTURAXML": (*_STORE_REPORT, "codebuild:BatchPutCodeCoverages"),
}

# A container engine, to push an image: the embedded registry takes pushes from everybody.
# https://docs.aws.amazon.com/AmazonECR/latest/userguide/image-push-iam.html
PUSH_IMAGE = (
    "ecr:BatchCheckLayerAvailability",
    "ecr:BatchGetImage",
    "ecr:CompleteLayerUpload",
    "ecr:InitiateLayerUpload",
    "ecr:PutImage",
    "ecr:UploadLayerPart",
)
# Lambda, with the rights of whoever makes a function and with its own, to pull the function's image.
# https://docs.aws.amazon.com/lambda/latest/dg/images-create.html#configuration-images-xaccount-permissions
PULL_IMAGE = ("ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer")
# ECS, with a task's execution role, before it pulls; it has no resource level.
# https://docs.aws.amazon.com/AmazonECS/latest/developerguide/task_execution_IAM_role.html
SIGN_IN_TO_REGISTRY = "ecr:GetAuthorizationToken"

# CloudFormation, to apply the transforms of a template: a right on each, by the last part of its ARN.
# https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/control-access-with-iam.html
USE_TRANSFORM = "cloudformation:CreateChangeSet"
TRANSFORMS: Mapping[str, str] = {
    "AWS::LanguageExtensions": "LanguageExtensions",
    "AWS::Serverless-2016-10-31": "Serverless-2016-10-31",
}

# Step Functions, before it takes a state machine that logs; they have no resource level.
# https://docs.aws.amazon.com/step-functions/latest/dg/cw-logs.html
DELIVER_LOGS = (
    "logs:CreateLogDelivery",
    "logs:DeleteLogDelivery",
    "logs:DescribeLogGroups",
    "logs:DescribeResourcePolicies",
    "logs:GetLogDelivery",
    "logs:ListLogDeliveries",
    "logs:PutResourcePolicy",
    "logs:UpdateLogDelivery",
)
# Step Functions, for a task that is a function.
# https://docs.aws.amazon.com/step-functions/latest/dg/connect-lambda.html
INVOKE_FUNCTION = "lambda:InvokeFunction"
# Step Functions, for a task that sends events.
# https://docs.aws.amazon.com/step-functions/latest/dg/connect-eventbridge.html
PUT_EVENTS = "events:PutEvents"
# Step Functions, for a task that looks at a metric, which has no resource level.
# https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazoncloudwatch.html
GET_METRIC_STATISTICS = "cloudwatch:GetMetricStatistics"
# Step Functions, for a task that looks at an alarm: by its name, and still of all that the account has in the region.
# https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/permissions-reference-cw.html
DESCRIBE_ALARMS = "cloudwatch:DescribeAlarms"
# Step Functions, for a task that starts another state machine and does not wait for it.
# https://docs.aws.amazon.com/step-functions/latest/dg/connect-stepfunctions.html
START_EXECUTION = "states:StartExecution"
# Step Functions, for tasks that ask its own API, by the names of the SDK; tokens have no resource level.
# https://docs.aws.amazon.com/service-authorization/latest/reference/list_awsstepfunctions.html
DESCRIBE_EXECUTION = "states:DescribeExecution"
ANSWER_TASK = "states:SendTaskSuccess"
# Step Functions, for a task that runs one of ECS and waits for its token, with the cluster that the context names.
# https://docs.aws.amazon.com/step-functions/latest/dg/connect-ecs.html
RUN_TASK = "ecs:RunTask"
TASK_CLUSTER = "ecs:cluster"
# Step Functions, for a task that stores an object.
# https://docs.aws.amazon.com/step-functions/latest/dg/supported-services-awssdk.html
PUT_OBJECT = "s3:PutObject"
# DynamoDB, for the parts of a transaction: there is no right to the transaction itself.
# https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/transaction-apis-iam.html
PARTS_OF_TRANSACTION: Mapping[str, str] = {
    "ConditionCheck": "dynamodb:ConditionCheckItem",
    "Delete": "dynamodb:DeleteItem",
    "Put": "dynamodb:PutItem",
    "Update": "dynamodb:UpdateItem",
}
# And what the context of each part says that it is a part of.
ENCLOSING_OPERATION = "dynamodb:EnclosingOperation"
