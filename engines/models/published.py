"""torchvision's published ImageNet weights: which file, where it comes from, and whether it is the right one.

The file names end in the first eight digits of the file's SHA-256, which is checked on every use. The trap: these
weights want `normalisation: imagenet`; a model with another one is refused.
"""

import hashlib
from pathlib import Path

import torch

from engines.errors import CheckpointError
from engines.models.config import BackboneName, ModelConfig

__all__ = ["PUBLISHED", "imagenet_file"]

ADDRESS = "https://download.pytorch.org/models/"
PUBLISHED: dict[BackboneName, str] = {
    # The first published weights of each (IMAGENET1K_V1): the papers' own recipe.
    "vgg16": "vgg16-397923af.pth",
    "resnet18": "resnet18-f37072fd.pth",
    "resnet50": "resnet50-0676ba61.pth",
    "resnet101": "resnet101-63fe2227.pth",
    "mobilenet_v2": "mobilenet_v2-b0353104.pth",
    "mobilenet_v3_small": "mobilenet_v3_small-047dcff4.pth",
    "mobilenet_v3_large": "mobilenet_v3_large-8738ca79.pth",
}


def imagenet_file(config: ModelConfig) -> Path:
    """The file for a config's backbone, from PyTorch's cache folder, or fetched into it with a progress bar.

    Raises:
        CheckpointError: torchvision has no such network, the model normalises otherwise, or the file is not there
            and cannot be fetched; then the message says which file to put where.
    """
    name = PUBLISHED.get(config.backbone)
    if name is None or config.width != 1:
        what = f"{config.backbone} x {config.width:g}"
        raise CheckpointError(
            f"backbone_weights: imagenet: torchvision publishes none for {what}; it does for {', '.join(PUBLISHED)} "
            "(width 1); give a path, or none"
        )
    if config.normalisation != "imagenet":
        raise CheckpointError(
            f"backbone_weights: imagenet: {name} wants model.normalisation imagenet; the config says "
            f"{config.normalisation}"
        )
    path = Path(torch.hub.get_dir()) / "checkpoints" / name
    if not path.is_file():
        _fetch(name, path)
    expected = _digits(name)
    found = _sha256(path)
    if not found.startswith(expected):
        raise CheckpointError(
            f"{path}: SHA-256 begins with {found[: len(expected)]}, expected {expected}; delete the file and try again"
        )
    return path


def _fetch(name: str, path: Path) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.hub.download_url_to_file(ADDRESS + name, str(path), hash_prefix=_digits(name), progress=True)
    except (OSError, RuntimeError) as error:
        raise CheckpointError(
            f"{name} is not in {path.parent} and could not be fetched ({error}); "
            f"get {ADDRESS}{name} on another machine and put it at {path}"
        ) from error


def _digits(name: str) -> str:
    return Path(name).stem.rsplit("-", 1)[1]


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
