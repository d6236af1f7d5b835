"""The straight line: from an admitted message to its answers and its record."""
