"""The only code that knows OpenWhisk's JSON and texts. No I/O; bytes in, values out, and back."""
