"""An LLM as judge of what people judged, beside them and beside the champion."""
