"""Every differentiable operation, one file a family: formula, value and derivatives of each on one screen.

Parameters have PyTorch's names, so that exp(input=x) and add(input=a, other=b) are what they are there. Formulas speak of
the one input as X and of two as A and B, and the first line of the code says so: a, b = operands(input, other, "add").
"""

from .activation import elu, gelu, hardtanh, leaky_relu, logsigmoid, relu, silu, softplus
from .arithmetic import add, div, floor_divide, mul, pow, remainder, sub
from .arrange import diag, repeat, roll, tril, triu
from .attention import scaled_dot_product_attention
from .compare import (
    bitwise_and,
    bitwise_not,
    bitwise_or,
    bitwise_xor,
    eq,
    ge,
    gt,
    isfinite,
    isinf,
    isnan,
    le,
    logical_and,
    logical_not,
    logical_or,
    logical_xor,
    lt,
    ne,
)
from .conv import conv1d, conv2d, conv2d_input, conv2d_weight, conv_transpose2d, pixel_shuffle, unfold
from .einsum import einsum
from .elementwise import (
    abs,
    ceil,
    clamp,
    cos,
    erf,
    exp,
    expm1,
    floor,
    log,
    log1p,
    log2,
    maximum,
    minimum,
    neg,
    reciprocal,
    round,
    rsqrt,
    sigmoid,
    sign,
    sin,
    sqrt,
    square,
    tanh,
    where,
)
from .index import (
    gather,
    getitem,
    index_put,
    index_select,
    masked_fill,
    masked_select,
    nonzero,
    pad,
    scatter_add,
    take_along_dim,
)
from .linalg import addmm, bmm, dot, linear, matmul, mm, mv, outer
from .lookup import embedding, one_hot
from .noise import dropout, dropout2d
from .normalize import batch_norm, cosine_similarity, group_norm, layer_norm, normalize, rms_norm
from .order import sort, topk
from .pool import adaptive_avg_pool2d, avg_pool1d, avg_pool2d, max_pool1d, max_pool2d
from .recurrent import gru_step, lstm_step
from .reduce import (
    all,
    amax,
    amin,
    any,
    argmax,
    argmin,
    cumsum,
    logsumexp,
    max,
    mean,
    min,
    norm,
    prod,
    std,
    sum,
    var,
    vector_norm,
)
from .shape import (
    broadcast_to,
    cat,
    chunk,
    clone,
    contiguous,
    detach,
    expand,
    flatten,
    flip,
    narrow,
    permute,
    reshape,
    split,
    squeeze,
    stack,
    t,
    transpose,
    unbind,
    unflatten,
    unsqueeze,
    view,
)
from .softmax import log_softmax, softmax

__all__ = [name for name in dir() if not name.startswith("_")]
__all__ = [n for n in __all__ if callable(globals()[n])]
