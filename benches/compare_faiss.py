#!/usr/bin/env python3
"""Compares a search in a gallery with faiss' HNSW over the same vectors, on one thread, in one run.

usage: compare_faiss.py [PEOPLE [SAMPLES_OF_EACH [CARGO_ARGUMENT...]]]

Needs the packages faiss-cpu and numpy. Runs `cargo bench --bench gallery_large -- compare`, which writes the
vectors, then measures it and faiss.IndexHNSWFlat with M=16 and efSearch=64 in turns: of every round the ratio,
of the rounds the median.
"""

import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time

import faiss
import numpy as np

ROUNDS = 9


def ask(ours: subprocess.Popen) -> dict:
    """The figures of one round of ours; what comes before them is shown."""
    ours.stdin.write("again\n")
    ours.stdin.flush()
    for line in ours.stdout:
        if line.startswith("{"):
            return json.loads(line)
        print(line, end="")
    raise SystemExit("the bench ended early")


def asked(index: faiss.IndexHNSWFlat, queries: np.ndarray, nearest: int) -> tuple[float, list[int]]:
    """The median time in ms, and the nearest of each query, one after the other."""
    times, found = [], []
    for query in queries:
        begun = time.perf_counter()
        _, keys = index.search(query[None], nearest)
        times.append((time.perf_counter() - begun) * 1e3)
        found.append(keys[0][0])
    return float(np.median(times)), found


def spread(name: str, values: list[float], unit: str = "") -> None:
    low, high = min(values), max(values)
    print(f"{name}: median {np.median(values):.3f}{unit}, {low:.3f} to {high:.3f} in {len(values)} rounds")


def main() -> None:
    people, each = (sys.argv[1:3] + ["10000", "10"][len(sys.argv[1:3]) :])[:2]
    root = pathlib.Path(__file__).resolve().parent.parent
    faiss.omp_set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        command = ["cargo", "bench", *sys.argv[3:], "--bench", "gallery_large", "--"]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        ours = subprocess.Popen([*command, "compare", str(folder), people, each], cwd=root, text=True, **pipes)
        dim = ask(ours)["dim"]
        rows, queries = (
            np.fromfile(folder / file, dtype="<f4").reshape(-1, dim) for file in ("rows.f32", "queries.f32")
        )
    # The two nearest people need more than two samples: the first all ten of one person.
    nearest = int(each) + 2
    index = faiss.IndexHNSWFlat(dim, 16, faiss.METRIC_INNER_PRODUCT)
    index.hnsw.efSearch = 64
    begun = time.perf_counter()
    index.add(rows)
    print(f"faiss {faiss.__version__}: IndexHNSWFlat of {len(rows)} built in {time.perf_counter() - begun:.1f} s")

    search, scan, theirs = [], [], []
    for _ in range(ROUNDS):
        figures = ask(ours)
        median, found = asked(index, queries, nearest)
        search.append(figures["search_ms"])
        scan.append(figures["scan_ms"])
        theirs.append(median)
    ours.stdin.close()
    if ours.wait() != 0:
        raise SystemExit("the bench failed")
    person = np.array(found) // int(each)
    exact = np.array([np.argmax(rows @ query) for query in queries]) // int(each)
    for who, part in (("enrolled", slice(0, None, 2)), ("strangers", slice(1, None, 2))):
        print(f"faiss, {who}: first person equal {np.mean(person[part] == exact[part]):.4f}")
    print("load average", *(f"{load:.1f}" for load in os.getloadavg()))
    spread("gallery", search, " ms")
    spread("exact scan", scan, " ms")
    spread("faiss", theirs, " ms")
    spread("ours / faiss", [a / b for a, b in zip(search, theirs)])
    spread("exact scan / ours", [a / b for a, b in zip(scan, search)])


if __name__ == "__main__":
    main()
