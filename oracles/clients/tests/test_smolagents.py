"""`smolagents`: its agent that calls tools."""

from smolagents import OpenAIModel, ToolCallingAgent, tool
from smolagents.models import ChatMessage, MessageRole

from servers import MODEL, URL
from tools import QUESTION, RESULT


@tool
def get_weather(city: str) -> str:
    """Get the weather of a city

    Args:
        city: Name of the city
    """
    return RESULT


def model(**options):
    options = {"temperature": 0, "max_tokens": 200, **options}
    return OpenAIModel(model_id=MODEL, api_base=URL + "/v1", api_key="none", **options)


def test_the_model_must_call_a_tool_and_does():
    message = ChatMessage(role=MessageRole.USER, content=[{"type": "text", "text": QUESTION}])
    answer = model().generate([message], tools_to_call_from=[get_weather])
    [call] = answer.tool_calls
    assert call.function.name == "get_weather"


def test_an_agent_runs_a_step_with_its_tool():
    agent = ToolCallingAgent(
        tools=[get_weather],
        model=model(),
        max_steps=1,
        instructions="Short.",
        prompt_templates=None,
        verbosity_level=0,
    )
    agent.run(QUESTION)
    assert agent.memory.steps
