"""`openai`: completions of texts and of tokens, as evaluation harnesses ask for them."""

import pytest
from openai import OpenAI

from servers import MODEL, URL, post

client = OpenAI(base_url=URL + "/v1", api_key="none", max_retries=0, timeout=60)
TEXT = "Once upon a time there was a little dragon"


def complete(prompt=TEXT, **options):
    return client.completions.create(model=MODEL, prompt=prompt, **options)


def tokens(text):
    return post("/tokenize", {"content": text, "add_special": True})["tokens"]


def test_a_completion_has_openai_s_form_and_length():
    answer = complete(seed=1)
    assert answer.object == "text_completion" and answer.id.startswith("cmpl-")
    assert answer.usage.completion_tokens == 16 and answer.choices[0].finish_reason == "length"
    assert answer.usage.prompt_tokens == len(tokens(TEXT))


def test_tokens_are_completed_like_their_text():
    options = {"seed": 1, "max_tokens": 20}
    assert complete(tokens(TEXT), **options).choices == complete(**options).choices


def test_several_prompts_are_answered_in_their_order():
    texts = [TEXT, "The sun", "My name is"]
    alone = [complete(text, temperature=0, max_tokens=8).choices[0].text for text in texts]
    for prompts in (texts, [tokens(text) for text in texts]):
        answer = complete(prompts, temperature=0, max_tokens=8)
        assert [c.text for c in answer.choices] == alone
        assert [c.index for c in answer.choices] == [0, 1, 2]
        assert answer.usage.prompt_tokens == sum(len(tokens(text)) for text in texts)


def test_choices_of_several_prompts_are_grouped_by_prompt():
    answer = complete([TEXT, "The sun"], temperature=0, max_tokens=6, n=2)
    assert [c.index for c in answer.choices] == [0, 1, 2, 3]
    first, second, third, fourth = (c.text for c in answer.choices)
    assert first == second != third == fourth


def test_a_stream_of_several_prompts_gives_the_same_texts():
    options = {"prompt": [TEXT, "The sun"], "seed": 2, "max_tokens": 12, "n": 2}
    whole = complete(**options)
    texts, reasons, order = {}, {}, []
    for chunk in complete(**options, stream=True, stream_options={"include_usage": True}):
        usage = chunk.usage
        for choice in chunk.choices:
            if choice.index not in texts:
                order.append(choice.index)
            texts[choice.index] = texts.get(choice.index, "") + choice.text
            reasons[choice.index] = choice.finish_reason or reasons.get(choice.index)
    assert order == [0, 1, 2, 3]
    assert [texts[i] for i in order] == [c.text for c in whole.choices]
    assert [reasons[i] for i in order] == [c.finish_reason for c in whole.choices]
    assert usage.total_tokens == whole.usage.total_tokens


def test_a_text_is_scored_with_echo():
    answer = complete(echo=True, logprobs=3, max_tokens=0, temperature=0)
    [choice] = answer.choices
    told = choice.logprobs
    assert choice.text == "".join(told.tokens) == TEXT and answer.usage.completion_tokens == 0
    assert told.token_logprobs[0] is None and told.top_logprobs[0] is None
    assert all(x <= 0 for x in told.token_logprobs[1:])
    for token, logprob, best in zip(told.tokens[1:], told.token_logprobs[1:], told.top_logprobs[1:]):
        assert best[token] == logprob and 3 <= len(best) <= 4
    assert [choice.text[at:].startswith(token) for at, token in zip(told.text_offset, told.tokens)] == [True] * len(
        told.tokens
    )


def test_a_harness_finds_the_continuation_behind_its_context():
    # As lm-eval does it: tokens in, one more token, and a slice of the answer.
    context, both = tokens(TEXT), tokens(TEXT + " who lived in a cave")
    answer = complete(both, echo=True, logprobs=1, max_tokens=1, temperature=0, seed=1)
    told = answer.choices[0].logprobs
    assert len(told.token_logprobs) == len(told.tokens) == len(told.top_logprobs) == len(both) + 1
    alone = complete(both, echo=True, logprobs=1, max_tokens=0).choices[0].logprobs
    assert told.token_logprobs[:-1] == alone.token_logprobs
    slice_ = told.token_logprobs[len(context) : -1]
    assert len(slice_) == len(both) - len(context) and all(x <= 0 for x in slice_)


def test_a_scored_stream_gives_what_the_whole_answer_gives():
    options = {"echo": True, "logprobs": 2, "max_tokens": 6, "seed": 1}
    whole = complete(**options).choices[0]
    chunks = [c.choices[0] for c in complete(**options, stream=True)]
    assert "".join(c.text for c in chunks) == whole.text
    for name in ("tokens", "token_logprobs", "text_offset", "top_logprobs"):
        told = [x for c in chunks if c.logprobs for x in getattr(c.logprobs, name)]
        assert told == getattr(whole.logprobs, name), name


def test_stop_strings_end_a_completion():
    whole = complete(seed=1, max_tokens=60).choices[0].text
    stop = whole[30:34]
    choice = complete(seed=1, max_tokens=60, stop=[stop]).choices[0]
    assert (choice.text, choice.finish_reason) == (whole[: whole.index(stop)], "stop")


@pytest.mark.parametrize("best_of", [None, 1])
def test_best_of_one_is_no_wish(best_of):
    assert complete(max_tokens=2, best_of=best_of).choices[0].text
