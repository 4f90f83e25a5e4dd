"""Helpers under PyTorch's names: `minidl.utils.data`."""
