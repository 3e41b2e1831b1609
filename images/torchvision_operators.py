"""Lets a torchvision be imported whose compiled operators cannot be loaded beside the torch that is installed.

    python3 images/torchvision_operators.py      inside an image, with the Python that has both

torchvision's compiled part is bound to one build of torch: the build on PyPI wants CUDA's libraries, and beside a
CPU-only torch its import ends with `operator torchvision::nms does not exist`. No stage uses these operators (box
suppression, its own JPEG decoder), so their schemas are declared, and the import succeeds. Calling one still fails.
The compiled part, with the pieces of CUDA that it brought, is removed.

Nothing is done where torchvision imports as it is.
"""

import importlib.util
import shutil
import subprocess
import sys
from pathlib import Path

MISSING = "torchvision::nms does not exist"

# After torchvision has tried to load its operators, and before it describes their shapes.
DECLARATION = """

if not _has_ops():  # declared, not implemented: see images/torchvision_operators.py of trimtab
    _declared = torch.library.Library("torchvision", "DEF")
    _declared.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    _declared.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
"""


def main() -> int:
    said = complaint()
    if MISSING in said:
        spec = importlib.util.find_spec("torchvision")
        assert spec is not None
        assert spec.origin is not None
        declare(Path(spec.origin).parent)
        said = complaint()
    print(said, end="", file=sys.stderr)
    return 1 if said else 0


def declare(package: Path) -> None:
    with (package / "extension.py").open("a", encoding="utf-8") as file:
        file.write(DECLARATION)
    for library in package.glob("*.so"):
        library.unlink()
    shutil.rmtree(package.with_name("torchvision.libs"))


def complaint() -> str:
    """What the import says if it fails, else nothing."""
    done = subprocess.run([sys.executable, "-c", "import torchvision"], capture_output=True, text=True, check=False)
    return done.stderr if done.returncode else ""


if __name__ == "__main__":
    sys.exit(main())
