"""Matrix products."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..kernels import kernel
from ..tape import record, record_fused
from ._common import Number, broadcast, operands, renamed, tensor_of
from .arithmetic import add, mul
from .shape import reshape, unsqueeze

if TYPE_CHECKING:
    from .._tensor import Tensor


def matmul(input: Tensor, other: Tensor) -> Tensor:
    """Y[...,i,k] = Σ[j] A[...,i,j] * B[...,j,k]

    ∂L/∂A[...,i,j] = Σ[k] G[...,i,k] * B[...,j,k]
    ∂L/∂B[...,j,k] = Σ[i] A[...,i,j] * G[...,i,k]

    a: (..., I, J), b: (..., J, K), Y: (..., I, K); batches broadcast. One-dimensional operands are a row (a) or a
    column (b) whose dimension vanishes from the result.
    """
    a, b = tensor_of(input, "matmul"), tensor_of(other, "matmul")
    if a.array.dtype is not b.array.dtype:
        if a.array.dtype != b.array.dtype:
            raise TypeError(
                f"matmul: dtypes {a.array.dtype.name} and {b.array.dtype.name} differ; convert one with .to(dtype)"
            )
    A, B = a.array.shape, b.array.shape
    if len(A) == 2 and len(B) == 2 and A[1] == B[0]:
        return record(kernel(a).matmul(a.array, b.array), a, lambda G: matmul(G, b.mT), b, lambda G: matmul(a.mT, G))
    if not A or not B:
        raise ValueError(f"matmul: {A} @ {B}: tensors of 0 dimensions cannot be multiplied so; use *")
    if len(A) == 1:
        y = matmul(unsqueeze(a, 0), b)
        return y.squeeze(-2) if len(B) > 1 else reshape(y, ())
    if len(B) == 1:
        return matmul(a, unsqueeze(b, 1)).squeeze(-1)
    if A[-1] != B[-2]:
        raise ValueError(f"matmul: {A} @ {B}: inner sizes {A[-1]} and {B[-2]} differ")
    if len(B) == 2:  # one matrix for all batches: the rows of all of them make one tall product
        return reshape(matmul(reshape(a, (-1, A[-1]) if A[-1] else (_rows(A), 0)), b), (*A[:-1], B[-1]))
    broadcast("matmul", A[:-2], B[:-2])
    return record(kernel(a).matmul(a.array, b.array), a, lambda G: matmul(G, b.mT), b, lambda G: matmul(a.mT, G))


def _rows(shape: tuple[int, ...]) -> int:
    n = 1
    for size in shape[:-1]:
        n *= size
    return n


def linear(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Y[...,k] = Σ[j] X[...,j] * WEIGHT[k,j] + BIAS[k]

    ∂L/∂X[...,j] = Σ[k] G[...,k] * WEIGHT[k,j]
    ∂L/∂WEIGHT[k,j] = Σ[...] G[...,k] * X[...,j]
    ∂L/∂BIAS[k] = Σ[...] G[...,k]

    x: (..., J), weight: (K, J), bias: (K) or None, Y: (..., K).
    """
    try:
        X, W, B = input.array, weight.array, None if bias is None else bias.array
    except AttributeError:
        tensor_of(input, "linear"), tensor_of(weight, "linear"), tensor_of(bias, "linear")
        raise
    dtype = X.dtype
    if W.ndim != 2 or W.dtype is not dtype or (B is not None and (B.dtype is not dtype or B.ndim != 1 or len(B) != len(W))):
        return _rare_linear(input, weight, bias)
    try:
        Y = kernel(input).linear(X, W, B)
    except ValueError:
        raise _misfit(X.shape, W.shape, B) from None

    def gradients(G: Any, needed: tuple[bool, ...]) -> Any:
        return kernel(input).linear_gradient(G, X, W, needed)

    return record_fused(Y, (input, weight, bias), gradients, _linear_composition, (input, weight))


def _rare_linear(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """A weight of one dimension, a bias that broadcasts; or the sentence for what does not fit."""
    X, W, B = x.array, weight.array, None if bias is None else bias.array
    if W.ndim == 1:
        y = matmul(x, weight)
        return y if bias is None else y + bias
    if not X.ndim or W.ndim != 2 or X.shape[-1] != W.shape[1]:
        raise _misfit(X.shape, W.shape, B)
    if X.dtype != W.dtype or (B is not None and X.dtype != B.dtype):
        raise _mixed(X, W, B)
    if B is not None and B.shape not in ((), (1,), W.shape[:1]):
        raise _misfit(X.shape, W.shape, B)
    return _linear_composition(x, weight, bias)


def _linear_composition(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    y = matmul(x, weight.mT)
    return y if bias is None else add(y, bias)


def _misfit(x: tuple[int, ...], weight: tuple[int, ...], bias: Any) -> Exception:
    """The sentence for shapes that do not belong together."""
    if not x or len(weight) != 2 or x[-1] != weight[1]:
        return ValueError(f"linear: x {x} needs a weight of shape (outputs, {x[-1] if x else 'inputs'}), got {weight}")
    return ValueError(f"linear: weight {weight} needs a bias of shape ({weight[0]},), got {bias.shape}")


def _mixed(x: Any, weight: Any, bias: Any) -> Exception:
    """The sentence for dtypes that differ."""
    name, other = ("weight", weight) if x.dtype != weight.dtype else ("bias", bias)
    return TypeError(f"linear: x is {x.dtype.name}, {name} {other.dtype.name}; convert one with .to(dtype)")


def _of_ndim(name: str, x: Tensor, ndim: int) -> Tensor:
    x = tensor_of(x, name)
    if x.array.ndim != ndim:
        raise ValueError(f"{name}: expected a tensor of {ndim} dimensions, got shape {x.array.shape}")
    return x


def _product(name: str, a: Tensor, b: Tensor) -> Tensor:
    """matmul, whose sentences speak of the operation that was called."""
    try:
        return matmul(a, b)
    except (TypeError, ValueError) as error:
        raise renamed(error, "matmul", name) from None


def mm(input: Tensor, mat2: Tensor) -> Tensor:
    """Y[i,k] = Σ[j] A[i,j] * B[j,k]

    matmul of two matrices.
    """
    return _product("mm", _of_ndim("mm", input, 2), _of_ndim("mm", mat2, 2))


def bmm(input: Tensor, mat2: Tensor) -> Tensor:
    """Y[n,i,k] = Σ[j] A[n,i,j] * B[n,j,k]

    matmul of two equally long batches of matrices.
    """
    a, b = _of_ndim("bmm", input, 3), _of_ndim("bmm", mat2, 3)
    if a.array.shape[0] != b.array.shape[0]:
        raise ValueError(f"bmm: batches of {a.array.shape[0]} and {b.array.shape[0]} matrices differ")
    return _product("bmm", a, b)


def mv(input: Tensor, vec: Tensor) -> Tensor:
    """Y[i] = Σ[j] A[i,j] * B[j]

    matmul of a matrix and a vector.
    """
    return _product("mv", _of_ndim("mv", input, 2), _of_ndim("mv", vec, 1))


def dot(input: Tensor, tensor: Tensor) -> Tensor:
    """Y = Σ[j] A[j] * B[j]

    matmul of two vectors of one length.
    """
    return _product("dot", _of_ndim("dot", input, 1), _of_ndim("dot", tensor, 1))


def outer(input: Tensor, vec2: Tensor) -> Tensor:
    """Y[i,k] = A[i] * B[k]

    Every product of two vectors' elements.
    """
    a, b = operands(_of_ndim("outer", input, 1), _of_ndim("outer", vec2, 1), "outer")
    return mul(unsqueeze(a, 1), unsqueeze(b, 0))


def addmm(input: Tensor, mat1: Tensor, mat2: Tensor, *, beta: Number = 1, alpha: Number = 1) -> Tensor:
    """Y[i,k] = beta * X[i,k] + alpha * Σ[j] A[i,j] * B[j,k]

    x broadcasts to the product's shape; beta = 0 ignores it (also its NaN).
    """
    product = _product("addmm", _of_ndim("addmm", mat1, 2), _of_ndim("addmm", mat2, 2))
    if tensor_of(input, "addmm").array.dtype != product.array.dtype:
        raise TypeError(
            f"addmm: input is {input.array.dtype.name}, the matrices {product.array.dtype.name}; convert with .to(dtype)"
        )
    if alpha != 1:
        product = alpha * product
    if broadcast("addmm", tensor_of(input, "addmm").array.shape, product.array.shape) != product.array.shape:
        raise ValueError(f"addmm: input {input.array.shape} does not broadcast to the product's shape {product.array.shape}")
    if beta == 0:
        return product
    return add(input if beta == 1 else beta * input, product)


