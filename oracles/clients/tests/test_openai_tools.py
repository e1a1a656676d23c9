"""`openai`: tools, structure and what the helpers make of both."""

import json
from enum import Enum

import openai
import pytest
from openai import OpenAI
from pydantic import BaseModel, Field

from servers import MODEL, URL
from tools import QUESTION, RESULT, TIME, WEATHER

client = OpenAI(base_url=URL + "/v1", api_key="none", max_retries=0, timeout=60)
USER = [{"role": "user", "content": QUESTION}]


def chat(**options):
    return client.chat.completions.create(**{"model": MODEL, "messages": USER, "temperature": 0, **options})


class Condition(Enum):
    SUNNY = "sunny"
    RAINY = "rainy"


class Report(BaseModel):
    city: str = Field(max_length=12)
    condition: Condition
    degrees: int = Field(ge=-50, le=60)
    is_windy: bool


def test_the_model_calls_the_tool_that_it_is_offered_and_answers_with_its_result():
    first = chat(tools=[WEATHER])
    [choice] = first.choices
    assert choice.finish_reason == "tool_calls"
    [call] = choice.message.tool_calls
    assert (call.type, call.function.name) == ("function", "get_weather") and call.id
    assert json.loads(call.function.arguments) == {"city": "Paris"}
    messages = USER + [choice.message, {"role": "tool", "tool_call_id": call.id, "content": RESULT}]
    last = chat(messages=messages, tools=[WEATHER]).choices[0]
    assert last.finish_reason == "stop" and "21" in last.message.content and not last.message.tool_calls


@pytest.mark.parametrize("seed", range(3))
def test_a_call_that_is_asked_for_comes_at_any_temperature(seed):
    hot = {"tools": [TIME, WEATHER], "temperature": 1.5, "seed": seed}
    for tool_choice, names in [
        ("required", {"get_time", "get_weather"}),
        ({"type": "function", "function": {"name": "get_time"}}, {"get_time"}),
    ]:
        choice = chat(**hot, tool_choice=tool_choice).choices[0]
        assert choice.message.tool_calls
        for call in choice.message.tool_calls:
            assert call.function.name in names
            assert set(json.loads(call.function.arguments)) == {"city"}


def test_tools_that_must_not_be_called_are_not():
    plain = chat(messages=USER, max_tokens=30)
    none = chat(tools=[WEATHER], tool_choice="none", max_tokens=30)
    assert none.choices[0].message.content == plain.choices[0].message.content
    assert not none.choices[0].message.tool_calls


def test_a_stream_of_a_call_is_the_call():
    whole = chat(tools=[WEATHER]).choices[0].message.tool_calls[0].function
    chunks = list(chat(tools=[WEATHER], stream=True))
    deltas = [d for c in chunks if c.choices for d in c.choices[0].delta.tool_calls or []]
    assert [d.id for d in deltas if d.id] != [] and sum(d.id is not None for d in deltas) == 1
    assert {d.index for d in deltas} == {0} and len(deltas) > 2
    assert "".join(d.function.name or "" for d in deltas) == whole.name
    assert "".join(d.function.arguments or "" for d in deltas) == whole.arguments
    assert [c.choices[0].finish_reason for c in chunks if c.choices][-1] == "tool_calls"


def test_the_streaming_helper_accumulates_calls_and_parses_their_arguments():
    class get_weather(BaseModel):  # noqa: N801
        """Get the weather of a city"""

        city: str

    tools = [openai.pydantic_function_tool(get_weather)]
    options = {"model": MODEL, "messages": USER, "temperature": 0, "tools": tools}
    with client.chat.completions.stream(**options) as stream:
        kinds = {event.type for event in stream}
        [call] = stream.get_final_completion().choices[0].message.tool_calls
    assert "tool_calls.function.arguments.delta" in kinds and "tool_calls.function.arguments.done" in kinds
    assert call.function.parsed_arguments == get_weather(city="Paris")
    [parsed] = client.chat.completions.parse(**options).choices[0].message.tool_calls
    assert parsed.function.parsed_arguments == get_weather(city="Paris")


@pytest.mark.parametrize("seed", range(3))
def test_parse_gives_an_object_of_the_class(seed):
    answer = client.chat.completions.parse(
        model=MODEL, messages=USER, response_format=Report, temperature=1.5, seed=seed, max_tokens=200
    )
    assert isinstance(answer.choices[0].message.parsed, Report)
    with client.chat.completions.stream(
        model=MODEL, messages=USER, response_format=Report, temperature=1.5, seed=seed, max_tokens=200
    ) as stream:
        for _ in stream:
            pass
        assert stream.get_final_completion().choices[0].message.parsed == answer.choices[0].message.parsed


def test_a_json_object_is_one():
    messages = [{"role": "user", "content": "Write a JSON object with a name and an age."}]
    answer = chat(messages=messages, response_format={"type": "json_object"}, max_tokens=300)
    assert isinstance(json.loads(answer.choices[0].message.content), dict)


def test_bad_calls_in_the_history_are_refused_with_their_place():
    broken = {"id": "a", "type": "function", "function": {"name": "get_weather", "arguments": "{"}}
    messages = USER + [{"role": "assistant", "tool_calls": [broken]}, {"role": "tool", "tool_call_id": "a", "content": "?"}]
    with pytest.raises(openai.BadRequestError, match="messages"):
        chat(messages=messages, tools=[WEATHER])


def test_a_schema_that_cannot_be_kept_is_refused_with_the_reason():
    schema = {"type": "object", "properties": {"a": {"$ref": "http://example.com/a"}}}
    form = {"type": "json_schema", "json_schema": {"name": "a", "schema": schema}}
    with pytest.raises(openai.BadRequestError, match="ref"):
        chat(response_format=form)
