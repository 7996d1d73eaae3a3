#!/usr/bin/python3
"""The measuring half of scripts/soak.sh: soak.py FACECTL CAMERAS SECONDS GALLERY CLIP…

Serves the clips as cameras, starts facectl run over them and asks it for its metrics once a second. GALLERY may be empty.
"""

import json
import os
import re
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
SERVER = os.path.join(ROOT, "cli/tests/examples/rtsp_server.py")
# Models are loaded and buffers are filled in the beginning: no figure is about it.
WARM_UP = 120
SAMPLE = re.compile(r"^(\w+)(?:\{(.*)\})? (\S+)$")
LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')


def serve(clip):
    server = subprocess.Popen(["/usr/bin/python3", SERVER, clip, "--loop"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    address = server.stdout.readline().decode().strip()
    if not address:
        sys.exit("error: there is no RTSP server (gir1.2-gst-rtsp-server-1.0, python3-gi)")
    return server, address


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def read_metrics(port):
    """Every sample as {name: [(labels, value)]}."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        text = answer.read().decode()
    metrics = {}
    for line in text.splitlines():
        match = SAMPLE.match(line)
        if match:
            labels = dict(LABEL.findall(match[2] or ""))
            metrics.setdefault(match[1], []).append((labels, float(match[3])))
    return metrics


def by_camera(metrics, name):
    totals = {}
    for labels, value in metrics.get(name, []):
        camera = labels.get("camera", "")
        totals[camera] = totals.get(camera, 0) + value
    return totals


def delay_quantile(first, last, share):
    """Upper bound of the bucket that holds this share of the delays between two readings, seconds."""
    counts = {}
    for sign, metrics in ((-1, first), (1, last)):
        for labels, value in metrics.get("gst_face_delay_seconds_bucket", []):
            bound = float(labels["le"].replace("+Inf", "inf"))
            counts[bound] = counts.get(bound, 0) + sign * value
    total = counts.get(float("inf"), 0)
    for bound in sorted(counts):
        if total and counts[bound] >= share * total:
            return bound
    return float("nan")


def process(pid):
    """Resident memory in MiB, and processor time in seconds."""
    with open(f"/proc/{pid}/statm") as f:
        pages = int(f.read().split()[1])
    with open(f"/proc/{pid}/stat") as f:
        fields = f.read().rsplit(") ", 1)[1].split()
    ticks = int(fields[11]) + int(fields[12])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20, ticks / os.sysconf("SC_CLK_TCK")


def slope(points):
    """Of the straight line through the points with the least squares."""
    n = len(points)
    mx, my = sum(x for x, _ in points) / n, sum(y for _, y in points) / n
    var = sum((x - mx) ** 2 for x, _ in points)
    return sum((x - mx) * (y - my) for x, y in points) / var if var else 0.0


def wait_until_running(run, port, names):
    until = time.monotonic() + 120
    while time.monotonic() < until:
        if run.poll() is not None:
            sys.exit(f"error: facectl run ended with {run.returncode}")
        try:
            frames = by_camera(read_metrics(port), "gst_face_frames_total")
            if all(frames.get(name, 0) > 0 for name in names):
                return
        except OSError:
            pass
        time.sleep(0.5)
    sys.exit("error: not every camera shows pictures after two minutes")


def measure(run, port, seconds):
    """First and last reading after the warm-up, the time between them, processor time of it, and the memory over time."""
    warm = min(WARM_UP, seconds // 3)
    begin = time.monotonic()
    first = last = None
    memory = []
    while True:
        now = time.monotonic() - begin
        if run.poll() is not None:
            sys.exit(f"error: facectl run ended with {run.returncode}")
        if now >= warm:
            last = (now, read_metrics(port), process(run.pid)[1])
            first = first or last
            memory.append((now, process(run.pid)[0]))
        if now >= seconds:
            return first, last, memory
        time.sleep(1)


def main():
    facectl, cameras, seconds, gallery, *clips = sys.argv[1:]
    names = [f"camera-{n + 1}" for n in range(int(cameras))]
    seconds = int(seconds)
    servers = [serve(clip) for clip in clips[: len(names)]]
    port = free_port()
    config = {
        "version": 1,
        "http": {"address": f"127.0.0.1:{port}"},
        "defaults": {"detection": {"interval": "auto"}},
        "cameras": {name: {"source": servers[n % len(servers)][1]} for n, name in enumerate(names)},
    }
    if gallery:
        config["gallery"] = os.path.abspath(gallery)
    run = None
    try:
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "soak.yaml")
            with open(path, "w") as f:
                json.dump(config, f)  # JSON is YAML.
            run = subprocess.Popen([facectl, "run", "--quiet", path])
            wait_until_running(run, port, names)
            (t0, first, cpu0), (t1, last, cpu1), memory = measure(run, port, seconds)
            run.terminate()
            run.wait(60)
    finally:
        for process_ in [run] + [server for server, _ in servers]:
            if process_ and process_.poll() is None:
                process_.kill()
    report(names, first, last, t1 - t0, cpu1 - cpu0, memory)


def report(names, first, last, passed, cpu, memory):
    before, after = (by_camera(m, "gst_face_looks_total") for m in (first, last))
    looks = {name: (after.get(name, 0) - before.get(name, 0)) / passed for name in names}
    before, after = (by_camera(m, "gst_face_frames_total") for m in (first, last))
    frames = {name: (after.get(name, 0) - before.get(name, 0)) / passed for name in names}
    losses = sum(by_camera(last, "gst_face_camera_losses_total").values())
    p50, p95 = (delay_quantile(first, last, share) * 1000 for share in (0.5, 0.95))
    least, most = min(looks.values()), max(looks.values())
    growth = slope([(t / 300, mib) for t, mib in memory])
    print("| camera | pictures/s | looks/s |\n|---|---|---|")
    for name in names:
        print(f"| {name} | {frames[name]:.1f} | {looks[name]:.2f} |")
    print("\n| | |\n|---|---|")
    print(f"| cameras, seconds | {len(names)}, {passed:.0f} |")
    print(f"| looks per second, slowest and fastest camera | {least:.2f}, {most:.2f} |")
    print(f"| slowest / fastest | {least / most if most else 0:.2f} |")
    print(f"| delay, median and 95 % at most | {p50:.0f} ms, {p95:.0f} ms |")
    print(f"| processor time of facectl | {cpu / passed:.2f} cores |")
    print(f"| resident memory at the end | {memory[-1][1]:.0f} MiB |")
    print(f"| growth of it | {growth:+.2f} MiB per 5 minutes |")
    print(f"| cameras lost | {losses:.0f} |")
    sys.exit(1 if losses or not least else 0)


if __name__ == "__main__":
    main()
