"""A hook of taskcat's own kind, which lets it work with the embedded AWS.

taskcat runs it before it creates stacks, where its configuration names a hook of the type `local_aws`.
"""

import re
from types import SimpleNamespace

from taskcat.testing._hooks import BaseTaskcatHook

from taskcat import _generate_reports

_VIRTUAL_HOST = re.compile(r"https://(?P<bucket>[^./]+)\.(?P<host>s3\.[^/]+)/")


class Hook(BaseTaskcatHook):
    """Has stacks created by path-style URL, the form that the embedded AWS reads, and the report written offline."""

    def __init__(self, hook_config, config, test, parameters, outputs):
        super().__init__(hook_config, config, test, parameters, outputs)
        for region in test.regions:
            events = region.client("cloudformation").meta.events
            # Two tests may share a client.
            events.register("before-parameter-build.cloudformation.CreateStack", use_path_style, unique_id="path-style")
        # The report's style sheet is fetched from the internet.
        _generate_reports.requests = SimpleNamespace(get=lambda _url, **_options: SimpleNamespace(text=""))


def use_path_style(params, **_kwargs):
    """Name the bucket in the path, not in the host: https://s3.<region>.amazonaws.com/<bucket>/<key>."""
    params["TemplateURL"] = _VIRTUAL_HOST.sub(r"https://\g<host>/\g<bucket>/", params["TemplateURL"])
