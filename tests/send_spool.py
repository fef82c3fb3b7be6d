"""A program for tests: the agent's own stream on a spool that is there already.

    python tests/send_spool.py SPOOL_DIR HOST:PORT

Sends all of it, however long the collector is away, and prints one JSON object: whether the spool is empty, how many
connections it took, and how many windows were refused by reason. A process of its own, as an agent has.
"""

import json
import random
import sys
from pathlib import Path

from gputally.agent.probe.main import monotonic_us, wall_us
from gputally.agent.spool.spool import Spool
from gputally.agent.stream import Stream

MAX_BYTES = 64 << 20
FOREVER_US = 2**62
BOOT_ID = "boot-1"
_DEADLINE_S = 150


def main() -> None:
    """Send until there is nothing left."""
    folder, target = sys.argv[1:]
    spool = Spool(Path(folder), BOOT_ID, MAX_BYTES, FOREVER_US, wall_us)
    stream = Stream(spool, target, wall_us, monotonic_us, random.random)
    stream.start()
    drained = stream.close(_DEADLINE_S)
    state = stream.state
    json.dump({"drained": drained, "connections": state.connections, "refusals": dict(state.refusals)}, sys.stdout)
    spool.close()


if __name__ == "__main__":
    main()
