"""Writes the goldens with stretched RoPE, sliding windows and plain expert shares, and those of families that no other golden has.

    pip install torch==2.15 transformers==5.24 gguf==0.19 numpy
    python make.py              # all of VARIANTS
    python make.py llama-yarn   # some of them

Per variant NAME.gguf, a tiny random model with F32 weights and a vocabulary of bytes, and NAME.json:
`prompt` (60 tokens), `logits` (position: one number per token, after the whole prompt at once), `greedy`
(the 16 tokens that follow) and `top2_gap_at_greedy0` (by how much the first of them won).

Transformers computes norms, softmax, routing and rotations in float32 whatever type the model has. Here
the name `torch.float32` means float64 before transformers is imported, so every step is in float64.
"""

import json
import re
import sys
from pathlib import Path
from types import SimpleNamespace

import gguf
import numpy as np
import torch

torch.float32 = torch.float = torch.float64
torch.Tensor.float = torch.Tensor.double
torch.set_default_dtype(torch.float64)

import transformers  # noqa: E402: after float32 has become float64

VOCAB = 320
SHOWN = (0, 1, 8, 40, 59)  # positions of `logits`, on both sides of windows and of original contexts
N_PROMPT = SHOWN[-1] + 1
N_GREEDY = 16

# What a variant does not say otherwise.
DEFAULTS = dict(
    vocab_size=VOCAB,
    hidden_size=48,
    intermediate_size=80,
    num_hidden_layers=2,
    num_attention_heads=4,
    num_key_value_heads=2,
    max_position_embeddings=128,
    rms_norm_eps=1e-6,
    bos_token_id=None,
    eos_token_id=None,
    pad_token_id=None,
    attn_implementation="eager",
    experts_implementation="eager",
)

YARN = dict(rope_type="yarn", rope_theta=10000.0, factor=4.0, original_max_position_embeddings=32)
YARN_KEYS = {
    "rope.freq_base": 10000.0,
    "rope.scaling.type": "yarn",
    "rope.scaling.factor": 4.0,
    "rope.scaling.original_context_length": 32,
}
LONG = [1.0, 1.5, 3.0, 6.0, 12.0, 25.0]
SHORT = [1.0, 1.0625, 1.125, 1.25, 1.5, 2.0]

# name: type in transformers, architecture in GGUF, configuration, the metadata that says the same
VARIANTS = {
    "llama-yarn": ("llama", "llama", dict(head_dim=24, rope_parameters=YARN), YARN_KEYS),
    "llama-linear": (
        "llama",
        "llama",
        dict(head_dim=24, rope_parameters=dict(rope_type="linear", rope_theta=10000.0, factor=4.0)),
        {"rope.freq_base": 10000.0, "rope.scaling.type": "linear", "rope.scaling.factor": 4.0},
    ),
    "mistral-window": (
        "mistral",
        "llama",
        dict(head_dim=24, sliding_window=8),
        {"rope.freq_base": 10000.0, "attention.sliding_window": 8},
    ),
    # The whole prompt is longer than the original context, so all positions rotate by the long factors.
    "phi3-longrope": (
        "phi3",
        "phi3",
        dict(
            num_attention_heads=3,
            num_key_value_heads=1,
            sliding_window=None,
            original_max_position_embeddings=32,
            rope_parameters=dict(
                rope_type="longrope",
                rope_theta=10000.0,
                partial_rotary_factor=0.75,
                original_max_position_embeddings=32,
                long_factor=LONG,
                short_factor=SHORT,
            ),
        ),
        {
            "rope.freq_base": 10000.0,
            "rope.dimension_count": 12,
            "rope.scaling.original_context_length": 32,
            "rope.scaling.attn_factor": float(np.sqrt(1 + np.log(128 / 32) / np.log(32))),
        },
    ),
    "gemma3-linear": (
        "gemma3_text",
        "gemma3",
        dict(
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=7,
            num_attention_heads=2,
            num_key_value_heads=1,
            head_dim=16,
            query_pre_attn_scalar=16,
            sliding_window=8,
            rope_parameters=dict(
                full_attention=dict(rope_type="linear", rope_theta=1000000.0, factor=8.0),
                sliding_attention=dict(rope_type="default", rope_theta=10000.0),
            ),
        ),
        {
            "rope.freq_base": 1000000.0,
            "rope.scaling.type": "linear",
            "rope.scaling.factor": 8.0,
            "attention.sliding_window": 8,
        },
    ),
    "qwen3-yarn-factor": (
        "qwen3",
        "qwen3",
        dict(head_dim=24, rope_parameters=dict(YARN, attention_factor=1.3)),
        {**YARN_KEYS, "rope.scaling.yarn_attn_factor": 1.3},
    ),
    "qwen3moe-plain-shares": (
        "qwen3_moe",
        "qwen3moe",
        dict(
            head_dim=24,
            num_experts=8,
            num_experts_per_tok=3,
            moe_intermediate_size=16,
            norm_topk_prob=False,
            tie_word_embeddings=True,
        ),
        {
            "rope.freq_base": 10000.0,
            "expert_count": 8,
            "expert_used_count": 3,
            "expert_feed_forward_length": 16,
            "expert_weights_norm": False,
        },
    ),
}


# Families that no other golden has. Heads are no multiple of 8 wide where the configuration allows it.
SMALL = dict(hidden_size=32, intermediate_size=48, tie_word_embeddings=True)
MIXTURE = dict(SMALL, intermediate_size=16, num_experts=8, num_experts_per_tok=3)
MIXTURE_KEYS = {"rope.freq_base": 10000.0, "expert_count": 8, "expert_used_count": 3}
EXPERT_KEYS = {**MIXTURE_KEYS, "expert_feed_forward_length": 16}
PLAIN = dict(rope_type="default", rope_theta=10000.0)
PLAIN_KEYS = {"rope.freq_base": 10000.0}
LLAMA3 = dict(
    rope_type="llama3",
    rope_theta=10000.0,
    factor=8.0,
    original_max_position_embeddings=32,
    low_freq_factor=1.0,
    high_freq_factor=4.0,
)


def sections(*widths):
    """Rotations that have a section for every axis of an image."""
    return dict(PLAIN, mrope_section=list(widths))


VARIANTS |= {
    "olmoe": (
        "olmoe",
        "olmoe",
        dict(MIXTURE, num_key_value_heads=4, tie_word_embeddings=False),
        MIXTURE_KEYS,
    ),
    "granitemoe": (
        "granitemoeshared",
        "granitemoe",
        dict(
            MIXTURE,
            num_local_experts=8,
            shared_intermediate_size=24,
            embedding_multiplier=6.0,
            attention_multiplier=0.2,
            residual_multiplier=0.3,
            logits_scaling=0.7,
        ),
        {
            **MIXTURE_KEYS,
            "expert_shared_feed_forward_length": 24,
            "embedding_scale": 6.0,
            "attention.scale": 0.2,
            "residual_scale": 0.3,
            "logit_scale": 0.7,
        },
    ),
    "dots1": (
        "dots1",
        "dots1",
        dict(
            MIXTURE,
            tie_word_embeddings=False,
            num_key_value_heads=4,
            head_dim=12,
            intermediate_size=48,
            first_k_dense_replace=1,
            n_routed_experts=8,
            n_shared_experts=2,
            moe_intermediate_size=16,
            norm_topk_prob=True,
            routed_scaling_factor=2.5,
        ),
        {
            **EXPERT_KEYS,
            "leading_dense_block_count": 1,
            "expert_shared_count": 2,
            "expert_weights_scale": 2.5,
            "expert_weights_norm": True,
            "expert_gating_func": 2,
        },
    ),
    # The converter stretches the base of rotations instead of naming their scaling.
    "hunyuan-moe": (
        "hunyuan_v1_moe",
        "hunyuan-moe",
        dict(
            MIXTURE,
            head_dim=12,
            moe_topk=3,
            rope_parameters=dict(rope_type="dynamic", rope_theta=10000.0, alpha=50.0, factor=1.0),
        ),
        {
            **EXPERT_KEYS,
            "rope.freq_base": 10000.0 * 50.0 ** (12 / 10),
            "expert_shared_count": 1,
            "expert_shared_feed_forward_length": 16,
        },
    ),
    "qwen3vlmoe": (
        "qwen3_vl_moe_text",
        "qwen3vlmoe",
        dict(MIXTURE, head_dim=12, moe_intermediate_size=16, rope_parameters=sections(2, 2, 2)),
        {**EXPERT_KEYS, "rope.dimension_sections": [2, 2, 2, 0], "n_deepstack_layers": 0},
    ),
    "qwen2vl": (
        "qwen2_vl_text",
        "qwen2vl",
        dict(SMALL, rope_parameters=sections(2, 1, 1)),
        {**PLAIN_KEYS, "rope.dimension_sections": [2, 1, 1, 0]},
    ),
    "arcee": ("arcee", "arcee", dict(SMALL, head_dim=12, rope_parameters=YARN), YARN_KEYS),
    "apertus": ("apertus", "apertus", dict(SMALL, tie_word_embeddings=False, rope_parameters=LLAMA3), PLAIN_KEYS),
    "ernie4_5": ("ernie4_5", "ernie4_5", dict(SMALL, head_dim=12, rope_parameters=PLAIN), PLAIN_KEYS),
    "gemma": ("gemma", "gemma", dict(SMALL, head_dim=12), PLAIN_KEYS),
    "exaone": ("exaone", "exaone", dict(SMALL, head_dim=12, rope_parameters=LLAMA3), PLAIN_KEYS),
    # The third layer sees everything and does not rotate.
    "exaone-moe": (
        "exaone_moe",
        "exaone-moe",
        dict(
            MIXTURE,
            tie_word_embeddings=False,
            head_dim=12,
            num_hidden_layers=3,
            intermediate_size=48,
            moe_intermediate_size=16,
            first_k_dense_replace=1,
            num_shared_experts=2,
            n_group=4,
            topk_group=2,
            sliding_window=8,
            layer_types=["sliding_attention", "sliding_attention", "full_attention"],
        ),
        {
            **EXPERT_KEYS,
            "leading_dense_block_count": 1,
            "expert_shared_count": 2,
            "expert_shared_feed_forward_length": 32,
            "expert_group_count": 4,
            "expert_group_used_count": 2,
            "expert_weights_scale": 2.5,
            "expert_weights_norm": True,
            "expert_gating_func": 2,
            "attention.sliding_window": 8,
            "attention.sliding_window_pattern": [True, True, False],
        },
    ),
    # The file does not say that the first layer is dense.
    "hy_v3": (
        "hy_v3",
        "hy_v3",
        dict(
            MIXTURE,
            head_dim=12,
            intermediate_size=48,
            moe_intermediate_size=16,
            num_shared_experts=1,
            rope_parameters=PLAIN,
        ),
        {
            **EXPERT_KEYS,
            "expert_shared_feed_forward_length": 16,
            "expert_weights_scale": 2.826,
            "expert_weights_norm": True,
            "expert_gating_func": 2,
        },
    ),
    "mellum": (
        "mellum",
        "mellum",
        dict(
            MIXTURE,
            tie_word_embeddings=False,
            head_dim=12,
            num_hidden_layers=3,
            moe_intermediate_size=16,
            sliding_window=8,
            layer_types=["sliding_attention", "full_attention", "sliding_attention"],
            rope_parameters=dict(full_attention=YARN, sliding_attention=PLAIN),
        ),
        {
            **EXPERT_KEYS,
            **YARN_KEYS,
            "attention.sliding_window": 8,
            "attention.sliding_window_pattern": [True, False, True],
        },
    ),
}

# Families that the `gguf` package does not know, by one whose tensors have the same names.
NAMED_AS = {"hy_v3": "exaone-moe", "mellum": "qwen3moe"}

# Families whose files have adjacent rows of a head where transformers has its halves.
PERMUTED = ("llama", "arcee", "granitemoe")


class TextModel(torch.nn.Module):
    """The language model of one that sees images, with its embedding as the output head."""

    def __init__(self, config):
        super().__init__()
        self.config = config
        self.model = transformers.AutoModel.from_config(config)

    def forward(self, tokens, use_cache):
        hidden = self.model(tokens, use_cache=use_cache).last_hidden_state
        return SimpleNamespace(logits=hidden @ self.model.embed_tokens.weight.T)


def random_model(kind, config, seed):
    """A model whose GGUF tensors are exact in float32."""
    config = transformers.AutoConfig.for_model(kind, **{**DEFAULTS, **config})
    sees_images = kind.endswith("_text") and "vl" in kind
    build = TextModel if sees_images else transformers.AutoModelForCausalLM.from_config
    model = build(config).eval()
    random = torch.Generator().manual_seed(seed)
    for name, p in parameters(model):
        assert p.dtype == torch.float64, name
        noise = torch.randn(p.shape, generator=random)
        if name.endswith("norm.weight"):
            # What GGUF stores is the whole factor; Gemma's parameter is the factor less one.
            p.data = exact(1 + 0.3 * noise) - stored_offset(kind)
        elif name.endswith("act_fn.beta"):
            p.data = exact(0.5 + 0.1 * noise)
        elif name.endswith("act_fn.eps"):
            p.data = exact(p.data)
        else:
            p.data = exact(1.5 * noise / (p.shape or (1,))[-1] ** 0.5)
    return model


def parameters(model):
    """All that a file stores, with the names of transformers."""
    yield from model.named_parameters()
    stored = ("e_score_correction_bias", "act_fn.beta", "act_fn.eps")
    yield from ((name, b) for name, b in model.named_buffers() if name.endswith(stored))


def exact(tensor):
    return torch.from_numpy(tensor.numpy().astype(np.float32).astype(np.float64))


def stored_offset(kind):
    return 1 if kind.startswith("gemma") else 0


@torch.no_grad()
def logits(model, tokens):
    """(len(tokens), VOCAB)"""
    found = model(torch.tensor([tokens]), use_cache=False).logits[0]
    assert found.dtype == torch.float64
    return found


def golden(model, architecture, seed):
    prompt = np.random.default_rng(seed).integers(0, 256, N_PROMPT).tolist()
    after_prompt = logits(model, prompt)
    best = after_prompt[-1].topk(2).values
    tokens = list(prompt)
    for _ in range(N_GREEDY):
        tokens.append(int(logits(model, tokens)[-1].argmax()))
    return {
        "architecture": architecture,
        "seed": seed,
        "source": f"transformers {transformers.__version__} float64",
        "prompt": prompt,
        "logits": {str(at): [round(x, 6) for x in after_prompt[at].tolist()] for at in SHOWN},
        "greedy": tokens[N_PROMPT:],
        "top2_gap_at_greedy0": float(best[0] - best[1]),
    }


def write_gguf(path, model, architecture, keys):
    w = gguf.GGUFWriter(path, architecture)
    w.add_name(f"golden {path.stem}")
    config = model.config
    head_dim = head_width(config)
    common = {
        "context_length": config.max_position_embeddings,
        "embedding_length": config.hidden_size,
        "block_count": config.num_hidden_layers,
        "feed_forward_length": config.intermediate_size,
        "attention.head_count": config.num_attention_heads,
        "attention.head_count_kv": config.num_key_value_heads,
        "attention.key_length": head_dim,
        "attention.value_length": head_dim,
        "attention.layer_norm_rms_epsilon": config.rms_norm_eps,
        "vocab_size": VOCAB,
        "rope.dimension_count": head_dim,
    }
    add = {bool: w.add_bool, int: w.add_uint32, float: w.add_float32, str: w.add_string, list: w.add_array}
    for key, value in {**common, **keys}.items():
        add[type(value)](f"{architecture}.{key}", value)
    if architecture == "apertus":
        for part in ("alpha_p", "alpha_n", "beta", "eps"):
            numbers = [p.item() for name, p in parameters(model) if name.endswith(f"act_fn.{part}")]
            w.add_array(f"xielu.{part}", numbers)
    w.add_file_type(gguf.LlamaFileType.ALL_F32)
    add_tokenizer(w)
    for name, tensor in gguf_tensors(model, architecture):
        w.add_tensor(name, np.ascontiguousarray(tensor.numpy().astype(np.float32)))
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()


def add_tokenizer(w):
    """All bytes in GPT-2's spelling, three control tokens, one merge, padding."""
    plain = {*range(33, 127), *range(161, 173), *range(174, 256)}
    other = iter(range(256, 512))
    letters = [chr(b if b in plain else next(other)) for b in range(256)]
    control = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    n_padding = VOCAB - 256 - len(control) - 1
    w.add_tokenizer_model("gpt2")
    w.add_tokenizer_pre("qwen2")
    w.add_token_list(letters + control + ["he"] + [f"[PAD{i}]" for i in range(n_padding)])
    w.add_token_types([1] * 256 + [3] * len(control) + [1] + [5] * n_padding)
    w.add_token_merges(["h e"])
    w.add_bos_token_id(256)
    w.add_eos_token_id(258)
    w.add_add_bos_token(False)


def gguf_tensors(model, architecture):
    """The names and values of all tensors of the file."""
    config = model.config
    known = {name: arch for arch, name in gguf.MODEL_ARCH_NAMES.items()}
    arch = known[NAMED_AS.get(architecture, architecture)]
    names = gguf.get_tensor_name_map(arch, config.num_hidden_layers)
    if architecture == "phi3":
        yield "rope_factors_long.weight", torch.tensor(LONG)
        yield "rope_factors_short.weight", torch.tensor(SHORT)
    if config.rope_parameters.get("rope_type") == "llama3":
        plain = 1 / config.rope_parameters["rope_theta"] ** (torch.arange(0, 1, 2 / head_width(config)))
        yield "rope_freqs.weight", plain / model.model.rotary_emb.inv_freq
    for name, p in parameters(model):
        tensor = p.data
        if "act_fn" in name:
            continue
        block = f"blk.{layer[0]}" if (layer := re.findall(r"layers\.(\d+)\.", name)) else ""
        if name.endswith("experts.gate_up_proj"):
            gate, up = tensor.chunk(2, dim=1)
            yield f"{block}.ffn_gate_exps.weight", gate
            yield f"{block}.ffn_up_exps.weight", up
            continue
        if name.endswith("shared_mlp.input_linear.weight"):
            gate, up = tensor.chunk(2)
            yield f"{block}.ffn_gate_shexp.weight", gate
            yield f"{block}.ffn_up_shexp.weight", up
            continue
        if name.endswith("experts.down_proj"):
            yield f"{block}.ffn_down_exps.weight", tensor
            continue
        if architecture in PERMUTED and "q_proj" in name:
            tensor = adjacent_pairs(tensor, config.num_attention_heads)
        if architecture in PERMUTED and "k_proj" in name:
            tensor = adjacent_pairs(tensor, config.num_key_value_heads)
        if name.endswith("norm.weight"):
            tensor = tensor + stored_offset(config.model_type)
        base, suffix = name.rsplit(".", 1)
        if suffix.endswith("_bias"):
            base, suffix = name.removesuffix("_bias"), "bias"
        if architecture == "hy_v3" and name.endswith("e_score_correction_bias"):
            yield f"{block}.exp_probs_b", tensor
            continue
        base = base.replace("block_sparse_moe.router", "block_sparse_moe.router.layer")
        yield f"{names.get_name(base)}.{suffix}", tensor


def head_width(config):
    return getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads


def adjacent_pairs(rows, n_heads):
    """Transformers rotates the halves of a head together, GGUF's llama its adjacent rows."""
    return rows.reshape(n_heads, 2, -1, *rows.shape[1:]).swapaxes(1, 2).reshape(rows.shape)


def main():
    here = Path(__file__).parent
    for seed, (name, (kind, architecture, config, keys)) in enumerate(VARIANTS.items(), 1):
        if sys.argv[1:] and name not in sys.argv[1:]:
            continue
        model = random_model(kind, config, seed)
        write_gguf(here / f"{name}.gguf", model, architecture, keys)
        (here / f"{name}.json").write_text(json.dumps(golden(model, architecture, seed)))


if __name__ == "__main__":
    main()
