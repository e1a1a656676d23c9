#!/usr/bin/env python3
"""How far quantized arithmetic takes a model from its own weights in floats: inferno beside llama.cpp, on the same file.

    kl.py --inferno target/release/inferno --as q8_0,q4_k_m MODEL.gguf TEXT...
    kl.py --inferno target/release/inferno QUANTIZED.gguf TEXT...

For each file: its tensors are dequantized by gguf-python into an F32 file, whose logits (inferno, F32 keys and values) are
the truth. Both programs then compute the logits of the quantized file for the same tokens, and a Markdown table says how far
each is: the mean and the 99th percentile of KL(truth || program) in nats over the rows, and the perplexity. `ours - theirs` is
the mean difference, with its standard error (rows of a window are not independent, so windows are the samples). `floats` is the
mean KL of llama.cpp on the F32 file: what two correct programs differ by.

The text is cut into windows that each begin at position 0, without a BOS. `--as` has llama.cpp quantize MODEL first.
Needs the packages `llama-cpp-python` and `gguf`.
"""
import argparse
import ctypes
import json
import os
import subprocess
import sys
import tempfile
from importlib.metadata import version

import gguf
import llama_cpp as ll
import numpy as np

KV = {"f16": (ll.GGML_TYPE_F16, ll.LLAMA_FLASH_ATTN_TYPE_AUTO),
      "f32": (ll.GGML_TYPE_F32, ll.LLAMA_FLASH_ATTN_TYPE_DISABLED)}


def quantize(source, target, name):
    """`name` is a file type as llama.cpp spells it: q4_k_m."""
    params = ll.llama_model_quantize_default_params()
    params.ftype = getattr(ll, f"LLAMA_FTYPE_MOSTLY_{name.upper()}")
    params.nthread = 1
    if ll.llama_model_quantize(source.encode(), target.encode(), ctypes.byref(params)) != 0:
        sys.exit(f"llama.cpp does not quantize {source} as {name}")


def dequantize(source, target):
    """Writes `source` with every tensor in F32."""
    reader = gguf.GGUFReader(source)
    arch = reader.fields["general.architecture"].contents()
    writer = gguf.GGUFWriter(target, arch)
    for field in reader.fields.values():
        if field.name.startswith("GGUF.") or field.name in ("general.architecture", "general.quantization_version"):
            continue
        value = 0 if field.name == "general.file_type" else field.contents()
        inner = field.types[-1] if field.types[0] == gguf.GGUFValueType.ARRAY else None
        writer.add_key_value(field.name, value, field.types[0], inner)
    for tensor in reader.tensors:
        numbers = gguf.quants.dequantize(tensor.data, tensor.tensor_type)
        writer.add_tensor(tensor.name, np.ascontiguousarray(numbers, dtype=np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


class Inferno:
    def __init__(self, program, file, kv, isa):
        self.command = [program, "logits", "-m", file, "--kv", kv, "--threads", "1"]
        self.command += ["--isa", isa] if isa else []

    def logits(self, tokens):
        at = ",".join(map(str, range(len(tokens))))
        ids = ",".join(map(str, tokens))
        out = subprocess.run([*self.command, "--tokens", ids, "--at", at], check=True, capture_output=True).stdout
        rows = json.loads(out)
        return np.array([rows[str(i)] for i in range(len(tokens))], dtype=np.float64)


class LlamaCpp:
    def __init__(self, file, kv, window):
        params = ll.llama_model_default_params()
        params.n_gpu_layers = 0
        self.model = ll.llama_model_load_from_file(file.encode(), params)
        p = ll.llama_context_default_params()
        p.n_ctx = p.n_batch = p.n_ubatch = window
        p.n_threads = p.n_threads_batch = 1
        p.type_k = p.type_v = KV[kv][0]
        p.flash_attn_type = KV[kv][1]
        self.ctx = ll.llama_init_from_model(self.model, p)
        if not self.ctx:
            sys.exit(f"llama.cpp makes no context for {file} with {kv} keys and values")
        self.n_vocab = ll.llama_vocab_n_tokens(ll.llama_model_get_vocab(self.model))
        self.batch = ll.llama_batch_init(window, 0, 1)

    def logits(self, tokens):
        ll.llama_memory_clear(ll.llama_get_memory(self.ctx), True)
        b = self.batch
        b.n_tokens = len(tokens)
        for i, token in enumerate(tokens):
            b.token[i], b.pos[i], b.n_seq_id[i], b.logits[i] = token, i, 1, True
            b.seq_id[i][0] = 0
        if (status := ll.llama_decode(self.ctx, b)) != 0:
            sys.exit(f"llama_decode gives {status}")
        rows = ll.llama_get_logits(self.ctx)
        return np.ctypeslib.as_array(rows, (len(tokens), self.n_vocab)).astype(np.float64)

    def close(self):
        ll.llama_batch_free(self.batch)
        ll.llama_free(self.ctx)
        ll.llama_model_free(self.model)


def log_softmax(x):
    x = x - x.max(axis=1, keepdims=True)
    return x - np.log(np.exp(x).sum(axis=1, keepdims=True))


def tokenize(args, text):
    with open(text, "rb") as f:
        found = f.read(16 * args.tokens)  # no more than 16 bytes a token, on the average
    found = found[:found.rfind(b"\n") + 1]
    out = subprocess.run([args.inferno, "tokenize", "-m", args.model], input=found, check=True, capture_output=True)
    ids = [int(i) for i in out.stdout.split()][:args.tokens]
    return [ids[i:i + args.window] for i in range(0, len(ids) - args.window + 1, args.window)]


def measure(args, name, quantized, floats, text, windows):
    """Prints a line of the table for every program."""
    programs = {f"inferno {kv}": Inferno(args.inferno, quantized, kv, args.isa) for kv in KV}
    programs |= {f"llama.cpp {kv}": LlamaCpp(quantized, kv, args.window) for kv in KV}
    truth = Inferno(args.inferno, floats, "f32", args.isa)
    programs["llama.cpp float"] = LlamaCpp(floats, "f32", args.window)
    kl = {p: [] for p in programs}  # per window: (window - 1,)
    nll = {p: [] for p in [*programs, "truth"]}
    for tokens in windows:
        chosen = np.arange(len(tokens) - 1), tokens[1:]
        p = log_softmax(truth.logits(tokens)[:-1])
        nll["truth"].append(-p[chosen])
        for program, it in programs.items():
            q = log_softmax(it.logits(tokens)[:-1])
            kl[program].append((np.exp(p) * (p - q)).sum(axis=1))
            nll[program].append(-q[chosen])
    ppl = {p: np.exp(np.mean(x)) for p, x in nll.items()}
    for kv in KV:
        cells = [name, text, kv, f"{ppl['truth']:.4f}"]
        ours, theirs = (np.array(kl[f"{program} {kv}"]) for program in ("inferno", "llama.cpp"))
        for found, program in ((ours, "inferno"), (theirs, "llama.cpp")):
            cells += [f"{found.mean():.3e}", f"{np.percentile(found, 99):.2e}", f"{ppl[f'{program} {kv}']:.4f}"]
        difference = ours.mean(axis=1) - theirs.mean(axis=1)
        error = difference.std(ddof=1) / np.sqrt(len(difference)) if len(difference) > 1 else np.nan
        cells += [f"{difference.mean():+.1e} ± {error:.0e}", f"{np.mean(kl['llama.cpp float']):.0e}"]
        print("| " + " | ".join(cells) + " |", flush=True)
    for it in programs.values():
        if isinstance(it, LlamaCpp):
            it.close()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("texts", nargs="+")
    parser.add_argument("--inferno", required=True, help="the program, built in release mode")
    parser.add_argument("--isa", help="its instruction set")
    parser.add_argument("--as", dest="types", help="file types to quantize the model to, with commas between them")
    parser.add_argument("--tokens", type=int, default=4096, help="of each text")
    parser.add_argument("--window", type=int, default=256)
    args = parser.parse_args()

    keep = ll.llama_log_callback(lambda level, text, _: level == 4 and sys.stderr.write(text.decode(errors="replace")))
    ll.llama_log_set(keep, ctypes.c_void_p(0))
    ll.llama_backend_init()
    print(f"llama-cpp-python {version('llama-cpp-python')}, llama.cpp {ll.llama_version().decode()}: {ll.llama_print_system_info().decode().strip()}\n")
    print("| file | text | KV | floats: ppl | inferno: KL | 99 % | ppl | llama.cpp: KL | 99 % | ppl | ours - theirs | floats |")
    print("|---" * 12 + "|")
    texts = {os.path.basename(text): tokenize(args, text) for text in args.texts}
    with tempfile.TemporaryDirectory() as folder:
        for name in (args.types or "").split(","):
            quantized, floats = args.model, os.path.join(folder, "floats.gguf")
            if name:
                quantized = os.path.join(folder, f"{name}.gguf")
                quantize(args.model, quantized, name)
            dequantize(quantized, floats)
            for text, windows in texts.items():
                measure(args, name or os.path.basename(quantized), quantized, floats, text, windows)


if __name__ == "__main__":
    main()
