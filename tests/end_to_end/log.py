"""The invoker's log, read as it is written."""

import json
import threading
from collections.abc import Callable
from typing import IO, Any


class Log:
    """Reads JSON lines in a thread, so that their writer is never held up, and wakes whoever waits for one."""

    def __init__(self, stream: IO[bytes]) -> None:
        self.lines: list[dict[str, Any]] = []
        self.strange: list[bytes] = []
        """Lines that are no JSON."""
        self._changed = threading.Condition()
        self._ended = False
        self._thread = threading.Thread(target=self._read, args=(stream,), daemon=True)
        self._thread.start()

    def _read(self, stream: IO[bytes]) -> None:
        for text in stream:
            try:
                line = json.loads(text)
            except ValueError:
                line = None
            with self._changed:
                if isinstance(line, dict):
                    self.lines.append(line)
                else:
                    self.strange.append(text)
                self._changed.notify_all()
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def wait(self, wanted: Callable[[dict[str, Any]], bool], patience: float) -> dict[str, Any]:
        """Return the first line that is wanted, as soon as it is there."""

        def found() -> dict[str, Any] | None:
            return next((line for line in self.lines if wanted(line)), None)

        with self._changed:
            self._changed.wait_for(lambda: found() is not None or self._ended, patience)
            line = found()
        assert line is not None, f"the log doesn't say it:\n{self.text()}"
        return line

    def of_activation(self, activation_id: str, patience: float = 30.0) -> dict[str, Any]:
        """Return the line about an activation."""
        return self.wait(lambda line: line.get("aid") == activation_id, patience)

    def messages(self) -> list[str]:
        """Return what the lines say."""
        return [str(line.get("message")) for line in self.lines]

    def exceptions(self) -> list[Any]:
        """Return all that no user should ever see: tracebacks, and what is no log line."""
        return [line for line in self.lines if "exception" in line] + list(self.strange)

    def text(self) -> str:
        """Return all of it, for a person who wonders what went wrong."""
        return "\n".join([*map(json.dumps, self.lines), *(line.decode(errors="replace") for line in self.strange)])

    def join(self) -> None:
        """Wait until the last line was read."""
        self._thread.join()
