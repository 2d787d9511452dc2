"""Floating point operations of one forward pass: those of matrix products, convolutions and attention.

Each multiplication with its addition counts as two. As usual in the literature, element-wise operators and sums without
weights are not counted: activations, norms, softmax, pooling, resampling. Operators that are neither counted nor known
to be of that kind are named, so that an incomplete figure never looks complete.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from kdviz.core.language import _, listed

Formula = Callable[..., int]


@dataclass(frozen=True)
class Operations:
    """The operations of a forward pass.

    Attributes:
        flops: Floating point operations that were counted; a multiplication with its addition is two.
        uncounted: Names of operators whose operations are not in ``flops``, sorted.
    """

    flops: int
    uncounted: tuple[str, ...] = ()


def left_out(uncounted: Mapping[str, Sequence[str]]) -> list[str]:
    """A sentence for each model whose figure is incomplete.

    Args:
        uncounted: Role -> names of operators.
    """
    return [
        _(
            "The operations of '{role}' are more than its figure: {operators} compute too, and how much is not known.",
            role=role,
            operators=listed(names),
        )
        for role, names in uncounted.items()
        if names
    ]


@torch.no_grad()
def operations_of(network: nn.Module, images: Tensor) -> Operations:
    """Count the operations of a network for some images.

    Args:
        network: A network in evaluation mode.
        images: (N, C, H, W); one image for the figures that papers report.
    """
    with _Counter() as counter:
        network(images)
    return Operations(counter.flops, tuple(sorted(counter.uncounted)))


class _Counter(TorchDispatchMode):
    """Counts every operator that reaches the device, decomposed as far as torch can decompose it."""

    def __init__(self) -> None:
        super().__init__()
        self.flops = 0
        self.uncounted: set[str] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        formula = _formula(func)
        if formula is None and isinstance(func, torch._ops.OpOverload):
            with self:
                decomposed = func.decompose(*args, **kwargs)
            if decomposed is not NotImplemented:
                return decomposed
        result = func(*args, **kwargs)
        if formula is not None:
            self.flops += int(formula(*args, **kwargs, out_val=result))
        elif not _is_uncounted_by_convention(func):
            self.uncounted.add(str(getattr(func, "overloadpacket", func)).removeprefix("aten."))
        return result


def _formula(func: Any) -> Formula | None:
    packet = getattr(func, "overloadpacket", func)
    return _FORMULAS.get(str(packet)) or flop_registry.get(packet)


def _is_uncounted_by_convention(func: Any) -> bool:
    """Whether an operator moves numbers, works element by element, or sums without weights."""
    if getattr(func, "is_view", False) or torch.Tag.pointwise in getattr(func, "tags", ()):
        return True
    name = str(getattr(func, "overloadpacket", func)).removeprefix("aten.")
    return name.strip("_") in _NOT_COUNTED or name.startswith(_NOT_COUNTED_KINDS)


# formulas that torch.utils.flop_counter lacks -------------------------------------------------------------------------


def _attention(query: Tensor, key: Tensor, value: Tensor, *args: Any, **kwargs: Any) -> int:
    """Scores of queries (..., L, E) against keys (..., S, E), and their weights on the values (..., S, V)."""
    return 2 * prod(query.shape[:-1]) * key.shape[-2] * (query.shape[-1] + value.shape[-1])


def _multi_head(query: Tensor, key: Tensor, value: Tensor, width: int, heads: int, *args: Any, **kwargs: Any) -> int:
    """nn.MultiheadAttention's fast path: four projections of (N, L, E), and attention; its heads share E."""
    positions = query.shape[0] * query.shape[1]
    return 2 * positions * 4 * width * width + 2 * positions * key.shape[1] * 2 * width


def _encoder_layer(source: Tensor, width: int, heads: int, *args: Any, **kwargs: Any) -> int:
    """nn.TransformerEncoderLayer's fast path: attention, then two linear layers on (N, L, E)."""
    matrices = [arg for arg in args if isinstance(arg, Tensor) and arg.ndim == 2]
    linear = matrices[2:4]  # after those of the input and output projections
    positions = source.shape[0] * source.shape[1]
    return _multi_head(source, source, source, width, heads) + 2 * positions * sum(matrix.numel() for matrix in linear)


def _rnn_layer(source: Tensor, input_weights: Tensor, state_weights: Tensor, *args: Any, **kwargs: Any) -> int:
    """One layer and direction of an LSTM or GRU: in each step all gates see the input (L, N, I) and the state."""
    return 2 * source.shape[0] * source.shape[1] * (input_weights.numel() + state_weights.numel())


def _matrix_vector(matrix: Tensor, vector: Tensor, *args: Any, **kwargs: Any) -> int:
    return 2 * matrix.numel()


def _added_matrix_vector(added: Tensor, matrix: Tensor, vector: Tensor, *args: Any, **kwargs: Any) -> int:
    return 2 * matrix.numel()


def _added_batches(added: Tensor, first: Tensor, second: Tensor, *args: Any, **kwargs: Any) -> int:
    return 2 * first.numel() * second.shape[-1]


def _distances(first: Tensor, second: Tensor, *args: Any, **kwargs: Any) -> int:
    """Differences, squares and sums; a matrix product would take as many."""
    return 2 * first.numel() * second.shape[-2]


_FORMULAS: Mapping[str, Formula] = {
    "aten._scaled_dot_product_flash_attention_for_cpu": _attention,
    "aten._scaled_dot_product_fused_attention_overrideable": _attention,
    "aten._scaled_dot_product_attention_math_for_mps": _attention,
    "aten._native_multi_head_attention": _multi_head,
    "aten._transformer_encoder_layer_fwd": _encoder_layer,
    "aten.mkldnn_rnn_layer": _rnn_layer,
    "aten.mv": _matrix_vector,
    "aten.dot": _matrix_vector,
    "aten.vdot": _matrix_vector,
    "aten.addmv": _added_matrix_vector,
    "aten.addbmm": _added_batches,
    "aten._euclidean_dist": _distances,
    "aten._cdist_forward": _distances,
}

# Without leading and trailing underscores.
_NOT_COUNTED = frozenset(
    """
    zeros ones empty full arange linspace eye scalar_tensor zeros_like ones_like empty_like full_like new_zeros
    new_ones new_full new_empty empty_strided new_empty_strided rand randn randint randperm rand_like randn_like
    bernoulli native_dropout lift_fresh lift_fresh_copy clone copy to_copy contiguous cat stack unsafe_view
    unsafe_split unsafe_split_with_sizes split_with_sizes_copy repeat repeat_interleave roll flip unfold_copy
    im2col col2im constant_pad_nd reflection_pad1d reflection_pad2d replication_pad1d replication_pad2d
    pixel_shuffle pixel_unshuffle channel_shuffle native_channel_shuffle index index_put index_select index_copy
    index_add index_fill gather scatter scatter_add take masked_select masked_scatter nonzero slice_scatter
    select_scatter embedding embedding_bag one_hot tril triu diag_embed tril_indices triu_indices resize resize_as
    set local_scalar_dense assert_async assert_scalar assert_tensor_metadata sym_size detach alias fill zero sum
    mean prod amax amin aminmax max min argmax argmin var var_mean std std_mean median nanmedian mode any all topk
    sort argsort kthvalue unique2 cumsum cumprod cummax cummin logsumexp logcumsumexp norm linalg_vector_norm
    count_nonzero searchsorted bucketize histc bincount softmax log_softmax safe_softmax native_batch_norm
    native_batch_norm_legit native_batch_norm_legit_no_training batch_norm_with_update batch_norm_no_update
    cudnn_batch_norm native_layer_norm native_group_norm fused_rms_norm batch_norm_impl_index transpose t squeeze
    unsqueeze swapaxes unsafe_index unsafe_index_put prelu_kernel prelu rrelu_with_noise glu hardswish hardsigmoid
    hardtanh silu gelu mish leaky_relu elu celu softplus softshrink hardshrink threshold as_strided
    thnn_fused_lstm_cell thnn_fused_gru_cell equal is_same_size max_pool2d_with_indices max_pool3d_with_indices
    max_pool2d avg_pool1d avg_pool2d avg_pool3d adaptive_avg_pool2d adaptive_avg_pool3d adaptive_max_pool2d
    adaptive_max_pool3d fractional_max_pool2d mkldnn_max_pool2d mkldnn_adaptive_avg_pool2d grid_sampler_2d
    grid_sampler_3d cudnn_grid_sampler
    """.split()  # noqa: SIM905  one name per line would take three pages
)
_NOT_COUNTED_KINDS = ("upsample_", "_upsample_")
