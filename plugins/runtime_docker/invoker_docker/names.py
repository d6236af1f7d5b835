"""The names under which something of ours may be on the engine."""

from collections.abc import Iterator, Sequence

from invoker_docker.container import DockerContainer


class Names:
    """Each from before its container is asked for until nothing is left under it. Owned by the runtime."""

    def __init__(self) -> None:
        self._containers: dict[str, DockerContainer | None] = {}
        """`None` while there is nothing to send to: it is being created, or removed."""

    def __contains__(self, name: str) -> bool:
        return name in self._containers

    def __iter__(self) -> Iterator[str]:
        return iter(self._containers)

    def __len__(self) -> int:
        return len(self._containers)

    def claim(self, name: str) -> None:
        """Take a name, unless it is taken: something may come of it, or is there and has to go."""
        self._containers.setdefault(name, None)

    def give(self, container: DockerContainer) -> None:
        """Note the container that has come of its name."""
        self._containers[container.name] = container

    def free(self, name: str) -> None:
        """Forget a name: nothing is left under it."""
        self._containers.pop(name, None)

    def has(self, container: DockerContainer) -> bool:
        """Whether a container still has its name."""
        return self._containers.get(container.name) is container

    def containers(self) -> Sequence[DockerContainer]:
        """Return all that have come of their names."""
        return [container for container in self._containers.values() if container is not None]
