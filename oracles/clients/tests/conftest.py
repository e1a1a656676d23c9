"""What all tests share: the server that `run` started, servers of their own, and the count at the end."""

import os
from pathlib import Path

import pytest

# Before `litellm` is imported: it would look for prices in the network.
os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"
os.environ["LANGSMITH_TRACING"] = "false"
for name in (
    *("OPENAI_API_KEY", "OPENAI_BASE_URL", "OPENAI_ORG_ID", "OPENAI_PROJECT_ID"),
    *("ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN", "ANTHROPIC_BASE_URL", "OLLAMA_HOST"),
):
    os.environ.pop(name, None)

from servers import SLOW, serving  # noqa: E402

counts = {"passed": 0, "failed": 0}


def pytest_runtest_logreport(report):
    if report.failed:
        counts["failed"] += 1
    elif report.when == "call" and report.passed:
        counts["passed"] += 1


def pytest_sessionfinish():
    if path := os.environ.get("COUNTS"):
        Path(path).write_text(f"{counts['passed']} {counts['failed']}\n")


@pytest.fixture(scope="session")
def slow():
    """The address of a slow server."""
    with serving(*SLOW) as url:
        yield url
