"""The former path of tools/tokens/draw_tokens.py, which it runs."""

import os
import sys
from pathlib import Path

moved = Path(__file__).resolve().parent / "tokens" / Path(__file__).name
sys.stderr.write(f"warning: {Path(__file__).name} has moved to {moved}\n")
sys.stderr.flush()
os.execv(sys.executable, [sys.executable, str(moved), *sys.argv[1:]])
