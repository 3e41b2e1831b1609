"""Builds ``fashion_mnist.parquet``, the embedded demo, from Fashion-MNIST's original IDX files.

    python components/data_prep/demo/build.py /usr/share/datasets/fashion-mnist

(Debian's package dataset-fashion-mnist has them.) Takes the first 850 images of each class from the training file, in
the order of the file; the official test file is not touched. Images are lossless WebP.
"""

import gzip
import io
import json
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

PER_CLASS = 850
CLASSES = ["T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"]
TARGET = Path(__file__).with_name("fashion_mnist.parquet")

_IMAGES_MAGIC, _LABELS_MAGIC = 2051, 2049


def read_idx(path: Path) -> np.ndarray:
    """An IDX file of unsigned bytes: `(N, 28, 28)` images or `(N,)` labels (http://yann.lecun.com/exdb/mnist)."""
    data = gzip.decompress(path.read_bytes())
    magic = int.from_bytes(data[:4], "big")
    if magic not in (_IMAGES_MAGIC, _LABELS_MAGIC):
        raise ValueError(f"{path} is not an IDX file of unsigned bytes (magic {magic})")
    dimensions = magic % 256
    shape = np.frombuffer(data, dtype=">u4", count=dimensions, offset=4)
    return np.frombuffer(data, dtype=np.uint8, offset=4 + 4 * dimensions).reshape(shape)


def first_of_each(labels: np.ndarray, count: int) -> np.ndarray:
    """Positions of the first `count` of each class, in the order of the file."""
    return np.sort(np.concatenate([np.flatnonzero(labels == label)[:count] for label in range(len(CLASSES))]))


def webp(pixels: np.ndarray) -> bytes:
    """Lossless WebP of a grey `(28, 28)` image."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "WEBP", lossless=True, quality=100, method=6)
    return buffer.getvalue()


def build(folder: Path, target: Path) -> None:
    """Write the Parquet file in the layout of Hugging Face's image datasets."""
    images, labels = read_idx(folder / "train-images-idx3-ubyte.gz"), read_idx(folder / "train-labels-idx1-ubyte.gz")
    chosen = first_of_each(labels, PER_CLASS)
    features = {"image": {"_type": "Image"}, "label": {"names": CLASSES, "_type": "ClassLabel"}}
    table = pa.table(
        {
            "image": [{"bytes": webp(images[row]), "path": f"train/{row:05d}.webp"} for row in chosen.tolist()],
            "label": pa.array(labels[chosen], type=pa.int8()),
        },
        metadata={"huggingface": json.dumps({"info": {"features": features, "license": "MIT"}})},
    )
    pq.write_table(table, target, compression="zstd", use_dictionary=False, row_group_size=2000)
    print(f"{target.name}: {table.num_rows} images, {target.stat().st_size:,} bytes")


if __name__ == "__main__":
    build(Path(sys.argv[1]), TARGET)
