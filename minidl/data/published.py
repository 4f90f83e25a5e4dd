"""Published data sets, and how to get hold of their files."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .download import RemoteFile, cache_folder, download
from .errors import DataError
from .idx import parse_idx, unpack


@dataclass(frozen=True)
class Source:
    """Files that belong together, the folder that they are kept in, the classes' names, and who offers them."""

    folder: str
    classes: tuple[str, ...]
    mirrors: tuple[str, ...]
    files: tuple[RemoteFile, ...]

    def content(self, file: RemoteFile, progress: bool | None = None) -> bytes:
        """The unpacked bytes of a file: from MINIDL_DATA's folder, else the cache's, else from a mirror.

        A file of MINIDL_DATA that is not the published one is an error; one of the cache is fetched again.
        """
        if root := os.environ.get("MINIDL_DATA"):
            for path in self._places(Path(root).expanduser(), file):
                content, problem = _verified(path, file)
                if problem:
                    raise DataError(f"{path}: {problem}; replace it by the original, or unset MINIDL_DATA")
                return content
        folder = cache_folder() / self.folder
        for path in self._places(folder.parent, file):
            content, problem = _verified(path, file)
            if not problem:
                return content
            path.unlink(missing_ok=True)
        return download(file, self.mirrors, folder, progress)

    def _places(self, root: Path, file: RemoteFile) -> list[Path]:
        """Where the file is under `root`, packed or not."""
        folders = (root / self.folder, root / self.folder.replace("-", "_"))
        names = (file.name, file.name.removesuffix(".gz"))
        return [path for folder in folders for name in names if (path := folder / name).is_file()]


@dataclass(frozen=True)
class IdxSource(Source):
    """Training images and labels, test images and labels: four files, in this order."""

    def arrays(self, progress: bool | None = None) -> list[np.ndarray]:
        """The four arrays, from verified files."""
        return [parse_idx(self.content(file, progress), file.name) for file in self.files]


def _verified(path: Path, file: RemoteFile) -> tuple[bytes, str]:
    """A local file's unpacked bytes, and what is wrong with them."""
    try:
        raw = path.read_bytes()
        content = unpack(raw, path)
    except DataError as error:
        return b"", str(error).removeprefix(f"{path}: ").partition(";")[0]
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error}); check its permissions") from None
    return content, file.problem(content, raw if path.suffix == ".gz" else None)


_NAMES = ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1")

# Y. LeCun, C. Cortes, C. J. C. Burges (1998). md5 of the unpacked files.
MNIST = IdxSource(
    folder="mnist",
    classes=tuple("0123456789"),
    mirrors=(
        "https://ossci-datasets.s3.amazonaws.com/mnist/",
        "https://storage.googleapis.com/cvdf-datasets/mnist/",
    ),
    files=tuple(
        RemoteFile(f"{name}-ubyte.gz", unpacked=md5)
        for name, md5 in zip(
            _NAMES,
            """6bbc9ace898e44ae57da46a324031adb a25bea736e30d166cdddb491f175f624
            2646ac647ad5339dbf082846283269ea 27ae3e4e09519cfbb04c329615203637""".split(),
        )
    ),
)

# H. Xiao, K. Rasul, R. Vollgraf (2017). md5 of the packed files, as the authors publish them.
FASHION_MNIST = IdxSource(
    folder="fashion-mnist",
    classes=tuple("T-shirt/top,Trouser,Pullover,Dress,Coat,Sandal,Shirt,Sneaker,Bag,Ankle boot".split(",")),
    mirrors=(
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
        "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
    ),
    files=tuple(
        RemoteFile(f"{name}-ubyte.gz", packed=md5)
        for name, md5 in zip(
            _NAMES,
            """8d4fb7e6c68d591d4c3dfef9ec88bf0d 25c81989df183df01b3e8a0aad5dffbe
            bef4ecab320f06d8554ea6380940ec79 bb300cfdad3c16e7a12a480ee83cd310""".split(),
        )
    ),
)

# 40,000 lines of Shakespeare's plays, collected by A. Karpathy (2015). sha256 of the file.
SHAKESPEARE = Source(
    folder="tinyshakespeare",
    classes=(),
    mirrors=(
        "https://raw.githubusercontent.com/karpathy/char-rnn/master/data/tinyshakespeare/",
        "https://cdn.jsdelivr.net/gh/karpathy/char-rnn@master/data/tinyshakespeare/",
    ),
    files=(RemoteFile("input.txt", unpacked="86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed"),),
)
