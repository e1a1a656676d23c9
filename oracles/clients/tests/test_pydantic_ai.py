"""`pydantic-ai`: tools, and outputs of every mode."""

import pytest
from pydantic import BaseModel, Field
from pydantic_ai import Agent, NativeOutput, ToolOutput
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.openai import OpenAIProvider
from pydantic_ai.settings import ModelSettings

from servers import MODEL, URL
from tools import QUESTION, RESULT

model = OpenAIChatModel(MODEL, provider=OpenAIProvider(base_url=URL + "/v1", api_key="none"))


class Report(BaseModel):
    """The weather of a city"""

    city: str = Field(max_length=12)
    degrees: int = Field(ge=-50, le=60)


def settings(**more):
    return ModelSettings(max_tokens=200, **more)


def test_an_agent_calls_its_tool_and_answers_with_the_result():
    agent = Agent(model, model_settings=settings(temperature=0))
    cities = []

    @agent.tool_plain
    def get_weather(city: str) -> str:
        """Get the weather of a city"""
        cities.append(city)
        return RESULT

    assert "sunny" in agent.run_sync(QUESTION).output.lower()
    assert cities == ["Paris"]


@pytest.mark.parametrize("form", [ToolOutput, NativeOutput])
@pytest.mark.parametrize("seed", range(2))
def test_an_output_is_an_object_of_the_class(form, seed):
    agent = Agent(model, output_type=form(Report), model_settings=settings(temperature=1.2, seed=seed), retries=0)
    assert isinstance(agent.run_sync(QUESTION).output, Report)
