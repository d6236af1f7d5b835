"""Run the warden: started by the invoker as a script, with a socket and its orders; of no use to anybody else."""

import os
import socket
import sys
import types


def _find_own_package() -> None:
    """Make `invoker_process` importable without running its `__init__`: that one needs the core and 5 MB."""
    package = types.ModuleType("invoker_process")
    package.__path__ = [os.path.dirname(os.path.dirname(os.path.abspath(__file__)))]  # noqa: PTH100, PTH120 (imports nothing)
    sys.modules["invoker_process"] = package


def main() -> None:
    """Serve on the socket whose number comes first."""
    _find_own_package()
    from pathlib import Path  # noqa: PLC0415 (see above)

    from invoker_process.warden.serving import Orders, serve  # noqa: PLC0415

    descriptor, base, cgroup, interval, invoker = sys.argv[1:]
    with socket.socket(fileno=int(descriptor)) as connection:
        os.set_inheritable(connection.fileno(), False)  # noqa: FBT003 (its only argument)
        serve(connection, Orders(Path(base), cgroup, float(interval), int(invoker)))


if __name__ == "__main__":
    main()
