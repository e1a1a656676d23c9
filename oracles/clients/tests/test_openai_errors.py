"""`openai`: which exception an error becomes, what is tried again, and what happens in the middle of a stream."""

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor

import openai
import pytest
from openai import AsyncOpenAI, DefaultHttpxClient, OpenAI

from servers import CONTEXT, LONG, MODEL, SLOW, STORY, TOO_LONG, URL, ending_early, get, metric, post, serving, until

client = OpenAI(base_url=URL + "/v1", api_key="none", max_retries=0, timeout=60)


def chat(**options):
    return client.chat.completions.create(**{"model": MODEL, "messages": STORY, **options})


def counting(url=URL, **options):
    """A client with its usual retries, and the list of answers that it got."""
    seen = []
    hook = lambda response: seen.append((time.monotonic(), response.status_code, response.headers))
    http = DefaultHttpxClient(event_hooks={"response": [hook]})
    return OpenAI(base_url=url + "/v1", api_key="none", http_client=http, timeout=60, **options), seen


@pytest.mark.parametrize(
    ("options", "param", "code"),
    [
        ({"temperature": 3}, "temperature", "invalid_value"),
        ({"top_p": -1}, "top_p", "invalid_value"),
        ({"n": 0}, "n", "invalid_value"),
        ({"max_tokens": -5}, "max_tokens", "invalid_value"),
        ({"max_completion_tokens": "many"}, "max_completion_tokens", "invalid_value"),
        ({"messages": []}, "messages", "invalid_value"),
        ({"messages": [{"role": "wizard", "content": "Hi"}]}, "messages[0].role", "invalid_value"),
        ({"messages": [{"role": "user"}]}, "messages[0].content", "missing_required_parameter"),
        ({"top_logprobs": 3}, "top_logprobs", "invalid_value"),
        ({"logprobs": True, "top_logprobs": 21}, "top_logprobs", "invalid_value"),
        ({"stop": ["a"] * 5}, "stop", "invalid_value"),
        ({"stream_options": {"include_usage": True}}, "stream_options", "invalid_value"),
        ({"extra_body": {"best_of": 2}}, "best_of", "unsupported_parameter"),
    ],
)
def test_a_bad_field_is_a_bad_request_that_names_it(options, param, code):
    with pytest.raises(openai.BadRequestError) as caught:
        chat(**options)
    error = caught.value
    assert (error.param, error.code, error.type) == (param, code, "invalid_request_error")
    assert param in error.message


def test_too_long_a_prompt_tells_both_lengths():
    with pytest.raises(openai.BadRequestError) as caught:
        chat(messages=[{"role": "user", "content": TOO_LONG}])
    error = caught.value
    assert error.code == "context_length_exceeded"
    assert error.body["n_ctx"] == CONTEXT and error.body["n_prompt_tokens"] > CONTEXT
    with pytest.raises(openai.BadRequestError) as caught:
        chat(max_tokens=CONTEXT)
    assert caught.value.code == "context_length_exceeded"


def test_errors_before_a_stream_are_errors_of_the_call():
    with pytest.raises(openai.BadRequestError):
        chat(stream=True, messages=[{"role": "user", "content": TOO_LONG}])


def test_an_unknown_model_is_not_found():
    with pytest.raises(openai.NotFoundError) as caught:
        chat(model="gpt-5")
    assert (caught.value.code, caught.value.param) == ("model_not_found", "model")
    with pytest.raises(openai.NotFoundError) as caught:
        client.models.retrieve("gpt-5")
    assert caught.value.code == "model_not_found"


def test_an_unknown_path_is_not_found():
    with pytest.raises(openai.NotFoundError) as caught:
        client.files.list()
    assert caught.value.type == "invalid_request_error"


def test_keys_are_asked_for_and_taken():
    with serving("--api-key", "sk-one,sk-two") as url:
        for key in ("none", "sk-"):
            with pytest.raises(openai.AuthenticationError) as caught:
                OpenAI(base_url=url + "/v1", api_key=key).models.list()
            error = caught.value
            assert (error.code, error.type) == ("invalid_api_key", "invalid_request_error")
            assert key not in error.message or key == "none"
        for key in ("sk-one", "sk-two"):
            with OpenAI(base_url=url + "/v1", api_key=key) as other:
                assert other.models.list().data
                assert other.chat.completions.create(model=MODEL, messages=STORY, max_tokens=2).choices


def test_a_client_s_mistake_is_not_sent_again():
    other, seen = counting()
    for options in ({"temperature": 3}, {"model": "gpt-5"}, {"messages": [{"role": "user", "content": TOO_LONG}]}):
        seen.clear()
        with pytest.raises(openai.APIStatusError):
            other.chat.completions.create(**{"model": MODEL, "messages": STORY, **options})
        assert len(seen) == 1


def test_a_deadline_before_the_first_token_is_not_sent_again():
    other, seen = counting()
    messages = [{"role": "user", "content": "A word, " * 200}]
    with pytest.raises(openai.APIStatusError) as caught:
        other.chat.completions.create(model=MODEL, messages=messages, extra_body={"deadline_ms": 1}, max_tokens=2)
    assert (caught.value.status_code, caught.value.code) == (504, "deadline_exceeded")
    assert len(seen) == 1


# A slow server that takes one request beside the one that runs.
NARROW = ("--sequences", "1", "--queue", "1", *SLOW)
N_LONG = 150
SECONDS = {"max_tokens": N_LONG, "extra_body": {"ignore_eos": True}}


async def crowd(url, n, **client_options):
    """So many chats at once, and what became of each."""
    async with AsyncOpenAI(base_url=url + "/v1", api_key="none", timeout=120, **client_options) as other:
        asked = (other.chat.completions.create(model=MODEL, messages=STORY, **SECONDS) for _ in range(n))
        return await asyncio.gather(*asked, return_exceptions=True)


def test_a_full_queue_is_a_rate_limit_with_a_time_to_come_back():
    with serving(*NARROW) as url:
        answers = asyncio.run(crowd(url, 6, max_retries=0))
    refused = [answer for answer in answers if isinstance(answer, Exception)]
    assert 0 < len(refused) < 6
    for error in refused:
        assert isinstance(error, openai.RateLimitError)
        assert (error.code, error.type) == ("rate_limit_exceeded", "rate_limit_error")
        # The client takes no more than two minutes for an answer.
        assert 1 <= int(error.response.headers["retry-after"]) <= 120


def test_who_is_sent_away_comes_back_when_told_to_and_gets_an_answer():
    with serving(*NARROW) as url, ThreadPoolExecutor() as threads:
        busy = []
        for state in ("sequences_running", "sequences_waiting"):
            busy.append(threads.submit(lambda: asyncio.run(crowd(url, 1, max_retries=0))))
            until(lambda: get("/v1/loads", url)[state] == 1)
        other, seen = counting(url)
        answer = other.chat.completions.create(model=MODEL, messages=STORY, max_tokens=3)
        assert answer.usage.completion_tokens == 3
        assert all(work.result()[0].usage.completion_tokens == N_LONG for work in busy)
    assert seen[0][1] == 429 and seen[-1][1] == 200
    for (at, _, headers), (again, _, _) in zip(seen, seen[1:]):
        assert again - at >= int(headers["retry-after"]) * 0.99


def test_three_who_retry_as_usual_get_through_a_narrow_door():
    with serving(*NARROW) as url:
        # The server learns how fast it is beside what else this machine does: two retries are for what changes then.
        asyncio.run(crowd(url, 1))
        assert [answer.usage.completion_tokens for answer in asyncio.run(crowd(url, 3))] == [N_LONG] * 3
        assert metric('inferno_http_requests_total{route="/v1/chat/completions",method="POST",status="429"}', url) > 0


def test_a_stream_in_the_queue_shows_signs_of_life_and_then_its_text():
    with serving(*NARROW, "--hold", "1", "--keep-alive", "1") as url, ThreadPoolExecutor() as threads:
        ask = {"model": MODEL, "messages": STORY, "stream": True, "max_tokens": 3}
        other, _ = counting(url)
        busy = [threads.submit(lambda: asyncio.run(crowd(url, 1, max_retries=0)))]
        until(lambda: get("/v1/loads", url)["sequences_running"] == 1)
        with other.chat.completions.with_streaming_response.create(**ask) as response:
            comments = [line for line in response.iter_lines() if line.startswith(":")]
        assert comments and all(line.startswith(": queued 1/1 eta ") for line in comments)
        busy.append(threads.submit(lambda: asyncio.run(crowd(url, 1, max_retries=0))))
        until(lambda: get("/v1/loads", url)["sequences_running"] == 1)
        chunks = list(other.chat.completions.create(**ask))
        assert chunks[0].choices[0].delta.role == "assistant" and chunks[-1].choices[0].finish_reason == "length"


def test_a_client_that_gives_up_leaves_the_queue():
    with serving(*NARROW) as url, ThreadPoolExecutor() as threads:
        threads.submit(lambda: asyncio.run(crowd(url, 1, max_retries=0)))
        until(lambda: get("/v1/loads", url)["sequences_running"] == 1)
        other = OpenAI(base_url=url + "/v1", api_key="none", max_retries=0, timeout=0.5)
        with pytest.raises(openai.APITimeoutError):
            other.chat.completions.create(model=MODEL, messages=STORY)
        until(lambda: get("/v1/loads", url)["sequences_waiting"] == 0, seconds=0.5)
        assert get("/v1/loads", url)["sequences_running"] == 1


def test_a_burst_that_fits_the_free_places_is_not_refused():
    with serving("--sequences", "8", "--queue", "2", *SLOW) as url:
        answers = asyncio.run(crowd(url, 8, max_retries=0))
    assert [answer for answer in answers if isinstance(answer, Exception)] == []


def test_a_cancelled_stream_ends_in_an_error(slow):
    other, seen = counting(slow)
    with ending_early(slow, 2), pytest.raises(openai.APIError) as caught:
        stream = other.chat.completions.create(model=MODEL, messages=STORY, stream=True, n=2, **LONG)
        for i, chunk in enumerate(stream):
            if i == 0:
                assert post(f"/admin/requests/{chunk.id}/cancel", {}, slow) == {"cancelled": 1}
    assert not isinstance(caught.value, openai.APIStatusError)
    assert (caught.value.code, caught.value.type) == ("request_cancelled", "unavailable_error")
    assert "cancelled" in caught.value.message and len(seen) == 1


def test_a_deadline_within_a_stream_ends_it_in_an_error(slow):
    other, seen = counting(slow)
    # Time for some text on this machine as busy as it is, and for a small part of a long answer.
    short, began = {**LONG, "max_tokens": 20}, time.monotonic()
    assert len(list(other.chat.completions.create(model=MODEL, messages=STORY, stream=True, **short))) > 2
    deadline = max(1, 2 * (time.monotonic() - began))
    seen.clear()
    options = {**LONG, "extra_body": {"ignore_eos": True, "deadline_ms": round(1000 * deadline)}}
    n_chunks = 0
    with pytest.raises(openai.APIError) as caught:
        for _ in other.chat.completions.create(model=MODEL, messages=STORY, stream=True, **options):
            n_chunks += 1
    assert n_chunks > 2 and len(seen) == 1
    assert (caught.value.code, caught.value.type) == ("deadline_exceeded", "timeout_error")


def test_closing_a_stream_frees_its_sequences(slow):
    other, _ = counting(slow)
    with ending_early(slow, 4):
        stream = other.chat.completions.create(model=MODEL, messages=STORY, stream=True, n=4, **LONG)
        next(iter(stream))
        until(lambda: get("/v1/loads", slow)["sequences_running"] == 4)
        stream.close()


def test_leaving_a_whole_answer_frees_its_sequences(slow):
    async def leave():
        async with AsyncOpenAI(base_url=slow + "/v1", api_key="none", max_retries=0) as other:
            asked = asyncio.create_task(other.chat.completions.create(model=MODEL, messages=STORY, n=4, **LONG))
            while (await asyncio.to_thread(get, "/v1/loads", slow))["sequences_running"] < 4:
                assert not asked.done()
                await asyncio.sleep(0.005)
            asked.cancel()
            await asyncio.gather(asked, return_exceptions=True)

    with ending_early(slow, 4):
        asyncio.run(leave())
