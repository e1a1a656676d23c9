"""`openai`: responses, whole, as streams, through the helpers, kept and in the background."""

import json

import openai
import pytest
from openai import OpenAI
from pydantic import BaseModel, Field

from servers import MODEL, TOO_LONG, URL, until
from tools import QUESTION, RESULT, WEATHER

client = OpenAI(base_url=URL + "/v1", api_key="none", max_retries=0, timeout=60)
STORY = "Tell me a story about a dragon."
TOOL = {"type": "function", **WEATHER["function"], "strict": True}


class Report(BaseModel):
    city: str = Field(max_length=12)
    degrees: int = Field(ge=-50, le=60)


def respond(**options):
    return client.responses.create(**{"model": MODEL, "temperature": 0, "max_output_tokens": 40, **options})


def test_a_stream_is_the_whole_answer_and_every_event_is_of_a_known_type():
    whole = respond(input=STORY)
    assert whole.output_text and whole.usage.output_tokens <= 40
    events = list(respond(input=STORY, stream=True))
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert not [event for event in events if type(event).__name__ == "BaseModel"]
    assert "".join(e.delta for e in events if e.type == "response.output_text.delta") == whole.output_text
    assert events[-1].response.output_text == whole.output_text
    # Valid by the client's own types, which it does not check by itself.
    for event in events:
        type(event).model_validate(event.model_dump(), strict=False)
    type(whole).model_validate(whole.model_dump(), strict=False)


def test_the_streaming_helper_accumulates_the_answer():
    with client.responses.stream(model=MODEL, input=STORY, temperature=0) as stream:
        text = [event.snapshot for event in stream if event.type == "response.output_text.delta"][-1]
        final = stream.get_final_response()
    assert final.output_text == text


def test_a_tool_is_called_and_the_answer_has_its_result():
    options = {"tools": [TOOL], "max_output_tokens": 200}
    first = respond(input=QUESTION, **options)
    [call] = [item for item in first.output if item.type == "function_call"]
    assert (call.name, json.loads(call.arguments)) == ("get_weather", {"city": "Paris"})
    result = {"type": "function_call_output", "call_id": call.call_id, "output": RESULT}
    by_hand = respond(input=[{"role": "user", "content": QUESTION}, *first.output, result], **options)
    by_id = respond(input=[result], previous_response_id=first.id, **options)
    assert "21" in by_hand.output_text and by_id.output_text == by_hand.output_text
    with client.responses.stream(model=MODEL, input=QUESTION, temperature=0, tools=[TOOL]) as stream:
        kinds = {event.type for event in stream}
        [streamed] = [item for item in stream.get_final_response().output if item.type == "function_call"]
    assert "response.function_call_arguments.done" in kinds and streamed.arguments == call.arguments


@pytest.mark.parametrize("temperature", [0, 1.5])
def test_parse_gives_an_object_of_the_class(temperature):
    options = {"model": MODEL, "input": QUESTION, "text_format": Report, "temperature": temperature}
    assert isinstance(client.responses.parse(**options).output_parsed, Report)
    with client.responses.stream(**options) as stream:
        for _ in stream:
            pass
        assert isinstance(stream.get_final_response().output_parsed, Report)


def test_a_response_is_kept_listed_and_deleted():
    made = respond(input=STORY, instructions="Be brief.")
    assert client.responses.retrieve(made.id).output_text == made.output_text
    [item] = client.responses.input_items.list(made.id).data
    assert (item.role, item.content[0].text) == ("user", STORY)
    client.responses.delete(made.id)
    for call in (client.responses.retrieve, client.responses.delete, client.responses.cancel):
        with pytest.raises(openai.NotFoundError):
            call(made.id)
    with pytest.raises(openai.BadRequestError) as error:
        respond(input="Go on.", previous_response_id=made.id)
    assert error.value.code == "previous_response_not_found"
    unkept = respond(input=STORY, store=False)
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(unkept.id)


def test_a_response_of_the_background_is_fetched_or_cancelled():
    expected = respond(input=STORY).output_text
    queued = respond(input=STORY, background=True)
    assert queued.status == "queued"
    until(lambda: client.responses.retrieve(queued.id).status in ("completed", "incomplete"))
    assert client.responses.retrieve(queued.id).output_text == expected
    long = respond(input=STORY, background=True, max_output_tokens=900, extra_body={"ignore_eos": True})
    assert client.responses.cancel(long.id).status == "cancelled"


def test_tokens_are_counted():
    counted = client.responses.input_tokens.count(model=MODEL, input=STORY, tools=[TOOL])
    assert counted.input_tokens == respond(input=STORY, tools=[TOOL]).usage.input_tokens


def test_errors_are_of_the_clients_classes_and_name_the_field():
    for options, param in [
        ({"input": [{"role": "user", "content": [{"type": "input_image", "image_url": "x"}]}]}, "input[0].content[0]"),
        ({"input": STORY, "text": {"format": {"type": "json_schema", "name": "a", "schema": 1}}}, "text.format.schema"),
        ({"input": STORY, "tools": [{**TOOL, "name": ""}]}, "tools[0].name"),
    ]:
        with pytest.raises(openai.BadRequestError) as error:
            respond(**options)
        assert error.value.param == param
    with pytest.raises(openai.BadRequestError) as error:
        respond(input=TOO_LONG, stream=True)
    assert error.value.code == "context_length_exceeded"
    with pytest.raises(openai.NotFoundError):
        respond(input=STORY, model="other")
