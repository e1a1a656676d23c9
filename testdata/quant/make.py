"""Writes blocks.gguf: blocks of 13 quantized types with the values that gguf-py gives them.

    python make.py          # needs gguf 0.19 and numpy

Per type T two tensors: `T.blocks` (random bytes, with ordinary and with extreme scales) and `T.values`
(F32). ggml's C library (0.13.1, `dequantize_row_*`) gives the same bits for these blocks.
Further `input` (F32) and `T.quantized` for the types whose quantizer gguf-py defines.
"""

from pathlib import Path

import gguf
import numpy as np
from gguf import GGMLQuantizationType as T

rng = np.random.default_rng(20250101)

# f16 bits: ordinary, zeros, subnormal, largest, infinite, NaN.
EXTREME = [0x0000, 0x8000, 0x0001, 0x83FF, 0x0400, 0x7BFF, 0xFBFF, 0x7C00, 0xFC00, 0x7E00]

# type: blocks, where its f16 scales are, where its packed integer scales are
TYPES = {
    T.Q8_0: (24, [0], None),
    T.Q4_0: (24, [0], None),
    T.Q4_1: (24, [0, 2], None),
    T.Q5_0: (24, [0], None),
    T.Q5_1: (24, [0, 2], None),
    T.IQ4_NL: (24, [0], None),
    T.MXFP4: (24, [], None),
    T.Q2_K: (8, [80, 82], (0, 16)),
    T.Q3_K: (8, [108], (96, 108)),
    T.Q4_K: (8, [0, 2], (4, 16)),
    T.Q5_K: (8, [0, 2], (4, 16)),
    T.Q6_K: (8, [208], (192, 208)),
    T.IQ4_XS: (8, [0], (2, 8)),
}


def blocks(t, n, halves, packed):
    size = gguf.GGML_QUANT_SIZES[t][1]
    b = rng.integers(0, 256, (n, size), dtype=np.uint8)
    for at in halves:
        d = rng.normal(0, 0.02, n).astype(np.float16)
        b[:, at : at + 2] = d.view(np.uint8).reshape(n, 2)
    # The second half of the blocks: extreme floats, and integer scales with all bits equal.
    for i in range(n // 2, n):
        for at in halves:
            b[i, at : at + 2] = np.array([rng.choice(EXTREME)], dtype="<u2").view(np.uint8)
        if packed and i % 2:
            b[i, packed[0] : packed[1]] = 255 if i % 4 == 1 else 0
    if t == T.MXFP4:
        b[:12, 0] = rng.integers(110, 130, 12)
        b[12:, 0] = [0, 1, 2, 3, 126, 127, 128, 129, 252, 253, 254, 255]
    return b.reshape(-1)


def main():
    out = Path(__file__).parent / "blocks.gguf"
    w = gguf.GGUFWriter(out, "none")

    def add(name, array, t=None):
        w.add_tensor(name, array, raw_dtype=t)

    for t, (n, halves, packed) in TYPES.items():
        b = blocks(t, n, halves, packed)
        add(f"{t.name}.blocks", b, t)
        with np.errstate(all="ignore"):
            add(f"{t.name}.values", gguf.quants.dequantize(b, t))

    half = rng.integers(0, 1 << 16, 256, dtype=np.uint16)
    half[: len(EXTREME)] = EXTREME
    add("F16.blocks", half.view(np.float16))
    add("F16.values", half.view(np.float16).astype(np.float32))
    add("BF16.blocks", half.view(np.uint8), T.BF16)
    add("BF16.values", (half.astype(np.uint32) << 16).view(np.float32))

    x = rng.normal(0, 1, (24, 32)).astype(np.float32)
    x *= np.logspace(-6, 3, 24, dtype=np.float32)[:, None]
    x[3] = 0
    x[5] = -np.abs(x[5])
    x[7, :] = 0
    x[7, 9] = -2.5
    x[9] = np.arange(32, dtype=np.float32) * 0.5  # many halves to round
    x[11] = np.where(np.arange(32) % 2, 4, -4)  # two largest magnitudes, of different sign
    x = x.reshape(-1)
    add("input", x)
    for t in (T.Q8_0, T.Q4_0, T.BF16):
        add(f"{t.name}.quantized", gguf.quants.quantize(x, t), t)
    add("F16.quantized", x.astype(np.float16))

    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()


main()
