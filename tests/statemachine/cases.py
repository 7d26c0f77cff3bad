"""The named cases of the state machine's paths, for every engine that runs them."""

from __future__ import annotations

from typing import Any

# The steps that run a function, and the function's name in the template.
STEPS = {
    "PrepareData": "DataPreparationFunction",
    "TrainModel": "ModelTrainingFunction",
    "EvaluateModel": "ModelEvaluationFunction",
}
# All functions that state machines run.
FUNCTIONS = {**STEPS, "ScoreBatch": "BatchScoringFunction"}
SERVICE_ERRORS = (
    "Lambda.ClientExecutionTimeoutException",
    "Lambda.ServiceException",
    "Lambda.AWSLambdaException",
    "Lambda.SdkClientException",
    "Lambda.TooManyRequestsException",
)
# What the first calls of a function get whose image Lambda has let go after idle weeks.
PENDING_ERRORS = ("Lambda.CodeArtifactUserPendingException", "Lambda.ResourceConflictException")
MAX_ATTEMPTS = {**dict.fromkeys(SERVICE_ERRORS, 5), **dict.fromkeys(PENDING_ERRORS, 8)}
# The case of mock_config.json, the step that fails, the error's name, how the cause goes on after the step's name.
FAILURES = [
    ("InvalidRequestInPrepareData", "PrepareData", "InvalidRequestError", '"traget" is unknown.'),
    ("InvalidRequestInTrainModel", "TrainModel", "InvalidRequestError", '"traget" is unknown.'),
    ("InvalidRequestInEvaluateModel", "EvaluateModel", "InvalidRequestError", '"traget" is unknown.'),
    ("InvalidDatasetInPrepareData", "PrepareData", "InvalidDatasetError", "The data set has no rows."),
    ("InvalidDatasetInTrainModel", "TrainModel", "InvalidDatasetError", "The data set has no rows."),
    ("InvalidDatasetInEvaluateModel", "EvaluateModel", "InvalidDatasetError", "The data set has no rows."),
    ("UntrustedModelInEvaluateModel", "EvaluateModel", "UntrustedModelError", "The model holds os.system."),
]
# As above; of an error that nobody expected, the cause is worth keeping, whatever form it has.
UNEXPECTED = [
    *((f"UnexpectedErrorIn{step}", step, "KeyError", "'price'") for step in STEPS),
    *((f"ThrottledForGoodIn{step}", step, "Lambda.TooManyRequestsException", "Rate Exceeded.") for step in STEPS),
    *((f"PendingForGoodIn{step}", step, PENDING_ERRORS[0], "Lambda is optimizing") for step in STEPS),
    # No state may give an error a name that begins with "States.".
    *((f"TimedOutIn{step}", step, "Timeout", "no cause was given.") for step in STEPS),
]
# As above; the cause is a document of another form than a function's, or what has been left of one.
ODD = [
    ("EscapedMessageInPrepareData", "PrepareData", "InvalidDatasetError", 'The column "größe" \\ holds 😀\nand more.'),
    ("NoMessageInTrainModel", "TrainModel", "Runtime.ExitError", '{"errorType": "Runtime.ExitError"}'),
    ("CutMessageInTrainModel", "TrainModel", "OddError", 'The file "a\\b" is '),
    ("CutTraceInEvaluateModel", "EvaluateModel", "KeyError", "'price'"),
    ("NoJsonInPrepareData", "PrepareData", "OddError", "{no JSON at all"),
    ("ListInTrainModel", "TrainModel", "OddError", "[1, 2]"),
    ("NumberInEvaluateModel", "EvaluateModel", "OddError", "5"),
]
# Causes without a message: each is told as it is.
UNCHANGED = [
    '{"errorMess', '{"errorMessage', '{"errorMessage":', '{"errorMessage": "', '{"errorMessage": ""}',
    '{"errorMessage": null}', '{"errorMessage": ["m"]}', '{"note": "\\"errorMessage\\": \\"m\\""}',
    "{", "{}", "[", "null", "true", "-1.5e3", '"text"', '["errorMessage", "m"]', "\\", "{% 1 %}",
]  # fmt: skip
# What a catcher hands on, and the error and the cause that people are told.
MESSAGE = {"Error": "E", "Cause": '{"errorMessage": "m", "errorType": "E"}'}
EXPLAINED: list[tuple[dict[str, Any], str, str]] = [
    (MESSAGE, "E", "m"),
    ({"Cause": MESSAGE["Cause"]}, "UnknownError", "m"),
    ({"Error": None, "Cause": None}, "UnknownError", "no cause was given."),
    ({}, "UnknownError", "no cause was given."),
    ({"Error": "E"}, "E", "no cause was given."),
    ({"Error": "States.TaskFailed", "Cause": "c"}, "TaskFailed", "c"),
    *(({"Error": "E", "Cause": empty}, "E", "no cause was given.") for empty in ("", " \n")),
    # Whatever character a document is cut at, no half of an escape is left of it.
    *(
        ({"Error": "E", "Cause": f'{{"errorMessage": "m{end}'}, "E", "m")
        for end in ("", "\\", "\\u", "\\u00f", "\\ud83d")
    ),
    ({"Error": "E", "Cause": '{"errorMessage": "m\\ud83d\\ude0'}, "E", "m"),
    ({"Error": "E", "Cause": '{"errorMessage": "m\\ud83d\\ude00'}, "E", "m😀"),
    *(({"Error": "E", "Cause": cause}, "E", cause) for cause in UNCHANGED),
    # A character that no JSON string holds ends the message, those that mark escapes in between too.
    *(({"Error": "E", "Cause": f'{{"errorMessage": "m{mark}n"}}'}, "E", "m") for mark in "\1\2\3\n"),
    *(({"Error": "E", "Cause": f'{{"errorMessage": "m{odd}"}}'}, "E", "m") for odd in ("\\x", "\\u12", "\\ude00n")),
    ({"Error": "E", "Cause": '{"errorMessage": "\\\\\\"\\\\", "errorType": "\\"E"}'}, "E", '\\"\\'),
    # Neither a long text nor a long message breaks the limit of an execution's cause.
    ({"Error": "E", "Cause": "x" * 40_000}, "E", "x" * 32_000),
    ({"Error": "E", "Cause": '{"errorMessage": "' + "\\u4e2d" * 5_000 + '"}'}, "E", "中" * 5_000),
    ({"Error": "E", "Cause": '{"errorMessage": "' + "a\\n" * 10_000 + '"}'}, "E", "a\n" * 10_000),
]
