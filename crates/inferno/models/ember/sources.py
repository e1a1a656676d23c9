"""Extracts the training text from git clones: sources.py CLONES OUT

CLONES/owner+name is a clone of github.com/owner/name with its history, for each repository named below.
Writes OUT/stories.txt and OUT/books.txt (documents end with <|endoftext|>), OUT/sgd.jsonl and OUT/talk.jsonl.
"""
import collections, csv, io, json, os, random, re, subprocess, sys

CLONES, OUT = sys.argv[1:]
END = "<|endoftext|>"


def git(repo, *args):
    return subprocess.run(["git", "-C", f"{CLONES}/{repo}", *args], capture_output=True).stdout.decode("utf-8", "replace")


def adder(repo, path):
    return git(repo, "log", "--all", "--format=%H", "--diff-filter=A", "--", path).split()[0]


def tidy(s):
    if "â€" in s:   # UTF-8 that was once read as Windows-1252
        for a, b in (("â€œ", '"'), ("â€™", "'"), ("â€˜", "'"), ("â€“", "-"), ("â€”", "-"), ("â€¦", "..."), ("â€\x9d", '"'), ("â€�", '"'), ("â€", '"')): s = s.replace(a, b)
    for a, b in (("“", '"'), ("”", '"'), ("‘", "'"), ("’", "'"), ("–", "-"), ("—", " - "), ("…", "..."), ("\u00a0", " ")):
        s = s.replace(a, b)
    s = re.sub(r"[ \t]+\n", "\n", s.replace("\r", ""))
    return re.sub(r"\n{3,}", "\n\n", re.sub(r"[ \t]{2,}", " ", s)).strip()


def by_blank_newlines(text):
    """Stories separated by one newline, paragraphs by a blank line."""
    out, cur = [], []
    for block in text.split("\n\n"):
        lines = block.split("\n")
        for i, line in enumerate(lines):
            if i and cur: out.append("\n\n".join(cur)); cur = []
            if line.strip(): cur.append(line.strip())
    return out + ["\n\n".join(cur)]


def stories():
    v2 = git("mines-opt-ml+decoding-gpt", "show", "b7753c9b80f5:data/tinystories_10k.txt").split(END)
    p = "data/tinystories_val.txt"; r = "yuninxia+moe-routing-bench"
    val = re.split(r"\n\n(?=Once upon|One day|There was|There once|Once there)|<\|endoftext\|>", git(r, "show", adder(r, p) + ":" + p))
    r = "s-ajaykumar+smallGPT"; p = "data/tiny_stories.txt"
    first = max((git(r, "show", c + ":" + p) for c in git(r, "log", "--all", "--format=%H", "--diff-filter=AM", "--", p).split()), key=len)
    cased = [tidy(s) for s in v2 + val]
    lower = [tidy(s) for s in by_blank_newlines(git("Arnoochka+Transformer-Parallelism", "show", "911b9e732fbe:tinystories.txt"))]
    # Where a story of the lower-cased file is in the cased one too, its words tell how to write names.
    up, low = collections.Counter(), collections.Counter()
    for s in cased + [first]:
        for w in re.findall(r"(?<=[a-z,] )[A-Z][a-z]+", s): up[w.lower()] += 1
        for w in re.findall(r"(?<=[a-z,] )[a-z]+", s): low[w] += 1
    names = {w for w in up if up[w] > 4 * low[w]} | {"lily", "tim", "ben", "mia", "tom", "sam"}
    names -= {"mom", "dad", "mommy", "daddy", "grandma", "grandpa"}
    def recase(s):
        here = names | {m.lower() for m in re.findall(r"(?:named|called|name was|name is) ([a-z]+)", s) if low[m] < 20}
        s = re.sub(r"[a-z]+", lambda m: m[0].capitalize() if m[0] in here else m[0], s)
        s = re.sub(r"\bi\b", "I", s)
        s = re.sub(r"(^|[.!?]['\"]? +|\n|(?:^|[\s,])\")([a-z])", lambda m: m[1] + m[2].upper(), s)
        s = re.sub(r"\b(Mr|Mrs|Ms|Dr)\. (And|Or)\b", lambda m: m[0].lower().capitalize(), s)
        return re.sub(r"([.!?,]\") (He|She|They|Said|The|His|Her)\b(?= (?:said|asked|replied|cried|shouted|mom|dad))", lambda m: m[1] + " " + m[2].lower(), s)
    once = tidy(first).lower()
    firsts = by_blank_newlines(first)
    cased += [tidy(s) for s in firsts]
    cased += [recase(s) for s in lower if s[:100] not in once]
    seen, out = set(), []
    for s in cased:
        key = re.sub(r"\W+", "", s.lower())[:80]
        if len(s) > 200 and len(s) < 4000 and key not in seen and s[0].isupper() and s[-1] in '.!"?': seen.add(key); out.append(s)
    return out


CHILDREN = """Aesop's Fables|Aladdin and the Magic Lamp|Black Beauty|Great Big Treasury of Beatrix Potter|The Adventures of Pinocchio|A Christmas Carol
Some Short Christmas Stories|Five Children and It|The Book of Dragons|The Railway Children|A Little Princess|The Secret Garden|Beauty and the Beast|The Princess and the Goblin
The Boxcar Children|Andersen's Fairy Tales|The Little Mermaid|The First Christmas Tree|The Other Wise Man|The Merry Adventures of Robin Hood|The Story of Doctor Dolittle|Peter Pan
The Call of the Wild|White Fang|Irish Fairy Tales|Swiss Family Robinson|Heidi|A Little Book of Christmas|The King of the Golden River|The Wind in the Willows|A Kidnapped Santa Claus
Dorothy and the Wizard in Oz|Ozma of Oz|The Life and Adventures of Santa Claus|The Marvelous Land of Oz|The Wonderful Wizard of Oz|Alice's Adventures in Wonderland|Through the Looking-Glass
An Old-Fashioned Girl|Jo's Boys|Little Men|Little Women|Anne of Avonlea|Anne of Green Gables|Anne of the Island|Rainbow Valley|Emily of New Moon|The Adventures of Tom Sawyer|The Prince and the Pauper
The Happy Prince & Other Tales|The Canterville Ghost|Treasure Island|The Jungle Book|Captains Courageous|Grimms' Fairy Tales|The Rose and the Ring|The Christmas Angel|A Christmas Mystery
The Coral Island|Kidnapped|One Thousand and One Nights|Rip Van Winkle|The Phoenix and the Carpet|Hawaiian Folk Tales|Kwaidan|The Celtic Twilight|Around the World in 80 Days""".replace("\n", "|").split("|")


def books():
    r = "mlschmitt+classic-books-markdown"
    for line in git(r, "-c", "core.quotepath=off", "ls-tree", "-r", "--name-only", "HEAD").splitlines():
        line = line.strip('"')
        if os.path.basename(line)[:-3] not in CHILDREN: continue
        s = git(r, "show", "HEAD:" + line).replace("\r\n", "\n").split("-------", 1)[-1]
        s = re.sub(r"^---.*?---", "", s, flags=re.S)
        s = re.sub(r"!?\[([^\]]*)\]\([^)]*\)|<[^>]+>", r"\1", s)
        s = re.sub(r"^#+ *", "", s, flags=re.M)
        s = re.sub(r"(?<!\n)\n(?!\n)", " ", s)
        yield os.path.basename(line)[:-3], tidy(re.sub(r"[*_]{1,3}", "", s))


def schemas(text):
    out = {}
    for svc in json.loads(text):
        slots = {s["name"]: s for s in svc["slots"]}; tools = []
        for it in svc["intents"]:
            names = list(it["required_slots"]) + list(it["optional_slots"])
            props = {k: {"type": "string", "description": slots[k]["description"]} for k in names if k in slots}
            tools.append({"type": "function", "function": {"name": it["name"], "description": it["description"],
                          "parameters": {"type": "object", "properties": props, "required": it["required_slots"]}}})
        out[svc["service_name"]] = tools
    return out


def sgd(rng):
    r = "google-research-datasets+dstc8-schema-guided-dialogue"
    for split in ("train", "dev", "test"):
        tools = schemas(git(r, "show", f"HEAD:{split}/schema.json"))
        files = [l.split()[-1] for l in git(r, "ls-tree", "-r", "-l", "HEAD", split).splitlines() if "dialogues_" in l and "BAD" not in l]
        for f in files[::2]:
            try: rows = json.loads(git(r, "show", "HEAD:" + f))
            except ValueError: continue
            for d in rows:
                if len(d["turns"]) > 16 or len(d["services"]) > 2: continue
                ms, used = [], set()
                for t in d["turns"]:
                    if t["speaker"] == "USER": ms.append({"role": "user", "content": t["utterance"]}); continue
                    for fr in t["frames"]:
                        if "service_call" not in fr: continue
                        c = fr["service_call"]; used.add(c["method"])
                        ms.append({"role": "assistant", "content": "", "tool_calls": [{"function": {"name": c["method"], "arguments": c["parameters"]}}]})
                        rows_ = [dict(list(x.items())[:6]) for x in fr.get("service_results", [])[: rng.randint(1, 2)]]
                        ms.append({"role": "tool", "content": json.dumps(rows_)})
                    ms.append({"role": "assistant", "content": t["utterance"]})
                if not used: continue
                all_ = [t for s in d["services"] for t in tools[s]]
                keep = [t for t in all_ if t["function"]["name"] in used]; rest = [t for t in all_ if t["function"]["name"] not in used]
                rng.shuffle(rest); keep += rest[: rng.randint(0, 1)]; rng.shuffle(keep)
                yield {"tools": keep, "messages": ms}


def talk():
    r = "jfainberg+self_dialogue_corpus"; bad = set(git(r, "show", "HEAD:blocked_workers.txt").split())
    for f in git(r, "ls-tree", "-r", "--name-only", "HEAD", "corpus").splitlines():
        for row in csv.DictReader(io.StringIO(git(r, "show", "HEAD:" + f))):
            if row.get("WorkerId") in bad or row.get("AssignmentStatus") == "Rejected": continue
            said = [row.get(f"Answer.sentence{i}") for i in range(1, 21)]
            said = [tidy(s) for s in said if s and s.strip()]
            if len(said) >= 8 and max(map(len, said)) < 400 and len(set(said)) > len(said) - 3:
                said = [re.sub(r"\bi\b", "I", s[:1].upper() + s[1:]) for s in said]
                yield {"messages": [{"role": ("user", "assistant")[i % 2], "content": s} for i, s in enumerate(said[: len(said) // 2 * 2])]}


if __name__ == "__main__":
    rng = random.Random(1); P = lambda f: open(os.path.join(OUT, f), "w", encoding="utf-8")
    s = stories(); P("stories.txt").write((END + "\n").join(s)); print("stories", len(s), sum(map(len, s)), flush=True)
    b = list(books()); P("books.txt").write((END + "\n").join(t for _, t in b)); print("books", len(b), sum(len(t) for _, t in b), [n for n, _ in b], flush=True)
    for name, rows in (("talk", talk()), ("sgd", sgd(rng))):
        n = 0
        with P(name + ".jsonl") as f:
            for x in rows: f.write(json.dumps(x, ensure_ascii=False) + "\n"); n += 1
        print(name, n, os.path.getsize(os.path.join(OUT, name + ".jsonl")), flush=True)
