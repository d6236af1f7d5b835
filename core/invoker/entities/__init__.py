"""Frozen values that everything else talks about. They do nothing and know nobody."""
