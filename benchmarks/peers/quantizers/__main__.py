"""`python -m edgesr.benchmarks.peers.quantizers`."""

import sys

from edgesr.benchmarks.peers.quantizers.command import main

sys.exit(main())
