"""Tests of figures.py: python3 -m unittest, in this folder. cli/tests/bench.rs runs them, too."""

import unittest

import figures
from figures import Figure


def run(**more: object) -> dict:
    versions = {"cores": 2, "onnxruntime": "1.31.1"}
    base = {"frames": 100, "faces": 200, "ort_cpu_s": 1.5, "decode_cpu_s": 0.5, "versions": versions}
    return {**base, **more}


def peer(**more: object) -> dict:
    return {"frames": 100, "faces": 200, "onnxruntime": "1.31.1", **more}


class Figures(unittest.TestCase):
    def test_bound_is_what_all_cores_can_do_with_networks_and_decoding_alone(self) -> None:
        self.assertEqual(figures.bound(run()), 100.0)

    def test_median_counts_and_both_ends_are_shown(self) -> None:
        figure = Figure("x", [3.0, 1.0, 10.0], at_least=2.5, digits=1, unit=" ×")
        self.assertEqual(figure.row(), ["x", "3.0 ×", "1.0 × to 10.0 ×", "≥ 2.5 ×", "reached"])
        self.assertEqual(Figure("x", [1.0, 2.0]).value(), 1.5)

    def test_a_limit_is_reached_from_its_own_side(self) -> None:
        self.assertIs(Figure("", [0.9], at_least=0.9).reached(), True)
        self.assertIs(Figure("", [0.89], at_least=0.9).reached(), False)
        self.assertIs(Figure("", [25.0], at_most=25).reached(), True)
        self.assertIs(Figure("", [25.1], at_most=25).reached(), False)
        self.assertIsNone(Figure("", [1.0]).reached())

    def test_runs_that_did_other_work_are_void(self) -> None:
        self.assertEqual(figures.why_void(run(), peer()), [])
        self.assertEqual(figures.why_void(run(faces=203), peer()), [])
        [reason] = figures.why_void(run(faces=205), peer())
        self.assertIn("205 faces", reason)
        [reason] = figures.why_void(run(faces=0), peer())
        [reason] = figures.why_void(run(), peer(onnxruntime="1.30.0"))
        self.assertIn("1.30.0", reason)
        unknown = run(versions={"cores": 2, "onnxruntime": None})
        self.assertEqual(len(figures.why_void(unknown, peer())), 1)
        [reason] = figures.why_void(run(frames=50, faces=100), peer())
        self.assertIn("50 frames", reason)

    def test_memory_of_a_stream_is_without_its_decoder(self) -> None:
        one, four, decoding_one, decoding_four = ({"peak_rss_mib": m} for m in (100, 190, 30, 60))
        self.assertEqual(figures.per_stream_mib(one, four, decoding_one, decoding_four), 20)

    def test_fairness_is_the_slowest_by_the_fastest(self) -> None:
        self.assertEqual(figures.fairness({"streams": [{"frames": 90}, {"frames": 100}]}), 0.9)

    def test_first_names_are_those_of_the_first_frame(self) -> None:
        frames = [
            {"frame": 0, "faces": [{"name": None}]},
            {"frame": 1, "faces": [{"name": "Ada"}, {"name": None}]},
            {"frame": 2, "faces": [{"name": "Ada"}, {"name": "Bo"}]},
        ]
        self.assertEqual(figures.first_names(frames), {"Ada": 1, "Bo": 2})

    def test_tables_are_markdown(self) -> None:
        lines = figures.table(["a", "b"], [["1", "long"]]).splitlines()
        self.assertEqual(lines, ["| a   | b    |", "| --- | ---- |", "| 1   | long |"])


if __name__ == "__main__":
    unittest.main()
