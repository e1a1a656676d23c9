"""`instructor`: the modes that go over chat completions."""

import instructor
import pytest
from openai import OpenAI
from pydantic import BaseModel, Field

from servers import MODEL, URL
from tools import QUESTION


class Report(BaseModel):
    """The weather of a city"""

    city: str = Field(max_length=12)
    degrees: int


def client(mode):
    openai = OpenAI(base_url=URL + "/v1", api_key="none", max_retries=0, timeout=60)
    return instructor.from_openai(openai, mode=instructor.Mode[mode])


def create(mode, response_model, **options):
    return client(mode).chat.completions.create(
        model=MODEL,
        messages=[{"role": "user", "content": QUESTION}],
        response_model=response_model,
        max_retries=0,
        max_tokens=200,
        **options,
    )


@pytest.mark.parametrize("mode", ["TOOLS", "TOOLS_STRICT", "JSON_SCHEMA"])
@pytest.mark.parametrize("seed", range(2))
def test_an_answer_is_an_object_of_the_class(mode, seed):
    assert isinstance(create(mode, Report, temperature=1.2, seed=seed), Report)
