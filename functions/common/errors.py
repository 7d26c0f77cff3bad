"""The errors that a training run can end with; the state machine catches them by class name and never retries them."""


class InvalidRequestError(Exception):
    """The input document of the execution cannot be acted on."""


class InvalidDatasetError(Exception):
    """The data cannot be trained on."""


class UntrustedModelError(Exception):
    """A model file holds a type outside the allow-list, so it is not loaded."""
