"""What README.md shows is pasted and run."""

import re
import subprocess
import sys
from pathlib import Path

from servers import URL

README = Path(__file__).parents[3] / "README.md"
ADDRESS = "http://127.0.0.1:8080"


def test_the_readme_s_openai_snippet_works_as_pasted():
    blocks = re.findall(r"^```python\n(.*?)^```$", README.read_text(), re.DOTALL | re.MULTILINE)
    blocks = [block for block in blocks if "from openai import OpenAI" in block]
    assert blocks, "README.md has no ```python block with `from openai import OpenAI`"
    for block in blocks:
        assert ADDRESS + "/v1" in block, f"a block of README.md does not ask {ADDRESS}/v1:\n{block}"
        code = block.replace(ADDRESS, URL)
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr
        assert len(done.stdout.split()) > 5, f"it said {done.stdout!r}"
