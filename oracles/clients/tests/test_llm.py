"""`llm`, the command: models of `extra-openai-models.yaml`, streams, tools, schemas, conversations, errors."""

import json
import os
import subprocess
import sys

import pytest

from servers import MODEL, STORY, URL, post
from tools import QUESTION, RESULT

MODELS = f"""
- model_id: inferno
  model_name: {MODEL}
  api_base: {URL}/v1
  supports_tools: true
  supports_schema: true
- model_id: inferno-completion
  model_name: {MODEL}
  api_base: {URL}/v1
  completion: true
- model_id: other
  model_name: other
  api_base: {URL}/v1
"""
GREEDY = ("-o", "temperature", "0", "-o", "max_tokens", "24")
FUNCTION = f'''
def get_weather(city: str) -> str:
    "Get the weather of a city"
    return '{RESULT}'
'''


@pytest.fixture(scope="module")
def llm(tmp_path_factory):
    """Runs the command with a folder of its own."""
    home = tmp_path_factory.mktemp("llm")
    (home / "extra-openai-models.yaml").write_text(MODELS)

    def run(*args):
        environment = os.environ | {"LLM_USER_PATH": str(home), "OPENAI_API_KEY": "none"}
        command = [sys.executable, "-m", "llm", *args]
        return subprocess.run(command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=300)

    return run


def said(ran):
    assert ran.returncode == 0, ran.stderr
    return ran.stdout.strip()


def test_a_stream_and_a_whole_answer_have_the_text_of_the_chat(llm):
    chat = post("/v1/chat/completions", {"messages": STORY, "temperature": 0, "max_tokens": 24})
    text = chat["choices"][0]["message"]["content"].strip()
    assert said(llm("-m", "inferno", *GREEDY, STORY[0]["content"])) == text
    assert said(llm("-m", "inferno", "--no-stream", *GREEDY, STORY[0]["content"])) == text
    [logged] = json.loads(said(llm("logs", "-n", "1", "--json")))
    assert logged["output_tokens"] == chat["usage"]["completion_tokens"]


def test_a_conversation_goes_on(llm):
    said(llm("-m", "inferno", *GREEDY, "-s", "You are a storyteller.", "Tell me a story."))
    assert said(llm("-c", *GREEDY, "Go on."))
    logged = json.loads(said(llm("logs", "-n", "2", "--json")))
    assert len({entry["conversation_id"] for entry in logged}) == 1


def test_a_tool_is_called_and_the_answer_has_its_result(llm):
    ran = llm("-m", "inferno", "-o", "temperature", "0", "--functions", FUNCTION, "--td", QUESTION)
    assert "21" in said(ran) and "get_weather({'city': 'Paris'})" in ran.stderr


def test_an_answer_is_one_of_its_schema(llm):
    answer = json.loads(said(llm("-m", "inferno", "-o", "temperature", "0", "--schema", "city, degrees int", QUESTION)))
    assert isinstance(answer["city"], str) and isinstance(answer["degrees"], int)


def test_a_completion_goes_on_from_its_prompt(llm):
    completion = post("/v1/completions", {"prompt": "Once upon a time", "temperature": 0, "max_tokens": 24})
    text = completion["choices"][0]["text"].strip()
    assert said(llm("-m", "inferno-completion", *GREEDY, "Once upon a time")) == text


def test_an_error_is_told_with_its_words(llm):
    ran = llm("-m", "other", "Hi")
    assert ran.returncode == 1 and "`other` does not exist" in ran.stderr
