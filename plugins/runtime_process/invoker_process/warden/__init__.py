"""The warden: one small process per invoker, the parent of all its containers' processes.

It starts, watches, limits and kills them, and cleans up whatever becomes of the invoker. It has no event loop of
asyncio and no third-party package; see `core/decisions/0002-a-warden-owns-the-processes.md`.
"""
