"""What several unit tests start from."""

from __future__ import annotations

import pytest

from tests.support.qcow2 import raw_by_qemu, run


@pytest.fixture(scope="session")
def small_qcow2(tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, bytes]:
    """An image with every kind of cluster in one table, and its content."""
    image = tmp_path_factory.mktemp("small") / "image.qcow2"
    run("qemu-img", "create", "-q", "-f", "qcow2", "-o", "cluster_size=4096", image, "4M")
    commands = [
        "write -P 1 0 40k",
        "write -P 2 2M 64k",
        "write -z 1M 64k",
        "write -c -P 3 64k 4k",
        "write -c -P 4 3M 4k",
        "write -P 5 100k 4k",
    ]
    run("qemu-io", *(word for command in commands for word in ("-c", command)), image)
    run("qemu-io", *(word for index in range(20) for word in ("-c", f"write -c -P {100 + index} {200 + index * 4}k 4k")), image)
    return image.read_bytes(), raw_by_qemu(image)
