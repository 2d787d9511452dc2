"""In place of the two agents of a Ray machine: says which ports they would have, and does nothing else.

A raylet waits for their ports, fifteen seconds and no longer, and ends without them. Each agent imports Ray, asyncio
servers and metrics, which takes longer than that on a busy machine; tests need neither metrics nor environments.
"""

import os
import sys
import time

machine = os.getppid()
given = dict(option[2:].split("=", 1) for option in sys.argv[1:] if option.startswith("--") and "=" in option)
DASHBOARD = ("metrics_agent_port", "metrics_export_port", "dashboard_agent_listen_port")
for name in ("runtime_env_agent_port",) if "runtime-env-agent-port" in given else DASHBOARD:
    path = os.path.join(given["session-dir"], f"{name}_{given['node-id']}")  # noqa: PTH118  pathlib is slow to import
    with open(f"{path}.part", "w") as file:  # noqa: PTH123
        file.write("1")
    os.rename(f"{path}.part", path)  # noqa: PTH104
while os.getppid() == machine:  # the raylet may be killed, and its agents end with it
    time.sleep(0.5)
