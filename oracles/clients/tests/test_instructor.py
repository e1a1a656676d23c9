"""`instructor`: all of its modes that go over chat completions."""

from collections.abc import Iterable

import instructor
import pytest
from openai import OpenAI
from pydantic import BaseModel, Field

from servers import MODEL, URL
from tools import QUESTION


class Report(BaseModel):
    """The weather of a city"""

    city: str = Field(max_length=12)
    degrees: int


def client(mode):
    openai = OpenAI(base_url=URL + "/v1", api_key="none", max_retries=0, timeout=60)
    return instructor.from_openai(openai, mode=instructor.Mode[mode])


def create(mode, response_model, **options):
    return client(mode).chat.completions.create(
        model=MODEL,
        messages=[{"role": "user", "content": QUESTION}],
        response_model=response_model,
        max_retries=0,
        max_tokens=200,
        **options,
    )


class get_weather(BaseModel):  # noqa: N801
    """Get the weather of a city"""

    city: str


class Any(BaseModel, extra="allow"):
    """Any object"""


@pytest.mark.parametrize("mode", ["TOOLS", "TOOLS_STRICT", "FUNCTIONS", "JSON_SCHEMA", "JSON_O1"])
@pytest.mark.parametrize("seed", range(2))
def test_an_answer_is_an_object_of_the_class(mode, seed):
    assert isinstance(create(mode, Report, temperature=1.2, seed=seed), Report)


@pytest.mark.parametrize("mode", ["TOOLS", "JSON_SCHEMA"])
def test_parts_of_an_object_come_as_they_are_made(mode):
    options = {"model": MODEL, "messages": [{"role": "user", "content": QUESTION}], "max_tokens": 200, "seed": 1}
    parts = list(client(mode).chat.completions.create_partial(response_model=Report, temperature=1.2, **options))
    assert len(parts) > 1 and parts[-1].city is not None and isinstance(parts[-1].degrees, int)


def test_objects_of_a_list_are_of_the_class():
    # As a tool alone: the schema of the list itself takes objects of any other members.
    options = {"model": MODEL, "messages": [{"role": "user", "content": QUESTION}], "max_tokens": 400}
    objects = client("TOOLS").chat.completions.create_iterable(response_model=Report, temperature=0, **options)
    assert all(isinstance(report, Report) for report in objects)


def test_a_json_object_is_one():
    # The mode asks for any object: the schema is in the prompt alone.
    assert isinstance(create("JSON", Any, temperature=0), Any)


def test_json_in_a_block_of_code_is_found():
    # Nothing but the prompt asks for the block; this model is too small to write one unless it must.
    block = {"type": "tag", "begin": "```json\n", "end": "\n```"}
    block["content"] = {"type": "json_schema", "json_schema": Report.model_json_schema()}
    form = {"type": "structural_tag", "format": block}
    report = create("MD_JSON", Report, temperature=1.2, seed=1, extra_body={"structural_tag": form})
    assert isinstance(report, Report)


def test_parallel_tools_are_objects_of_their_classes():
    calls = list(create("PARALLEL_TOOLS", Iterable[get_weather], temperature=0))
    assert calls == [get_weather(city="Paris")]
