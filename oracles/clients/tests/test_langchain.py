"""`langchain-openai`: chats and completions as chains and agents use them."""

import asyncio

import openai
import pytest
from langchain_core.exceptions import ContextOverflowError
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage
from langchain_openai import ChatOpenAI, OpenAI

from servers import MODEL, TOO_LONG, URL, ending_early

STORY = "Tell me a story about a dragon."


# The models share connections, so all that is asynchronous runs in one loop.
run_async = asyncio.Runner().run


def model(url=URL, **options):
    return ChatOpenAI(base_url=url + "/v1", api_key="none", model=MODEL, max_retries=0, timeout=60, **options)


def test_invoke_gives_text_usage_and_reason():
    answer = model(seed=1, max_tokens=12).invoke(STORY)
    assert answer.content.strip() and answer.id
    usage = answer.usage_metadata
    assert usage["output_tokens"] == 12 and usage["total_tokens"] == usage["input_tokens"] + 12
    assert usage["input_token_details"]["cache_read"] >= 0
    more = answer.response_metadata
    assert (more["finish_reason"], more["model_name"]) == ("length", MODEL)
    assert more["system_fingerprint"]


def test_a_conversation_of_all_its_kinds_of_messages_is_taken():
    messages = [SystemMessage("You are a pirate."), HumanMessage("Hi"), AIMessage("Ahoy!"), HumanMessage("Who are you?")]
    assert model(max_tokens=10).invoke(messages).content.strip()


def test_an_answer_of_the_model_goes_back_into_the_conversation():
    chat = model(seed=1, max_tokens=10)
    first = chat.invoke(STORY)
    assert chat.invoke([HumanMessage(STORY), first, HumanMessage("Go on.")]).content.strip()


def test_a_stream_adds_up_to_the_answer_with_its_usage():
    chat = model(seed=1, max_tokens=20, stream_usage=True)
    whole = chat.invoke(STORY)
    chunks = list(chat.stream(STORY))
    added = chunks[0]
    for chunk in chunks[1:]:
        added += chunk
    assert len(chunks) > 2 and added.content == whole.content
    for name in ("input_tokens", "output_tokens", "total_tokens"):
        assert added.usage_metadata[name] == whole.usage_metadata[name]
    assert added.response_metadata["finish_reason"] == "length"
    assert added.response_metadata["model_name"] == MODEL


def test_astream_and_ainvoke_give_the_same():
    async def work():
        chat = model(seed=2, max_tokens=20)
        whole = await chat.ainvoke(STORY)
        return whole.content, "".join([chunk.content async for chunk in chat.astream(STORY)])

    whole, streamed = run_async(work())
    assert whole == streamed != ""


def test_a_batch_is_answered_in_its_order():
    chat = model(temperature=0, max_tokens=8)
    questions = [STORY, "Hi", "What is the sun?", "Who are you?"]
    assert [a.content for a in chat.batch(questions)] == [chat.invoke(q).content for q in questions]
    together = run_async(chat.abatch(questions))
    assert [a.content for a in together] == [chat.invoke(q).content for q in questions]


def test_several_choices_are_generations():
    result = model(n=3, seed=1, temperature=1.0, max_tokens=10).generate([[HumanMessage(STORY)]])
    texts = [generation.text for generation in result.generations[0]]
    assert len(texts) == 3 and len(set(texts)) > 1
    assert result.llm_output["token_usage"]["completion_tokens"] == 30


def test_stop_strings_and_log_probabilities_arrive():
    chat = model(seed=1, max_tokens=60, logprobs=True, top_logprobs=2)
    whole = chat.invoke(STORY)
    told = whole.response_metadata["logprobs"]["content"]
    assert len(told) == whole.usage_metadata["output_tokens"] and len(told[0]["top_logprobs"]) == 2
    stop = whole.content[20:24]
    assert chat.invoke(STORY, stop=[stop]).content == whole.content[: whole.content.index(stop)]
    added = None
    for chunk in chat.stream(STORY):
        added = chunk if added is None else added + chunk
    assert added.response_metadata["logprobs"]["content"] == told


def test_a_stream_that_is_left_early_is_ended(slow):
    with ending_early(slow):
        stream = model(slow, max_tokens=900, extra_body={"ignore_eos": True}).stream(STORY)
        next(stream)
        stream.close()


def test_completions_take_several_prompts():
    llm = OpenAI(base_url=URL + "/v1", api_key="none", model=MODEL, temperature=0, max_tokens=8, max_retries=0)
    result = llm.generate(["The sun", "My name is"])
    assert [g[0].text for g in result.generations] == [llm.invoke("The sun"), llm.invoke("My name is")]
    assert "".join(llm.stream("The sun")) == llm.invoke("The sun")


def test_too_long_a_prompt_is_an_overflow_of_the_context():
    with pytest.raises(ContextOverflowError):
        model().invoke(TOO_LONG)
    with pytest.raises(ContextOverflowError):
        list(model().stream(TOO_LONG))


def test_an_unknown_model_is_not_found():
    with pytest.raises(openai.NotFoundError):
        ChatOpenAI(base_url=URL + "/v1", api_key="none", model="gpt-5", max_retries=0).invoke("Hi")


@pytest.mark.parametrize("responses", [False, True])
def test_both_apis_give_the_same_text(responses):
    def ask(is_stream):
        chat = model(temperature=0, max_tokens=24, use_responses_api=responses)
        parts = chat.stream(STORY) if is_stream else [chat.invoke(STORY)]
        return "".join(part.text for part in parts)

    [first] = {ask(False), ask(True)}
    assert first == model(temperature=0, max_tokens=24).invoke(STORY).text
