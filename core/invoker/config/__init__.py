"""Settings as everybody sees them: frozen structs, one for each section.

Reading them from their sources is `config.layers`' business; whoever only uses them doesn't load Dynaconf for it, which
takes 65 ms.
"""

from invoker.config.sections import *  # noqa: F403 (this package shows what is declared there)
from invoker.units import ByteSize as ByteSize
from invoker.units import Seconds as Seconds
from invoker.units import SecondsOrZero as SecondsOrZero
