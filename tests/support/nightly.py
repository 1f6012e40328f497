"""What the suite does in a run with PAIRLOOP_NIGHTLY=1 alone."""

import os

IS_NIGHTLY = os.environ.get("PAIRLOOP_NIGHTLY") == "1"
