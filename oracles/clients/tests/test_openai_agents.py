"""`openai-agents` over responses, its default, and over chat completions."""

import asyncio

import pytest
from agents import (
    Agent,
    ModelSettings,
    OpenAIChatCompletionsModel,
    OpenAIResponsesModel,
    Runner,
    function_tool,
    set_tracing_disabled,
)
from openai import AsyncOpenAI
from pydantic import BaseModel, Field

from servers import MODEL, URL
from tools import QUESTION, RESULT

set_tracing_disabled(True)


class Report(BaseModel):
    city: str = Field(max_length=12)
    degrees: int


API = pytest.mark.parametrize("api", [OpenAIResponsesModel, OpenAIChatCompletionsModel])


def run(api, work):
    async def main():
        async with AsyncOpenAI(base_url=URL + "/v1", api_key="none", max_retries=0, timeout=60) as client:
            return await work(api(model=MODEL, openai_client=client))

    return asyncio.run(main())


@API
def test_an_agent_calls_its_tool_and_answers_with_the_result(api):
    cities = []

    @function_tool
    def get_weather(city: str) -> str:
        """Get the weather of a city"""
        cities.append(city)
        return RESULT

    async def work(model):
        settings = ModelSettings(temperature=0, max_tokens=200)
        agent = Agent(name="weather", model=model, tools=[get_weather], model_settings=settings)
        whole = await Runner.run(agent, QUESTION, max_turns=3)
        streamed = Runner.run_streamed(agent, QUESTION, max_turns=3)
        async for _ in streamed.stream_events():
            pass
        return whole.final_output, streamed.final_output

    whole, streamed = run(api, work)
    assert "21" in whole and streamed == whole
    assert cities == ["Paris", "Paris"]


@API
def test_an_output_is_an_object_of_the_class(api):
    async def work(model):
        settings = ModelSettings(temperature=1.2, max_tokens=200)
        agent = Agent(name="report", model=model, output_type=Report, model_settings=settings)
        return (await Runner.run(agent, QUESTION)).final_output

    assert isinstance(run(api, work), Report)


def test_a_conversation_goes_on_from_the_last_response():
    async def work(model):
        agent = Agent(name="teller", model=model, model_settings=ModelSettings(temperature=0))
        first = await Runner.run(agent, "Tell me a story about a dragon.")
        by_id = await Runner.run(agent, "Go on.", previous_response_id=first.last_response_id)
        by_hand = await Runner.run(agent, [*first.to_input_list(), {"role": "user", "content": "Go on."}])
        return by_id.final_output, by_hand.final_output

    by_id, by_hand = run(OpenAIResponsesModel, work)
    assert by_id == by_hand
