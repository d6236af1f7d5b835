"""The memory that all containers share."""


class MemoryBudget:
    """Bytes for containers. A container's share is taken before it is created and given back once it is gone."""

    def __init__(self, total: int) -> None:
        self.total = int(total)
        self.used = 0

    @property
    def free(self) -> int:
        """Bytes that nobody holds."""
        return self.total - self.used

    def reserve(self, size: int) -> bool:
        """Take `size` bytes if they are free."""
        if size > self.free:
            return False
        self.used += size
        return True

    def release(self, size: int) -> None:
        """Give `size` bytes back."""
        self.used -= size
