"""What benches/compare.sh makes of its runs: medians, ratios, the bound, what is void, what was reached."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median

# The counts of faces of both sides may differ by this part.
FACES_ALIKE = 0.02


def bound(run: dict) -> float:
    """Frames per second if the processors did nothing but run the networks and decode, all of them all the time."""
    return run["versions"]["cores"] * run["frames"] / (run["ort_cpu_s"] + run["decode_cpu_s"])


def fairness(run: dict) -> float:
    """The slowest stream as a part of the fastest."""
    frames = [stream["frames"] for stream in run["streams"]]
    return min(frames) / max(frames)


def per_stream_mib(one: dict, four: dict, decoding_one: dict, decoding_four: dict) -> float:
    """Memory that one more stream of the elements takes, without what its decoder takes."""
    more = four["peak_rss_mib"] - one["peak_rss_mib"]
    return (more - (decoding_four["peak_rss_mib"] - decoding_one["peak_rss_mib"])) / 3


def why_void(ours: dict, theirs: dict) -> list[str]:
    """Why the two runs cannot be compared; nothing if they can."""
    reasons = []
    per_frame = [run["faces"] / run["frames"] if run["frames"] else 0.0 for run in (ours, theirs)]
    if ours["frames"] != theirs["frames"]:
        reasons.append(f"{ours['frames']} frames, the peer has {theirs['frames']}")
    if abs(per_frame[0] - per_frame[1]) > FACES_ALIKE * per_frame[1]:
        reasons.append(f"{ours['faces']} faces, the peer has {theirs['faces']}: more than {FACES_ALIKE:.0%} apart")
    versions = ours["versions"]["onnxruntime"], theirs["onnxruntime"]
    if versions[0] != versions[1]:
        reasons.append(f"ONNX Runtime {versions[0]}, the peer has {versions[1]}")
    return reasons


@dataclass
class Figure:
    """A figure of all rounds, and what it must be, if it must be something."""

    name: str
    values: list[float]
    at_least: float | None = None
    at_most: float | None = None
    digits: int = 2
    unit: str = ""

    def value(self) -> float:
        return median(self.values)

    def reached(self) -> bool | None:
        if self.at_least is not None:
            return self.value() >= self.at_least
        if self.at_most is not None:
            return self.value() <= self.at_most
        return None

    def row(self) -> list[str]:
        def shown(value: float) -> str:
            return f"{value:.{self.digits}f}{self.unit}"

        wanted = ""
        if self.at_least is not None:
            wanted = f"≥ {shown(self.at_least)}"
        elif self.at_most is not None:
            wanted = f"≤ {shown(self.at_most)}"
        verdict = {None: "", True: "reached", False: "missed"}[self.reached()]
        spread = f"{shown(min(self.values))} to {shown(max(self.values))}" if len(self.values) > 1 else ""
        return [self.name, shown(self.value()), spread, wanted, verdict]


def figure_table(figures: list[Figure]) -> str:
    return table(["", "median", "rounds", "must be", ""], [figure.row() for figure in figures])


def table(head: list[str], rows: list[list[str]]) -> str:
    """A table in Markdown, its columns aligned for those who read the text."""
    lines = [head, ["-"] * len(head), *rows]
    widths = [max(3, *(len(line[i]) for line in lines)) for i in range(len(head))]
    lines[1] = ["-" * width for width in widths]
    return "\n".join("| " + " | ".join(cell.ljust(w) for cell, w in zip(line, widths)) + " |" for line in lines)


def first_names(frames: list[dict]) -> dict[str, int]:
    """On which frame of `facectl analyze --frames` each person is named first."""
    first: dict[str, int] = {}
    for frame in frames:
        for face in frame["faces"]:
            if face["name"] is not None:
                first.setdefault(face["name"], frame["frame"])
    return first
