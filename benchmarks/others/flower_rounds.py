"""Seconds per round of Flower's simulation engine: 1,000 clients, 100 kB each way."""

from __future__ import annotations

import json
import statistics
import sys
import time
from pathlib import Path

import numpy as np
from flwr.app import ArrayRecord, Context, Message, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid, ServerApp
from flwr.simulation import run_simulation

CLIENTS, ROUNDS = 1000, 3
VALUES = 25_000
"""Number of float32 values: 100,000 bytes."""

client = ClientApp()
server = ServerApp()


@client.train()
def train(message: Message, context: Context) -> Message:
    return Message(content=message.content, reply_to=message)


@server.main()
def main(grid: Grid, context: Context) -> None:
    content = RecordDict({"symbols": ArrayRecord([np.zeros(VALUES, np.float32)])})
    while len(list(grid.get_node_ids())) < CLIENTS:
        time.sleep(0.1)
    nodes = list(grid.get_node_ids())
    taken = []
    for _ in range(ROUNDS + 1):
        messages = [
            Message(content=content, message_type="train", dst_node_id=node) for node in nodes
        ]
        start = time.perf_counter()
        replies = list(grid.send_and_receive(messages))
        taken.append(time.perf_counter() - start)
        assert len(replies) == CLIENTS
    seconds = statistics.median(taken[1:])
    row = {"devices": CLIENTS, "s": seconds, "per_s": CLIENTS / seconds}
    Path(sys.argv[1]).write_text(json.dumps({"Flower": row}))


if __name__ == "__main__":
    run_simulation(
        server,
        client,
        num_supernodes=CLIENTS,
        backend_config={"client_resources": {"num_cpus": 1, "num_gpus": 0.0}},
    )
