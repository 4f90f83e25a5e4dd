"""Data: where it comes from, cleaning, scaling, splitting, and the batch path.

parts = data.load("digits", seed=0).transformed(data.Standardize())
loader = minidl.utils.data.DataLoader(parts.train, batch_size=64, shuffle=True)
"""

from __future__ import annotations

from .arrays import ArrayData, Parts, split_data
from .batches import take_images
from .cifar import cifar10, cifar_folder
from .cleaning import Clip, Impute, duplicate_rows, missing_rows, outlier_rows
from .download import cache_folder
from .encode import encode_labels, one_hot
from .errors import DataError, DataNotFoundError
from .idx import read_idx, write_idx
from .scaling import Affine, Chain, MinMax, Standardize, Transform, transform_from_state
from .sources import csv_table, digits, fashion_mnist, idx_folder, load, mnist
from .splitting import split_rows
from .tables import Table, read_csv
from .text import RandomWindows, TextData, TextParts, Windows, load_text, read_text, split_text
from .tokenizers import BytePairTokenizer, CharTokenizer, Tokenizer, load_tokenizer, tokenizer_from_state

__all__ = [
    "Affine",
    "ArrayData",
    "BytePairTokenizer",
    "Chain",
    "CharTokenizer",
    "Clip",
    "DataError",
    "DataNotFoundError",
    "Impute",
    "MinMax",
    "Parts",
    "RandomWindows",
    "Standardize",
    "Table",
    "TextData",
    "TextParts",
    "Tokenizer",
    "Transform",
    "Windows",
    "cache_folder",
    "cifar10",
    "cifar_folder",
    "csv_table",
    "digits",
    "duplicate_rows",
    "encode_labels",
    "fashion_mnist",
    "idx_folder",
    "load",
    "load_text",
    "load_tokenizer",
    "missing_rows",
    "mnist",
    "one_hot",
    "outlier_rows",
    "read_csv",
    "read_idx",
    "read_text",
    "split_data",
    "split_rows",
    "split_text",
    "take_images",
    "tokenizer_from_state",
    "transform_from_state",
    "write_idx",
]
