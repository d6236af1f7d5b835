"""From the end of an activation to its record in the store."""

from invoker.recording.recorder import Recorder, recording
from invoker.recording.segment import spool_directory
from invoker.recording.spool import Spool

__all__ = ["Recorder", "Spool", "recording", "spool_directory"]
