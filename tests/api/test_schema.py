"""The OpenAPI schema against a running service: requests that Schemathesis makes from it are answered as it says."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.service.conftest import Running

EXAMPLES = 15
LOADS = 3
"""A new build of v3 is a process each time."""
CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder: Path = tmp_path_factory.mktemp("schema")
    running = Running(folder, {})
    running.start()
    yield running
    running.http.close()
    running.stop()


def operations(service: Running) -> Iterator[Any]:
    """Every documented call of the control API."""
    schema = schemathesis.openapi.from_dict(service.get("/schema/openapi.json"))
    schema.config.update(base_url=str(service.http.base_url))
    for found in schema.get_all_operations():
        assert isinstance(found, Ok)
        if found.ok().path.startswith("/api/") and found.ok().path != "/api/messages":
            yield found.ok()


@pytest.mark.slow
@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE])
def test_every_call_answers_as_the_schema_says(service: Running, mode: GenerationMode) -> None:
    seen: Counter[int] = Counter()
    for operation in operations(service):
        check(service, operation, mode, seen)
    if mode is GenerationMode.POSITIVE:
        assert seen[200] > 100
        assert seen[409] > 20  # commands that gave the right revision and came to the rollout's rules
    else:
        assert seen[422] > 100


def check(service: Running, operation: Any, mode: GenerationMode, seen: Counter[int]) -> None:
    @settings(
        max_examples=LOADS if operation.path.endswith("/load") else EXAMPLES,
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(generation_mode=mode))
    def answers(case: Any) -> None:
        headers = {"Authorization": service.http.headers["Authorization"]}
        if mode is GenerationMode.POSITIVE and "If-Match" in case.headers:
            headers["If-Match"] = service.http.get("/api/rollout").headers["ETag"]
        answer = case.call(headers=headers)
        seen[answer.status_code] += 1
        case.validate_response(answer, checks=CHECKS)

    answers()
