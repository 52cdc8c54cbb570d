"""What a second worker on Ray is worth: one-thread workers, two against one.

Two jobs that only compute: an adversarial audit of a small network on digits, and counterfactuals of digits drawn by a
U-Net, each cut into pieces of about a second. Times are those at which the pieces' files were written. Of n pieces,

    rate = (n - w) / (time of the last - time of the w-th),    w workers,

which leaves out how long workers take to begin; that is printed apart, since a long run pays it once. The ratio is the
rate of two workers over that of one, the median over rounds. It is 2 at best, on two idle cores: whatever else runs
there takes its part, and the load beside it says how far to believe it. `busy` depends on that less: the share of the
time of two workers that went into their pieces; the rest is what handing them out costs.
"""

import argparse
import os
import statistics
import tempfile
import time
from functools import partial
from pathlib import Path

import torch

import equipoise as eq
from equipoise.audit import preparing
from equipoise.audit.plan import make_plan
from equipoise.counterfactuals import Gaussian, Sampler, make_set, making
from equipoise.diffusion import Preconditioned, UNet
from equipoise.store import read_facts
from equipoise.training import Recipe, train_ladder


class Audit:
    def __init__(self, folder):
        recipe = Recipe(net="mlp", widths=(64,), epochs=20, rate=1e-2)
        threats, train = [eq.L2(0.5)], eq.load_images("digits", "train")
        (self.net,) = train_ladder(train, threats, recipe, folder, accelerator="cpu")

    def __call__(self, folder, pieces, workers):
        preparing.make_plan = partial(make_plan, size=20)
        probes, asked = ["adversarial:l2:0.3?steps=200"], {"limit": 20 * pieces, "examined": 0}
        eq.audit(self.net, "digits", probes, folder, "ray", workers=workers, shown=False, **asked)
        paths = [path for path in folder.rglob("*.parquet") if "images" not in path.parts]
        return {
            path: facts["seconds"] for path, facts in zip(paths, read_facts(paths), strict=True)
        }


class Counterfactuals:
    def __init__(self, folder):
        torch.manual_seed(0)
        shape, digits = (1, 8, 8), tuple("0123456789")
        net = UNet(shape=shape, classes=10, width=32, patch=1)
        denoiser = Preconditioned(net, sigma_data=0.5, shape=shape, classes=digits, scale=1.0)
        self.sampler = Sampler(denoiser, Gaussian(0.3))

    def __call__(self, folder, pieces, workers):
        # Eight originals of ten classes and two draws each.
        making.ROWS = 160
        images = eq.load_images("digits").subset(8 * pieces)
        made = make_set(images, self.sampler, folder, on="ray", workers=workers)
        shards = made.record["shards"].values()
        # The split that is written last.
        return {folder / shard["noise"]["file"]: shard["seconds"] for shard in shards}


def measure(job, folder, pieces, workers):
    """Pieces per second once all workers have begun, the share of that time they were busy, and the seconds before."""
    started = time.time()
    took = {
        path.stat().st_mtime: seconds for path, seconds in job(folder, pieces, workers).items()
    }
    written = sorted(took)
    span = written[-1] - written[workers - 1]
    busy = sum(took[end] for end in written[workers:]) / workers / span
    return (pieces - workers) / span, busy, written[0] - started


def main():
    parser = argparse.ArgumentParser(description="Two workers against one.")
    parser.add_argument("--pieces", type=int, default=24)
    parser.add_argument("--rounds", type=int, default=3)
    settings = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as place:
        for kind in (Audit, Counterfactuals):
            job, ratios = kind(Path(place) / kind.__name__), []
            for turn in range(settings.rounds):
                found = {}
                for workers in (1, 2) if turn % 2 else (2, 1):
                    folder = Path(place) / f"{kind.__name__}-{turn}-{workers}"
                    found[workers] = measure(job, folder, settings.pieces, workers)
                (one, _, begun), (two, busy, _) = found[1], found[2]
                ratios.append(two / one)
                print(
                    f"{kind.__name__:16} one {one:.2f}/s, two {two:.2f}/s, ratio {two / one:.2f}, busy {busy:.2f}; "
                    f"first piece after {begun:.1f} s; load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores",
                    flush=True,
                )
            print(f"{kind.__name__:16} median ratio {statistics.median(ratios):.2f}")


if __name__ == "__main__":
    main()
