"""Prints what ggml's own library dequantizes fixed random blocks to, a hash for every quantized type.

    python hashes.py libggml-base.so     # needs numpy

The table in crates/inferno-format/tests/it/quant.rs has these hashes. Blocks are the bytes of splitmix64,
then a block of zeros and one of ones; the hash is FNV-1a over the words of the values, each NaN as 0x7FC00000.
"""

import ctypes
import sys

import numpy as np

N_BLOCKS = 512

# name: elements and bytes of a block
TYPES = {
    "Q4_0": (32, 18),
    "Q4_1": (32, 20),
    "Q5_0": (32, 22),
    "Q5_1": (32, 24),
    "Q8_0": (32, 34),
    "Q2_K": (256, 84),
    "Q3_K": (256, 110),
    "Q4_K": (256, 144),
    "Q5_K": (256, 176),
    "Q6_K": (256, 210),
    "IQ2_XXS": (256, 66),
    "IQ2_XS": (256, 74),
    "IQ3_XXS": (256, 98),
    "IQ1_S": (256, 50),
    "IQ4_NL": (32, 18),
    "IQ3_S": (256, 110),
    "IQ2_S": (256, 82),
    "IQ4_XS": (256, 136),
    "IQ1_M": (256, 56),
    "TQ1_0": (256, 54),
    "TQ2_0": (256, 66),
    "MXFP4": (32, 17),
    "NVFP4": (64, 36),
    "Q1_0": (128, 18),
    "Q2_0": (64, 18),
}


def random_bytes(n):
    """The first `n` bytes of splitmix64 with seed 0, little-endian."""
    i = np.arange(1, n // 8 + 2, dtype=np.uint64)
    z = i * np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return (z ^ (z >> np.uint64(31))).view(np.uint8)[:n]


def fnv1a(words):
    h = 0xCBF29CE484222325
    for word in words.tolist():
        h = (h ^ word) * 0x100000001B3 & 0xFFFFFFFFFFFFFFFF
    return h


def blocks(size):
    ends = np.repeat(np.array([0, 255], dtype=np.uint8), size)
    return np.concatenate([random_bytes(N_BLOCKS * size), ends])


def values(library, name, n, data):
    dequantize = getattr(library, f"dequantize_row_{name if name.endswith('_K') else name.lower()}".replace('_Q', '_q'))
    dequantize.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64]
    out = np.zeros(n, dtype=np.float32)
    dequantize(data.ctypes.data, out.ctypes.data, n)
    out[np.isnan(out)] = np.float32("nan")
    return out.view(np.uint32)


def main():
    library = ctypes.CDLL(sys.argv[1])
    for name, (length, size) in TYPES.items():
        out = values(library, name, (N_BLOCKS + 2) * length, blocks(size))
        print(f"    (DType::{name}, 0x{fnv1a(out):016x}),")


if __name__ == "__main__":
    main()
