#!/usr/bin/env python3
"""Runs the cases of `cases.jsonl` beside this file against a program: INFERNO is its path (default: `inferno`).

    INFERNO=target/release/inferno python3 check.py [ID ...]

Prints a line for each case and `N of M` last; the exit code is 1 if some fail. Needs Python 3.9 and nothing else; listens on
loopback only. Models come from INFERNO_DATA (see `testdata/README.md`) or from `testdata/`; a case whose model is in
neither prints `SKIPPED`, which INFERNO_REQUIRE=data turns into a failure.
"""
import copy
import datetime
import http.client
import json
import os
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
PROGRAM = os.environ.get("INFERNO", "inferno")
ROOT = os.path.dirname(os.path.dirname(HERE))
PLACES = [os.environ.get("INFERNO_DATA"), os.path.join(ROOT, "../shared/data"), os.path.join(ROOT, "testdata")]
TYPES = dict(u8=0, i8=1, u16=2, i16=3, u32=4, i32=5, f32=6, bool=7, str=8, arr=9, u64=10, i64=11, f64=12)
NAMES = {v: k for k, v in TYPES.items()}
FORMATS = dict(u8="<B", i8="<b", u16="<H", i16="<h", u32="<I", i32="<i", f32="<f", bool="<B", u64="<Q", i64="<q", f64="<d")


class Gguf:
    """A GGUF file taken apart, to be put together again with changes no writer would make."""

    def __init__(self, path):
        b, p = open(path, "rb").read(), 4

        def get(f):
            nonlocal p
            p += struct.calcsize(f)
            return struct.unpack_from(f, b, p - struct.calcsize(f))[0]

        def string():
            nonlocal p
            n = get("<Q")
            p += n
            return b[p - n : p]

        def value(name):
            if name == "str":
                return string()
            if name == "arr":
                element, n = NAMES[get("<I")], get("<Q")
                return (element, [value(element) for _ in range(n)])
            return get(FORMATS[name])

        self.version, n_tensors, n_pairs = get("<I"), get("<Q"), get("<Q")
        self.pairs = []
        for _ in range(n_pairs):
            key, name = string().decode(), NAMES[get("<I")]
            self.pairs.append([key, name, value(name)])
        infos = []
        for _ in range(n_tensors):
            name = string()
            dims = [get("<Q") for _ in range(get("<I"))]
            infos.append((name, dims, get("<I"), get("<Q")))
        self.align = self.get("general.alignment") or 32
        base = -(-p // self.align) * self.align
        ends = sorted(i[3] for i in infos) + [len(b) - base]
        self.tensors = [[n.decode(), d, t, b[base + o : base + min([e for e in ends if e > o] or [o])]] for n, d, t, o in infos]

    def get(self, key):
        return next((p[2] for p in self.pairs if p[0] == key), None)

    def set(self, key, name, value):
        pair = next((p for p in self.pairs if p[0] == key), None)
        if pair:
            pair[1:] = [name, value]
        else:
            self.pairs.append([key, name, value])

    def write(self, path):
        out = bytearray(b"GGUF" + struct.pack("<IQQ", self.version, len(self.tensors), len(self.pairs)))

        def string(x):
            x = x if isinstance(x, bytes) else x.encode()
            out.extend(struct.pack("<Q", len(x)) + x)

        def value(name, v):
            if name == "str":
                string(v)
            elif name == "arr":
                out.extend(struct.pack("<IQ", TYPES[v[0]], len(v[1])))
                for x in v[1]:
                    value(v[0], x)
            else:
                out.extend(struct.pack(FORMATS[name], v))

        for key, name, v in self.pairs:
            string(key)
            out.extend(struct.pack("<I", TYPES[name]))
            value(name, v)
        data = bytearray()
        for name, dims, kind, content in self.tensors:
            data.extend(bytes(-len(data) % self.align))
            string(name)
            out.extend(struct.pack("<I", len(dims)) + b"".join(struct.pack("<Q", d) for d in dims))
            out.extend(struct.pack("<IQ", kind, len(data)))
            data.extend(content)
        out.extend(bytes(-len(out) % self.align))
        open(path, "wb").write(out + data)
        return path


class Server:
    def __init__(self, model, args):
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            self.port = s.getsockname()[1]
        command = [PROGRAM, "serve", "--port", str(self.port), "--log-level", "off", *(["-m", model] if model else []), *args]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        for _ in range(400):
            if self.process.poll() is not None:
                raise Wrong("the server does not start: " + self.process.stderr.read().decode("utf-8", "replace")[:300])
            try:
                if self.send("GET", "/ready")[0] == 200:
                    return
            except OSError:
                pass
            time.sleep(0.05)
        self.close()
        raise Wrong("the server is not ready after 20 s")

    def send(self, method, path, body=None):
        c = http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)
        c.request(method, path, None if body is None else json.dumps(body).encode(), {"Content-Type": "application/json"})
        r = c.getresponse()
        data = r.read()
        c.close()
        return r.status, data

    def close(self):
        self.process.terminate()
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


class Wrong(Exception):
    pass


class Missing(Exception):
    pass


def data_file(name):
    """The path of a file of the test data."""
    for path in (os.path.join(place, name) for place in PLACES if place):
        if os.path.exists(path):
            return path
    raise Missing(name)


def synth(folder):
    path = os.path.join(folder, "synth.gguf")
    if not os.path.exists(path):
        subprocess.run([PROGRAM, "synth", "tiny-llama", path, "--dtype", "f32"], check=True, capture_output=True)
    return path


def model(case, folder):
    """The path of the case's model; None is the one inside the program."""
    m = case.get("model", "ember")
    if m == "ember":
        return None
    m = {"from": m} if isinstance(m, str) else m
    path = synth(folder) if m["from"] == "synth" else data_file(m["from"])
    if len(m) == 1:
        return path
    g = Gguf(path)
    for key, name, v in m.get("set", []):
        g.set(key, name, bytes.fromhex(v["hex"]) if isinstance(v, dict) and "hex" in v else v)
    for key, name, v in m.get("append", []):
        g.pairs.append([key, name, ([bytes.fromhex(x["hex"]) for x in v[1]] and [v[0], [bytes.fromhex(x["hex"]) for x in v[1]]]) if name == "arr" else v])
    for key in m.get("remove", []):
        g.pairs = [p for p in g.pairs if p[0] != key]
    for id, text, kind in m.get("tokens", []):  # a token by its id or its text; its new text; its kind
        tokens = g.get("tokenizer.ggml.tokens")[1]
        id = tokens.index(id.encode()) if isinstance(id, str) else id
        if text is not None:
            tokens[id] = text
        g.get("tokenizer.ggml.token_type")[1][id] = kind
    for name, at, v in m.get("weights", []):
        t = next(t for t in g.tensors if t[0] == name)
        x = bytearray(t[3])
        x[4 * at : 4 * at + 4] = struct.pack("<f", float(v))
        t[3] = bytes(x)
    for name, dims in m.get("dims", []):
        next(t for t in g.tensors if t[0] == name)[1] = dims
    for name, dims, values in m.get("tensors", []):
        g.tensors.append([name, dims, 0, b"".join(struct.pack("<f", v) for v in values)])
    if "types_as" in m:
        pair = next(p for p in g.pairs if p[0] == "tokenizer.ggml.token_type")
        pair[2] = (m["types_as"], pair[2][1])
    if "split" in m:
        return split(g, m["split"], folder)
    return g.write(os.path.join(folder, "case.gguf"))


def split(g, how, folder):
    n, folder = how["parts"], tempfile.mkdtemp(dir=folder)
    size = -(-len(g.tensors) // n)
    names = []
    for i in range(n):
        part = copy.copy(g)
        part.pairs = list(g.pairs) if i == 0 else [p for p in g.pairs if p[0] == "general.architecture"]
        part.pairs = part.pairs + [["split.no", "u16", i], ["split.count", "u16", n], ["split.tensors.count", "i32", len(g.tensors)]]
        part.tensors = g.tensors[i * size : (i + 1) * size]
        names.append(part.write(os.path.join(folder, "m-%05d-of-%05d.gguf" % (i + 1, n))))
    for i in how.get("missing", []):
        os.remove(names[i])
    return names[how["give"]]


def at(value, path):
    for part in path.split(".") if path else []:
        try:
            value = value[int(part)] if isinstance(value, list) else value[part]
        except (KeyError, IndexError, TypeError, ValueError):
            return None
    return value


def offsets_fit(choice):
    """Each offset is where its token starts in the text, in characters. A token may be part of a character, and a start
    token or the first space may not be shown."""
    text, l = choice["text"], choice["logprobs"]
    last = 0
    for i, (token, o) in enumerate(zip(l["tokens"], l["text_offset"])):
        if o < last or o > len(text):
            return False
        last = o
        shown = token.startswith("bytes:") or text.startswith(token, o)
        if not shown and not (o == 0 and (token == "<s>" or text.startswith(token.lstrip(" ")))):
            return False
    ends = l["text_offset"][-1] + len(l["tokens"][-1]) if not l["tokens"][-1].startswith("bytes:") else len(text)
    return ends == len(text)


OPS = {
    "eq": lambda x, y: x == y,
    "ne": lambda x, y: x != y,
    "in": lambda x, y: x in y,
    "has": lambda x, y: y in x,
    "lacks": lambda x, y: x is None or y not in x,
    "ends": lambda x, y: x.endswith(y),
    "len": lambda x, y: len(x) == y,
    "count": lambda x, y: x.count(y[0]) == y[1],
    "offsets": lambda x, y: offsets_fit(x),
    "distinct": lambda x, y: len({json.dumps(i) for i in x}) == len(x),
    "utc": lambda x, y: x in (day(y, 0), day(y, 1)),
}


def day(fmt, back):
    return (datetime.datetime.now(datetime.timezone.utc) - datetime.timedelta(seconds=back)).strftime(fmt)


def events(data):
    lines = [l[6:] for l in data.decode().split("\n") if l.startswith("data: ")]
    return {
        "events": [json.loads(l) for l in lines if l != "[DONE]"],
        "done": bool(lines) and lines[-1] == "[DONE]",
    }


def joined(stream, kind):
    out = {}
    for e in stream["events"]:
        for c in e.get("choices", []):
            piece = c["delta"].get("content") or "" if kind == "chat" else c["text"]
            out[c["index"]] = out.get(c["index"], "") + piece
    return [out[i] for i in sorted(out)]


def unfolded(body):
    """With `{"repeat": x, "times": n}` as an array of n of them."""
    return json.loads(json.dumps(body), object_hook=lambda o: [o["repeat"]] * o["times"] if set(o) == {"repeat", "times"} else o)


def resolved(want, seen):
    """`$name.path` is what an earlier answer has there."""
    return at(seen, want[1:]) if isinstance(want, str) and want.startswith("$") else want


def step(server, s, seen):
    if "wait" in s:
        time.sleep(s["wait"])
        return
    if "drop" in s:  # a request whose client goes away
        b = json.dumps(unfolded(s["drop"]["body"])).encode()
        c = socket.create_connection(("127.0.0.1", server.port))
        c.sendall(b"POST %s HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % (s["drop"]["path"].encode(), len(b)) + b)
        time.sleep(s["drop"]["after"])
        c.close()
        return
    body = s.get("body")
    if body is not None:
        body = unfolded(body)
    status, data = server.send(s.get("method", "POST"), s["path"], body)
    if status != s.get("status", 200):
        raise Wrong(f"{s['path']} is answered {status}, expected {s.get('status', 200)}: {data[:200].decode('utf-8', 'replace')}")
    if body and isinstance(body, dict) and body.get("stream") and status == 200:
        value = events(data)
        value["joined"] = joined(value, "chat" if "chat" in s["path"] else "text")
        choices = [c for e in value["events"] for c in e.get("choices", [])]
        value["logprobs"] = [x for c in choices for x in (c.get("logprobs") or {}).get("content") or []]
    else:
        value = json.loads(data)
    if "name" in s:
        seen[s["name"]] = value
    for path, op, want in s.get("expect", []):
        found = at(value, path)
        want = [resolved(w, seen) for w in want] if isinstance(want, list) else resolved(want, seen)
        try:
            good = OPS[op](found, want)
        except (TypeError, AttributeError):
            good = False
        if not good:
            raise Wrong(f"`{path}` is {json.dumps(found, ensure_ascii=False)[:160]}, expected {op} {json.dumps(want, ensure_ascii=False)[:160]}")


def same_alone_and_beside(case, path):
    """Equal answers alone, one after the other, again, and all at once."""
    s = case["same"]

    def ask(server, b):
        status, data = server.send("POST", "/v1/completions", b)
        r = json.loads(data)
        return (r["choices"][0]["text"], r["choices"][0]["logprobs"]["token_logprobs"]) if status == 200 else data[:100]

    server = Server(path, s["alone"])
    try:
        want = [ask(server, b) for b in s["requests"]]
    finally:
        server.close()
    server = Server(path, s["beside"])
    try:
        for turn in ("first", "again", "at once"):
            got = [None] * len(want)

            def go(i):
                got[i] = ask(server, s["requests"][i])

            if turn == "at once":
                threads = [threading.Thread(target=go, args=(i,)) for i in range(len(want))]
                [t.start() for t in threads]
                [t.join() for t in threads]
            else:
                [go(i) for i in range(len(want))]
            if got != want:
                raise Wrong(f"{turn}: {sum(a != b for a, b in zip(got, want))} of {len(want)} answers differ")
    finally:
        server.close()


def run(case, folder):
    path = model(case, folder)
    if "cli" in case:
        c = case["cli"]
        r = subprocess.run([PROGRAM, *[path if a == "$MODEL" else a for a in c["args"]]], input=c.get("stdin", "").encode(), capture_output=True, timeout=60)
        if (r.returncode == 0) != c["works"] or r.returncode not in (0, 1, 2) or b"panicked" in r.stderr:
            raise Wrong(f"exit code {r.returncode}: {r.stderr[:200].decode('utf-8', 'replace')}")
        if "ids" in c and len(r.stdout.split()) != c["ids"]:
            raise Wrong(f"it says {r.stdout.decode().strip()[:200]}, expected {c['ids']} ids")
        if "stdout" in c and r.stdout.decode().strip() != c["stdout"]:
            raise Wrong(f"it says {r.stdout.decode().strip()[:200]}, expected {c['stdout']}")
        if "differs_from" in c:
            other = subprocess.run([PROGRAM, *[synth(folder) if a == "$MODEL" else a for a in c["args"]]], capture_output=True).stdout
            if other == r.stdout:
                raise Wrong("what was changed in the file makes no difference")
    if "same" in case:
        same_alone_and_beside(case, path)
    if "steps" in case:
        server = Server(path, case.get("args", []))
        try:
            seen = {}
            for s in case["steps"]:
                step(server, s, seen)
        finally:
            server.close()


def main():
    cases = [json.loads(l) for l in open(os.path.join(HERE, "cases.jsonl"), encoding="utf-8") if l.strip()]
    if sys.argv[1:]:
        cases = [c for c in cases if c["id"] in sys.argv[1:]]
    good = skipped = 0
    is_required = "data" in os.environ.get("INFERNO_REQUIRE", "").split(",")
    folder = tempfile.mkdtemp()
    try:
        for case in cases:
            try:
                run(case, folder)
                good += 1
                print("ok  ", case["id"], flush=True)
            except Missing as e:
                skipped += not is_required
                word = "FAIL" if is_required else "SKIPPED:"
                print(word, case["id"], "-", f"`{e}` is in neither INFERNO_DATA nor testdata", flush=True)
            except Wrong as e:
                print("FAIL", case["id"], "-", e, flush=True)
            except Exception as e:  # a case that cannot be run has failed
                print("FAIL", case["id"], "-", type(e).__name__, str(e)[:200], flush=True)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    print(f"{good} of {len(cases)}" + (f", {skipped} skipped" if skipped else ""))
    sys.exit(good + skipped != len(cases))


main()
