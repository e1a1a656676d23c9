"""`openai-agents` over chat completions."""

import asyncio

from agents import Agent, ModelSettings, OpenAIChatCompletionsModel, Runner, function_tool, set_tracing_disabled
from openai import AsyncOpenAI
from pydantic import BaseModel, Field

from servers import MODEL, URL
from tools import QUESTION, RESULT

set_tracing_disabled(True)


class Report(BaseModel):
    city: str = Field(max_length=12)
    degrees: int


def run(work):
    async def main():
        async with AsyncOpenAI(base_url=URL + "/v1", api_key="none", max_retries=0, timeout=60) as client:
            return await work(OpenAIChatCompletionsModel(model=MODEL, openai_client=client))

    return asyncio.run(main())


def test_an_agent_calls_its_tool_and_answers_with_the_result():
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

    whole, streamed = run(work)
    assert "21" in whole and streamed == whole
    assert cities == ["Paris", "Paris"]


def test_an_output_is_an_object_of_the_class():
    async def work(model):
        settings = ModelSettings(temperature=1.2, max_tokens=200)
        agent = Agent(name="report", model=model, output_type=Report, model_settings=settings)
        return (await Runner.run(agent, QUESTION)).final_output

    assert isinstance(run(work), Report)
