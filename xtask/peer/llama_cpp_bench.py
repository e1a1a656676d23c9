#!/usr/bin/env python3
"""Times one piece of work on llama.cpp, a sample whenever it is asked for one.

    llama_cpp_bench.py MODEL.gguf prompt  --tokens 512
    llama_cpp_bench.py MODEL.gguf decode  --tokens 128 [--depth 4096] [--sequences 32]

It loads the model, makes a context per setting (flash attention on and off; for many sequences also one KV cache for all
against one for each), warms up, and prints a line of JSON that says so. Then every line on stdin names a setting and is
answered with a line of JSON that has the seconds it took. The end of stdin ends it. Whoever alternates two of these
(`cargo xtask bench-peer` does) compares programs and not the hours of the day.

Needs the package `llama-cpp-python`; uses its low-level API alone, and no sampling: tokens are random, as in llama-bench.
"""
import argparse
import ctypes
import json
import os
import random
import sys
import time

import llama_cpp as ll

CHUNK = 512  # rows of a prompt at once: llama.cpp's own n_ubatch

FLASH = {"flash": ll.LLAMA_FLASH_ATTN_TYPE_ENABLED, "plain": ll.LLAMA_FLASH_ATTN_TYPE_DISABLED}


def say(**fields):
    print(json.dumps(fields), flush=True)


def fail(why):
    say(error=why)
    sys.exit(1)


class Work:
    """One context, and what is timed on it."""

    def __init__(self, model, args, setting):
        self.args = args
        flash, *more = setting.split("+")
        per_sequence = args.depth + args.tokens
        p = ll.llama_context_default_params()
        # Each sequence gets its share of n_ctx when they do not have one cache for all: whole cells of 256.
        p.n_ctx = args.sequences * (-(-per_sequence // 256) * 256)
        p.n_batch = max(CHUNK, args.sequences)
        p.n_ubatch = CHUNK
        p.n_seq_max = args.sequences
        p.n_threads = p.n_threads_batch = args.threads
        p.type_k = p.type_v = ll.GGML_TYPE_Q8_0 if "kv8" in more else ll.GGML_TYPE_F16
        p.flash_attn_type = FLASH[flash]
        p.kv_unified = "one" in more
        p.no_perf = True
        self.ctx = ll.llama_init_from_model(model, p)
        if not self.ctx:
            fail(f"llama.cpp makes no context with {setting}")
        self.memory = ll.llama_get_memory(self.ctx)
        self.batch = ll.llama_batch_init(p.n_batch, 0, 1)
        n_vocab = ll.llama_vocab_n_tokens(ll.llama_model_get_vocab(model))
        self.random = random.Random(1)
        self.token = lambda: self.random.randrange(n_vocab)
        # The context before the timed tokens is computed once and kept.
        for sequence in range(args.sequences):
            self.prompt(args.depth, sequence)

    def decode(self, rows):
        """rows: (position, sequence, wants logits)"""
        b = self.batch
        b.n_tokens = len(rows)
        for i, (position, sequence, wants) in enumerate(rows):
            b.token[i] = self.token()
            b.pos[i] = position
            b.n_seq_id[i] = 1
            b.seq_id[i][0] = sequence
            b.logits[i] = wants
        status = ll.llama_decode(self.ctx, b)
        if status != 0:
            fail(f"llama_decode gives {status}")

    def prompt(self, n, sequence=0):
        for start in range(0, n, CHUNK):
            end = min(n, start + CHUNK)
            self.decode([(p, sequence, p == n - 1) for p in range(start, end)])
        ll.llama_synchronize(self.ctx)

    def steps(self):
        depth, n = self.args.depth, self.args.tokens
        for position in range(depth, depth + n):
            self.decode([(position, s, True) for s in range(self.args.sequences)])
            ll.llama_synchronize(self.ctx)

    def sample(self):
        """Seconds of the work; the memory is afterwards as it was before."""
        start = time.perf_counter()
        if self.args.what == "prompt":
            self.prompt(self.args.tokens)
        else:
            self.steps()
        seconds = time.perf_counter() - start
        for s in range(self.args.sequences):
            if not ll.llama_memory_seq_rm(self.memory, s, self.args.depth, -1):
                fail("llama.cpp cannot drop the end of a sequence")
        return seconds

    def warm_up(self):
        """Touches the weights, the code and the buffers: one chunk, or two steps."""
        n, self.args.tokens = self.args.tokens, min(self.args.tokens, CHUNK if self.args.what == "prompt" else 2)
        self.sample()
        self.args.tokens = n


def settings(args):
    if args.settings:
        return args.settings.split(",")
    if args.sequences == 1:
        return list(FLASH)
    return [f"{flash}+{cache}" for flash in FLASH for cache in ("one", "each")]


def quiet(level, text, _):
    if level == 4:  # errors
        sys.stderr.write(text.decode(errors="replace"))


def version():
    from importlib.metadata import version as of
    found = [f"llama-cpp-python {of('llama-cpp-python')}"]
    if hasattr(ll, "llama_version"):
        found.append(f"llama.cpp {ll.llama_version().decode()}")
    return ", ".join(found)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("what", choices=["prompt", "decode"])
    parser.add_argument("--tokens", type=int, required=True, help="rows of the prompt, or steps")
    parser.add_argument("--depth", type=int, default=0, help="positions before them, not timed")
    parser.add_argument("--sequences", type=int, default=1, help="sequences that decode at once")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--settings", 
                        help="with commas between them: flash or plain, each with any of +one (one KV cache for all "
                             "sequences) and +kv8 (8-bit keys and values); default: those that make sense with F16")
    args = parser.parse_args()
    if args.what == "prompt" and (args.depth or args.sequences != 1):
        parser.error("a prompt has one sequence and no depth")

    keep = ll.llama_log_callback(quiet)
    ll.llama_log_set(keep, ctypes.c_void_p(0))
    ll.llama_backend_init()
    params = ll.llama_model_default_params()
    params.n_gpu_layers = 0
    model = ll.llama_model_load_from_file(args.model.encode(), params)
    if not model:
        fail(f"llama.cpp cannot load {args.model}")
    works = {s: Work(model, args, s) for s in settings(args)}
    for work in works.values():
        work.warm_up()
    say(ready=True, settings=list(works), threads=args.threads, version=version(),
        system=ll.llama_print_system_info().decode().strip())
    for line in sys.stdin:
        setting = line.strip()
        if setting not in works:
            fail(f"there is no setting {setting!r}")
        say(setting=setting, seconds=works[setting].sample())


if __name__ == "__main__":
    main()
