"""The server under test, others with flags of their own, and what they say of themselves."""

import contextlib
import json
import os
import re
import subprocess
import threading
import time
import urllib.request

URL = os.environ["INFERNO_URL"]
MODEL = "ember"
# The context of the built-in model.
CONTEXT = 2048
# More than that, in tokens.
TOO_LONG = "dragon " * (CONTEXT + 500)
STORY = [{"role": "user", "content": "Tell me a story about a dragon."}]
# Slow on every machine: what is ended early would not have ended by itself.
SLOW = ("--threads", "1", "--isa", "scalar")
# As much as there is room for, whatever the model would say.
LONG = {"max_tokens": 900, "extra_body": {"ignore_eos": True}}


@contextlib.contextmanager
def serving(*flags):
    """A server with these flags; its address."""
    command = [os.environ["INFERNO"], "serve", "--port", "0", "--log-level", "error", *flags]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        for line in process.stdout:
            if found := re.search(r"http://[0-9.]+:\d+", line):
                break
        else:
            raise AssertionError(f"the server did not start: {command}")
        threading.Thread(target=process.stdout.read, daemon=True).start()
        yield found[0]
    finally:
        process.kill()
        process.wait()


def get(path, url=URL):
    with urllib.request.urlopen(url + path, timeout=10) as answer:
        return json.load(answer)


def post(path, body, url=URL):
    request = urllib.request.Request(url + path, json.dumps(body).encode(), {"content-type": "application/json"})
    with urllib.request.urlopen(request, timeout=10) as answer:
        return json.load(answer)


def metric(name, url=URL):
    """A number of `/metrics`, by its name and labels."""
    with urllib.request.urlopen(url + "/metrics", timeout=10) as answer:
        for line in answer.read().decode().splitlines():
            if line.startswith(name + " "):
                return float(line.rsplit(" ", 1)[1])
    raise AssertionError(f"there is no metric `{name}`")


@contextlib.contextmanager
def ending_early(url, n_sequences=1):
    """What runs within must be ended by its client: the engine is idle soon, and has counted so many as cancelled."""
    name = 'inferno_finished_total{reason="cancelled"}'
    before = metric(name, url)
    yield
    until(lambda: is_idle(url))
    assert metric(name, url) == before + n_sequences


def until(condition, seconds=5):
    """Waits for something to become true."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not become true"
        time.sleep(0.01)


def is_idle(url=URL):
    loads = get("/v1/loads", url)
    return loads["sequences_running"] == 0 and loads["sequences_waiting"] == 0
