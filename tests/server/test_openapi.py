"""The API keeps to its own description: requests drawn from /openapi.json, answers checked against it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from live import live

from hearmeglm.chat.scripted_model import ScriptedModel
from hearmeglm.server.app import Serving

CHAT = "/v1/chat/completions"


@pytest.fixture(scope="module")
def http() -> Iterator[httpx.Client]:
    with live(Serving(ScriptedModel(["好"], name="m"), None)) as url, httpx.Client(base_url=url) as client:
        yield client


@pytest.fixture(scope="module")
def description(http: httpx.Client) -> dict[str, Any]:
    tree: dict[str, Any] = http.get("/openapi.json").json()
    return tree


def drawn(schema: dict[str, Any], tree: dict[str, Any], wrong: bool) -> st.SearchStrategy[Any]:
    """Values of a schema; with `wrong`, often something else."""
    if "$ref" in schema:
        return drawn(tree["components"]["schemas"][schema["$ref"].rsplit("/", 1)[1]], tree, wrong)
    if wrong:
        right = (
            drawn(schema, tree, False) if schema.get("type") not in ("object", "array") else _inner(schema, tree, True)
        )
        anything = (
            st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
        )
        return right | anything | st.lists(anything, max_size=3) | st.dictionaries(st.text(), anything, max_size=3)
    return _inner(schema, tree, False)


def _inner(schema: dict[str, Any], tree: dict[str, Any], wrong: bool) -> st.SearchStrategy[Any]:
    if "anyOf" in schema:
        return st.one_of([drawn(s, tree, wrong) for s in schema["anyOf"]])
    if "const" in schema or "enum" in schema:
        return st.sampled_from(schema.get("enum", [schema.get("const")]))
    low, high = schema.get("minimum"), schema.get("maximum")
    match schema.get("type"):
        case "object":
            required = set(schema.get("required", ()))
            fields = {k: drawn(v, tree, wrong) for k, v in schema["properties"].items()}
            return st.fixed_dictionaries(
                {k: v for k, v in fields.items() if k in required},
                optional={k: v for k, v in fields.items() if k not in required},
            )
        case "array":
            return st.lists(
                drawn(schema.get("items", {}), tree, wrong),
                min_size=schema.get("minItems", 0),
                max_size=min(schema.get("maxItems", 3), 3),
            )
        case "string":
            return st.text(
                st.characters(exclude_characters="\x00", codec="utf-8"), max_size=schema.get("maxLength", 30)
            )
        case "integer":
            return st.integers(low if low is not None else 0, min(high or 1000, 1000))
        case "number":
            return st.floats(0.5 if low is None else low, 2.0 if high is None else high)
        case "boolean":
            return st.booleans()
        case "null":
            return st.none()
    return st.none()


def check(answer: httpx.Response, description: dict[str, Any]) -> None:
    described = description["paths"][CHAT]["post"]["responses"]
    assert str(answer.status_code) in described, answer.status_code
    assert answer.status_code < 500
    if answer.headers["content-type"].startswith("text/event-stream"):
        assert answer.text.endswith("data: [DONE]\n\n")
    elif answer.status_code == 200:
        assert answer.json()["choices"][0]["message"] == {"role": "assistant", "content": "好"}
    else:
        assert set(answer.json()["error"]) == {"message", "type", "param", "code"}


@pytest.mark.parametrize("wrong", [False, True])
def test_what_the_description_allows_and_what_it_does_not(
    http: httpx.Client, description: dict[str, Any], wrong: bool
) -> None:
    body = description["paths"][CHAT]["post"]["requestBody"]["content"]["application/json"]["schema"]
    seen: set[int] = set()

    @settings(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True, database=None)
    @given(drawn(body, description, wrong))
    def run(request: Any) -> None:
        if isinstance(request, dict) and not wrong:
            request["model"] = "m"
        answer = http.post(CHAT, json=request)
        check(answer, description)
        seen.add(answer.status_code)

    run()
    assert 400 in seen
    assert wrong or 200 in seen


def test_every_described_error_has_one_shape(description: dict[str, Any]) -> None:
    for path in description["paths"].values():
        for operation in path.values():
            assert "422" not in operation["responses"]
            for status, response in operation["responses"].items():
                schema = response.get("content", {}).get("application/json", {}).get("schema", {})
                if status >= "4" and status != "503":
                    assert schema == {"$ref": "#/components/schemas/ErrorAnswer"}, (status, schema)
