"""The section `[process]`."""

from pathlib import Path
from typing import Annotated, Literal

import msgspec

from invoker import Section, SettingsSection
from invoker.units import ByteSize, Seconds


class ProcessSettings(Section, frozen=True, kw_only=True):
    """How actions run as child processes."""

    python: Path | None = None
    """Python interpreter of actions; by default the one below the invoker's own, without the invoker's packages."""
    nodejs: Path | None = None
    """Node.js of actions; by default `node`, if the invoker's PATH has it."""
    work_dir: Path | None = None
    """Where each container's private directory is made; by default the system's directory for temporary files."""
    processes: Annotated[int, msgspec.Meta(ge=32)] = 1024
    """Processes a container may have, threads included (as upstream's, spec 10.7); Node.js alone has a dozen."""
    open_files: Annotated[int, msgspec.Meta(ge=64)] = 1024
    """Files a process may have open (as upstream's containers, spec 10.7)."""
    file_size: ByteSize = ByteSize(1 << 30)
    """The largest file a process may write."""
    cgroup: Literal["auto", "off"] = "auto"
    """Whether control groups limit memory and processes, where the invoker may make them; else they are sampled."""
    sample_interval: Seconds = Seconds(0.05)
    """Seconds between looks at what a container uses, where that is sampled; shorter when it grows towards a limit."""


SECTION = SettingsSection(name="process", into=ProcessSettings)
