"""Images of proxies that misbehave: built from ours, once for each content."""

import hashlib
from pathlib import Path

from tests.services.images import run

FOLDER = Path(__file__).parent / "odd"
TARGETS = ("plain", "odd", "mute", "leaver", "hollow")
"""`plain` is the image of Python actions under another name, so that other settings may apply to it."""


def odd_images(url: str, base: str) -> dict[str, str]:
    """Return the images by their names, on an engine that has `base`."""
    files = [FOLDER / "Dockerfile", FOLDER / "proxy.py"]
    digest = hashlib.sha256(b"".join([base.encode(), *(file.read_bytes() for file in files)])).hexdigest()[:12]
    images = {target: f"functions-invoker-tests/{target}:{digest}" for target in TARGETS}
    if run(url, "image", "inspect", *images.values()).returncode:
        for target, image in images.items():
            options = ("--network", "none", "--build-arg", f"BASE={base}", "--target", target, "--tag", image)
            built = run(url, "build", *options, str(FOLDER))
            assert built.returncode == 0, built.stdout + built.stderr
    return images
