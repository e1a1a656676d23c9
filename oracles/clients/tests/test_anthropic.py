"""`anthropic`: messages whole and as streams, tools, thinking, counting, and what an error becomes."""

import json

import anthropic
import pytest
from anthropic import Anthropic

from servers import MODEL, STORY, TOO_LONG, URL, ending_early, post, serving
from tools import QUESTION, RESULT, WEATHER

client = Anthropic(base_url=URL, api_key="none", max_retries=0, timeout=60)
USER = [{"role": "user", "content": QUESTION}]
TOOL = {
    "name": WEATHER["function"]["name"],
    "description": WEATHER["function"]["description"],
    "input_schema": WEATHER["function"]["parameters"],
}


def asked(**options):
    # The client has no `temperature` of its own any more.
    extra = {"temperature": 0, **options.pop("extra_body", {})}
    return {"model": MODEL, "max_tokens": 200, "messages": STORY, "extra_body": extra, **options}


def create(**options):
    return client.messages.create(**asked(**options))


def text_of(message):
    return "".join(block.text for block in message.content if block.type == "text")


def test_a_message_has_the_text_of_the_same_chat():
    message = create(max_tokens=24, system="You tell stories.")
    messages = [{"role": "system", "content": "You tell stories."}, *STORY]
    chat = post("/v1/chat/completions", {"messages": messages, "max_tokens": 24, "temperature": 0})
    assert text_of(message) == chat["choices"][0]["message"]["content"]
    assert (message.type, message.role, message.model) == ("message", "assistant", MODEL)
    usage = message.usage
    assert usage.input_tokens + usage.cache_read_input_tokens == chat["usage"]["prompt_tokens"]
    assert message._request_id


def test_the_streaming_helper_makes_the_whole_message():
    whole = create(max_tokens=24)
    with client.messages.stream(**asked(max_tokens=24)) as stream:
        text = "".join(stream.text_stream)
        last = stream.get_final_message()
    assert text == text_of(whole) == text_of(last)
    assert (last.stop_reason, last.usage.output_tokens) == (whole.stop_reason, whole.usage.output_tokens)


def test_raw_events_come_in_order():
    names = [event.type for event in create(max_tokens=4, stream=True)]
    assert names[:2] == ["message_start", "content_block_start"]
    assert names[-3:] == ["content_block_stop", "message_delta", "message_stop"]


def test_a_tool_is_called_and_the_answer_has_its_result():
    with client.messages.stream(**asked(messages=USER, tools=[TOOL])) as stream:
        first = stream.get_final_message()
    assert first.stop_reason == "tool_use"
    [call] = [block for block in first.content if block.type == "tool_use"]
    assert (call.name, call.input) == ("get_weather", {"city": "Paris"})
    result = {"type": "tool_result", "tool_use_id": call.id, "content": RESULT}
    messages = [*USER, {"role": "assistant", "content": first.content}, {"role": "user", "content": [result]}]
    last = create(messages=messages, tools=[TOOL])
    assert last.stop_reason == "end_turn" and "21" in text_of(last)


def test_a_call_that_is_asked_for_comes():
    for choice in [{"type": "any"}, {"type": "tool", "name": "get_weather", "disable_parallel_tool_use": True}]:
        message = create(tools=[TOOL], tool_choice=choice)
        assert any(block.type == "tool_use" and set(block.input) == {"city"} for block in message.content)
    message = create(messages=USER, tools=[TOOL], tool_choice={"type": "none"})
    assert all(block.type != "tool_use" for block in message.content)


def test_tokens_are_counted_as_they_are_used():
    for more in [{}, {"system": "Be brief."}, {"tools": [TOOL]}]:
        counted = client.messages.count_tokens(model=MODEL, messages=USER, **more)
        usage = create(messages=USER, max_tokens=1, **more).usage
        assert counted.input_tokens == usage.input_tokens + usage.cache_read_input_tokens


def test_a_marked_prefix_is_read_from_the_cache():
    text = {"type": "text", "text": "You know the weather of every city. " * 12, "cache_control": {"type": "ephemeral"}}
    first, second = (create(system=[text], max_tokens=1).usage for _ in range(2))
    assert first.cache_creation_input_tokens > 0
    assert second.cache_read_input_tokens >= first.cache_creation_input_tokens - 32
    total = lambda usage: usage.input_tokens + usage.cache_creation_input_tokens + usage.cache_read_input_tokens
    assert total(first) == total(second)


def test_a_form_and_a_stop_sequence_hold():
    schema = {"type": "object", "properties": {"city": {"enum": ["Paris"]}}, "required": ["city"], "additionalProperties": False}
    config = {"format": {"type": "json_schema", "schema": schema}}
    message = create(messages=USER, output_config=config, thinking={"type": "disabled"})
    assert json.loads(text_of(message)) == {"city": "Paris"}
    plain = text_of(create(max_tokens=24))
    word = plain.split()[3]
    message = create(max_tokens=24, stop_sequences=[word])
    assert (message.stop_reason, message.stop_sequence) == ("stop_sequence", word)
    assert text_of(message) == plain[: plain.index(word)]


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"max_tokens": 0}, anthropic.BadRequestError, "`max_tokens`"),
        ({"messages": []}, anthropic.BadRequestError, "`messages`"),
        ({"messages": [{"role": "user", "content": TOO_LONG}]}, anthropic.BadRequestError, "prompt is too long"),
        ({"model": "claude-x"}, anthropic.NotFoundError, "claude-x"),
        ({"tools": [{"type": "web_search_20250305", "name": "web_search"}]}, anthropic.BadRequestError, "web_search"),
    ],
)
def test_an_error_is_the_exception_of_its_status(options, error, words):
    for more in [{}, {"stream": True}]:
        with pytest.raises(error) as caught:
            create(**options, **more)
        assert caught.value.body["type"] == "error" and words in caught.value.body["error"]["message"]


def test_a_wrong_key_is_an_authentication_error():
    with serving("--api-key", "sk-right") as url:
        wrong = Anthropic(base_url=url, api_key="sk-wrong", max_retries=0)
        with pytest.raises(anthropic.AuthenticationError):
            wrong.messages.create(**asked())
        for right in [{"api_key": "sk-right"}, {"auth_token": "sk-right"}]:
            assert Anthropic(base_url=url, max_retries=0, **right).messages.create(**asked(max_tokens=1)).content


def test_a_stream_that_is_closed_ends_the_request(slow):
    with ending_early(slow):
        other = Anthropic(base_url=slow, api_key="none", max_retries=0)
        with other.messages.stream(**asked(max_tokens=900, extra_body={"ignore_eos": True})) as stream:
            next(iter(stream.text_stream))


def test_models_are_listed():
    [model] = client.models.list().data
    assert (model.id, model.type, model.display_name) == (MODEL, "model", MODEL) and model.created_at.year > 2000
