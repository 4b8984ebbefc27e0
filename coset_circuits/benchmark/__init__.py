"""The known-answer benchmark: verdicts on networks that were built with a given algorithm."""

from coset_circuits.benchmark.known_answers import Case, known_cases
from coset_circuits.benchmark.selftest import Answer, SelfTest, selftest
from coset_circuits.benchmark.trained_cases import trained_cases

__all__ = ["Answer", "Case", "SelfTest", "known_cases", "selftest", "trained_cases"]
