"""The runs of benches/compare.sh, which finds the programs and starts this."""

from __future__ import annotations

import argparse
import datetime
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time

import figures
from figures import Figure, bound, fairness, figure_table, table
from videos import Videos

DETECTOR = "yunet_2023mar"
# What must be reached of the bound, by the same work.
OF_BOUND = 0.85
PARTS = ["same", "names", "streams", "memory", "scaling", "competing"]


class Bench:
    """The programs, and what they said."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        self.facectl = os.environ["FACECTL"]
        self.python = sys.executable
        self.peer_script = arguments.peer
        self.models = os.environ["GST_FACE_MODEL_PATH"].split(":")[0]
        self.media = pathlib.Path(os.environ["GST_FACE_TEST_MEDIA"])
        self.videos = Videos(self.media, arguments.scratch)
        self.rounds = arguments.rounds
        self.runs: list[dict] = []
        self.figures: list[tuple[str, Figure]] = []
        self.void: list[str] = []

    def ours(self, video: pathlib.Path, *options: str) -> dict:
        command = [self.facectl, "bench", "--json", "--provider", "cpu", *options, str(video)]
        return self._run(command)

    def same_work(self, video: pathlib.Path, *options: str) -> dict:
        return self.ours(video, "--every-face", "--detector", DETECTOR, *options)

    def theirs(self, video: pathlib.Path) -> dict:
        return self._run([self.python, self.peer_script, str(video), self.models])

    def _run(self, command: list[str]) -> dict:
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        if done.returncode != 0:
            raise SystemExit(f"error: {' '.join(command)}\n{done.stderr}")
        report = json.loads(done.stdout.splitlines()[-1])
        self.runs.append({"command": command, "report": report})
        return report

    def show(self, title: str, found: list[Figure], note: str = "") -> None:
        self.figures += [(title, figure) for figure in found]
        print(f"\n{title}\n\n{figure_table(found)}", flush=True)
        if note:
            print(f"\n{note}", flush=True)

    def check(self, ours: dict, theirs: dict, what: str) -> None:
        for reason in figures.why_void(ours, theirs):
            if (text := f"{what}: {reason}") not in self.void:
                self.void.append(text)


def part_same(bench: Bench) -> None:
    """The same work as the peer's, and the default settings."""
    sizes = [("360p", bench.videos.clip, 2.0, 5.0), ("1080p", bench.videos.scaled(1920, 1080), 1.7, 4.0)]
    taken: dict[str, list[tuple[dict, dict, dict]]] = {name: [] for name, *_ in sizes}
    for _ in range(bench.rounds):
        for name, video, *_ in sizes:
            theirs, same, default = bench.theirs(video), bench.same_work(video), bench.ours(video)
            bench.check(same, theirs, name)
            taken[name].append((theirs, same, default))
    for name, _, same_goal, default_goal in sizes:
        rounds = taken[name]
        same = [same for _, same, _ in rounds]

        def of(value):
            return [value(*runs) for runs in rounds]

        bench.show(
            f"{name}, {same[0]['frames']} frames, {same[0]['faces']} faces",
            [
                Figure("same work / peer", of(lambda t, s, d: s["fps"] / t["fps"]), at_least=same_goal),
                Figure("same work / bound", of(lambda t, s, d: s["fps"] / bound(s)), at_least=OF_BOUND),
                Figure("default settings / peer", of(lambda t, s, d: d["fps"] / t["fps"]), at_least=default_goal),
                Figure("neither networks nor decoding, of the processor time",
                       of(lambda t, s, d: s["other_cpu_s"] / s["cpu_s"]), at_most=0.1, digits=3),
                Figure("peak memory / the peer's", of(lambda t, s, d: s["peak_rss_mib"] / t["peak_rss_mib"]), at_most=1.0),
                Figure("cores busy, same work", of(lambda t, s, d: s["cpu_s"] / s["wall_s"])),
                Figure("the peer, frames per second", of(lambda t, s, d: t["fps"]), digits=1),
                Figure("same work, frames per second", of(lambda t, s, d: s["fps"]), digits=1),
                Figure("default settings, frames per second", of(lambda t, s, d: d["fps"]), digits=1),
                Figure("bound, frames per second", of(lambda t, s, d: bound(s)), digits=1),
                Figure("peak memory", of(lambda t, s, d: s["peak_rss_mib"]), digits=1, unit=" MiB"),
                Figure("start-up", of(lambda t, s, d: s["startup_s"]), unit=" s"),
            ],
        )  # fmt: skip


def part_names(bench: Bench) -> None:
    """Whom the default settings name, and when, against every face of every frame."""
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        gallery = str(folder / "people.gallery")
        enroll = [bench.facectl, "enroll", "--gallery", gallery, str(bench.media / "people")]
        # 1: some picture was refused.
        if subprocess.run(enroll, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode > 1:
            raise SystemExit(f"error: {' '.join(enroll)}")

        def first(*options: str) -> dict[str, int]:
            frames = folder / "frames.jsonl"
            command = [bench.facectl, "analyze", "--provider", "cpu", "--gallery", gallery]
            command += [*options, "--frames", str(frames), str(bench.videos.clip)]
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
            return figures.first_names([json.loads(line) for line in frames.read_text().splitlines()])

        every, default = first("--every-face"), first()
    both = every.keys() & default.keys()
    later = max((default[name] - every[name] for name in both), default=0)
    bench.show(
        f"Names in the clip, by default settings and by every face ({', '.join(sorted(every)) or 'nobody'})",
        [
            Figure("people named by one of the two only", [len(every.keys() ^ default.keys())], at_most=0, digits=0),
            Figure("frames until the first name, by default more", [later], at_most=5, digits=0),
        ],
    )


def part_streams(bench: Bench) -> None:
    """One and four streams of the clip in one process, the same work."""
    clip, ones, fours, decoding = bench.videos.clip, [], [], []
    for _ in range(bench.rounds):
        ones.append(bench.same_work(clip))
        fours.append(bench.same_work(clip, "--streams", "4"))
        decoding.append([bench.ours(clip, "--decode-only", "--streams", n) for n in ("1", "4")])
    goal = [four["fps"] / (0.95 * OF_BOUND * bound(one)) for one, four in zip(ones, fours)]
    memory = [figures.per_stream_mib(*runs) for runs in zip(ones, fours, *zip(*decoding))]
    bench.show(
        "Four streams of 640 × 360 in one process, the same work",
        [
            Figure(f"four streams / (.95 × {OF_BOUND} × bound of one)", goal, at_least=1.0),
            Figure("slowest / fastest", [fairness(four) for four in fours], at_least=0.9),
            Figure("memory of one more stream, without its decoder", memory, at_most=25, digits=1, unit=" MiB"),
            Figure("four streams / one", [four["fps"] / one["fps"] for one, four in zip(ones, fours)]),
        ],
    )


def part_memory(bench: Bench) -> None:
    """Is memory flat over 20,000 frames?"""
    run = bench.ours(bench.videos.clip, "--loops", "1000", "--frames", "20000")
    bench.show(
        f"{run['frames']} frames of the clip in a row, default settings",
        [
            Figure("resident memory, end - a fifth of it", [run["rss_growth_mib"]], at_most=5, digits=1, unit=" MiB"),
            Figure("resident memory at the end", [run["rss_mib"]], digits=1, unit=" MiB"),
        ],
    )


def part_scaling(bench: Bench) -> None:
    """By streams, faces and size; the same work."""

    def row(label: str, run: dict) -> list[str]:
        other = run["other_cpu_s"] / run["cpu_s"]
        faces = run["faces"] / run["frames"]
        numbers = f"{faces:.1f}", f"{run['fps']:.1f}", f"{run['fps'] / bound(run):.2f}", f"{other:.1%}"
        return [label, *numbers, f"{run['cpu_s'] / run['wall_s']:.2f}", f"{run['peak_rss_mib']:.0f}"]

    head = ["", "faces per frame", "frames per s", "of the bound", "other time", "cores busy", "peak MiB"]
    clip, rows = bench.videos.clip, []
    for streams in (1, 2, 4, 8):
        frames = str(max(40, 240 // streams))
        rows.append(row(f"{streams} streams", bench.same_work(clip, "--streams", str(streams), "--frames", frames)))
    for count, frames in ((1, 200), (5, 100), (20, 60), (100, 20)):
        rows.append(row(f"{count} photos", bench.same_work(bench.videos.faces(count, frames))))
    for width, height in ((640, 360), (1920, 1080), (3840, 2160)):
        video = clip if height == 360 else bench.videos.scaled(width, height)
        rows.append(row(f"{height}p", bench.same_work(video, "--frames", "150")))
    print(f"\nScaling, the same work\n\n{table(head, rows)}", flush=True)


def part_competing(bench: Bench) -> None:
    """Beside busy processes."""
    script = pathlib.Path(__file__).with_name("competing.sh")
    if not script.exists():
        print("\nBeside busy processes: skipped, there is no benches/competing.sh")
        return
    rounds = str(min(bench.rounds, 3))
    command = [str(script), "--rounds", rounds, "--peer", bench.peer_script, str(bench.videos.clip)]
    print("\nBeside four busy processes\n", flush=True)
    subprocess.run(command, check=True)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="benches/compare.sh", add_help=False)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--parts", type=lambda text: text.split(","), default=PARTS)
    parser.add_argument("--peer", default=os.environ.get("GST_FACE_PEER"))
    parser.add_argument("--json", type=pathlib.Path)
    parser.add_argument("--scratch", type=pathlib.Path, required=True)
    given = parser.parse_args()
    if unknown := set(given.parts) - set(PARTS):
        parser.error(f"no part {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    if given.quick:
        given.rounds = 1
    if given.rounds < 1:
        parser.error("at least one round is needed")
    if not pathlib.Path(given.peer).is_file():
        parser.error(f"no peer '{given.peer}': name one with --peer or GST_FACE_PEER")
    return given


def machine() -> str:
    cpu = "unknown processor"
    for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            cpu = line.split(":", 1)[1].strip()
            break
    return f"{len(os.sched_getaffinity(0))} cores of {cpu}"


def load() -> str:
    return ", ".join(f"{value:.1f}" for value in os.getloadavg())


def print_versions(reports: list[dict]) -> None:
    ours = next((report["versions"] for report in reports if "versions" in report), {})
    theirs = next((report for report in reports if "opencv" in report), {})
    print()
    if ours:
        print(f"ours: {', '.join(f'{name} {value}' for name, value in ours.items())}")
    if theirs:
        print(f"peer: OpenCV {theirs['opencv']}, ONNX Runtime {theirs['onnxruntime']}")


def main() -> None:
    given = arguments()
    bench = Bench(given)
    begun = time.monotonic()
    print(f"{datetime.datetime.now():%Y-%m-%d %H:%M}, {machine()}, load average {load()}, rounds {given.rounds}")
    for part in PARTS:
        if part in given.parts:
            globals()[f"part_{part}"](bench)
    print_versions([run["report"] for run in bench.runs])
    print(f"took {time.monotonic() - begun:.0f} s, load average at the end {load()}")
    missed = [f"  {title.split(',')[0]}: {f.name}" for title, f in bench.figures if f.reached() is False]
    print("\n".join(["missed:", *missed] if missed else ["missed: nothing"]))
    if given.json:
        summary = [
            {"of": title, "name": f.name, "values": f.values, "reached": f.reached()} for title, f in bench.figures
        ]
        given.json.write_text(json.dumps({"figures": summary, "runs": bench.runs, "void": bench.void}, indent=1))
    if bench.void:
        raise SystemExit("error: the comparison is VOID\n" + "\n".join(f"  {reason}" for reason in bench.void))


if __name__ == "__main__":
    main()
