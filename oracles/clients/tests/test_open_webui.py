"""Open WebUI's requests as its backend sends them (0.12.4, `routers/openai.py`, `routers/ollama.py`, `routers/tasks.py`), in both
of its modes. Open WebUI itself is not installed: it brings a database, a page and models of its own."""

import http.client
import json
import urllib.parse

import pytest

from servers import MODEL, URL, ending_early, serving
from tools import QUESTION, RESULT, WEATHER

TAGGED = f"{MODEL}:latest"
STORY = {"role": "user", "content": "Tell me a story about a dragon."}
KEY = "sk-open-webui"
# Tasks in the background, as it sends them behind the first answer: they want a JSON object and say so in words.
TASKS = {
    "title": '### Task:\nGenerate a concise title summarizing the chat history.\n### Output:\nJSON format: { "title": "your concise title here" }\n',
    "tags": '### Task:\nGenerate 1-3 broad tags categorizing the main themes of the chat history.\n### Output:\nJSON format: { "tags": ["tag1", "tag2"] }\n',
    "follow_ups": '### Task:\nPredict 3-5 useful messages this user might naturally send next.\n### Output:\nJSON format: { "follow_ups": ["1", "2"] }\n',
}
HISTORY = "### Chat History:\n<chat_history>\nUSER: Hi\nASSISTANT: Hello!\n</chat_history>"


def send(method, path, body=None, url=URL, key=None):
    """A request with the headers of aiohttp and of `get_headers_and_cookies`; the response, not read."""
    connection = http.client.HTTPConnection(urllib.parse.urlsplit(url).netloc, timeout=60)
    headers = {"Accept": "*/*", "Accept-Encoding": "gzip, deflate", "Content-Type": "application/json"}
    headers |= {"User-Agent": "Python/3.11 aiohttp/3.14.5"}
    if key:
        headers["Authorization"] = f"Bearer {key}"
    # GET requests have the content type too.
    connection.request(method, path, json.dumps(body).encode() if body is not None else None, headers)
    return connection.getresponse()


def asked(method, path, body=None, **options):
    response = send(method, path, body, **options)
    text = response.read()
    assert response.status == 200, text
    assert response.headers.get_content_type() == "application/json"
    return json.loads(text)


def lines(path, body, kind, **options):
    """The objects of a stream, read as its middleware reads them: line by line."""
    response = send("POST", path, {**body, "stream": True}, **options)
    assert (response.status, response.headers.get_content_type()) == (200, kind)
    for line in response:
        line = line.decode().strip()
        if line.startswith("event: "):
            continue
        line = line.removeprefix("data: ")
        if line and line != "[DONE]":
            yield json.loads(line)


# OpenAI's mode: the base URL ends in `/v1`.


def test_a_connection_is_verified_and_the_model_listed():
    # `/verify` and `get_all_models_responses` are the same request.
    listed = asked("GET", "/v1/models", key=KEY)
    [model] = listed["data"]
    assert (listed["object"], model["id"], model["object"]) == ("list", MODEL, "model")
    # Its names of owners decide how it treats a model: "ollama" would be another mode.
    assert model["owned_by"] != "ollama"


def test_a_chat_is_streamed_with_its_usage():
    body = {
        "stream": True, "model": MODEL, "messages": [{"role": "system", "content": "Be brief."}, STORY],
        "temperature": 0.0, "max_tokens": 24, "top_p": 0.9, "seed": 0, "stop": ["\n\n\n"], "frequency_penalty": 0.0,
        "stream_options": {"include_usage": True},
    }  # fmt: skip
    chunks = list(lines("/v1/chat/completions", body, "text/event-stream", key=KEY))
    text = "".join(choice["delta"].get("content") or "" for chunk in chunks for choice in chunk["choices"])
    assert text and len({chunk["id"] for chunk in chunks}) == 1
    assert chunks[-1]["usage"]["completion_tokens"] <= 24 and chunks[-1]["choices"] == []
    whole = asked("POST", "/v1/chat/completions", {**body, "stream": False, "stream_options": None}, key=KEY)
    assert whole["choices"][0]["message"]["content"] == text


def test_native_function_calling_goes_on_from_the_results():
    body = {"model": MODEL, "messages": [{"role": "user", "content": QUESTION}], "tools": [WEATHER], "temperature": 0.0}
    calls = {}
    for chunk in lines("/v1/chat/completions", body, "text/event-stream"):
        for choice in chunk["choices"]:
            for delta in choice["delta"].get("tool_calls") or []:
                call = calls.setdefault(delta["index"], {"id": "", "name": "", "arguments": ""})
                call["id"] += delta.get("id") or ""
                for name in ("name", "arguments"):
                    call[name] += delta.get("function", {}).get(name) or ""
    [call] = calls.values()
    assert (call["name"], json.loads(call["arguments"])) == ("get_weather", {"city": "Paris"})
    function = {"name": call["name"], "arguments": call["arguments"]}
    # The assistant's message has an empty text beside its calls; a result may be a list of parts, which are joined.
    history = [
        *body["messages"],
        {"role": "assistant", "content": "", "tool_calls": [{"index": 0, "id": call["id"], "type": "function", "function": function}]},
        {"role": "tool", "tool_call_id": call["id"], "content": RESULT},
    ]
    answer = asked("POST", "/v1/chat/completions", {**body, "messages": history, "stream": False})
    assert "21" in answer["choices"][0]["message"]["content"]


@pytest.mark.parametrize("task", TASKS)
def test_a_task_in_the_background_is_answered_whole(task):
    messages = [{"role": "user", "content": TASKS[task] + HISTORY}]
    body = {"model": MODEL, "messages": messages, "stream": False, "max_tokens": 60}
    answer = asked("POST", "/v1/chat/completions", body)["choices"][0]
    assert isinstance(answer["message"]["content"], str) and answer["finish_reason"] in ("stop", "length")
    # With the same words the form may be demanded.
    form = {"type": "json_object"}
    answer = asked("POST", "/v1/chat/completions", {**body, "response_format": form})["choices"][0]
    assert isinstance(json.loads(answer["message"]["content"]), dict)


def test_continue_goes_on_from_the_last_message():
    start = {"role": "assistant", "content": "Once upon a time"}
    body = {"model": MODEL, "messages": [STORY, start], "temperature": 0.0, "max_tokens": 8}
    # `provider: llama.cpp` adds these for its button "Continue".
    body |= {"continue_final_message": True, "add_generation_prompt": False}
    chunks = list(lines("/v1/chat/completions", body, "text/event-stream"))
    text = "".join(choice["delta"].get("content") or "" for chunk in chunks for choice in chunk["choices"])
    assert text and not text.startswith("Once upon")


def test_an_answer_over_responses_is_streamed():
    # `api_type: responses`, after `convert_to_responses_payload`.
    item = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": STORY["content"]}]}
    body = {"model": MODEL, "input": [item], "instructions": "Be brief.", "max_output_tokens": 24, "store": False}
    events = list(lines("/v1/responses", body, "text/event-stream"))
    text = "".join(event["delta"] for event in events if event["type"] == "response.output_text.delta")
    response = events[-1]["response"]
    assert text == "".join(part["text"] for item in response["output"] for part in item.get("content", []))


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/v1/chat/completions", {"model": "gpt-4o", "messages": [STORY]}, 404),
        ("/v1/chat/completions", {"model": MODEL, "messages": [], "stream": True}, 400),
        ("/v1/embeddings", {"model": MODEL, "input": "Hi"}, 404),
        ("/v1/audio/speech", {"model": "tts-1", "input": "Hi", "voice": "alloy"}, 404),
    ],
)
def test_an_error_is_a_json_body_with_its_status(path, body, status):
    response = send("POST", path, body)
    # It would hide an error behind the content type of a stream.
    assert (response.status, response.headers.get_content_type()) == (status, "application/json")
    assert json.load(response)["error"]["message"]


# Ollama's mode.


def test_an_ollama_connection_is_verified_and_the_model_listed():
    assert asked("GET", "/api/version")["version"].count(".") == 2
    [model] = asked("GET", "/api/tags")["models"]
    assert model["model"] == TAGGED and model["size"] > 0
    # Its list says of a model whether it is loaded and until when.
    [running] = asked("GET", "/api/ps")["models"]
    assert running["model"] == model["model"] and running["expires_at"]
    shown = asked("POST", "/api/show", {"model": TAGGED})
    assert "completion" in shown["capabilities"]


# Options that a model's page in Open WebUI sends.
OPTIONS = {
    "temperature": 0.0, "top_p": 0.9, "top_k": 40, "min_p": 0.0, "seed": 0, "num_ctx": 2048, "num_batch": 512,
    "num_keep": 24, "num_predict": 24, "repeat_last_n": 64, "repeat_penalty": 1.1, "stop": ["\n\n\n"], "num_gpu": 0,
    "num_thread": 2, "use_mmap": True, "use_mlock": False,
}  # fmt: skip


def test_an_ollama_chat_is_streamed_line_by_line():
    body = {"model": TAGGED, "messages": [STORY], "options": OPTIONS, "keep_alive": "5m"}
    parts = list(lines("/api/chat", body, "application/x-ndjson"))
    assert [part["done"] for part in parts] == [False] * (len(parts) - 1) + [True]
    text = "".join(part["message"]["content"] for part in parts)
    # `convert_ollama_usage_to_openai` reads these.
    for name in ("total_duration", "load_duration", "prompt_eval_count", "prompt_eval_duration", "eval_count", "eval_duration"):
        assert isinstance(parts[-1][name], int), name
    assert parts[-1]["done_reason"] in ("stop", "length")
    assert asked("POST", "/api/chat", {**body, "stream": False})["message"]["content"] == text


def test_tools_over_ollama_have_arguments_as_objects():
    body = {"model": TAGGED, "messages": [{"role": "user", "content": QUESTION}], "tools": [WEATHER], "options": {"temperature": 0.0}}
    parts = list(lines("/api/chat", body, "application/x-ndjson"))
    [call] = [call for part in parts for call in part["message"].get("tool_calls") or []]
    assert call["function"]["arguments"] == {"city": "Paris"}
    # After `convert_messages_openai_to_ollama`: ids and indexes stay, the content is an empty text.
    said = {"index": 0, "id": "call_1", "function": call["function"]}
    history = [
        *body["messages"],
        {"role": "assistant", "tool_calls": [said], "content": ""},
        {"role": "tool", "content": RESULT, "tool_call_id": "call_1"},
    ]
    answer = asked("POST", "/api/chat", {**body, "messages": history, "stream": False})
    assert "21" in answer["message"]["content"]


@pytest.mark.parametrize("task", TASKS)
def test_a_task_over_ollama_is_answered_whole(task):
    messages = [{"role": "user", "content": TASKS[task] + HISTORY}]
    # The task and the chat are in `metadata`, which goes along.
    body = {"model": TAGGED, "messages": messages, "stream": False, "options": {"num_predict": 60}, "metadata": {"task": task}}
    answer = asked("POST", "/api/chat", body)
    assert answer["done"] is True and isinstance(answer["message"]["content"], str)


def test_a_model_is_unloaded_and_stays():
    answer = asked("POST", "/api/generate", {"model": TAGGED, "keep_alive": 0, "prompt": ""})
    assert answer["done"] is True
    assert asked("GET", "/api/ps")["models"]


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/api/embed", {"model": TAGGED, "input": ["Hi"], "truncate": True}, 501),
        ("/api/embeddings", {"model": TAGGED, "prompt": "Hi"}, 501),
        ("/api/chat", {"model": "llama3", "messages": [STORY]}, 404),
        ("/api/create", {"model": "mine", "from": TAGGED}, 501),
    ],
)
def test_an_error_of_ollama_is_a_string(path, body, status):
    response = send("POST", path, body)
    assert response.status == status
    assert isinstance(json.load(response)["error"], str)


@pytest.fixture(scope="module")
def with_key(tmp_path_factory):
    keys = tmp_path_factory.mktemp("keys") / "keys"
    keys.write_text(f"{KEY}\n")
    with serving("--api-key-file", str(keys)) as url:
        yield url


@pytest.mark.parametrize("path", ["/v1/models", "/api/version", "/api/tags"])
def test_a_connection_without_its_key_is_refused_in_words(with_key, path):
    response = send("GET", path, url=with_key)
    assert response.status == 401
    assert json.load(response)["error"]
    assert send("GET", path, url=with_key, key=KEY).status == 200


@pytest.mark.parametrize(("path", "kind"), [("/v1/chat/completions", "text/event-stream"), ("/api/chat", "application/x-ndjson")])
def test_stop_closes_the_connection_and_ends_the_request(slow, path, kind):
    body = {"model": MODEL, "messages": [STORY], "max_tokens": 900, "ignore_eos": True, "stream": True}
    if path == "/api/chat":
        body |= {"options": {"num_predict": 900, "ignore_eos": True}}
        del body["max_tokens"], body["ignore_eos"]
    with ending_early(slow):
        response = send("POST", path, body, url=slow)
        assert response.headers.get_content_type() == kind
        response.readline()
        response.close()
