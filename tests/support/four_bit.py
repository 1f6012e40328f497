"""What tests of bases in 4 bits a weight need."""

from importlib.util import find_spec

import pytest

needs_bitsandbytes = pytest.mark.skipif(find_spec("bitsandbytes") is None, reason="bitsandbytes is not installed")
