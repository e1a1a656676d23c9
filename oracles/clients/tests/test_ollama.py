"""`ollama`: chat and generate whole and as streams, tools, forms, lists, and what an error becomes."""

import json

import ollama
import pytest
from ollama import Client
from pydantic import BaseModel

from servers import MODEL, STORY, TOO_LONG, URL, ending_early, post
from tools import QUESTION, RESULT, WEATHER

client = Client(URL)
USER = [{"role": "user", "content": QUESTION}]
GREEDY = {"temperature": 0}


def chat(**options):
    return client.chat(**{"model": MODEL, "messages": STORY, "options": {**GREEDY, "num_predict": 24}, **options})


def test_a_chat_has_the_text_of_the_same_chat():
    other = post("/v1/chat/completions", {"messages": STORY, "max_tokens": 24, "temperature": 0})
    answer = chat()
    assert answer.message.content == other["choices"][0]["message"]["content"]
    assert (answer.done, answer.model, answer.eval_count) == (True, MODEL, other["usage"]["completion_tokens"])
    assert answer.prompt_eval_count == other["usage"]["prompt_tokens"] and answer.total_duration > 0
    parts = list(chat(stream=True))
    assert "".join(part.message.content for part in parts) == answer.message.content
    assert [part.done for part in parts].index(True) == len(parts) - 1


def test_a_prompt_is_gone_on_from():
    answer = client.generate(MODEL, "Once upon a time", raw=True, options={**GREEDY, "num_predict": 8})
    other = post("/v1/completions", {"prompt": "Once upon a time", "max_tokens": 8, "temperature": 0})
    assert answer.response == other["choices"][0]["text"] and answer.done_reason == "length"
    parts = client.generate(MODEL, "Tell me a story.", system="Be brief.", stream=True, options={"num_predict": 8})
    assert "".join(part.response for part in parts)


def test_a_tool_is_called_and_the_answer_has_its_result():
    options = {"messages": USER, "tools": [WEATHER], "options": GREEDY}
    first = chat(**options)
    [call] = first.message.tool_calls
    assert (call.function.name, call.function.arguments) == ("get_weather", {"city": "Paris"})
    streamed = [call for part in chat(**options, stream=True) for call in part.message.tool_calls or []]
    assert streamed[0].function == call.function
    result = {"role": "tool", "tool_name": "get_weather", "content": RESULT}
    last = chat(messages=[*USER, first.message, result], tools=[WEATHER], options=GREEDY)
    assert "21" in last.message.content


def test_a_form_holds():
    class Report(BaseModel):
        city: str
        degrees: int

    answer = chat(messages=USER, format=Report.model_json_schema(), think=False, options={**GREEDY, "num_predict": 200})
    Report.model_validate_json(answer.message.content)
    answer = chat(messages=USER, format="json", think=False, options={**GREEDY, "num_predict": 200})
    assert isinstance(json.loads(answer.message.content), dict)


def test_the_model_is_listed_and_described():
    [model] = client.list().models
    assert model.model == f"{MODEL}:latest" and model.size > 0 and model.details.format == "gguf"
    assert client.ps().models[0].model == model.model
    shown = client.show(model.model)
    assert "completion" in shown.capabilities and shown.modelinfo["general.architecture"]
    assert client.pull(MODEL).status == "success"
    client.copy(MODEL, "another")
    assert client.show("another").details == client.show(MODEL).details
    client.delete("another")
    assert client.generate(MODEL, keep_alive="5m").done_reason == "load"


@pytest.mark.parametrize(
    ("call", "status", "words"),
    [
        (lambda: chat(model="llama3"), 404, "llama3"),
        (lambda: chat(messages=[{"role": "user", "content": TOO_LONG}]), 400, "too long"),
        (lambda: chat(options={"temperature": 3}), 400, "temperature"),
        (lambda: next(iter(chat(stream=True, options={"temperature": 3}))), 400, "temperature"),
        (lambda: client.embed(MODEL, "Hi"), 501, "embeddings"),
        (lambda: client.copy("llama3", "other"), 404, "llama3"),
    ],
)
def test_an_error_says_why(call, status, words):
    with pytest.raises(ollama.ResponseError) as caught:
        call()
    assert caught.value.status_code == status and words in caught.value.error


def test_a_stream_that_is_closed_ends_the_request(slow):
    with ending_early(slow):
        options = {"num_predict": 900, "ignore_eos": True}
        stream = Client(slow).chat(MODEL, STORY, stream=True, options=options)
        next(stream)
        stream.close()
