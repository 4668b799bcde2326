"""Requests drawn from the OpenAPI of the service: no answer is an error of ours, and each has a documented form."""

import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis import checks
from served import encoded, uri

from medvl.serving.app import create_app
from medvl.serving.options import Serve
from medvl.serving.service import Service

CHECKS = [
    checks.not_a_server_error,
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_schema_conformance,
]
drawn = schemathesis.openapi.from_dict(create_app(Service(Serve(), prompt="")).openapi())


@drawn.parametrize()
@settings(max_examples=25, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
def test_what_is_drawn_from_the_schema_never_fails(case, client, pages):
    body = case.body
    if isinstance(body, dict):
        if "model" in body:
            body["model"] = "medvl"
        for turn in body.get("messages") or []:
            for part in turn["content"] if isinstance(turn, dict) and isinstance(turn.get("content"), list) else []:
                if isinstance(part, dict) and isinstance(part.get("image_url"), dict):
                    part["image_url"]["url"] = uri(encoded(pages[0]))
    case.call_and_validate(base_url=str(client.base_url), timeout=30, checks=CHECKS)
