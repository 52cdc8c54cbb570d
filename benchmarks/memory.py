"""Peak memory of an audit's process at two numbers of images: it should not grow with them.

    python benchmarks/memory.py                        1,000 and 50,000 images
    python benchmarks/memory.py --counts 1000 200000 --page

The images are synthetic, PNGs of 16x16 pixels in Parquet files of a thousand, read as any other set. The classifier is
a tiny network; probes are `standard` and `gradients` unless others are given. Each audit runs in a process of its own,
which says its peak resident set, once the audit is finished and again once its summary is computed or, with `--page`,
the page written. Up to 64 MiB of images that were read are kept, however many there are.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from torch import nn

import equipoise as eq
from equipoise.images import encode_png
from equipoise.store import write_shard

SIDE, CLASSES = 16, 4


def write_images(folder, count):
    """Parquet files of noise, a thousand images in each."""
    rng = np.random.default_rng(0)
    pixels = torch.from_numpy(rng.random((256, 3, SIDE, SIDE), dtype=np.float32))
    # A few pictures many times over, made different by bytes behind their end: Parquet keeps equal ones once.
    encoded = [encode_png(image) for image in pixels]
    types = {"image": "BLOB", "label": "INTEGER", "id": "VARCHAR"}
    for first in range(0, count, 1000):
        rows = range(first, min(first + 1000, count))
        columns = {
            "image": np.array(
                [encoded[row % len(encoded)] + row.to_bytes(8, "big") for row in rows],
                dtype=object,
            ),
            "label": np.array(rows) % CLASSES,
            "id": np.array([f"image-{row:09d}" for row in rows], dtype=object),
        }
        write_shard(folder / f"test-{first:09d}.parquet", types, columns, {})


def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def tiny():
    torch.manual_seed(0)
    net = nn.Sequential(nn.AvgPool2d(4), nn.Flatten(), nn.Linear(3 * (SIDE // 4) ** 2, CLASSES))
    return eq.wrap(net, name="tiny")


def work(path, folder, probes, page):
    """The audit's process: the last line it prints is what it found."""
    began = time.perf_counter()
    eq.audit(tiny(), f"parquet:{path}", probes, folder, shown=False, pictures=12)
    found = {"seconds": time.perf_counter() - began, "audit": peak()}
    run = eq.Run(folder)
    if page:
        eq.report(run, Path(folder) / "report.html")
    else:
        run.summary()
    print(json.dumps(found | {"after": peak()}))


def main():
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--counts", type=int, nargs="+", default=[1000, 50_000])
    parser.add_argument("--probe", nargs="+", default=["standard", "gradients"])
    parser.add_argument("--page", action="store_true")
    parser.add_argument("--work", nargs=2)
    asked = parser.parse_args()
    if asked.work:
        path, folder = asked.work
        work(path, folder, asked.probe, asked.page)
        return
    print(
        f"{'images':>10}{'audit':>12}{'and summary':>14}{'time':>10}   load {os.getloadavg()[0]:.1f}"
    )
    told = []
    with tempfile.TemporaryDirectory() as folder:
        for count in asked.counts:
            path = Path(folder) / f"images-{count}"
            path.mkdir()
            write_images(path, count)
            command = [sys.executable, __file__, "--probe", *asked.probe]
            command += ["--page"] * asked.page + ["--work", str(path), f"{folder}/run-{count}"]
            shown = subprocess.run(command, capture_output=True, text=True, check=False)
            if shown.returncode:
                raise SystemExit(shown.stderr)
            found = json.loads(shown.stdout.splitlines()[-1])
            told.append(found)
            print(
                f"{count:>10,}{found['audit'] / 1e6:>9.1f} MB{found['after'] / 1e6:>11.1f} MB{found['seconds']:>8.1f} s"
            )
    more = asked.counts[-1] - asked.counts[0]
    for name in ("audit", "after"):
        grown = told[-1][name] - told[0][name]
        print(
            f"{name}: ratio {told[-1][name] / told[0][name]:.3f}, {grown / more:.0f} bytes for each image more"
        )


if __name__ == "__main__":
    main()
