"""The libraries that are measured, one module each: how each does the same work as its users would write it."""

from __future__ import annotations

__all__ = ["LIBRARIES", "PACKAGES", "PEERS"]

LIBRARIES = {  # name -> module and class; a library is imported only in its own process
    "minidl": "minidl.bench.libraries.tensors:Minidl",
    "numpy": "minidl.bench.libraries.by_hand:NumPy",
    "torch": "minidl.bench.libraries.tensors:Torch",
    "torch.compile": "minidl.bench.libraries.tensors:TorchCompile",
    "jax": "minidl.bench.libraries.jitted:Jax",
    "tinygrad": "minidl.bench.libraries.lazy:Tinygrad",
    "exact": "minidl.bench.libraries.exact:Exact",
}
PEERS = ("numpy", "torch", "jax", "tinygrad")
PACKAGES = {name: name.split(".")[0] for name in (*PEERS, "torch.compile", "minidl")}
