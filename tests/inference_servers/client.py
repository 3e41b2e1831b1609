"""A client of the Open Inference Protocol: encoded images in, the network's outputs out, many requests at a time.

    python client.py HOST:PORT MODEL RELEASE [--requests=N] [--concurrency=N] [--prepared=1] IMAGE…

What the model takes, and how its output is called, it asks the server. Prints JSON: `outputs` and `seconds` of each
request, `wall` and the client's `cpu` seconds for all of them. With --prepared the inputs are made before the clock
starts; else decoding and preprocessing, by the release's own `client.py`, count.
"""

import argparse
import asyncio
import json
import sys
import time
from pathlib import Path

import numpy as np
from tritonclient.http import InferInput, InferRequestedOutput
from tritonclient.http.aio import InferenceServerClient


async def main(given: argparse.Namespace) -> None:
    sys.path.insert(0, str(given.release))
    from client import network_input, network_pixels, upright_rgb

    prepare = json.loads((given.release / "preprocess.json").read_text())
    encoded = [path.read_bytes() for path in given.images]

    open_requests = asyncio.Semaphore(given.concurrency)
    outputs: list[list[float]] = [[] for _ in range(given.requests)]
    seconds = [0.0] * given.requests

    async with InferenceServerClient(given.address, conn_limit=given.concurrency) as server:
        model = await server.get_model_metadata(given.model)
        (taken,), (wanted,) = model["inputs"], model["outputs"]
        prepared = network_pixels if taken["datatype"] == "UINT8" else network_input

        def made(number: int) -> np.ndarray:
            return prepared(upright_rgb(encoded[number % len(encoded)], prepare.get("levels")), prepare)[None]

        ready = [made(number) for number in range(len(encoded))] if given.prepared else None

        async def one(number: int) -> None:
            async with open_requests:
                start = time.perf_counter()
                values = ready[number % len(encoded)] if ready else made(number)
                images = InferInput(taken["name"], list(values.shape), taken["datatype"])
                images.set_data_from_numpy(values)
                answer = await server.infer(given.model, [images], outputs=[InferRequestedOutput(wanted["name"])])
                seconds[number] = time.perf_counter() - start
                outputs[number] = answer.as_numpy(wanted["name"])[0].tolist()

        start, cpu = time.perf_counter(), time.process_time()
        await asyncio.gather(*(one(number) for number in range(given.requests)))
        wall, cpu = time.perf_counter() - start, time.process_time() - cpu
    print(json.dumps({"outputs": outputs, "seconds": seconds, "wall": wall, "cpu": cpu}))


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("address")
    parser.add_argument("model")
    parser.add_argument("release", type=Path)
    parser.add_argument("images", nargs="+", type=Path)
    parser.add_argument("--requests", type=int, default=1)
    parser.add_argument("--concurrency", type=int, default=1)
    parser.add_argument("--prepared", type=int, default=0)
    asyncio.run(main(parser.parse_args()))
