"""What a step of compression is called. Names can be read without torch."""

from __future__ import annotations

PRUNE, QAT, INT8, INT4, SEED = "prune", "qat", "int8", "int4", "seed"
"""Steps."""

CHANNELS, WEIGHTS, TWO_OF_FOUR = "channels", "weights", "2:4"
PATTERNS = (CHANNELS, WEIGHTS, TWO_OF_FOUR)
"""What pruning leaves out: whole channels, single weights, or two of every four weights."""

STATIC, DYNAMIC = "static", "dynamic"
RANGES = (STATIC, DYNAMIC)
"""Where int8 without training takes the ranges of layers from: real pictures, or each batch itself."""
