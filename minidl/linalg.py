"""PyTorch's names for linear algebra; formulas and code: `minidl.ops`."""

from minidl.ops import vector_norm

__all__ = ["vector_norm"]
