"""Writes the golden of Kimi Linear, which transformers has not: the formulas of https://arxiv.org/abs/2510.26692 in float64.

    python kimi.py

A tiny random model with F32 weights: Kimi delta attention with a dense network, the same with experts, and latent attention with experts.
The files are those that `make.py` describes; a vocabulary is left out.
"""

import json
import math
import random
import struct

DIM, HEADS, WIDTH, KERNEL = 32, 3, 10, 4
RANK, NOPE, ROPE, VALUE = 16, 12, 6, 14
FFN, EXPERTS, USED, EXPERT, SHARED = 48, 5, 2, 24, 32
VOCAB, EPS, SCALE = 64, 1e-5, 1.7
KV_HEADS = [0, 0, 1]
SHOWN, N_GREEDY = (0, 1, 8, 40, 63, 64, 69), 16

KEYS = {
    "block_count": 3,
    "context_length": 512,
    "embedding_length": DIM,
    "vocab_size": VOCAB,
    "feed_forward_length": FFN,
    "attention.head_count": HEADS,
    "attention.head_count_kv": KV_HEADS,
    "attention.layer_norm_rms_epsilon": EPS,
    "attention.kv_lora_rank": RANK,
    "attention.key_length": RANK + ROPE,
    "attention.value_length": RANK,
    "attention.key_length_mla": NOPE + ROPE,
    "attention.value_length_mla": VALUE,
    "rope.dimension_count": ROPE,
    "rope.freq_base": 10000.0,
    "ssm.conv_kernel": KERNEL,
    "kda.head_dim": WIDTH,
    "expert_count": EXPERTS,
    "expert_used_count": USED,
    "expert_feed_forward_length": EXPERT,
    "expert_shared_count": 1,
    "expert_shared_feed_forward_length": SHARED,
    "expert_gating_func": 2,
    "expert_weights_norm": True,
    "expert_weights_scale": SCALE,
    "leading_dense_block_count": 1,
}


def shapes():
    """Tensors in the order of the file: (name, dimensions with the row first, deviation, mean)."""
    all = HEADS * WIDTH
    yield "token_embd.weight", [DIM, VOCAB], 1.0, 0.0
    yield "output_norm.weight", [DIM], 0.1, 1.0
    yield "output.weight", [DIM, VOCAB], 0.4, 0.0
    for i, kv_heads in enumerate(KV_HEADS):
        at = f"blk.{i}."
        yield at + "attn_norm.weight", [DIM], 0.1, 1.0
        if kv_heads:
            yield at + "attn_q.weight", [DIM, HEADS * (NOPE + ROPE)], 0.3, 0.0
            yield at + "attn_kv_a_mqa.weight", [DIM, RANK + ROPE], 0.3, 0.0
            yield at + "attn_kv_a_norm.weight", [RANK], 0.1, 1.0
            yield at + "attn_k_b.weight", [NOPE, RANK, HEADS], 0.3, 0.0
            yield at + "attn_v_b.weight", [RANK, VALUE, HEADS], 0.3, 0.0
            yield at + "attn_output.weight", [HEADS * VALUE, DIM], 0.3, 0.0
        else:
            for x in "qkv":
                yield at + f"attn_{x}.weight", [DIM, all], 0.3, 0.0
                yield at + f"ssm_conv1d_{x}.weight", [KERNEL, 1, all], 0.5, 0.0
            for x in "fg":
                yield at + f"ssm_{x}_a.weight", [DIM, WIDTH], 0.3, 0.0
                yield at + f"ssm_{x}_b.weight", [WIDTH, all], 0.4, 0.0
            yield at + "ssm_beta.weight", [DIM, HEADS], 0.3, 0.0
            yield at + "ssm_a", [1, HEADS], 0.1, -0.5
            yield at + "ssm_dt.bias", [all], 0.5, -1.0
            yield at + "ssm_norm.weight", [WIDTH], 0.1, 1.0
            yield at + "attn_output.weight", [all, DIM], 0.3, 0.0
        yield at + "ffn_norm.weight", [DIM], 0.1, 1.0
        if i < KEYS["leading_dense_block_count"]:
            networks = [("", FFN, [])]
        else:
            yield at + "ffn_gate_inp.weight", [DIM, EXPERTS], 0.4, 0.0
            yield at + "exp_probs_b.bias", [EXPERTS], 0.3, 0.0
            networks = [("_exps", EXPERT, [EXPERTS]), ("_shexp", SHARED, [])]
        for kind, width, count in networks:
            yield at + f"ffn_gate{kind}.weight", [DIM, width] + count, 0.3, 0.0
            yield at + f"ffn_up{kind}.weight", [DIM, width] + count, 0.3, 0.0
            yield at + f"ffn_down{kind}.weight", [width, DIM] + count, 0.3, 0.0


def text(x):
    return struct.pack("<Q", len(x)) + x.encode()


def value(x):
    if isinstance(x, bool):
        return struct.pack("<I?", 7, x)
    if isinstance(x, float):
        return struct.pack("<If", 6, x)
    if isinstance(x, int):
        return struct.pack("<II", 4, x)
    if isinstance(x, str):
        return struct.pack("<I", 8) + text(x)
    return struct.pack("<IIQ", 9, 5, len(x)) + struct.pack(f"<{len(x)}i", *x)


def write(path, tensors):
    keys = {"general.architecture": "kimi-linear", "general.name": "golden kimi-linear"}
    keys |= {f"kimi-linear.{key}": x for key, x in KEYS.items()}
    head = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(keys))
    head += b"".join(text(key) + value(x) for key, x in keys.items())
    data = b""
    for name, (dims, numbers) in tensors.items():
        head += text(name) + struct.pack(f"<I{len(dims)}QIQ", len(dims), *dims, 0, len(data))
        data += struct.pack(f"<{len(numbers)}f", *numbers)
        data += bytes(-len(data) % 32)
    with open(path, "wb") as file:
        file.write(head + bytes(-len(head) % 32) + data)


def sigmoid(x):
    return 1 / (1 + math.exp(-x))


def silu(x):
    return x * sigmoid(x)


def dot(x, y):
    return sum(a * b for a, b in zip(x, y))


def product(w, x):
    n = len(x)
    return [dot(w[start : start + n], x) for start in range(0, len(w), n)]


def rms(x, w):
    scale = 1 / math.sqrt(dot(x, x) / len(x) + EPS)
    return [a * scale * b for a, b in zip(x, w)]


def unit(x):
    scale = 1 / math.sqrt(dot(x, x) + 1e-6)
    return [a * scale for a in x]


def kda(w, rows):
    columns = {}
    for x in "qkv":
        u, taps = [product(w[f"attn_{x}.weight"], h) for h in rows], w[f"ssm_conv1d_{x}.weight"]
        seen = lambda t, c: sum(
            taps[c * KERNEL + j] * u[t - KERNEL + 1 + j][c] for j in range(KERNEL) if t - KERNEL + 1 + j >= 0
        )
        columns[x] = [[silu(seen(t, c)) for c in range(HEADS * WIDTH)] for t in range(len(rows))]
    states = [[[0.0] * WIDTH for _ in range(WIDTH)] for _ in range(HEADS)]
    outs = []
    for t, h in enumerate(rows):
        f, gate = (product(w[f"ssm_{x}_b.weight"], product(w[f"ssm_{x}_a.weight"], h)) for x in "fg")
        beta = product(w["ssm_beta.weight"], h)
        out = []
        for head, state in enumerate(states):
            here = slice(head * WIDTH, (head + 1) * WIDTH)
            q, k, v = (columns[x][t][here] for x in "qkv")
            q, k = [x / math.sqrt(WIDTH) for x in unit(q)], unit(k)
            for i, x in enumerate(f[here]):
                softplus = math.log1p(math.exp(x + w["ssm_dt.bias"][head * WIDTH + i]))
                decay = math.exp(w["ssm_a"][head] * softplus)
                state[i] = [s * decay for s in state[i]]
            kept = [dot([row[j] for row in state], k) for j in range(WIDTH)]
            delta = [sigmoid(beta[head]) * (v[j] - kept[j]) for j in range(WIDTH)]
            for i, row in enumerate(state):
                state[i] = [s + k[i] * d for s, d in zip(row, delta)]
            read = [dot([row[j] for row in state], q) for j in range(WIDTH)]
            out += [y * sigmoid(g) for y, g in zip(rms(read, w["ssm_norm.weight"]), gate[here])]
        outs.append(product(w["attn_output.weight"], out))
    return outs


def latent(w, rows):
    keys, values, outs = [], [], []
    for h in rows:
        c = product(w["attn_kv_a_mqa.weight"], h)
        c, rest = rms(c[:RANK], w["attn_kv_a_norm.weight"]), c[RANK:]
        k_b, v_b = w["attn_k_b.weight"], w["attn_v_b.weight"]
        at = lambda head, r, n: k_b[(head * RANK + r) * NOPE + n]
        absorbed = lambda head: [sum(at(head, r, n) * c[r] for r in range(RANK)) for n in range(NOPE)]
        keys.append([absorbed(head) + rest for head in range(HEADS)])
        values.append([product(v_b[head * VALUE * RANK : (head + 1) * VALUE * RANK], c) for head in range(HEADS)])
        q, out = product(w["attn_q.weight"], h), []
        for head in range(HEADS):
            mine = q[head * (NOPE + ROPE) : (head + 1) * (NOPE + ROPE)]
            shares = [math.exp(dot(mine, k[head]) / math.sqrt(NOPE + ROPE)) for k in keys]
            out += [dot(shares, [v[head][j] for v in values]) / sum(shares) for j in range(VALUE)]
        outs.append(product(w["attn_output.weight"], out))
    return outs


def network(gate, up, down, h):
    return product(down, [silu(g) * u for g, u in zip(product(gate, h), product(up, h))])


def ffn(w, h):
    if "ffn_gate.weight" in w:
        return network(w["ffn_gate.weight"], w["ffn_up.weight"], w["ffn_down.weight"], h)
    p = [sigmoid(x) for x in product(w["ffn_gate_inp.weight"], h)]
    best = sorted(range(EXPERTS), key=lambda e: -(p[e] + w["exp_probs_b.bias"][e]))[:USED]
    out = network(*(w[f"ffn_{x}_shexp.weight"] for x in ("gate", "up", "down")), h)
    n = DIM * EXPERT
    for e in best:
        y = network(*(w[f"ffn_{x}_exps.weight"][e * n : (e + 1) * n] for x in ("gate", "up", "down")), h)
        share = SCALE * p[e] / sum(p[e] for e in best)
        out = [a + share * b for a, b in zip(out, y)]
    return out


def forward(weights, tokens):
    x = [weights["token_embd.weight"][t * DIM : (t + 1) * DIM] for t in tokens]
    for i, kv_heads in enumerate(KV_HEADS):
        at = f"blk.{i}."
        w = {name.removeprefix(at): numbers for name, numbers in weights.items() if name.startswith(at)}
        rows = [rms(row, w["attn_norm.weight"]) for row in x]
        x = [[a + b for a, b in zip(*pair)] for pair in zip(x, latent(w, rows) if kv_heads else kda(w, rows))]
        x = [[a + b for a, b in zip(row, ffn(w, rms(row, w["ffn_norm.weight"])))] for row in x]
    return [product(weights["output.weight"], rms(row, weights["output_norm.weight"])) for row in x]


def main():
    numbers = random.Random(18)
    tensors = {}
    for name, dims, deviation, mean in shapes():
        made = [numbers.gauss(mean, deviation) for _ in range(math.prod(dims))]
        tensors[name] = (dims, struct.unpack(f"<{len(made)}f", struct.pack(f"<{len(made)}f", *made)))
    write("kimi-linear.gguf", tensors)
    weights = {name: list(made) for name, (_, made) in tensors.items()}
    prompt = [numbers.randrange(VOCAB) for _ in range(SHOWN[-1] + 1)]
    logits = forward(weights, prompt)
    best = sorted(logits[-1])
    golden = {
        "prompt": prompt,
        "logits": {str(at): logits[at] for at in SHOWN},
        "top2_gap_at_greedy0": best[-1] - best[-2],
        "greedy": [],
    }
    for _ in range(N_GREEDY):
        golden["greedy"].append(logits[-1].index(max(logits[-1])))
        logits = forward(weights, prompt + golden["greedy"])
    with open("kimi-linear.json", "w") as file:
        json.dump(golden, file)


main()
