"""`openai`: chats, whole, as streams and through the streaming helper."""

import asyncio

import pytest
from openai import AsyncOpenAI, BadRequestError, LengthFinishReasonError, OpenAI

from servers import CONTEXT, MODEL, STORY, URL

client = OpenAI(base_url=URL + "/v1", api_key="none", max_retries=0, timeout=60)


def chat(**options):
    return client.chat.completions.create(model=MODEL, messages=STORY, **options)


def text(answer):
    return answer.choices[0].message.content


def run_async(work):
    async def main():
        async with AsyncOpenAI(base_url=URL + "/v1", api_key="none", max_retries=0, timeout=60) as other:
            return await work(other.chat.completions)

    return asyncio.run(main())


def test_a_chat_is_answered_in_openai_s_form():
    answer = chat(max_tokens=12, seed=1)
    assert (answer.object, answer.model) == ("chat.completion", MODEL)
    assert answer.id.startswith("chatcmpl-") and answer.created > 1_700_000_000 and answer.system_fingerprint
    [choice] = answer.choices
    assert (choice.index, choice.message.role, choice.finish_reason) == (0, "assistant", "length")
    assert choice.message.content.strip() and not choice.message.tool_calls and choice.message.refusal is None
    usage = answer.usage
    assert usage.completion_tokens == 12 and usage.prompt_tokens > 5
    assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens
    assert answer._request_id


def test_both_names_of_max_tokens_are_taken_and_must_agree():
    for names in ({"max_tokens": 3}, {"max_completion_tokens": 3}, {"max_tokens": 3, "max_completion_tokens": 3}):
        assert chat(**names).usage.completion_tokens == 3
    with pytest.raises(BadRequestError, match="two names of one parameter"):
        chat(max_tokens=20, max_completion_tokens=3)


def test_a_chat_without_a_length_ends_by_itself():
    assert chat(seed=1).choices[0].finish_reason == "stop"


def test_a_whole_answer_equals_its_stream():
    whole = chat(seed=5, max_tokens=40)
    chunks = list(chat(seed=5, max_tokens=40, stream=True))
    assert "".join(c.choices[0].delta.content or "" for c in chunks) == text(whole)
    assert {(c.id, c.created, c.model, c.object) for c in chunks} == {
        (chunks[0].id, chunks[0].created, MODEL, "chat.completion.chunk")
    }


def test_a_stream_has_its_role_once_and_its_reason_at_the_end():
    chunks = list(chat(seed=1, max_tokens=10, stream=True))
    assert [c.choices[0].delta.role for c in chunks] == ["assistant"] + [None] * (len(chunks) - 1)
    assert [c.choices[0].finish_reason for c in chunks] == [None] * (len(chunks) - 1) + ["length"]
    assert not chunks[-1].choices[0].delta.content
    # Nobody has asked for it.
    assert all(c.usage is None and len(c.choices) == 1 for c in chunks)


def test_usage_comes_in_a_chunk_of_its_own_after_the_last_choice():
    chunks = list(chat(seed=1, max_tokens=10, stream=True, stream_options={"include_usage": True}))
    assert chunks[-1].choices == [] and chunks[-1].usage.completion_tokens == 10
    assert all(c.usage is None and c.choices for c in chunks[:-1])


def test_streams_ask_proxies_not_to_hold_them_back():
    with client.chat.completions.with_streaming_response.create(
        model=MODEL, messages=STORY, max_tokens=2, stream=True
    ) as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        assert response.headers["cache-control"] == "no-cache"
        assert response.headers["x-accel-buffering"] == "no"
        lines = [line for line in response.iter_lines() if line]
    assert lines[-1] == "data: [DONE]"


def test_the_second_answer_tells_what_was_cached():
    messages = [{"role": "user", "content": "Remember these words. " + "apple tree house river " * 30}]
    ask = lambda: client.chat.completions.create(model=MODEL, messages=messages, max_tokens=2).usage
    ask()
    usage = ask()
    assert 0 < usage.prompt_tokens_details.cached_tokens < usage.prompt_tokens


def test_async_chats_and_streams_give_the_same():
    async def work(completions):
        options = {"model": MODEL, "messages": STORY, "seed": 7, "max_tokens": 30}
        whole = await completions.create(**options)
        stream = await completions.create(**options, stream=True)
        return text(whole), "".join([c.choices[0].delta.content or "" async for c in stream])

    whole, streamed = run_async(work)
    assert whole == streamed == text(chat(seed=7, max_tokens=30))


def test_the_same_seed_gives_the_same_answer_alone_and_among_sixteen():
    options = {"seed": 42, "temperature": 1.0, "max_tokens": 40, "logprobs": True, "top_logprobs": 2}
    first, second = chat(**options), chat(**options)
    assert first.choices == second.choices
    assert first.system_fingerprint == second.system_fingerprint
    assert text(chat(**{**options, "seed": 43})) != text(first)

    async def work(completions):
        ask = lambda: completions.create(model=MODEL, messages=STORY, **options)
        return await asyncio.gather(*(ask() for _ in range(16)))

    for answer in run_async(work):
        assert answer.choices == first.choices


# The helper takes an answer that was cut for an error, so these end by themselves.


def test_the_helper_puts_a_stream_together_again():
    whole = chat(seed=9)
    with client.chat.completions.stream(model=MODEL, messages=STORY, seed=9) as stream:
        events = list(stream)
        final = stream.get_final_completion()
    assert text(final) == text(whole)
    assert final.choices[0].message.role == "assistant"
    assert final.choices[0].finish_reason == "stop"
    deltas = [e.delta for e in events if e.type == "content.delta"]
    [done] = [e for e in events if e.type == "content.done"]
    assert "".join(deltas) == done.content == text(whole)


def test_the_helper_keeps_three_choices_apart():
    options = {"model": MODEL, "messages": STORY, "seed": 3, "temperature": 1.0, "stop": ["."], "n": 3}
    whole = client.chat.completions.create(**options)
    options["stream_options"] = {"include_usage": True}
    with client.chat.completions.stream(**options) as stream:
        final = stream.until_done().get_final_completion()
    assert [c.index for c in whole.choices] == [c.index for c in final.choices] == [0, 1, 2]
    assert [c.message.content for c in final.choices] == [c.message.content for c in whole.choices]
    assert [c.message.role for c in final.choices] == ["assistant"] * 3
    assert [c.finish_reason for c in final.choices] == ["stop"] * 3
    assert len({c.message.content for c in final.choices}) > 1
    assert final.usage.completion_tokens == whole.usage.completion_tokens
    assert final.usage.prompt_tokens == whole.usage.prompt_tokens


def test_the_async_helper_gets_log_probabilities():
    async def work(completions):
        options = {"seed": 4, "stop": ["."], "logprobs": True, "top_logprobs": 3}
        async with completions.stream(model=MODEL, messages=STORY, **options) as stream:
            events = [event async for event in stream]
            return events, await stream.get_final_completion()

    events, final = run_async(work)
    told = [t.token for e in events if e.type == "logprobs.content.delta" for t in e.content]
    assert len(told) > 5 and told == [t.token for t in final.choices[0].logprobs.content]


def test_the_helper_says_when_an_answer_was_cut():
    with client.chat.completions.stream(model=MODEL, messages=STORY, max_tokens=5) as stream:
        with pytest.raises(LengthFinishReasonError) as caught:
            stream.until_done().get_final_completion()
    assert caught.value.completion.choices[0].finish_reason == "length"


def test_log_probabilities_belong_to_the_text():
    answer = chat(seed=1, max_tokens=20, temperature=0, logprobs=True, top_logprobs=5)
    told = answer.choices[0].logprobs.content
    assert len(told) == answer.usage.completion_tokens
    assert bytes(b for t in told for b in t.bytes).decode() == text(answer)
    for token in told:
        best = token.top_logprobs
        assert len(best) == 5 and token.logprob <= 0
        assert [t.logprob for t in best] == sorted((t.logprob for t in best), reverse=True)
        # The best one was taken.
        assert (best[0].token, best[0].logprob) == (token.token, token.logprob)


def test_log_probabilities_of_a_stream_are_those_of_the_whole_answer():
    options = {"seed": 2, "max_tokens": 15, "logprobs": True, "top_logprobs": 2}
    whole = chat(**options).choices[0].logprobs.content
    streamed = [t for c in chat(**options, stream=True) if c.choices[0].logprobs for t in c.choices[0].logprobs.content]
    assert streamed == whole


def test_log_probabilities_without_the_best_tokens_have_an_empty_list():
    told = chat(max_tokens=3, logprobs=True).choices[0].logprobs.content
    assert [t.top_logprobs for t in told] == [[], [], []]


def test_no_part_of_a_stop_string_is_shown():
    whole = text(chat(seed=1, max_tokens=60))
    # From the middle of one word into the next.
    at = whole.index(" ", 20)
    stop = whole[at - 2 : at + 3]
    shown = whole[: whole.index(stop)]
    answer = chat(seed=1, max_tokens=60, stop=stop)
    assert text(answer) == shown and answer.choices[0].finish_reason == "stop"
    chunks = list(chat(seed=1, max_tokens=60, stop=["no such words", stop], stream=True))
    assert "".join(c.choices[0].delta.content or "" for c in chunks) == shown
    assert chunks[-1].choices[0].finish_reason == "stop"


def test_a_biased_token_is_said_and_a_banned_one_is_not():
    greedy = {"temperature": 0, "max_tokens": 1, "extra_body": {"return_token_ids": True}}
    [token] = chat(**greedy).choices[0].token_ids
    assert chat(**greedy, logit_bias={str(token): -100}).choices[0].token_ids != [token]
    assert chat(**greedy, logit_bias={"300": 100}).choices[0].token_ids == [300]


def test_a_developer_speaks_as_the_system():
    ask = lambda role: client.chat.completions.create(
        model=MODEL,
        messages=[{"role": role, "content": "You are a pirate."}, *STORY],
        seed=1,
        max_tokens=20,
    )
    assert ask("developer").choices[0].message == ask("system").choices[0].message


def test_content_may_come_in_parts():
    parts = [{"role": "user", "content": [{"type": "text", "text": STORY[0]["content"]}]}]
    answer = client.chat.completions.create(model=MODEL, messages=parts, seed=1, max_tokens=20)
    assert answer.choices == chat(seed=1, max_tokens=20).choices


def test_an_answer_can_be_sent_back_as_it_came():
    first = chat(seed=1, max_tokens=20).choices[0].message
    messages = [*STORY, first.model_dump(exclude_none=True), {"role": "user", "content": "Go on."}]
    assert text(client.chat.completions.create(model=MODEL, messages=messages, max_tokens=5)).strip()
    messages[1] = first.model_dump()
    assert text(client.chat.completions.create(model=MODEL, messages=messages, max_tokens=5)).strip()


def test_parameters_for_openai_s_own_service_change_nothing():
    more = {
        "prompt_cache_key": "x",
        "prompt_cache_retention": "24h",
        "safety_identifier": "someone",
        "verbosity": "low",
        "service_tier": "auto",
        "store": True,
        "metadata": {"a": "b"},
        "user": "someone",
        "web_search_options": {},
        "parallel_tool_calls": True,
        "modalities": ["text"],
        "extra_body": {"moderation": {"model": "x"}, "prompt_cache_options": {"mode": "implicit"}},
    }
    assert chat(seed=1, max_tokens=10, **more).choices == chat(seed=1, max_tokens=10).choices


def test_models_are_listed_with_their_context():
    [model] = client.models.list()
    assert (model.id, model.object) == (MODEL, "model") and model.created > 0 and model.owned_by
    assert model.max_model_len == model.context_length == model.meta["n_ctx"] == CONTEXT
    assert client.models.retrieve(MODEL) == client.models.retrieve("default") == model
