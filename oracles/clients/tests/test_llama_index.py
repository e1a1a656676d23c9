"""`llama-index` with `OpenAILike`: tools, agents and structured output."""

import asyncio

from llama_index.core.agent.workflow import FunctionAgent
from llama_index.core.llms import ChatMessage
from llama_index.core.tools import FunctionTool
from llama_index.llms.openai_like import OpenAILike
from pydantic import BaseModel, Field

from servers import MODEL, URL
from tools import QUESTION, RESULT


class Report(BaseModel):
    """The weather of a city"""

    city: str = Field(max_length=12)
    degrees: int


def get_weather(city: str) -> str:
    """Get the weather of a city"""
    return RESULT


def model(**options):
    options = {"temperature": 0, "max_tokens": 200, **options}
    return OpenAILike(
        model=MODEL,
        api_base=URL + "/v1",
        api_key="none",
        is_chat_model=True,
        is_function_calling_model=True,
        context_window=2048,
        max_retries=0,
        **options,
    )


def test_a_chat_is_answered_whole_and_streamed():
    messages = [ChatMessage(role="user", content="Hi")]
    whole = model().chat(messages).message.content
    assert whole.strip() and "".join(r.delta or "" for r in model().stream_chat(messages)) == whole


def test_a_tool_is_called():
    llm = model()
    tool = FunctionTool.from_defaults(get_weather)
    answer = llm.chat_with_tools([tool], user_msg=QUESTION)
    [call] = llm.get_tool_calls_from_response(answer)
    assert (call.tool_name, call.tool_kwargs) == ("get_weather", {"city": "Paris"})


def test_an_agent_calls_its_tool_and_answers_with_the_result():
    async def work():
        agent = FunctionAgent(tools=[get_weather], llm=model(), system_prompt="You are a helpful assistant.")
        return str(await agent.run(QUESTION))

    assert "21" in asyncio.run(work())


def test_structured_output_is_an_object_of_the_class():
    llm = model(temperature=1.2).as_structured_llm(Report)
    assert isinstance(llm.chat([ChatMessage(role="user", content=QUESTION)]).raw, Report)
