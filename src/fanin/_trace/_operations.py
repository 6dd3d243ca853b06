"""What kind of thing each dispatched operation is, by its name without overload or underscore."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from torch import Tag
from torch._ops import OpOverload

from fanin._trace._graph import Kind

__all__ = ["base_name", "kind_of"]


def _named(kind: Kind, names: str) -> dict[str, Kind]:
    return dict.fromkeys(names.split(), kind)


_KINDS: Final[Mapping[str, Kind]] = MappingProxyType(
    {
        **_named(
            "view",
            "view _unsafe_view _reshape_alias reshape permute transpose t unsqueeze squeeze expand "
            "alias detach lift_fresh view_as_real view_as_complex movedim numpy_T",
        ),
        **_named("slice", "slice select split split_with_sizes unbind narrow chunk diagonal"),
        **_named("copy", "clone _to_copy copy contiguous _conj resolve_conj lift"),
        **_named("add", "add sub rsub lerp"),
        **_named("multiply", "mul div true_divide"),
        **_named(
            "product",
            "mm addmm bmm baddbmm addbmm mv addmv dot vdot linear convolution _convolution "
            "mkldnn_convolution _grouped_mm _scaled_mm _trilinear _sparse_mm _sparse_addmm addr "
            "_slow_conv2d_forward mkldnn_linear _sparse_semi_structured_mm cudnn_convolution",
        ),
        **_named("lookup", "embedding _embedding_bag _embedding_bag_forward_only"),
        **_named(
            "norm",
            "native_layer_norm native_group_norm native_batch_norm _native_batch_norm_legit "
            "_native_batch_norm_legit_no_training _batch_norm_with_update _batch_norm_no_update "
            "_native_batch_norm_legit_functional cudnn_batch_norm _fused_rms_norm "
            "mkldnn_batch_norm miopen_batch_norm batch_norm_elemt _weight_norm_interface",
        ),
        **_named("softmax", "_softmax _log_softmax _safe_softmax softmax log_softmax"),
        **_named(
            "attention",
            "_scaled_dot_product_flash_attention_for_cpu _scaled_dot_product_flash_attention "
            "_scaled_dot_product_efficient_attention _scaled_dot_product_cudnn_attention "
            "_scaled_dot_product_fused_attention_overrideable _scaled_dot_product_attention_math "
            "_scaled_dot_product_attention_math_for_mps scaled_dot_product_attention",
        ),
        **_named(
            "reduce",
            "sum mean amax amin max min std var var_mean std_mean norm linalg_vector_norm "
            "logsumexp prod all any argmax argmin median mode nansum aminmax _linalg_svd cumprod",
        ),
        **_named(
            "pool",
            "max_pool2d_with_indices max_pool3d_with_indices max_pool2d max_pool1d avg_pool2d "
            "avg_pool3d avg_pool1d _adaptive_avg_pool2d _adaptive_avg_pool3d adaptive_max_pool2d "
            "adaptive_max_pool3d mkldnn_max_pool2d fractional_max_pool2d",
        ),
        **_named("concatenate", "cat stack"),
        **_named(
            "move",
            "index index_select gather scatter scatter_add index_add index_put _index_put_impl "
            "index_copy scatter_reduce masked_scatter constant_pad_nd reflection_pad1d "
            "reflection_pad2d reflection_pad3d replication_pad1d replication_pad2d "
            "replication_pad3d upsample_nearest1d upsample_nearest2d upsample_nearest3d "
            "upsample_bilinear2d upsample_linear1d upsample_trilinear3d upsample_bicubic2d "
            "_upsample_bilinear2d_aa _upsample_nearest_exact2d _upsample_bicubic2d_aa roll flip "
            "repeat pixel_shuffle pixel_unshuffle channel_shuffle _fft_r2c _fft_c2r _fft_c2c "
            "cumsum tril triu masked_fill where im2col col2im unfold as_strided grid_sampler_2d "
            "grid_sampler_3d repeat_interleave _unsafe_index _unsafe_index_put masked_select "
            "complex real imag _fused_dropout native_dropout segment_reduce rot90 take "
            "fill expand_copy slice_scatter select_scatter unfold_copy",
        ),
        **_named(
            "choose",
            "topk sort argsort multinomial bernoulli histc nonzero unique _unique2 bincount "
            "searchsorted bucketize one_hot randperm unique_consecutive eq ne lt le gt ge "
            "logical_not logical_and logical_or isnan isinf isfinite bitwise_and bitwise_or "
            "_local_scalar_dense equal is_nonzero",
        ),
        **_named(
            "recurrent",
            "mkldnn_rnn_layer lstm gru rnn_tanh rnn_relu _cudnn_rnn _thnn_fused_lstm_cell "
            "_thnn_fused_gru_cell",
        ),
        **_named("glu", "glu"),
        **_named(
            "pointwise",
            "_prelu_kernel prelu rrelu_with_noise log_sigmoid_forward log_sigmoid celu hardswish "
            "relu relu6 leaky_relu elu selu gelu silu mish softplus hardtanh hardsigmoid sigmoid "
            "tanh hardshrink softshrink threshold",
        ),
        **_named(
            "constant",
            "zeros ones full empty arange linspace eye rand randn randint scalar_tensor "
            "empty_like zeros_like ones_like full_like rand_like randn_like randint_like new_empty "
            "new_zeros new_ones new_full new_empty_strided empty_strided empty_permuted "
            "tril_indices triu_indices normal uniform sym_size logspace hann_window",
        ),
    }
)


def base_name(operation: OpOverload) -> str:
    """``aten.add_.Tensor`` is ``add``.

    >>> import torch
    >>> base_name(torch.ops.aten.relu_.default)
    'relu'
    """
    name = operation._schema.name.split("::")[-1]  # noqa: SLF001 - torch's own name of it
    return name.removesuffix("_") if not name.startswith("__") else name.strip("_")


def kind_of(operation: OpOverload, name: str) -> Kind:
    """The kind of an operation; ``other`` for one that nothing is known of."""
    if name in _KINDS:
        return _KINDS[name]
    if operation.is_view:
        return "slice"
    return "pointwise" if Tag.pointwise in operation.tags else "other"
