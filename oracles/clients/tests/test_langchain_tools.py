"""`langchain` and `langchain-openai`: tools, agents and structured output."""

import pytest
from langchain.agents import create_agent
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from pydantic import BaseModel, Field

from servers import MODEL, URL
from tools import QUESTION, RESULT


def model(**options):
    options = {"temperature": 0, "max_tokens": 200, **options}
    return ChatOpenAI(base_url=URL + "/v1", api_key="none", model=MODEL, max_retries=0, timeout=60, **options)


@tool
def get_weather(city: str) -> str:
    """Get the weather of a city"""
    return RESULT


class Report(BaseModel):
    """The weather of a city"""

    city: str = Field(max_length=12)
    degrees: int = Field(ge=-50, le=60)
    is_windy: bool


def test_a_bound_tool_is_called_whole_and_streamed():
    bound = model().bind_tools([get_weather])
    whole = bound.invoke(QUESTION)
    [call] = whole.tool_calls
    assert (call["name"], call["args"]) == ("get_weather", {"city": "Paris"}) and call["id"]
    added = None
    for chunk in bound.stream(QUESTION):
        added = chunk if added is None else added + chunk
    [streamed] = added.tool_calls
    assert (streamed["name"], streamed["args"]) == (call["name"], call["args"])
    messages = [HumanMessage(QUESTION), whole, ToolMessage(RESULT, tool_call_id=call["id"])]
    assert "21" in bound.invoke(messages).content


def test_a_tool_that_is_chosen_is_called():
    bound = model(temperature=1.5, seed=1).bind_tools([get_weather], tool_choice="get_weather")
    [call] = bound.invoke("Hi").tool_calls
    assert call["name"] == "get_weather" and set(call["args"]) == {"city"}


@pytest.mark.parametrize("method", ["json_schema", "function_calling", "json_mode"])
def test_structured_output_is_an_object_of_the_class(method):
    for seed in range(2):
        chat = model(temperature=1.2, seed=seed)
        if method == "json_mode":
            answer = chat.with_structured_output({"type": "object"}, method=method).invoke(QUESTION + " Answer in JSON.")
            assert isinstance(answer, dict)
        else:
            assert isinstance(chat.with_structured_output(Report, method=method).invoke(QUESTION), Report)


def test_an_agent_calls_its_tool_and_answers_with_the_result():
    agent = create_agent(model(), [get_weather])
    messages = agent.invoke({"messages": [HumanMessage(QUESTION)]})["messages"]
    kinds = [type(message) for message in messages]
    assert kinds == [HumanMessage, AIMessage, ToolMessage, AIMessage], messages
    assert "21" in messages[-1].content
