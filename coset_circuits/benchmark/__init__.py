"""The known-answer benchmark: networks whose algorithm was put there, and what is said of them."""

from coset_circuits.benchmark.known_answers import Case, known_cases
from coset_circuits.benchmark.selftest import Answer, SelfTest, selftest
from coset_circuits.benchmark.trained_cases import trained_cases

__all__ = ["Answer", "Case", "SelfTest", "known_cases", "selftest", "trained_cases"]
