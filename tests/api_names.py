"""The public API as data: every name that minidl offers under PyTorch's, by where it is found."""

from __future__ import annotations

TENSORS = """
    Tensor tensor as_tensor from_numpy zeros ones full empty eye arange linspace
    zeros_like ones_like full_like empty_like
    rand randn randint randperm normal bernoulli multinomial manual_seed Generator
"""
DTYPES = "float32 float64 float16 bfloat16 int64 int32 int16 uint8 bool float double half long int"
ATTRIBUTES = "shape ndim dtype device grad requires_grad data T mT"
METHODS = """
    size dim numel numpy item tolist detach clone contiguous to float double long cpu cuda
    backward retain_grad register_hook
    add_ sub_ mul_ div_ zero_ fill_ copy_ clamp_ normal_ uniform_ bernoulli_
    __array__ __dlpack__ __dlpack_device__ __getitem__ __setitem__
"""
OPERATORS = """
    __add__ __radd__ __iadd__ __sub__ __rsub__ __isub__ __mul__ __rmul__ __imul__ __truediv__ __rtruediv__ __itruediv__
    __floordiv__ __rfloordiv__ __mod__ __rmod__ __pow__ __rpow__ __matmul__ __rmatmul__ __neg__ __abs__
    __and__ __rand__ __or__ __ror__ __xor__ __rxor__ __invert__
    __lt__ __le__ __eq__ __ne__ __ge__ __gt__ __len__ __bool__ __float__ __int__ __iter__ __contains__
"""
MATH = """
    abs neg sign exp expm1 log log1p log2 sqrt rsqrt square reciprocal sin cos tanh sigmoid erf floor ceil
    round clamp pow add sub mul div floor_divide remainder maximum minimum where isnan isfinite eq ne lt le gt ge
    all any logical_and logical_or logical_not logical_xor
"""
REDUCTIONS = "sum mean prod var std amax amin max min argmax argmin logsumexp cumsum norm sort topk"
LINEAR_ALGEBRA = "matmul mm bmm mv dot outer addmm einsum"
SHAPE = """
    reshape flatten unflatten transpose permute t squeeze unsqueeze broadcast_to
    cat stack split chunk unbind narrow nonzero masked_select index_select gather scatter_add take_along_dim flip roll
    tril triu diag masked_fill
"""
ONLY_METHODS = "view expand repeat"  # of the shapes, what PyTorch has as methods alone
AUTOGRAD = "no_grad enable_grad inference_mode is_grad_enabled set_grad_enabled device save load from_dlpack"
ALSO_FUNCTIONAL = "softmax log_softmax relu"  # PyTorch has these at the top too
MODULE = """
    parameters named_parameters modules named_modules children buffers register_buffer register_parameter
    register_forward_hook apply zero_grad requires_grad_ to train eval state_dict load_state_dict
"""
LAYERS = """
    Parameter Sequential ModuleList ModuleDict Linear Conv1d Conv2d ConvTranspose2d MaxPool1d MaxPool2d AvgPool1d
    AvgPool2d AdaptiveAvgPool2d BatchNorm1d BatchNorm2d LayerNorm GroupNorm RMSNorm Dropout Dropout2d Embedding
    MultiheadAttention
    TransformerEncoderLayer TransformerEncoder PixelShuffle Flatten
    Unflatten Identity RNN LSTM GRU RNNCell LSTMCell GRUCell ReLU LeakyReLU ELU GELU SiLU Tanh Sigmoid Softplus Hardtanh
    Softmax LogSoftmax
    MSELoss L1Loss HuberLoss SmoothL1Loss CrossEntropyLoss NLLLoss BCELoss BCEWithLogitsLoss KLDivLoss
"""
INIT = """
    uniform_ normal_ constant_ zeros_ ones_ eye_ trunc_normal_ xavier_uniform_ xavier_normal_ kaiming_uniform_
    kaiming_normal_ orthogonal_ calculate_gain
"""
FUNCTIONAL = """
    linear conv1d conv2d conv_transpose2d unfold pad one_hot normalize cosine_similarity
    dropout dropout2d embedding scaled_dot_product_attention mse_loss l1_loss huber_loss smooth_l1_loss cross_entropy
    nll_loss binary_cross_entropy binary_cross_entropy_with_logits kl_div
    max_pool1d max_pool2d avg_pool1d avg_pool2d adaptive_avg_pool2d batch_norm layer_norm group_norm rms_norm
    pixel_shuffle relu leaky_relu elu gelu silu tanh sigmoid softplus hardtanh softmax log_softmax
"""
OPTIMIZERS = "SGD Adam AdamW RMSprop Adagrad Adadelta"
SCHEDULES = """
    StepLR MultiStepLR ExponentialLR CosineAnnealingLR LinearLR OneCycleLR ReduceLROnPlateau LambdaLR SequentialLR
"""
DATA = "Dataset TensorDataset Subset ConcatDataset random_split RandomSampler SequentialSampler DataLoader"

# Where PyTorch has it -> the names. minidl has each in the same place.
NAMES: dict[str, list[str]] = {
    "": [*" ".join((TENSORS, MATH, REDUCTIONS, LINEAR_ALGEBRA, SHAPE, AUTOGRAD, ALSO_FUNCTIONAL)).split()],
    "linalg": ["vector_norm"],
    "Tensor": [*" ".join((METHODS, ONLY_METHODS)).split()],
    "autograd": ["grad", "Function", "gradcheck", "detect_anomaly"],
    "cuda": ["is_available", "synchronize"],
    "nn": ["Module", *LAYERS.split()],
    "nn.Module": MODULE.split(),
    "nn.init": INIT.split(),
    "nn.utils": ["clip_grad_norm_", "parameters_to_vector"],
    "nn.functional": FUNCTIONAL.split(),
    "optim": OPTIMIZERS.split(),
    "optim.lr_scheduler": SCHEDULES.split(),
    "utils.data": DATA.split(),
}

# minidl's own, beside PyTorch's names.
OWN: dict[str, list[str]] = {
    "": ["backend"],
    "optim": ["GD"],
    "penalties": ["L1", "L2", "ElasticNet"],
}

# ------------------------------------------------------------------------------------------- what is not there yet
