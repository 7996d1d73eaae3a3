#!/usr/bin/env python3
"""Compares a search in a gallery with faiss' HNSW over the same vectors, on one thread, in one run.

usage: compare_faiss.py [PEOPLE [SAMPLES_OF_EACH [CARGO_ARGUMENT...]]]

Needs the packages faiss-cpu and numpy. Runs `cargo bench --bench gallery_large -- compare`, which writes the
vectors and its own figures, then faiss.IndexHNSWFlat with M=16 and efSearch=64.
"""

import json
import pathlib
import subprocess
import sys
import tempfile
import time

import faiss
import numpy as np


def main() -> None:
    people, each = (sys.argv[1:3] + ["10000", "10"][len(sys.argv[1:3]) :])[:2]
    root = pathlib.Path(__file__).resolve().parent.parent
    faiss.omp_set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        command = ["cargo", "bench", *sys.argv[3:], "--bench", "gallery_large", "--"]
        subprocess.run([*command, "compare", str(folder), people, each], check=True, cwd=root)
        figures = json.loads((folder / "figures.json").read_text())
        rows, queries = (
            np.fromfile(folder / file, dtype="<f4").reshape(-1, figures["dim"])
            for file in ("rows.f32", "queries.f32")
        )
    index = faiss.IndexHNSWFlat(figures["dim"], 16, faiss.METRIC_INNER_PRODUCT)
    index.hnsw.efSearch = 64
    begun = time.perf_counter()
    index.add(rows)
    print(f"faiss {faiss.__version__}: IndexHNSWFlat of {len(rows)} built in {time.perf_counter() - begun:.1f} s")

    # The two nearest people need more than two samples: the first all ten of one person.
    nearest = int(each) + 2
    times, found = [], []
    for query in queries:
        begun = time.perf_counter()
        _, keys = index.search(query[None], nearest)
        times.append((time.perf_counter() - begun) * 1e3)
        found.append(keys[0][0])
    median = float(np.median(times))
    person = np.array(found) // int(each)
    exact = np.array([np.argmax(rows @ query) for query in queries]) // int(each)
    for who, part in (("enrolled", slice(0, None, 2)), ("strangers", slice(1, None, 2))):
        print(f"faiss, {who}: first person equal {np.mean(person[part] == exact[part]):.4f}")
    print(f"faiss: median search {median:.4f} ms")
    print(f"ours / faiss: {figures['search_ms'] / median:.2f}")
    print(f"exact scan / ours: {figures['scan_ms'] / figures['search_ms']:.1f}")


if __name__ == "__main__":
    main()
