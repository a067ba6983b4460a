from __future__ import annotations

from benchmarks.byte_arithmetic import COLUMNS, bytes_of, peaks_of, restricted
from benchmarks.published_schemes import SCHEMES
from benchmarks.sparse_update import analytic_bytes
from tests.benchmarks.test_tiny_training import graph_of

_SCHEME = next(s for s in SCHEMES if (s.network, s.name) == ("mbv2-w0.35", "99kb"))


def test_what_is_saved_is_what_the_authors_rule_counts_at_most() -> None:
    graph = graph_of("mbv2-w0.35")
    found, rule = bytes_of(graph, _SCHEME), analytic_bytes(graph, _SCHEME)
    # The rule has no classifier; its masks are of every convolution with an updated bias.
    assert found.weights + found.biases == rule.parameters
    assert found.saved_inputs + found.saved_masks <= rule.saved_inputs + rule.masks + 112 * 4
    assert found.head == 10 * 112 * 4 + 10 * 4
    assert found.image == 3 * 128 * 128


def test_more_ways_never_raise_a_peak_and_strips_lower_the_backward_one() -> None:
    graph = graph_of("mbv2-w0.35")
    peaks = [
        peaks_of(restricted(graph, COLUMNS[name][1]), _SCHEME)
        for name in ("plain", "strips", "used up")
    ]
    assert peaks[0].forward > peaks[1].forward > peaks[2].forward
    assert peaks[0].backward > peaks[1].backward >= peaks[2].backward
