"""What the Android tests share."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))  # core_cases.py
