"""`litellm`: as an OpenAI endpoint and as a vLLM, with its own names for errors."""

import asyncio

import litellm
import pytest

from servers import CONTEXT, MODEL, SLOW, STORY, TOO_LONG, URL, ending_early, serving

litellm.suppress_debug_info = True
litellm.telemetry = False
PROVIDERS = ["openai", "hosted_vllm"]


def options(provider="openai", url=URL, **more):
    options = {"model": f"{provider}/{MODEL}", "api_base": url + "/v1", "api_key": "none", "messages": STORY}
    return {**options, "timeout": 60, "max_retries": 0, **more}


@pytest.mark.parametrize("provider", PROVIDERS)
def test_a_chat_has_text_reason_and_usage(provider):
    answer = litellm.completion(**options(provider, max_tokens=12, seed=1))
    [choice] = answer.choices
    assert choice.message.role == "assistant" and choice.message.content.strip()
    assert choice.finish_reason == "length"
    assert answer.usage.completion_tokens == 12
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + 12
    assert answer.usage.prompt_tokens_details.cached_tokens >= 0


@pytest.mark.parametrize("provider", PROVIDERS)
def test_a_stream_adds_up_to_the_answer(provider):
    whole = litellm.completion(**options(provider, max_tokens=20, seed=1))
    wish = {"stream": True, "stream_options": {"include_usage": True}}
    chunks = list(litellm.completion(**options(provider, max_tokens=20, seed=1, **wish)))
    text = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
    assert text == whole.choices[0].message.content
    assert [c.choices[0].finish_reason for c in chunks if c.choices and c.choices[0].finish_reason] == ["length"]
    usage = [c.usage for c in chunks if getattr(c, "usage", None)]
    assert [(u.prompt_tokens, u.completion_tokens) for u in usage] == [(whole.usage.prompt_tokens, 20)]
    built = litellm.stream_chunk_builder(chunks, messages=STORY)
    assert built.choices[0].message.content == text and built.usage.completion_tokens == 20


def test_async_chats_run_side_by_side_and_give_the_same():
    async def work():
        ask = lambda: litellm.acompletion(**options(max_tokens=15, seed=5))
        answers = await asyncio.gather(*(ask() for _ in range(4)))
        stream = await litellm.acompletion(**options(max_tokens=15, seed=5, stream=True))
        return answers, "".join([c.choices[0].delta.content or "" async for c in stream])

    answers, streamed = asyncio.run(work())
    assert {a.choices[0].message.content for a in answers} == {streamed}


def test_several_choices_and_log_probabilities_arrive():
    answer = litellm.completion(**options(n=2, logprobs=True, top_logprobs=2, max_tokens=5, seed=1))
    assert [c.index for c in answer.choices] == [0, 1]
    assert len(answer.choices[1].logprobs.content) == 5


def test_text_completions_are_answered():
    more = {"model": f"text-completion-openai/{MODEL}", "max_tokens": 8, "temperature": 0}
    base = {"api_base": URL + "/v1", "api_key": "none", "prompt": "The sun", "max_retries": 0}
    whole = litellm.text_completion(**base, **more)
    assert whole.usage.completion_tokens == 8
    chunks = litellm.text_completion(**base, **more, stream=True)
    assert "".join(c.choices[0].text or "" for c in chunks) == whole.choices[0].text


@pytest.mark.parametrize("provider", PROVIDERS)
def test_too_long_a_prompt_is_an_exceeded_context_window(provider):
    # Who catches this shortens the conversation or takes another model.
    long = [{"role": "user", "content": TOO_LONG}]
    with pytest.raises(litellm.ContextWindowExceededError):
        litellm.completion(**options(provider, messages=long))
    with pytest.raises(litellm.ContextWindowExceededError):
        litellm.completion(**options(provider, messages=long, stream=True))
    with pytest.raises(litellm.ContextWindowExceededError):
        litellm.completion(**options(provider, max_tokens=CONTEXT))


@pytest.mark.parametrize("provider", PROVIDERS)
def test_errors_have_litellm_s_names(provider):
    with pytest.raises(litellm.BadRequestError) as caught:
        litellm.completion(**options(provider, temperature=5))
    assert "temperature" in caught.value.message
    with pytest.raises(litellm.NotFoundError):
        litellm.completion(**{**options(provider), "model": f"{provider}/gpt-5"})
    with serving("--api-key", "sk-one") as url:
        with pytest.raises(litellm.AuthenticationError):
            litellm.completion(**options(provider, url))


def test_a_full_queue_is_a_rate_limit_with_a_time_to_come_back():
    async def crowd(url):
        slow = {"max_tokens": 100, "extra_body": {"ignore_eos": True}}
        return await asyncio.gather(
            *(litellm.acompletion(**options(url=url, **slow)) for _ in range(5)), return_exceptions=True
        )

    with serving("--sequences", "1", "--queue", "1", *SLOW) as url:
        answers = asyncio.run(crowd(url))
    refused = [a for a in answers if isinstance(a, Exception)]
    assert 0 < len(refused) < 5
    for error in refused:
        assert isinstance(error, litellm.RateLimitError)
        headers = getattr(error, "litellm_response_headers", None) or error.response.headers
        assert int(headers["retry-after"]) >= 1


def test_a_stream_that_is_left_early_is_ended(slow):
    async def leave():
        endless = {"stream": True, "max_tokens": 900, "extra_body": {"ignore_eos": True}}
        stream = await litellm.acompletion(**options(url=slow, **endless))
        async for _ in stream:
            break
        await stream.aclose()

    with ending_early(slow):
        asyncio.run(leave())
