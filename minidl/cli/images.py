"""A picture file as the model's input."""

from __future__ import annotations

import numpy as np

from minidl.cli.options import UsageError

__all__ = ["read_image"]


def read_image(path: str, shape: tuple[int, ...], largest: float) -> np.ndarray:
    """Read a picture as the model's training images are: light strokes on dark, of their size and range.

    It is made grey (or RGB for a model with three channels), turned into its negative where the border is light, padded
    to the model's proportions and resized.

    Args:
        path: the file, in any format that Pillow reads.
        shape: channels, height and width.
        largest: white, as in the training images: 255, or 16 for the digits.

    Returns:
        Shape (1, C, H, W).

    Raises:
        UsageError: Pillow is missing, or the file is no picture.
    """
    try:
        from PIL import Image, ImageOps
    except ImportError:
        raise UsageError(
            "minidl predict: pictures need Pillow, which is not installed; install it with: pip install pillow"
        ) from None
    channels, height, width = shape
    if channels not in (1, 3):
        raise UsageError(
            f"minidl predict: a picture has 1 or 3 channels, and this model takes {channels}; give a CSV file"
        )
    try:
        with Image.open(path) as opened:
            picture = ImageOps.exif_transpose(opened)
            if picture.mode in ("RGBA", "LA", "PA", "P"):  # what is transparent is paper
                picture = picture.convert("RGBA")
                picture = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture)
            picture = picture.convert("L" if channels == 1 else "RGB")
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise UsageError(
            f"minidl predict: {path} cannot be read as a picture ({error}); give a PNG or JPEG file"
        ) from None
    pixels = np.asarray(picture)
    border = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
    if np.median(border) > 127:
        picture = ImageOps.invert(picture)
    picture = ImageOps.pad(picture, (width, height), Image.Resampling.LANCZOS, color=0)
    pixels = np.asarray(picture, np.float64).reshape(height, width, channels)
    return np.ascontiguousarray((pixels * (largest / 255)).transpose(2, 0, 1)[None])
