"""For authors of plugins and of programs around the invoker: contract suites, builders, and stores in memory.

`function_store`, `function_catalog`, `activation_store`, `activation_reader`, `log_extractor` and their like hold one
suite each, named for the contract: subclass it, provide the fixtures that its docstring lists, and pytest runs it on
your implementation. A suite's tests are coroutines; tests of your own that are none belong outside of your subclass.
`builders` makes valid entities in a line. Install the extra: `functions-invoker[testing]`.
"""

import pkgutil

import pytest

pytest.register_assert_rewrite(*(f"{__name__}.{module.name}" for module in pkgutil.iter_modules(__path__)))
