"""The action proxies, a file for each language. They are started as programs or copied into images, never imported."""
