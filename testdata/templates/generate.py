#!/usr/bin/env python3
"""Makes `cases.json`: conversations with tools, calls, results and reasoning, and for each chat template of a directory a
hash of what Jinja2 writes for them in the environment of Hugging Face's `apply_chat_template` (null where it fails).
Needs the package `jinja2` (3.1.6 was used, with Python 3.11).

    python3 generate.py TEMPLATES cases.json
"""
import copy, datetime, json, pathlib, sys
import jinja2, jinja2.ext
from jinja2 import nodes
from jinja2.sandbox import ImmutableSandboxedEnvironment

NOW = datetime.datetime(2023, 11, 14, 22, 13, 20)


class Generation(jinja2.ext.Extension):
    tags = {"generation"}

    def parse(self, parser):
        line = next(parser.stream).lineno
        body = parser.parse_statements(["name:endgeneration"], drop_needle=True)
        return nodes.CallBlock(self.call_method("_body"), [], [], body).set_lineno(line)

    def _body(self, caller):
        return caller()


def environment():
    env = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, jinja2.ext.loopcontrols]
    )

    def tojson(x, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
        return json.dumps(x, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)

    def raise_exception(message):
        raise jinja2.exceptions.TemplateError(message)

    env.filters["tojson"] = tojson
    env.globals["raise_exception"] = raise_exception
    env.globals["strftime_now"] = lambda form: NOW.strftime(form)
    return env


def tool(name, properties, required):
    parameters = {"type": "object", "properties": properties, "required": required}
    return {"type": "function", "function": {"name": name, "description": f"Does {name}.", "parameters": parameters}}


TOOLS = [
    tool("get_weather", {
        "city": {"type": "string", "description": "Name <of> a \"city\" & more"},
        "days": {"type": "integer", "description": "Days", "default": 1},
        "units": {"type": "array", "description": "Units", "items": {"type": "string"}},
    }, ["city"]),
    tool("search", {"query": {"type": "string", "description": "Words", "enum": ["a", "b"]}}, ["query"]),
]


def call(name, arguments, number, as_text):
    arguments = json.dumps(arguments) if as_text else arguments
    return {"id": f"abcdef12{number}", "type": "function", "function": {"name": name, "arguments": arguments}}


def chats():
    user = {"role": "user", "content": "How is the weather in Zürich?"}
    system = {"role": "system", "content": "Be brief."}
    arguments = {"city": "Zürich \"old\" town", "days": 2, "units": ["°C", "x<y"]}
    result = {"role": "tool", "content": "{\"degrees\": 21.5}", "name": "get_weather", "tool_call_id": "abcdef120"}
    other = {"role": "tool", "content": "Sunny", "name": "search", "tool_call_id": "abcdef121"}
    answer = {"role": "assistant", "content": "21.5 degrees."}
    yield "plain", [system, user], None, {}
    yield "tools", [system, user], TOOLS, {}
    yield "tools without a system message", [user], TOOLS, {}
    yield "no thinking", [user], TOOLS, {"enable_thinking": False}
    yield "thinking", [system, user], TOOLS, {"enable_thinking": True}
    yield "effort", [user], TOOLS, {"reasoning_effort": "high"}
    for as_text in [False, True]:
        for content in ["", None, "I look."]:
            said = {"role": "assistant", "content": content, "tool_calls": [call("get_weather", arguments, 0, as_text)]}
            name = f"call, arguments {'as text' if as_text else 'as an object'}, content {content!r}"
            yield name, [system, user, said], TOOLS, {}
            yield f"{name}, result", [user, said, result], TOOLS, {}
            yield f"{name}, result, answer, question", [user, said, result, answer, user], TOOLS, {}
            yield f"{name}, no tools", [user, said, result], None, {}
            for field in ["reasoning_content", "reasoning", "thinking"]:
                thought = {**said, field: "It asks of Zürich."}
                yield f"{name}, {field}", [user, thought, result], TOOLS, {"enable_thinking": True}
            two = {**said, "tool_calls": said["tool_calls"] + [call("search", {"query": "a"}, 1, as_text)]}
            yield f"{name}, two calls", [system, user, two, result, other], TOOLS, {}
    for field in ["reasoning_content", "reasoning", "thinking"]:
        yield f"{field}", [user, {**answer, field: "It asks."}, user], None, {}
        yield f"{field} at the end", [user, {**answer, field: "It asks."}], None, {}


def fnv(text):
    h = 0xCBF29CE484222325
    for byte in text.encode():
        h = (h ^ byte) * 0x100000001B3 % (1 << 64)
    return f"{h:016x}"


def render(template, messages, tools, extra, is_asked):
    values = {"messages": messages, "tools": tools, "documents": None, "add_generation_prompt": is_asked}
    try:
        return template.render(**copy.deepcopy(values), **extra, bos_token="<s>", eos_token="</s>")
    except Exception:
        return None


def main():
    source, out = pathlib.Path(sys.argv[1]), sys.argv[2]
    env = environment()
    cases = [{"name": n, "messages": m, "tools": t, "extra": e} for n, m, t, e in chats()]
    hashes = {}
    for path in sorted(source.glob("*.jinja")):
        template = env.from_string(path.read_text())
        rendered = [
            render(template, case["messages"], case["tools"], case["extra"], is_asked)
            for case in cases for is_asked in [True, False]
        ]
        hashes[path.stem] = [None if text is None else fnv(text) for text in rendered]
        if len(sys.argv) > 3:
            pathlib.Path(sys.argv[3], path.stem + ".json").write_text(json.dumps(rendered))
    cases = ",\n".join(json.dumps(case, ensure_ascii=False) for case in cases)
    hashes = ",\n".join(f"{json.dumps(name)}: {json.dumps(of)}" for name, of in hashes.items())
    pathlib.Path(out).write_text(f'{{"cases": [\n{cases}\n],\n"hashes": {{\n{hashes}\n}}}}\n')


main()
