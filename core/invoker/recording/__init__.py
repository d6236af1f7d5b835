"""From the end of an activation to its record in the store."""

from invoker.recording.recorder import Recorder, recording
from invoker.recording.spool import Spool, spool_directory

__all__ = ["Recorder", "Spool", "recording", "spool_directory"]
