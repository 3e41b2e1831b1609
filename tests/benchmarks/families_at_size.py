"""The families with networks that people use, and every backbone of the built-in catalog, with random weights.

    python tests/benchmarks/families_at_size.py [NAME …]

Minutes for each; prints one line for each. What it does to a network is `tests/families.py`.
"""

import os
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from families import make_world, take_through

from components.core.errors import UserError
from components.core.models.catalog import load_catalog

NETWORKS = {
    "torchvision:resnet18": 64, "timm:resnet10t": 64, "torchvision:vgg11_bn": 64, "torchvision:densenet121": 64,
    "torchvision:squeezenet1_1": 64, "torchvision:mobilenet_v2": 64, "torchvision:mobilenet_v3_small": 64,
    "torchvision:efficientnet_b0": 64, "torchvision:regnet_x_400mf": 64, "torchvision:regnet_y_400mf": 64,
    "timm:convnext_atto": 64, "timm:ghostnet_050": 64, "torchvision:shufflenet_v2_x0_5": 64,
    "timm:vit_tiny_patch16_224": 224, "torchvision:vit_b_16": 224, "timm:deit_tiny_patch16_224": 224,
    "torchvision:swin_t": 64, "timm:swin_tiny_patch4_window7_224": 224,
}  # fmt: skip
"""Architecture → side of its input."""


def main(chosen: list[str]) -> None:
    catalog = {one.architecture: 64 for one in load_catalog().values() if not one.task}
    with tempfile.TemporaryDirectory() as folder:
        os.environ["TRIMTAB_CACHE"] = str(Path(folder) / "cache")
        world = make_world(Path(folder))
        for source, size in {**catalog, **NETWORKS}.items():
            if chosen and source not in chosen:
                continue
            began = time.process_time()
            try:
                said: object = take_through(source, size, world, round_to=16)
            except UserError as error:
                said = f"refused: {error}"
            print(f"{source} at {size} px, {time.process_time() - began:.0f} s of CPU: {said}", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
