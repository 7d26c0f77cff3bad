"""Podman as a service that Docker's clients can use; guarded_process.py runs this, so that it ends with its starter."""

from __future__ import annotations

import subprocess
import sys


def main() -> int:
    """Serve at the socket that is named, with the program that is named, and return its exit code."""
    program, socket = sys.argv[1:]
    return subprocess.run([program, "system", "service", "--time", "0", socket], check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
