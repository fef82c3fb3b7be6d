"""The API keeps its own OpenAPI document: whatever is sent, the answer is one that the document describes."""

from collections.abc import Iterator

import pytest
import schemathesis
from fastapi import FastAPI
from hypothesis import HealthCheck, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.generation import GenerationMode
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_schema_conformance,
    status_code_conformance,
    unsupported_method,
)
from schemathesis.specs.openapi.schemas import OpenApiSchema
from tests.collector.api.fixtures import application, fill

from gputally.collector.database.engine import open_database
from gputally.collector.database.migrate import migrate

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
    negative_data_rejection,
    unsupported_method,
]


ADDRESSES = [
    "allocation",
    "idle",
    "waste",
    "advice",
    "workloads",
    "workload",
    "queues",
    "devices",
    "coverage",
    "rates",
    "namespaces",
    "budgets",
    "statements",
    "statements/{month}",
]


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FastAPI]:
    engine = open_database(f"sqlite:///{tmp_path_factory.mktemp('api') / 'gputally.sqlite'}")
    migrate(engine)
    fill(engine)
    with application(engine) as app:
        yield app
    engine.dispose()


@pytest.fixture(scope="module")
def document(app: FastAPI) -> OpenApiSchema:
    return schemathesis.openapi.from_asgi("/openapi.json", app)


def test_every_address_is_tried(document: OpenApiSchema) -> None:
    assert set(document) == {f"/api/v1/{address}" for address in ADDRESSES}


@pytest.mark.parametrize("mode", list(GenerationMode))
@pytest.mark.parametrize("address", ADDRESSES)
def test_every_answer_is_one_that_the_document_describes(
    document: OpenApiSchema, address: str, mode: GenerationMode
) -> None:
    operation = document[f"/api/v1/{address}"]["GET"]

    @settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck), database=None)
    @given(case=operation.as_strategy(generation_mode=mode))
    def check(case: schemathesis.Case) -> None:
        assert case.call_and_validate(checks=CHECKS).status_code < 500

    check()
